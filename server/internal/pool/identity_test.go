package pool

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/profile"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/secret"
)

// TestNobodyRidesOnAnothersConnection keeps a good connection open, and has profiles that differ from its in one thing each ask for theirs:
// who has a wrong credential or another host key must be refused, and who comes another way must get a connection of his own.
func TestNobodyRidesOnAnothersConnection(t *testing.T) {
	host := fakessh.Start(fakessh.Options{Users: map[string]fakessh.User{"u": {Password: "right"}, "v": {Password: "right"}}})
	defer host.Close()
	dir := t.TempDir()
	auth := func(ref string) any { return map[string]any{"type": "file_ref", "ref": ref} }
	other := fakessh.Start(fakessh.Options{})
	defer other.Close()
	for id, fields := range map[string]map[string]any{
		"good": {}, "same": {"tags": []string{"x"}}, "credential": {}, "host-key": {"host_key": other.HostKeyLine()},
		"user": {"username": "v"}, "jump": {"jump": "user"}, "address": {"host": "localhost"},
	} {
		if fields["username"] == nil {
			fields["username"] = "u"
		}
		fields["auth"] = auth("right")
		if id == "credential" {
			fields["auth"] = auth("wrong")
		}
		if err := host.WriteProfileWith(dir, id, fields); err != nil {
			t.Fatal(err)
		}
	}
	for name, password := range map[string]string{"right": "right", "wrong": "wrong"} {
		writeSecret(t, dir, name, password)
	}
	store, err := profile.Open(profile.Config{Dir: filepath.Join(dir, "profiles"), Secrets: &secret.Resolver{Dir: filepath.Join(dir, "secrets")}})
	if err != nil {
		t.Fatal(err)
	}
	p := New(Config{})
	defer p.Close()
	conn := func(id string) (int64, error) {
		target, err := store.Resolve(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		s, err := p.Session(t.Context(), target)
		if err != nil {
			return 0, err
		}
		defer s.Close()
		return s.Conn, nil
	}
	seen := map[int64]string{}
	for _, id := range []string{"good", "user", "jump", "address"} {
		c, err := conn(id)
		if err != nil {
			t.Fatalf("%s: %v", id, err)
		}
		if other, taken := seen[c]; taken {
			t.Errorf("%s uses the connection of %s", id, other)
		}
		seen[c] = id
	}
	for id, kind := range map[string]Kind{"credential": KindAuth, "host-key": KindHostKey} {
		_, err := conn(id)
		wantKind(t, err, kind)
	}
	if c, err := conn("same"); err != nil || seen[c] != "good" {
		t.Errorf("a profile that differs in its tags has a connection of its own: %v", err)
	}
	// A changed credential counts although the connection of the one before is open.
	writeSecret(t, dir, "right", "wrong")
	store.SetTTL(1)
	_, err = conn("good")
	wantKind(t, err, KindAuth)
}

func writeSecret(t *testing.T, dir, name, password string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, "secrets", name+".json"), fmt.Appendf(nil, `{"password": %q}`, password), 0o600); err != nil {
		t.Fatal(err)
	}
}
