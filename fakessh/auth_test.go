package fakessh_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	gossh "golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
)

func newSigner(t *testing.T) gossh.Signer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := gossh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

func TestUsers(t *testing.T) {
	key, stranger := newSigner(t), newSigner(t)
	host := start(t, fakessh.Options{Users: map[string]fakessh.User{
		"ann": {Password: "secret"},
		"bob": {AuthorizedKeys: []gossh.PublicKey{key.PublicKey()}},
		"eve": {},
	}})
	for _, test := range []struct {
		user string
		auth gossh.AuthMethod
		want bool
	}{
		{"ann", gossh.Password("secret"), true},
		{"ann", gossh.Password("wrong"), false},
		{"ann", gossh.PublicKeys(key), false},
		{"bob", gossh.PublicKeys(key), true},
		{"bob", gossh.PublicKeys(stranger), false},
		{"bob", gossh.Password(""), false},
		{"eve", gossh.Password(""), false},
		{"zoe", gossh.Password("secret"), false},
	} {
		before := host.Stats().AuthFailures
		client, err := login(host, test.user, test.auth)
		if (err == nil) != test.want {
			t.Errorf("%s logs in: %v, want success %v", test.user, err, test.want)
		}
		if err == nil {
			client.Close()
		} else if host.Stats().AuthFailures == before {
			t.Errorf("the failure of %s is not counted", test.user)
		} else if !strings.Contains(err.Error(), "unable to authenticate") {
			t.Errorf("%s is not told why: %v", test.user, err)
		}
	}
}

func TestAnyoneMayLogIn(t *testing.T) {
	host := start(t, fakessh.Options{})
	for _, auth := range []gossh.AuthMethod{gossh.Password(""), gossh.PublicKeys(newSigner(t))} {
		client, err := login(host, "", auth)
		if err != nil {
			t.Error(err)
			continue
		}
		client.Close()
	}
}

// profile and secret are the fields that a server reads.
type profile struct {
	ID, Host, Username string
	Port               int
	Protocols          []string
	Auth               struct{ Type, Ref string }
	HostKey            string `json:"host_key"`
	Policy             struct {
		LocalRoots  []string `json:"local_roots"`
		MaxSessions int      `json:"max_concurrent_sessions"`
	}
}

type secret struct {
	Username, Password string
	PrivateKey         string `json:"private_key"`
}

// TestProfileLogsIn writes profiles for hosts of all kinds and logs in with
// nothing but what they say.
func TestProfileLogsIn(t *testing.T) {
	for name, users := range map[string]map[string]fakessh.User{
		"anyone":   nil,
		"password": {"ann": {Password: "secret"}},
		"key":      {"ann": {AuthorizedKeys: []gossh.PublicKey{newSigner(t).PublicKey()}}},
	} {
		t.Run(name, func(t *testing.T) {
			host, dir := start(t, fakessh.Options{Users: users}), t.TempDir()
			if err := host.WriteProfile(dir, "web", "/srv", "/data"); err != nil {
				t.Fatal(err)
			}
			var p profile
			var s secret
			readDoc(t, filepath.Join(dir, "profiles", "web.json"), &p)
			readDoc(t, filepath.Join(dir, "secrets", "web.json"), &s)
			if p.ID != "web" || p.Auth.Type != "file_ref" || p.Auth.Ref != "web" || p.Username != s.Username ||
				!slices.Equal(p.Policy.LocalRoots, []string{"/srv", "/data"}) || p.Policy.MaxSessions != 1000 || len(p.Protocols) != 5 {
				t.Errorf("profile %+v", p)
			}
			auth := gossh.Password(s.Password)
			if s.PrivateKey != "" {
				signer, err := gossh.ParsePrivateKey([]byte(s.PrivateKey))
				if err != nil {
					t.Fatal(err)
				}
				auth = gossh.PublicKeys(signer)
			}
			key, _, _, _, err := gossh.ParseAuthorizedKey([]byte(p.HostKey))
			if err != nil {
				t.Fatal(err)
			}
			client, err := gossh.Dial("tcp", net.JoinHostPort(p.Host, strconv.Itoa(p.Port)), &gossh.ClientConfig{
				User: p.Username, Auth: []gossh.AuthMethod{auth}, HostKeyCallback: gossh.FixedHostKey(key),
			})
			if err != nil {
				t.Fatal(err)
			}
			client.Close()
		})
	}
}

// readDoc reads a JSON file that only its owner may read.
func readDoc(t *testing.T, name string, into any) {
	t.Helper()
	in, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	if in.Mode() != 0o600 {
		t.Errorf("%s has mode %v", name, in.Mode())
	}
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, into); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

func TestWriteProfiles(t *testing.T) {
	host, dir := start(t, fakessh.Options{}), t.TempDir()
	ids, err := host.WriteProfiles(dir, "web", 3)
	if err != nil || !slices.Equal(ids, []string{"web-1", "web-2", "web-3"}) {
		t.Errorf("ids %v, %v", ids, err)
	}
	var p profile
	readDoc(t, filepath.Join(dir, "profiles", "web-3.json"), &p)
	if p.ID != "web-3" || !slices.Equal(p.Policy.LocalRoots, []string{"."}) {
		t.Errorf("profile %+v", p)
	}
	for _, id := range []string{"", ".", "..", "a/b", "../x"} {
		if err := host.WriteProfile(dir, id); err == nil {
			t.Errorf("id %q is taken", id)
		}
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := host.WriteProfile(file, "web"); err == nil || strings.Contains(err.Error(), fs.ErrNotExist.Error()) {
		t.Errorf("profiles below a file: %v", err)
	}
}

func TestKnownHostsLine(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:0", "0.0.0.0:0"} {
		host := start(t, fakessh.Options{Addr: addr})
		file := filepath.Join(t.TempDir(), "known_hosts")
		if err := os.WriteFile(file, []byte(host.KnownHostsLine()+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		check, err := knownhosts.New(file)
		if err != nil {
			t.Fatal(err)
		}
		_, port, _ := net.SplitHostPort(host.Addr())
		client, err := gossh.Dial("tcp", "127.0.0.1:"+port, &gossh.ClientConfig{
			User: "any", Auth: []gossh.AuthMethod{gossh.Password("")}, HostKeyCallback: check,
		})
		if err != nil {
			t.Error(err)
			continue
		}
		client.Close()
	}
}

func TestParseAuthorizedKeys(t *testing.T) {
	one := string(gossh.MarshalAuthorizedKey(newSigner(t).PublicKey()))
	two := string(gossh.MarshalAuthorizedKey(newSigner(t).PublicKey()))
	for text, want := range map[string]int{
		"": 0, "# comment\n": 0, "ssh-ed25519 AAAA\n": 0, one: 1, one + two: 2,
		"# first\n" + one + "\n\nnoise\nno-pty " + two + "# last\n": 2,
	} {
		keys, err := fakessh.ParseAuthorizedKeys([]byte(text))
		if len(keys) != want || (err == nil) != (want > 0) {
			t.Errorf("%q holds %d keys, %v; want %d", text, len(keys), err, want)
		}
	}
}

func FuzzParseAuthorizedKeys(f *testing.F) {
	f.Add([]byte("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPjN5hUqXHWCJ0yQFOeQu1rUaJ+uxNZeYgqPfCHpPsVA ann\n# end"))
	f.Fuzz(func(t *testing.T, text []byte) {
		keys, err := fakessh.ParseAuthorizedKeys(text)
		if (err == nil) != (len(keys) > 0) {
			t.Errorf("%d keys and %v", len(keys), err)
		}
	})
}
