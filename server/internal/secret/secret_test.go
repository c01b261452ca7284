package secret

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/goccy/go-yaml"
	"golang.org/x/crypto/ssh"
)

const hidden = "hunter2-Xyzzy"

func TestValueNeverPrints(t *testing.T) {
	v := NewValue(hidden)
	type holder struct {
		Public  Value
		private Value
		list    []Value
		byName  map[string]Value
	}
	h := holder{v, v, []Value{v}, map[string]Value{"k": v}}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T", "%p", "%10.3s"} {
		fmt.Fprintf(&out, verb+" "+verb+" "+verb+" "+verb+"\n", v, &v, h, &h)
	}
	fmt.Fprintln(&out, v, &v, h, fmt.Errorf("with %v", v), v.String(), v.GoString())
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "v", v, "h", h)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "v", v, "h", h)
	if err := json.NewEncoder(&out).Encode([]any{v, h, map[string]Value{"k": v}}); err != nil {
		t.Fatal(err)
	}
	asYAML, err := yaml.Marshal([]any{v, h})
	if err != nil {
		t.Fatal(err)
	}
	out.Write(asYAML)
	text, _ := v.MarshalText()
	out.Write(text)
	for _, leak := range []string{hidden, fmt.Sprintf("%x", hidden), fmt.Sprintf("%X", hidden), hidden[:4]} {
		if strings.Contains(out.String(), leak) {
			t.Errorf("%q in:\n%s", leak, out.String())
		}
	}
	if n := strings.Count(out.String(), redacted); n < 30 {
		t.Errorf("only %d times %s", n, redacted)
	}
	if got := fmt.Sprintf("%d %x", v, v); got != "[redacted] [redacted]" {
		t.Errorf("other verbs: %s", got)
	}
	if v.Reveal() != hidden || v.IsZero() {
		t.Error("Reveal does not")
	}
	if z := NewValue(""); !z.IsZero() || z.Reveal() != "" || z != (Value{}) {
		t.Error("an empty value is not the zero value")
	}
}

// keyText returns a private key in OpenSSH format, and its public half.
func keyText(t testing.TB, seed int64, passphrase string) (string, ssh.PublicKey) {
	t.Helper()
	raw := make([]byte, ed25519.SeedSize)
	rand.New(rand.NewSource(seed)).Read(raw)
	private := ed25519.NewKeyFromSeed(raw)
	var block *pem.Block
	var err error
	if passphrase == "" {
		block, err = ssh.MarshalPrivateKey(private, "test")
	} else {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(private, "test", []byte(passphrase))
	}
	if err != nil {
		t.Fatal(err)
	}
	public, err := ssh.NewPublicKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(block)), public
}

var locked struct {
	sync.Once
	text   string
	public ssh.PublicKey
}

// lockedKey is a key with the passphrase hidden. Locking takes long on purpose,
// so it is made once.
func lockedKey(t testing.TB) (string, ssh.PublicKey) {
	locked.Do(func() { locked.text, locked.public = keyText(t, 2, hidden) })
	return locked.text, locked.public
}

