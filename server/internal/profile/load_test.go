package profile

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/secret"
)

func newKey(t testing.TB) ssh.PublicKey {
	t.Helper()
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newRSAKey(t testing.TB) ssh.PublicKey {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.NewPublicKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func line(key ssh.PublicKey) string { return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))) }

// folder is a profiles folder and a secrets folder under test.
type folder struct {
	t   testing.TB
	cfg Config
}

func newFolder(t testing.TB) *folder {
	t.Helper()
	dir := t.TempDir()
	f := &folder{t, Config{
		Dir:        filepath.Join(dir, "profiles"),
		Secrets:    &secret.Resolver{Dir: filepath.Join(dir, "secrets")},
		KnownHosts: []string{filepath.Join(dir, "known_hosts")},
	}}
	for _, d := range []string{f.cfg.Dir, f.cfg.Secrets.Dir} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

func (f *folder) write(path, text string) {
	f.t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		f.t.Fatal(err)
	}
}

func (f *folder) profile(name, text string) string {
	f.t.Helper()
	path := filepath.Join(f.cfg.Dir, name)
	f.write(path, text)
	return path
}

func (f *folder) secret(name, text string) string {
	f.t.Helper()
	path := filepath.Join(f.cfg.Secrets.Dir, name)
	f.write(path, text)
	return path
}

func (f *folder) open() *Store {
	f.t.Helper()
	s, err := Open(f.cfg)
	if err != nil {
		f.t.Fatal(err)
	}
	return s
}

var pin = "ssh-ed25519 " + base64.StdEncoding.EncodeToString(ssh.Marshal(struct{ Type, Key string }{"ssh-ed25519", strings.Repeat("k", 32)}))

// minimal is a profile with nothing but what it must have, and more fields.
func minimal(id, more string) string {
	return fmt.Sprintf(`{"id": %q, "host": "10.0.0.1", "username": "u", "auth": {"type": "file_ref", "ref": "s"}, "host_key": %q%s}`, id, pin, more)
}

const full = `{
	"id": "web-01",
	"host": "10.10.1.15",
	"port": 2222,
	"username": "deploy",
	"protocols": ["ssh", "sftp", "rsync", "tunnel", "vpn"],
	"auth": {"type": "file_ref", "ref": "s"},
	"host_key": "PIN",
	"policy": {
		"roles": [], "command_allowlist": ["^ls\\b"], "command_denylist": ["rm\\s+-rf"], "deny_sudo": true,
		"max_session_seconds": 900, "max_concurrent_sessions": 4, "require_change_ticket_for": ["rsync.delete"],
		"read_only_commands": ["^uptime$"], "local_roots": ["/srv", "."]
	},
	"jump": "",
	"via_vpn": "",
	"vpn": {"peers": []},
	"tags": ["env:prod"],
	"description": "caf\u00e9 \/ \"web\""
}
`

func TestOpenReadsEveryField(t *testing.T) {
	f := newFolder(t)
	f.profile("web-01.json", strings.Replace(full, "PIN", pin, 1))
	f.profile("bare.yaml", "# a comment\nid: bare\nhost: ::1\nauth: {type: agent}\ndescription: |\n  two\n  lines\npolicy:\nport:\n")
	f.profile("README.md", "not a profile")
	f.profile(".hidden.json", "not a profile")
	if err := os.Mkdir(filepath.Join(f.cfg.Dir, "old.json"), 0o700); err != nil {
		t.Fatal(err)
	}
	s := f.open()
	list := s.List()
	if len(list) != 2 || list[0].ID != "bare" || list[1].ID != "web-01" {
		t.Fatalf("list: %+v", list)
	}
	got := *list[1]
	got.hostKey = nil
	want := Profile{
		ID: "web-01", Host: "10.10.1.15", Port: 2222, Username: "deploy", Protocols: []string{"ssh", "sftp", "rsync", "tunnel", "vpn"},
		Auth: secret.Ref{Type: "file_ref", Ref: "s"}, HostKey: pin, VPN: VPN{Peers: []Peer{}}, Tags: []string{"env:prod"},
		Description: `café / "web"`,
		Policy: Policy{
			Roles: []string{}, CommandAllowlist: []string{`^ls\b`}, CommandDenylist: []string{`rm\s+-rf`}, DenySudo: true, MaxSessionSeconds: 900,
			MaxConcurrentSessions: 4, RequireChangeTicketFor: []string{"rsync.delete"}, ReadOnlyCommands: []string{"^uptime$"}, LocalRoots: []string{"/srv", "."},
		},
	}
	if g, w := fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", want); g != w {
		t.Errorf("got  %s\nwant %s", g, w)
	}
	bare := list[0]
	if bare.Port != 22 || bare.Addr() != "[::1]:22" || !slices.Equal(bare.Protocols, []string{"ssh", "sftp"}) ||
		!slices.Equal(bare.Policy.LocalRoots, []string{"."}) || bare.Description != "two\nlines\n" || bare.Policy.DenySudo {
		t.Errorf("defaults: %+v", bare)
	}
}

