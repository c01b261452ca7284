package profile

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/secret"
)

// maxFileSize bounds a profile file; real ones are a few kilobytes.
const maxFileSize = 1 << 20

// The defaults of Config.
const (
	defaultTTL           = 60 * time.Second
	defaultCredentialTTL = 30 * time.Second
)

// Config says where things are.
type Config struct {
	// Dir is the folder of the profiles: ID.json, ID.yaml or ID.yml. Other files,
	// hidden ones and subfolders are ignored.
	Dir string
	// Secrets resolves the credentials; nil makes one without a secrets folder.
	Secrets *secret.Resolver
	// KnownHosts are the files that say which host keys to expect where a profile
	// pins none; empty means ~/.ssh/known_hosts. Missing ones are passed over.
	KnownHosts []string
	// Validate finds mistakes that this package cannot know of, such as policy
	// rules that do not compile. It sees profiles without other mistakes. Nil is none.
	Validate func(*Profile) []FieldError
	// TTL is how long files are not looked at that Watch has seen no change of; 0
	// means 60 s.
	TTL time.Duration
	// CredentialTTL is how long credentials that do not come from a file are kept
	// before they are resolved anew; 0 means 30 s.
	CredentialTTL time.Duration
	// Logger hears what became of edited files; nil is nobody.
	Logger *slog.Logger
}

// Check lists every mistake in the profiles and in what they refer to: secrets
// that are missing, unreadable or wrong, jumps into nothing, hosts whose key
// nothing vouches for. It dials no host. No problems means that Open and every
// Resolve would succeed now.
func Check(cfg Config) []Problem {
	set := loadDir(cfg)
	problems := set.problems
	resolver := cfg.resolver()
	known := newHostKeyFiles(cfg.KnownHosts, slog.New(slog.DiscardHandler)).get(time.Now(), age{})
	for _, d := range set.docs {
		if len(d.problems) > 0 {
			continue
		}
		d.checkCredential(resolver)
		d.checkKeys(resolver)
		d.checkHostKey(known)
		problems = append(problems, d.problems...)
	}
	slices.SortStableFunc(problems, byPlace)
	out := make([]Problem, len(problems))
	for i, p := range problems {
		out[i] = *p
	}
	return out
}

func byPlace(a, b *Problem) int {
	if c := strings.Compare(a.File, b.File); c != 0 {
		return c
	}
	if a.Line != b.Line {
		return a.Line - b.Line
	}
	return a.Column - b.Column
}

func (cfg Config) resolver() *secret.Resolver {
	if cfg.Secrets == nil {
		return &secret.Resolver{}
	}
	return cfg.Secrets
}

func (d *document) checkCredential(r *secret.Resolver) {
	p := d.profile
	credential, err := r.Resolve(context.Background(), p.Auth)
	if err == nil {
		if p.Username == "" && credential.Username == "" {
			d.problem("username", "neither the profile nor its secret has one", "set username")
		}
		return
	}
	d.secretProblems("auth", err)
}

// secretProblems reports what is wrong with the secret that a field refers to.
func (d *document) secretProblems(field string, err error) {
	for _, e := range secretErrors(err) {
		switch {
		case e.Source == "auth":
			d.problem(field+"."+e.Field, e.Message, e.Remedy)
		case e.Line == 0 && e.Field == "": // about the thing as a whole: point at who wants it
			d.problem(field+".ref", e.Source+": "+e.Message, e.Remedy)
		default:
			d.problems = append(d.problems, &Problem{File: e.Source, Line: e.Line, Column: e.Column, Field: e.Field, Message: e.Message, Remedy: e.Remedy})
		}
	}
}

// secretErrors takes joined errors apart.
func secretErrors(err error) []*secret.Error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var all []*secret.Error
		for _, e := range joined.Unwrap() {
			all = append(all, secretErrors(e)...)
		}
		return all
	}
	if e, ok := errors.AsType[*secret.Error](err); ok {
		return []*secret.Error{e}
	}
	return []*secret.Error{{Source: "auth", Field: "ref", Message: err.Error()}}
}

