package secret

import (
	"encoding/base64"
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

func TestWireGuardKey(t *testing.T) {
	one, two := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("1", 32))), base64.StdEncoding.EncodeToString([]byte(strings.Repeat("2", 32)))
	dir := t.TempDir()
	write(t, filepath.Join(dir, "both.json"), object(t, map[string]string{WireGuardPrivateKey: one, WireGuardPresharedKey: two, "password": "p"}), 0o600)
	write(t, filepath.Join(dir, "bad.json"), `{"`+WireGuardPrivateKey+`": "`+hidden+`"}`, 0o600)
	env := map[string]string{"BARE": one + "\n", "OBJECT": object(t, map[string]string{WireGuardPrivateKey: two}), "LOGIN": hidden}
	r := &Resolver{Dir: dir, LookupEnv: func(name string) (string, bool) { v, ok := env[name]; return v, ok }}
	for _, tt := range []struct {
		ref         Ref
		field, want string // want starts with "!" where it is part of the error
	}{
		{Ref{TypeFile, "both"}, WireGuardPrivateKey, one},
		{Ref{TypeFile, "both"}, WireGuardPresharedKey, two},
		{Ref{TypeEnv, "BARE"}, WireGuardPrivateKey, one},
		{Ref{TypeEnv, "BARE"}, WireGuardPresharedKey, one},
		{Ref{TypeEnv, "OBJECT"}, WireGuardPrivateKey, two},
		{Ref{TypeEnv, "OBJECT"}, WireGuardPresharedKey, "!environment variable OBJECT: wireguard_preshared_key: missing: set it"},
		{Ref{TypeEnv, "LOGIN"}, WireGuardPrivateKey, "!environment variable LOGIN: wireguard_private_key: not 32 bytes in base64: use"},
		{Ref{TypeEnv, "NONE"}, WireGuardPrivateKey, "!environment variable NONE: not set or empty: set it to a WireGuard key"},
		{Ref{TypeFile, "bad"}, WireGuardPrivateKey, "!bad.json:1:27: wireguard_private_key: not 32 bytes in base64: use"},
		{Ref{TypeAgent, ""}, WireGuardPrivateKey, "!auth: type: an SSH agent holds no WireGuard keys: use"},
	} {
		key, err := r.WireGuardKey(tt.ref, tt.field)
		want, fails := strings.CutPrefix(tt.want, "!")
		switch {
		case !fails && (err != nil || key.Reveal() != want):
			t.Errorf("%v %s: got %q, %v", tt.ref, tt.field, key.Reveal(), err)
		case fails && (err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), hidden)):
			t.Errorf("%v %s: got %v, want %s", tt.ref, tt.field, err, want)
		}
	}
	if _, err := r.WireGuardKey(Ref{TypeFile, "none"}, WireGuardPrivateKey); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

func FuzzParseWireGuardKey(f *testing.F) {
	for _, s := range []string{"", "AAAA", strings.Repeat("A", 43) + "=", strings.Repeat("Q", 42) + "E=", strings.Repeat("Q", 43) + "=", strings.Repeat("Q", 42) + "E=\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		key, err := ParseWireGuardKey(text)
		if again := base64.StdEncoding.EncodeToString(key[:]); err == nil && again != text && again != strings.NewReplacer("\n", "", "\r", "").Replace(text) {
			t.Errorf("%q is read as %q", text, again)
		}
	})
}