func TestOpenReportsMistakes(t *testing.T) {
	key := newKey(t)
	tests := []struct {
		name, file, text string
		want             []string // one for each problem, in order; FILE stands for the file
	}{
		{"unknown type", "web.json", "{\n \"id\": \"web\", \"host\": \"h\",\n \"auth\": {\"type\": \"foo\"}\n}",
			[]string{`FILE:3:11: auth.type: unknown type "foo": use file_ref, env_ref or agent`}},
		{"missing fields", "web.json", "{}", []string{`FILE:1:1: id: missing: set it to "web"`, "FILE:1:1: host: missing", "FILE:1:1: auth: missing"}},
		{"unknown fields", "web.json", minimal("web", ",\n\"usrname\": 1,\n\"policy\": {\"denysudo\": true},\n\"zzz\": 1"),
			[]string{`FILE:2:1: usrname: unknown field: did you mean "username"?`, `FILE:3:12: policy.denysudo: unknown field: did you mean "deny_sudo"?`, "FILE:4:1: zzz: unknown field: use only id, host, port"}},
		{"wrong types", "web.yaml", "id: 5\nhost: [a]\nport: '22'\ntags: x\nauth: agent\npolicy:\n  deny_sudo: 1\n  max_session_seconds: 1.5\n  command_allowlist: [1, {a: b}]\nvpn: []\n",
			[]string{"FILE:1:1: id: must be a string in quotes, not a number", "FILE:2:1: host: must be", "FILE:3:1: port: must be a whole number, not a string",
				"FILE:4:1: tags: must be a list", "FILE:5:1: auth: must be an object", "FILE:7:3: policy.deny_sudo: must be true or false", "FILE:8:3: policy.max_session_seconds: must be a whole",
				"FILE:9:23: policy.command_allowlist[0]: must be", "FILE:9:26: policy.command_allowlist[1]: must be", "FILE:10:1: vpn: must be an object"}},
		{"id is not the file's name", "web.json", minimal("web-2", ""), []string{`FILE:1:2: id: "web-2" is not what the file's name says: set it to "web"`}},
		{"upper-case name", "Web.json", minimal("Web", ""), []string{`FILE:1:2: id: the file's name gives the id "Web": name the file with`}},
		{"host with port", "web.json", strings.Replace(minimal("web", ""), "10.0.0.1", "h:22", 1), []string{`host: "h:22" is neither`}},
		{"host with user", "web.json", strings.Replace(minimal("web", ""), "10.0.0.1", "u@h", 1), []string{`host: "u@h" is neither`}},
		{"port 0", "web.json", minimal("web", `, "port": 0`), []string{"port: 0 is not a port"}},
		{"port 65536", "web.json", minimal("web", `, "port": 65536`), []string{"port: 65536 is not a port"}},
		{"huge port", "web.json", minimal("web", `, "port": 99999999999999999999`), []string{"port: must be a whole number"}},
		{"huge limit", "web.json", minimal("web", `, "policy": {"max_session_seconds": 5000000000}`), []string{"policy.max_session_seconds: must be a whole number"}},
		{"negative limit", "web.json", minimal("web", `, "policy": {"max_session_seconds": -5000000000}`), []string{"policy.max_session_seconds: must be a whole number"}},
		{"protocol", "web.json", minimal("web", `, "protocols": ["ssh", "telnet"]`), []string{`protocols[1]: unknown protocol "telnet": use ssh, sftp`}},
		{"secret outside", "web.json", strings.Replace(minimal("web", ""), `"s"`, `"../s"`, 1), []string{`auth.ref: "../s" is not a plain file name`}},
		{"host key", "web.json", strings.Replace(minimal("web", ""), pin, "ssh-ed25519 AAAA", 1), []string{"host_key: not one public key"}},
		{"two host keys", "web.json", strings.Replace(minimal("web", ""), pin, line(key)+`\n`+line(key), 1), []string{"host_key: not one public key"}},
		{"jump to nowhere", "web.json", minimal("web", `, "jump": "bastion"`), []string{`jump: no profile has the id "bastion"`}},
		{"jump to itself", "web.json", minimal("web", `, "jump": "web"`), []string{"jump: leads in a circle: web → web"}},
		{"local roots", "web.json", minimal("web", `, "policy": {"local_roots": ["/a", " "]}`), []string{"policy.local_roots[1]: empty"}},
		{"via_vpn", "web.json", minimal("web", `, "via_vpn": "x"`), []string{`via_vpn: profile web has no peer "x" in vpn.peers: write PEER of this`}},
		{"via_vpn elsewhere", "web.json", minimal("web", `, "via_vpn": "gate/x"`), []string{`via_vpn: no profile has the id "gate": write`}},
		{"validate", "web.json", minimal("web", ",\n \"policy\": {\"command_allowlist\": [\"a\",\n \"(\"]}"), []string{"FILE:3:2: policy.command_allowlist[1]: bad: mend it"}},
		{"syntax", "web.json", "{\n \"id\": \"web\",\n \"host\" \"h\"\n}", []string{"FILE:"}},
		{"twice", "web.json", "{\n \"id\": \"web\",\n \"id\": \"web\"\n}", []string{`FILE:3:2: not valid JSON or YAML: mapping key "id" already defined`}},
		{"empty", "web.json", "", []string{"FILE: not one object with fields"}},
		{"list", "web.json", "[1]", []string{"must be an object, not a list"}},
		{"two documents", "web.yaml", "id: web\n---\nid: web\n", []string{"not one object"}},
		{"alias", "web.yaml", "id: &x web\nhost: *x\nauth: {type: agent}", []string{"id: must be a string in quotes, not a YAML anchor", "host: must be a string in quotes, not a YAML alias"}},
		{"too large", "web.json", strings.Repeat(" ", maxFileSize+1), []string{"FILE: larger than 1 MiB"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFolder(t)
			f.cfg.Validate = func(p *Profile) []FieldError {
				if i := slices.Index(p.Policy.CommandAllowlist, "("); i >= 0 {
					return []FieldError{{fmt.Sprintf("policy.command_allowlist[%d]", i), "bad", "mend it"}}
				}
				return nil
			}
			path := f.profile(tt.file, tt.text)
			f.profile("good.json", minimal("good", ""))
			_, err := Open(f.cfg)
			if err == nil {
				t.Fatal("no error")
			}
			got := strings.Split(err.Error(), "\n")
			if len(got) != len(tt.want) {
				t.Fatalf("%d problems, want %d:\n%v", len(got), len(tt.want), err)
			}
			for _, want := range tt.want {
				want = strings.Replace(want, "FILE", path, 1)
				if !slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, want) }) {
					t.Errorf("no problem %q in:\n%v", want, err)
				}
			}
			for _, s := range got {
				if !strings.HasPrefix(s, path+":") || strings.Count(s, ": ") < 2 {
					t.Errorf("problem without file or remedy: %s", s)
				}
			}
		})
	}
}

