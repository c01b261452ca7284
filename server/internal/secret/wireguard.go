package secret

import (
	"encoding/base64"
	"errors"
	"strings"
)

// The fields of a secret that WireGuardKey reads.
const (
	WireGuardPrivateKey   = "wireguard_private_key"
	WireGuardPresharedKey = "wireguard_preshared_key"
)

// WireGuardKey reads a key of WireGuard in base64 from the field of the secret that ref names: a file, or an environment variable that
// holds an object with the field or the bare key. The key is well-formed when there is no error. Errors are those of Resolve.
func (r *Resolver) WireGuardKey(ref Ref, field string) (Value, error) {
	if err := CheckWireGuardRef(ref); err != nil {
		return Value{}, err
	}
	doc, source, err := r.wireGuardDocument(ref, field)
	if err != nil {
		return Value{}, err
	}
	key := doc.WireGuardPrivateKey
	if field == WireGuardPresharedKey {
		key = doc.WireGuardPresharedKey
	}
	fail := func(message, remedy string) (Value, error) {
		at := doc.place(field)
		return Value{}, &Error{Source: source, Line: at.line, Column: at.column, Field: field, Message: message, Remedy: remedy}
	}
	if key.IsZero() {
		return fail("missing", "set it to a key, as `wg genkey` or `wg genpsk` prints one")
	}
	if _, err := ParseWireGuardKey(key.Reveal()); err != nil {
		return fail(err.Error(), "use the key as `wg genkey` or `wg genpsk` prints it")
	}
	return key, nil
}

func (r *Resolver) wireGuardDocument(ref Ref, field string) (doc *document, source string, err error) {
	if ref.Type == TypeFile {
		return r.documentOf(ref.Ref)
	}
	source = "environment variable " + ref.Ref
	text, _ := r.lookupEnv(ref.Ref)
	switch text = strings.TrimSpace(text); {
	case text == "":
		return nil, "", &Error{Source: source, Message: "not set or empty", Remedy: "set it to a WireGuard key, or an object with " + field}
	case strings.HasPrefix(text, "{"):
		doc, err = parseDocument(source, []byte(text))
		return doc, source, err
	}
	return &document{WireGuardPrivateKey: NewValue(text), WireGuardPresharedKey: NewValue(text)}, source, nil
}

// CheckWireGuardRef is CheckRef for references to keys of WireGuard, which no agent holds.
func CheckWireGuardRef(ref Ref) error {
	if ref.Type == TypeAgent {
		return &Error{Source: "auth", Field: "type", Message: "an SSH agent holds no WireGuard keys", Remedy: "use file_ref or env_ref"}
	}
	return CheckRef(ref)
}

// ParseWireGuardKey decodes a private, public or preshared key. Its error quotes nothing.
func ParseWireGuardKey(text string) (key [32]byte, err error) {
	raw, err := base64.StdEncoding.Strict().DecodeString(text)
	switch {
	case err != nil || len(raw) != len(key):
		return key, errors.New("not 32 bytes in base64")
	case [32]byte(raw) == key:
		return key, errors.New("all zero, which is no key")
	}
	return [32]byte(raw), nil
}