func object(t testing.TB, fields map[string]string) string {
	t.Helper()
	text, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func write(t testing.TB, path, text string, mode fs.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func TestResolveFile(t *testing.T) {
	dir := t.TempDir()
	key, public := keyText(t, 1, "")
	locked, lockedPublic := lockedKey(t)
	print := ssh.FingerprintSHA256
	write(t, filepath.Join(dir, "id"), key, 0o600)
	tests := []struct {
		name, file, text string
		user             string
		fingerprint      string // prefix
		files            int
		methods          int
	}{
		{"password", "a.json", object(t, map[string]string{"username": "deploy", "password": hidden}), "deploy", "password:", 1, 2},
		{"key", "a.json", object(t, map[string]string{"private_key": key}), "", print(public), 1, 1},
		{"key and empty fields", "a.json", object(t, map[string]string{"private_key": key, "private_key_path": "", "password": "", "passphrase": ""}), "", print(public), 1, 1},
		{"encrypted key", "a.json", object(t, map[string]string{"private_key": locked, "passphrase": hidden}), "", print(lockedPublic), 1, 1},
		{"needless passphrase", "a.json", object(t, map[string]string{"private_key": key, "passphrase": hidden}), "", print(public), 1, 1},
		{"relative path", "a.json", `{"private_key_path": "id"}`, "", print(public), 2, 1},
		{"absolute path", "a.json", object(t, map[string]string{"private_key_path": filepath.Join(dir, "id")}), "", print(public), 2, 1},
		{"key and password", "a.json", object(t, map[string]string{"private_key": key, "password": hidden}), "", print(public) + "+password:", 1, 3},
		{"tabs", "a.json", "{\n\t\"username\":\t\"u\",\n\t\"password\": \"p\"\n}\n", "u", "password:", 1, 2},
		{"yaml", "a.yaml", "username: u\npassword: 'p: q # r'\n", "u", "password:", 1, 2},
		{"yml block text", "a.yml", "private_key: |\n  " + strings.ReplaceAll(strings.TrimSpace(key), "\n", "\n  ") + "\n", "", print(public), 1, 1},
		{"yaml null", "a.yaml", "username:\npassword: p\npassphrase: null\n", "", "password:", 1, 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(dir, tt.file)
			write(t, path, tt.text, 0o600)
			defer os.Remove(path)
			c, err := (&Resolver{Dir: dir}).Resolve(t.Context(), Ref{TypeFile, "a"})
			if err != nil {
				t.Fatal(err)
			}
			if c.Username != tt.user || !strings.HasPrefix(c.Fingerprint(), tt.fingerprint) || len(c.Files) != tt.files || len(c.AuthMethods()) != tt.methods {
				t.Errorf("user %q, fingerprint %q, files %q, %d methods", c.Username, c.Fingerprint(), c.Files, len(c.AuthMethods()))
			}
			if c.Files[0] != path {
				t.Errorf("files %q lack %s", c.Files, path)
			}
		})
	}
}

func TestResolveFileMistakes(t *testing.T) {
	dir := t.TempDir()
	key, public := keyText(t, 1, "")
	locked, _ := lockedKey(t)
	write(t, filepath.Join(dir, "open-id"), key, 0o644)
	write(t, filepath.Join(dir, "pub"), string(ssh.MarshalAuthorizedKey(public)), 0o600)
	a := filepath.Join(dir, "a.json")
	tests := []struct {
		name, text string
		want       []string // one line of the error each
	}{
		{"nothing", `{}`, []string{a + ": holds neither a key nor a password: set private_key, private_key_path or password"}},
		{"only a user", `{"username": "` + hidden + `"}`, []string{a + ": holds neither"}},
		{"both keys", "{\n \"private_key_path\": \"id\",\n \"private_key\": \"" + hidden + "\"}", []string{a + ":2:22: private_key_path: private_key is set as well"}},
		{"passphrase without key", `{"password": "x", "passphrase": "` + hidden + `"}`, []string{a + ":1:33: passphrase: there is no key"}},
		{"unknown fields", "{\"password\": \"" + hidden + "\",\n \"pasword\": \"" + hidden + "\",\n \"" + hidden + "\": 1}",
			[]string{a + ":2:2: unknown field: use only username", a + ":3:2: unknown field"}},
		{"wrong types", `{"password": 5123123123, "username": ["` + hidden + `"], "passphrase": {"` + hidden + `": 1}}`,
			[]string{a + ":1:2: password: must be a string", a + ":1:26: username: must be a string", a + ":1:57: passphrase: must be a string"}},
		{"open string", "{\"password\": \"" + hidden + "\n}", []string{a + ":1:"}},
		{"open object", `{"password": "` + hidden + `"`, []string{a + ":1:1: not valid JSON or YAML"}},
		{"bare text", hidden, []string{a + ":1:1: not one object with fields"}},
		{"list", `["` + hidden + `"]`, []string{"not one object"}},
		{"empty", ``, []string{"not one object"}},
		{"two documents", "password: " + hidden + "\n---\npassword: x\n", []string{"not one object"}},
		{"nested colon", "password: " + hidden + ": x\n", []string{"not valid"}},
		{"twice", `{"password": "` + hidden + `", "password": "x"}`, []string{a + ":1:31: not valid"}},
		{"twice, secret as a key", `{"` + hidden + `": 1, "` + hidden + `": 2}`, []string{"not valid"}},
		{"alias", "username: &x " + hidden + "\npassword: *x\n", []string{"username: must be a string"}},
		{"not a key", `{"private_key": "` + hidden + `"}`, []string{a + ": private_key: not a private key in a known format"}},
		{"broken key", `{"private_key": "-----BEGIN ` + hidden + `-----\nAAAA\n-----END ` + hidden + `-----\n"}`, []string{"private_key: not a private key"}},
		{"public key", `{"private_key_path": "pub"}`, []string{filepath.Join(dir, "pub") + ": private_key: not a private key"}},
		{"missing key file", `{"private_key_path": "none"}`, []string{filepath.Join(dir, "none") + ": no such file"}},
		{"open key file", `{"private_key_path": "open-id"}`, []string{"mode 0644 lets others than the owner in: chmod 600 " + filepath.Join(dir, "open-id")}},
		{"missing passphrase", object(t, map[string]string{"private_key": locked}), []string{a + ": passphrase: missing, and the key is encrypted"}},
		{"wrong passphrase", object(t, map[string]string{"private_key": locked, "passphrase": hidden + "x"}), []string{a + ": passphrase: does not open the key: correct it"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			write(t, a, tt.text, 0o600)
			_, err := (&Resolver{Dir: dir}).Resolve(t.Context(), Ref{TypeFile, "a"})
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error lacks %q:\n%v", want, err)
				}
			}
			for _, leak := range []string{hidden, hidden[:7], "5123123123", "BEGIN"} {
				if strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, err), leak) {
					t.Errorf("error shows %q: %v", leak, err)
				}
			}
			if _, ok := errors.AsType[*Error](err); !ok {
				t.Errorf("%T is no *Error", err)
			}
		})
	}
}