func TestOpenReportsEveryFile(t *testing.T) {
	f := newFolder(t)
	a := f.profile("a.json", minimal("a", `, "jump": "b"`))
	b := f.profile("b.json", minimal("b", `, "jump": "c"`))
	c := f.profile("c.json", minimal("c", `, "jump": "a"`))
	f.profile("d.json", minimal("d", ""))
	d := f.profile("d.yaml", minimal("d", ""))
	e := f.profile("e.json", "{")
	_, err := Open(f.cfg)
	for _, want := range []string{a + ":1:", "a → b → c → a", b + ":1:", c + ":1:", d + ": id: " + f.cfg.Dir + "/d.json has the same id", e + ":1:1: not valid"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error lacks %q:\n%v", want, err)
		}
	}
	f.cfg.Dir += "x"
	if _, err := Open(f.cfg); err == nil || !strings.Contains(err.Error(), f.cfg.Dir+": no such file or directory: create the profiles folder") {
		t.Errorf("no folder: %v", err)
	}
}

func TestCheckFindsWhatOpenLeaves(t *testing.T) {
	f := newFolder(t)
	known := newKey(t)
	f.write(f.cfg.KnownHosts[0], knownhosts.Line([]string{"10.0.0.1"}, known)+"\n")
	f.secret("s.json", `{"password": "hunter2"}`)
	good := f.profile("good.json", minimal("good", ""))
	if problems := Check(f.cfg); len(problems) != 0 {
		t.Fatalf("problems in a good folder: %v", problems)
	}
	auth := func(id, ref, more string) string {
		return fmt.Sprintf("{\"id\": %q, \"host\": \"10.0.0.1\",\n \"auth\": {\"type\": \"file_ref\", \"ref\": %q}%s}", id, ref, more)
	}
	f.secret("bad.json", "{\"password\": \"hunter2\",\n \"pass\": \"hunter2\"}")
	open := f.secret("open.json", `{"password": "hunter2"}`)
	if err := os.Chmod(open, 0o640); err != nil {
		t.Fatal(err)
	}
	path := func(name string) string { return filepath.Join(f.cfg.Dir, name) }
	f.profile("anon.json", auth("anon", "s", ""))
	f.profile("bad.json", auth("bad", "bad", ""))
	f.profile("env.json", `{"id": "env", "host": "10.0.0.1", "username": "u", "auth": {"type": "env_ref", "ref": "OPENACCESS_NO_SUCH"}}`)
	f.profile("gone.json", auth("gone", "gone", ""))
	f.profile("open.json", auth("open", "open", ""))
	f.profile("strange.json", strings.Replace(auth("strange", "s", `, "username": "u"`), "10.0.0.1", "10.0.0.2", 1))
	f.profile("typo.json", strings.Replace(auth("typo", "s", `, "username": "u"`), "host", "hots", 1))
	want := []string{
		path("anon.json") + ":1:1: username: neither the profile nor its secret has one",
		path("env.json") + ":1:80: auth.ref: environment variable OPENACCESS_NO_SUCH: not set",
		path("gone.json") + ":2:31: auth.ref: " + filepath.Join(f.cfg.Secrets.Dir, "gone.json") + ": no such secret file",
		path("open.json") + ":2:31: auth.ref: " + open + ": mode 0640 lets others than the owner in: chmod 600 " + open,
		path("strange.json") + ":1:1: host_key: none is pinned, and none is known for 10.0.0.2:22 in " + f.cfg.KnownHosts[0] + ": set host_key, or add the output of `ssh-keyscan 10.0.0.2`",
		path("typo.json") + `:1:1: host: missing`,
		path("typo.json") + `:1:16: hots: unknown field: did you mean "host"?`,
		filepath.Join(f.cfg.Secrets.Dir, "bad.json") + ":2:2: unknown field",
	}
	problems := Check(f.cfg)
	if len(problems) != len(want) {
		t.Fatalf("%d problems, want %d", len(problems), len(want))
	}
	for i, p := range problems {
		if !strings.HasPrefix(p.Error(), want[i]) {
			t.Errorf("got  %s\nwant %s", p.Error(), want[i])
		}
		if strings.Contains(p.Error(), "hunter2") {
			t.Errorf("shows the secret: %s", p.Error())
		}
		if p.File == good {
			t.Errorf("problem with the good one: %s", p.Error())
		}
	}
}