func (d *document) checkHostKey(known *knownHosts) {
	p := d.profile
	switch {
	case p.hostKey != nil:
	case known.err != nil:
		d.problem("host_key", "known hosts cannot be read: "+known.err.Error(), "correct the file, or pin host_key")
	case len(known.known(p.Addr())) == 0:
		d.problem("host_key", fmt.Sprintf("none is pinned, and none is known for %s in %s", p.Addr(), known.files),
			fmt.Sprintf("set host_key, or add the output of `%s` to known_hosts after comparing fingerprints", scanCommand(p.Addr())))
	}
}

// loaded is a folder of profiles with the mistakes in their files.
type loaded struct {
	docs     map[string]*document // by id; those of broken files too
	stamps   map[string]stamp     // by id
	problems []*Problem
}

func loadDir(cfg Config) *loaded {
	set := &loaded{docs: map[string]*document{}, stamps: map[string]stamp{}}
	entries, err := os.ReadDir(cfg.Dir)
	if err != nil {
		set.problems = append(set.problems, &Problem{File: cfg.Dir, Message: reason(err), Remedy: "create the profiles folder or name another with --profiles"})
		return set
	}
	for _, entry := range entries {
		id, ok := profileID(entry.Name())
		if !ok || entry.IsDir() {
			continue
		}
		file := filepath.Join(cfg.Dir, entry.Name())
		d, st := loadFile(file, id, cfg.Validate)
		if other, twice := set.docs[id]; twice {
			d.at = nil
			d.problem("id", fmt.Sprintf("%s has the same id %q", other.file, id), "keep one of the two files")
			set.problems = append(set.problems, d.problems...)
			continue
		}
		set.docs[id], set.stamps[id] = d, st
	}
	for _, d := range set.docs {
		set.checkJump(d)
		set.checkVia(d)
		set.problems = append(set.problems, d.problems...)
	}
	slices.SortStableFunc(set.problems, byPlace)
	return set
}

// profileID takes the id from a file's name, if it is a profile's.
func profileID(name string) (string, bool) {
	ext := filepath.Ext(name)
	ok := slices.Contains([]string{".json", ".yaml", ".yml"}, ext) && !strings.HasPrefix(name, ".")
	return strings.TrimSuffix(name, ext), ok
}

// loadFile reads one profile. The stamp is taken first, so that a file which
// changes meanwhile is read again.
func loadFile(file, id string, extra func(*Profile) []FieldError) (*document, stamp) {
	st := stampFile(file)
	broken := func(message, remedy string) (*document, stamp) {
		d := &document{file: file, profile: &Profile{ID: id}}
		d.problem("", message, remedy)
		return d, st
	}
	switch {
	case st.err == nil && !st.mode.IsRegular():
		return broken("not a regular file", "put the profile in a plain file")
	case st.err == nil && st.size > maxFileSize:
		return broken("larger than 1 MiB", "check that this is the right file")
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return broken(reason(err), "make the file readable to the server's user")
	}
	d := decode(file, data)
	d.sum = sha256.Sum256(data)
	if len(d.problems) > 0 && len(d.at) <= 1 { // no fields were read
		return d, st
	}
	d.validate(id, extra)
	return d, st
}

func (set *loaded) checkJump(d *document) {
	seen := []string{d.profile.ID}
	for p := d.profile; p.Jump != ""; {
		next, ok := set.docs[p.Jump]
		if !ok {
			if p == d.profile { // else it is the problem of the one that names it
				d.problem("jump", fmt.Sprintf("no profile has the id %q", p.Jump), "name a profile of this folder, or remove it")
			}
			return
		}
		if slices.Contains(seen, p.Jump) {
			d.problem("jump", "leads in a circle: "+strings.Join(append(seen, p.Jump), " → "), "remove one of the jumps")
			return
		}
		seen = append(seen, p.Jump)
		p = next.profile
	}
}