func TestResolveFilePlaces(t *testing.T) {
	dir := t.TempDir()
	good := `{"password": "x"}`
	resolve := func(ref string) error {
		_, err := (&Resolver{Dir: dir}).Resolve(context.Background(), Ref{TypeFile, ref})
		return err
	}
	for _, mode := range []fs.FileMode{0o640, 0o604, 0o620, 0o601, 0o644, 0o777} {
		write(t, filepath.Join(dir, "a.json"), good, mode)
		want := fmt.Sprintf("%s: mode %04o lets others than the owner in: chmod 600", filepath.Join(dir, "a.json"), mode)
		if err := resolve("a"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("mode %o: %v", mode, err)
		}
	}
	write(t, filepath.Join(dir, "a.json"), good, 0o600)
	if err := resolve("a"); err != nil {
		t.Error(err)
	}
	write(t, filepath.Join(dir, "a.yaml"), good, 0o600)
	if err := resolve("a"); err == nil || !strings.Contains(err.Error(), "the same secret is also in") {
		t.Errorf("two files: %v", err)
	}
	if err := resolve("none"); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "no such secret file: create it with mode 600") {
		t.Errorf("no file: %v", err)
	}
	if err := os.Mkdir(filepath.Join(dir, "d.json"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := resolve("d"); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("folder: %v", err)
	}
	write(t, filepath.Join(dir, "big.json"), strings.Repeat(" ", maxFileSize+1), 0o600)
	if err := resolve("big"); err == nil || !strings.Contains(err.Error(), "larger than 1 MiB") {
		t.Errorf("big: %v", err)
	}
	for _, ref := range []string{"", ".", "..", "../a", "/etc/passwd", "a/b", `a\b`, ".hidden", "a\x00b", "a\n"} {
		if err := resolve(ref); err == nil || !strings.Contains(err.Error(), "is not a plain file name") {
			t.Errorf("ref %q: %v", ref, err)
		}
	}
	if _, err := (&Resolver{}).Resolve(t.Context(), Ref{TypeFile, "a"}); err == nil || !strings.Contains(err.Error(), "--secrets") {
		t.Errorf("no folder: %v", err)
	}
}