func TestDecodeReadsJSONAsItReadsYAML(t *testing.T) {
	texts := []string{"{}", full, minimal("a", ""), minimal("a", peers(peerText)), minimal("a", peers(peerText, peerText))}
	for _, field := range []string{"\"port\":\t-1", `"port": 2147483647`, `"port": -2147483648`, `"port": null`, `"policy": null`, `"tags": []`, `"tags": ["", "ü", "a: b"]`,
		`"policy": {}`, `"policy": {"deny_sudo": false, "local_roots": []}`, `"description": "# \"x\" \\ \u00e9 \t 'y' {z} 1"`, `"description": "1"`} {
		texts = append(texts, minimal("a", ", "+field))
	}
	for _, text := range texts {
		quick, slow := decodeJSON("f", []byte(text)), decodeYAML("f", []byte(text))
		if quick == nil || len(slow.problems) > 0 {
			t.Errorf("%s: not read: %v, %v", text, quick, slow.problems)
			continue
		}
		if !reflect.DeepEqual(quick.profile, slow.profile) {
			t.Errorf("%s:\nJSON %+v\nYAML %+v", text, quick.profile, slow.profile)
		}
		quick.locate()
		if !reflect.DeepEqual(quick.at, slow.at) {
			t.Errorf("%s: places\nJSON %v\nYAML %v", text, quick.at, slow.at)
		}
	}
	for _, field := range []string{`"port": 22.0`, `"port": 2147483648`, `"port": "22"`, `"port": true`, `"tags": {}`, `"tags": "a"`, `"tags": [1]`, `"Port": 22`, `"policy": []`,
		`"policy": {"deny_sudo": "true"}`, `"description": {}`, `"zzz": null`} {
		if d := decodeJSON("f", []byte(minimal("a", ", "+field))); d != nil {
			t.Errorf("%s is taken to be without mistakes", field)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, s := range []string{full, minimal("a", ""), "id: a\nhost: &x b\nauth: *x\n", "policy:\n  roles: [a, [b]]\n", "? {a: b}\n: c\n", "[", "a: !!binary x", "<<: {id: a}", "vpn: {peers: [1]}", minimal("a", peers(peerText)), "port: 0x10", "\t", "\"\\u00e9\": 1"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		d := decode("f", text)
		if len(d.problems) == 0 {
			d.validate("a", nil)
		}
		p := d.profile
		if len(d.problems) == 0 && (p.ID != "a" || p.Host == "" || p.Port < 1 || p.Port > 65535 || secret.CheckRef(p.Auth) != nil) {
			t.Errorf("%q is accepted as %+v", text, p)
		}
		for _, problem := range d.problems {
			if problem.Message == "" || problem.Remedy == "" {
				t.Errorf("%q: problem without message or remedy: %+v", text, problem)
			}
		}
	})
}
