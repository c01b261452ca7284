// Package secret turns the reference to a credential that a profile holds into
// something that can log in, and keeps its text from being shown on the way.
//
// Start with Resolver.Resolve: it reads a file, an environment variable or asks
// the SSH agent, and returns a Credential. Value is the text that refuses to
// print. No error of this package ever quotes the text of a secret.
package secret

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
)

// The types of reference.
const (
	TypeFile  = "file_ref" // a file in the secrets folder
	TypeEnv   = "env_ref"  // an environment variable
	TypeAgent = "agent"    // the SSH agent at SSH_AUTH_SOCK
)

// Ref says where a credential is, as the auth field of a profile does.
type Ref struct {
	// Type is TypeFile, TypeEnv or TypeAgent.
	Type string `json:"type" yaml:"type"`
	// Ref names the file (without folder and extension), the variable, or the
	// agent's key by its comment or SHA256 fingerprint; empty means all of them.
	Ref string `json:"ref" yaml:"ref"`
}

// Error is one thing wrong with a credential. It holds no secret text.
type Error struct {
	Source  string // the file, "environment variable NAME" or "SSH agent"
	Line    int    // 1-based; 0 is unknown
	Column  int    // 1-based; 0 is unknown
	Field   string // the field of the file, where there is one
	Message string
	Remedy  string
	Err     error // what callers may match, such as fs.ErrNotExist; or nil
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Source)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", e.Line, e.Column)
	}
	for _, part := range []string{e.Field, e.Message, e.Remedy} {
		if part != "" {
			b.WriteString(": " + part)
		}
	}
	return b.String()
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// ErrUnreadable is matched by the error for a text that is there but cannot be
// read as a secret, as an editor may leave it for a moment.
var ErrUnreadable = errors.New("cannot be read as a secret")

// Resolver finds credentials. Its fields must not change after the first use;
// it is then safe for concurrent use. It keeps nothing between calls.
type Resolver struct {
	// Dir is the secrets folder; without it, file_ref is an error.
	Dir string
	// LookupEnv reads an environment variable; nil means os.LookupEnv.
	LookupEnv func(string) (string, bool)
}

// Resolve reads the credential that ref names. Errors are an *Error, or several
// joined, except that of ctx. A missing file matches fs.ErrNotExist. ctx bounds
// talking to the agent.
func (r *Resolver) Resolve(ctx context.Context, ref Ref) (*Credential, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	switch ref.Type {
	case TypeFile:
		return r.fromFile(ref.Ref)
	case TypeEnv:
		return r.fromEnv(ref.Ref)
	case TypeAgent:
		return r.fromAgent(ctx, ref.Ref)
	}
	return nil, CheckRef(ref)
}

var (
	fileName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)
	envName  = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
)

// CheckRef says what is wrong with a reference in itself, without looking where
// it points. Its error is an *Error whose Field is "type" or "ref".
func CheckRef(ref Ref) error {
	fail := func(field, message, remedy string) error {
		return &Error{Source: "auth", Field: field, Message: message, Remedy: remedy}
	}
	switch ref.Type {
	case TypeFile:
		if !fileName.MatchString(ref.Ref) {
			return fail("ref", fmt.Sprintf("%q is not a plain file name", ref.Ref),
				"name a file of the secrets folder, without folder and extension")
		}
	case TypeEnv:
		if !envName.MatchString(ref.Ref) {
			return fail("ref", "not the name of an environment variable", "use letters, digits and _, such as WEB_01_SECRET")
		}
	case TypeAgent:
	case "":
		return fail("type", "missing", "use file_ref, env_ref or agent")
	default:
		return fail("type", fmt.Sprintf("unknown type %q", ref.Type), "use file_ref, env_ref or agent")
	}
	return nil
}

func (r *Resolver) lookupEnv(name string) (string, bool) {
	if r.LookupEnv != nil {
		return r.LookupEnv(name)
	}
	return os.LookupEnv(name)
}

func (r *Resolver) fromEnv(name string) (*Credential, error) {
	if err := CheckRef(Ref{TypeEnv, name}); err != nil {
		return nil, err
	}
	source := "environment variable " + name
	text, _ := r.lookupEnv(name)
	switch {
	case text == "":
		return nil, &Error{Source: source, Message: "not set or empty", Remedy: "set it to a JSON secret, a private key or a password"}
	case strings.HasPrefix(strings.TrimSpace(text), "{"):
		doc, err := parseDocument(source, []byte(text))
		if err != nil {
			return nil, err
		}
		return doc.credential(source, "")
	case strings.Contains(text, "-----BEGIN "):
		return (&document{PrivateKey: NewValue(text)}).credential(source, "")
	}
	return (&document{Password: NewValue(text)}).credential(source, "")
}