func TestResolveEnv(t *testing.T) {
	key, public := keyText(t, 1, "")
	env := map[string]string{
		"PASSWORD": hidden, "KEY": key, "OBJECT": ` {"username": "u", "password": "` + hidden + `"}`, "EMPTY": "",
		"BROKEN": `{"password": "` + hidden, "PATH_ONLY": `{"private_key_path": "id"}`, "NOKEY": "-----BEGIN " + hidden,
	}
	r := &Resolver{LookupEnv: func(name string) (string, bool) { v, ok := env[name]; return v, ok }}
	good := map[string]string{"PASSWORD": "password:", "KEY": ssh.FingerprintSHA256(public), "OBJECT": "password:"}
	for name, fingerprint := range good {
		c, err := r.Resolve(t.Context(), Ref{TypeEnv, name})
		if err != nil || !strings.HasPrefix(c.Fingerprint(), fingerprint) || len(c.Files) != 0 {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
	bad := map[string]string{
		"EMPTY": "environment variable EMPTY: not set or empty", "NONE": "environment variable NONE: not set",
		"BROKEN": "environment variable BROKEN:1:", "PATH_ONLY": "private_key_path: a relative path has no folder",
		"NOKEY": "not a private key", "": "not the name of an environment variable", "a-b": "not the name", hidden: "not the name",
	}
	for name, want := range bad {
		_, err := r.Resolve(t.Context(), Ref{TypeEnv, name})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), hidden) {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
	}
	t.Setenv("OPENACCESS_TEST_SECRET", hidden)
	if _, err := (&Resolver{}).Resolve(t.Context(), Ref{TypeEnv, "OPENACCESS_TEST_SECRET"}); err != nil {
		t.Errorf("the process's own environment: %v", err)
	}
}

func TestResolveUnknownType(t *testing.T) {
	for typ, want := range map[string]string{"": "auth: type: missing", "vault": `auth: type: unknown type "vault": use file_ref, env_ref or agent`} {
		if _, err := (&Resolver{}).Resolve(t.Context(), Ref{Type: typ}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", typ, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := (&Resolver{}).Resolve(ctx, Ref{Type: TypeAgent}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestFingerprintTellsCredentialsApart(t *testing.T) {
	key1, _ := keyText(t, 1, "")
	key2, _ := keyText(t, 2, "")
	env := map[string]string{"P1": "password one", "P2": "password two", "K1": key1, "K2": key2,
		"KP1": object(t, map[string]string{"private_key": key1, "password": "password one"}), "P1B": `{"password": "password one"}`}
	r := &Resolver{LookupEnv: func(name string) (string, bool) { v, ok := env[name]; return v, ok }}
	fingerprint := func(name string) string {
		c, err := r.Resolve(t.Context(), Ref{TypeEnv, name})
		if err != nil {
			t.Fatal(err)
		}
		return c.Fingerprint()
	}
	seen := map[string]string{}
	for _, name := range []string{"P1", "P2", "K1", "K2", "KP1"} {
		f := fingerprint(name)
		if other, twice := seen[f]; twice {
			t.Errorf("%s and %s share %s", name, other, f)
		}
		seen[f] = name
		if f != fingerprint(name) || strings.Contains(f, "password one") {
			t.Errorf("%s: %s is not steady or tells too much", name, f)
		}
	}
	if fingerprint("P1") != fingerprint("P1B") {
		t.Error("the same password has two fingerprints")
	}
}

func TestParseReadsJSONAsItReadsYAML(t *testing.T) {
	for _, text := range []string{"{}", `{"username": "u", "password": "p\u00e9\n", "passphrase": null}`, "{\n \"wireguard_private_key\": \"\",\n \"private_key\": \"x\"}"} {
		quick := parseJSON([]byte(text))
		slow, err := parseYAML("f", []byte(text))
		if quick == nil || err != nil {
			t.Errorf("%s: not read: %v, %v", text, quick, err)
			continue
		}
		for _, name := range fieldNames {
			if name == "answers" { // which are read as YAML only
				continue
			}
			if q, s := quick.field(name).Interface(), slow.field(name).Interface(); !reflect.DeepEqual(q, s) {
				t.Errorf("%s: %s differs", text, name)
			}
			if q, s := quick.place(name), slow.place(name); q != s {
				t.Errorf("%s: %s is at %v, not at %v", text, name, s, q)
			}
		}
	}
	for _, text := range []string{`{"password": 1}`, `{"Password": "p"}`, `{"password": ["p"]}`, `{"zzz": null}`, `{"password": "p", "password": "p"}`, `password: p`} {
		if parseJSON([]byte(text)) != nil {
			t.Errorf("%s is taken to be without mistakes", text)
		}
	}
}

func FuzzParseDocument(f *testing.F) {
	for _, s := range []string{
		`{"username": "u", "password": "p"}`, "private_key: |\n  x\n", "{\n\t\"passphrase\": \"x\"\n}", "a: &b c\nd: *b", "? [a]\n: b", "<<: {}", "!!binary x", "- a", `"`, "{", "%YAML 1.2\n---\n", "password: >-\n  a\n  b",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		doc, err := parseDocument("f", []byte(text))
		if (doc == nil) == (err == nil) {
			t.Fatalf("document %v, error %v", doc, err)
		}
		if err == nil {
			_, err = doc.credential("f", t.TempDir())
		}
		if err == nil {
			return
		}
		for line := range strings.Lines(err.Error()) {
			if !strings.HasPrefix(line, "f:") && !strings.HasPrefix(line, "/") {
				t.Errorf("error names no file: %q", line)
			}
		}
		// A text with a word of its own must not come back in an error.
		marked := strings.ReplaceAll(text, "x", hidden)
		if _, err := parseDocument("f", []byte(marked)); err != nil && strings.Contains(err.Error(), hidden) {
			t.Errorf("%q leaks: %v", marked, err)
		}
	})
}
