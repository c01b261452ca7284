package access

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var discard = slog.New(slog.DiscardHandler)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newToken adds a token to a file.
func newToken(t *testing.T, file string, entry Token) string {
	t.Helper()
	token, entry, err := NewToken(entry)
	must(t, err)
	must(t, AddToken(file, entry))
	return token
}

func guard(t *testing.T, cfg Config) *Guard {
	t.Helper()
	g, err := Open(cfg)
	must(t, err)
	t.Cleanup(g.Close)
	return g
}

// ask sends a request through a guard and gives the answer, with the identity that got through.
func ask(g *Guard, change func(r *http.Request)) (*httptest.ResponseRecorder, *Identity) {
	var seen *Identity
	r := httptest.NewRequest(http.MethodPost, "http://127.0.0.1/mcp", strings.NewReader("{}"))
	if change != nil {
		change(r)
	}
	w := httptest.NewRecorder()
	g.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen = From(r.Context()) })).ServeHTTP(w, r)
	return w, seen
}

func bearer(token string) func(r *http.Request) {
	return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
}

func TestTokens(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tokens.yaml")
	good := newToken(t, file, Token{Name: "ci", Expires: time.Now().Add(time.Hour), Profiles: []string{"web-*"}, Tools: []string{"ssh_exec"}, Roles: []string{"deploy"}})
	expired := newToken(t, file, Token{Name: "old", Expires: time.Now().Add(-time.Second)})
	g := guard(t, Config{Tokens: file})
	w, id := ask(g, bearer(good))
	if w.Code != http.StatusOK || id == nil || id.Actor != "token:ci" || fmt.Sprint(id.Roles, id.Profiles, id.Tools) != "[deploy] [web-*] [ssh_exec]" {
		t.Errorf("%d, %+v", w.Code, id)
	}
	for name, tc := range map[string]struct {
		change func(r *http.Request)
		words  string
	}{
		"none":      {nil, ""},
		"unknown":   {bearer(good[:len(good)-1] + "_"), "invalid_token"},
		"empty":     {bearer(""), "invalid_request"},
		"expired":   {bearer(expired), "expired"},
		"a hash":    {bearer(strings.Repeat("0", 64)), "invalid_token"},
		"basic":     {func(r *http.Request) { r.SetBasicAuth("ci", good) }, "invalid_request"},
		"two":       {func(r *http.Request) { r.Header["Authorization"] = []string{"Bearer " + good, "Bearer x"} }, "invalid_request"},
		"in query":  {func(r *http.Request) { r.URL.RawQuery = "access_token=" + good }, ""},
		"a fake":    {bearer("a.b.c"), "invalid_token"},
		"metrics":   {func(r *http.Request) { r.URL.Path = "/metrics" }, ""},
		"dot paths": {func(r *http.Request) { r.URL.Path = "/healthz/../mcp" }, ""},
	} {
		w, id := ask(g, tc.change)
		challenge := w.Header().Get("WWW-Authenticate")
		if w.Code != http.StatusUnauthorized || id != nil || !strings.HasPrefix(challenge, `Bearer realm="openaccess-mcp"`) || !strings.Contains(challenge, tc.words) {
			t.Errorf("%s: %d, %v, %s", name, w.Code, id, challenge)
		}
		if tc.words == "" && strings.Contains(challenge, "error") {
			t.Errorf("%s: %s", name, challenge)
		}
		if w.Header().Get("Connection") != "close" || strings.Contains(w.Body.String(), good) {
			t.Errorf("%s: %v", name, w)
		}
	}
	if w, _ := ask(g, func(r *http.Request) { r.URL.Path = "/readyz" }); w.Code != http.StatusOK {
		t.Errorf("/readyz: %d", w.Code)
	}
}

func TestForeign(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tokens.yaml")
	token := newToken(t, file, Token{Name: "ci"})
	g := guard(t, Config{Tokens: file, Hosts: []string{"mcp.example.com"}, Origins: []string{"https://app.example.com"}})
	for _, tc := range []struct {
		host, origin string
		want         int
	}{
		{"mcp.example.com", "", 200}, {"MCP.example.com:443", "https://app.example.com", 200}, {"127.0.0.1:8722", "http://localhost:1", 200},
		{"evil.example.com", "", 403}, {"mcp.example.com.evil.net", "", 403}, {"", "", 403},
		{"mcp.example.com", "https://evil.example.com", 403}, {"mcp.example.com", "http://app.example.com", 403}, {"mcp.example.com", "null", 403},
		{"mcp.example.com", "https://app.example.com.evil.net", 403},
	} {
		w, _ := ask(g, func(r *http.Request) {
			bearer(token)(r)
			r.Host = tc.host
			if tc.origin != "" {
				r.Header.Set("Origin", tc.origin)
			}
		})
		if w.Code != tc.want {
			t.Errorf("Host %q, Origin %q: %d", tc.host, tc.origin, w.Code)
		}
	}
}

// TestEditedTokens edits the file of a guard that is in use.
func TestEditedTokens(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tokens.yaml")
	first := newToken(t, file, Token{Name: "first"})
	f, err := openTokens(file, discard)
	must(t, err)
	now := time.Now()
	find := func(token string) bool {
		now = now.Add(2 * lookInterval)
		id, refused := f.find(token, now)
		return id != nil && refused == nil
	}
	second := newToken(t, file, Token{Name: "second"})
	if !find(first) || !find(second) {
		t.Error("an added token is not known")
	}
	before, err := os.ReadFile(file)
	must(t, err)
	must(t, os.WriteFile(file, []byte("tokens: [x"), 0o600))
	if !find(first) {
		t.Error("a broken file did not leave its last good state")
	}
	must(t, os.WriteFile(file, before, 0o600))
	must(t, os.Chmod(file, 0o666))
	if find(first) {
		t.Error("a file that others can write is used")
	}
	must(t, os.Chmod(file, 0o600))
	if !find(first) {
		t.Error("a mended file is not used")
	}
	must(t, os.Remove(file))
	if find(first) {
		t.Error("a file that is gone is used")
	}
}

func TestTokenMistakes(t *testing.T) {
	sum := strings.Repeat("ab", 32)
	for text, words := range map[string]string{
		"tokens:\n  - name: a\n    sha256: abc\n":                                                    "64 hexadecimal digits",
		"tokens:\n  - name: a b\n    sha256: " + sum + "\n":                                          "use letters",
		"tokens:\n  - {name: a, sha256: " + sum + "}\n  - {name: b, sha256: " + sum + "}\n":          "given twice",
		"tokens:\n  - {name: a, sha256: " + sum + ", profile: x}\n":                                  "line 2",
		"tokens:\n  - {name: a, sha256: " + sum + ", profiles: ['[']}\n":                             "pattern",
		"tokens:\n  - {name: a, sha256: " + strings.Repeat("zz", 32) + "}\n":                         "64 hexadecimal digits",
		"tokens:\n  - {name: a, sha256: " + sum + "}\n  - {name: a, sha256: " + sum[2:] + "cd" + "}": "given twice",
	} {
		if _, err := parseTokens([]byte(text)); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: got %v, want %q", text, err, words)
		}
	}
}

// FuzzTokens wants no panic of any file of tokens.
func FuzzTokens(f *testing.F) {
	f.Add("tokens:\n  - name: a\n    sha256: " + strings.Repeat("ab", 32) + "\n    expires: 2027-01-01T00:00:00Z\n    profiles: [a]\n")
	f.Fuzz(func(t *testing.T, text string) {
		known, err := parseTokens([]byte(text))
		for sum, token := range known {
			if err != nil || token.SHA256 == "" || fmt.Sprintf("%x", sum) != strings.ToLower(token.SHA256) {
				t.Errorf("%x is of %+v, %v", sum, token, err)
			}
		}
	})
}

func TestScopes(t *testing.T) {
	id := &Identity{Profiles: []string{"web-*", "db"}, Tools: []string{"ssh_exec", "tunnel.*"}}
	for name, want := range map[string]bool{"web-01": true, "db": true, "db2": false, "": false, "web": false} {
		if id.AdmitsProfile(name) != want {
			t.Errorf("profile %q", name)
		}
	}
	for name, want := range map[string]bool{"ssh.exec": true, "ssh_exec": true, "tunnel.create": true, "sftp.transfer": false, "server.stats": false} {
		if id.AdmitsTool(name) != want {
			t.Errorf("tool %q", name)
		}
	}
	for _, all := range []*Identity{nil, {}} {
		if !all.AdmitsProfile("x") || !all.AdmitsTool("ssh.exec") {
			t.Errorf("%+v is not for all", all)
		}
	}
}

func TestRate(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tokens.yaml")
	a, b := newToken(t, file, Token{Name: "a"}), newToken(t, file, Token{Name: "b"})
	g := guard(t, Config{Tokens: file, Rate: 0.001})
	if w, _ := ask(g, bearer(a)); w.Code != http.StatusOK {
		t.Errorf("the first: %d", w.Code)
	}
	if w, _ := ask(g, bearer(a)); w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") == "" {
		t.Errorf("the second: %d, %v", w.Code, w.Header())
	}
	if w, _ := ask(g, bearer(b)); w.Code != http.StatusOK {
		t.Errorf("another caller: %d", w.Code)
	}
}

// issuer is an authorization server's key, and its key set.
type issuer struct{ key *ecdsa.PrivateKey }

func newIssuer(t *testing.T) issuer {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	return issuer{key}
}

func (i issuer) set(t *testing.T) []byte {
	point, err := i.key.PublicKey.Bytes()
	must(t, err)
	b64 := base64.RawURLEncoding.EncodeToString
	set, err := json.Marshal(map[string]any{"keys": []any{map[string]any{
		"kty": "EC", "crv": "P-256", "kid": "k1", "use": "sig", "alg": "ES256", "x": b64(point[1:33]), "y": b64(point[33:]),
	}}})
	must(t, err)
	return set
}

func (i issuer) token(t *testing.T, change func(c jwt.MapClaims, header map[string]any)) string {
	t.Helper()
	c := jwt.MapClaims{"iss": "https://id.example.com/", "aud": "https://mcp.example.com/mcp", "sub": "agent-7", "exp": time.Now().Add(time.Hour).Unix(),
		"iat": time.Now().Unix(), "scope": "profile mcp", "roles": []string{"deploy"}, "openaccess_profiles": "web-01 web-02"}
	token := jwt.NewWithClaims(jwt.SigningMethodES256, c)
	token.Header["kid"] = "k1"
	if change != nil {
		change(c, token.Header)
	}
	text, err := token.SignedString(i.key)
	must(t, err)
	return text
}

func jwtConfig(keys string) Config {
	return Config{JWT: JWT{Issuer: "https://id.example.com/", Audience: "https://mcp.example.com/mcp", Keys: keys, Scope: "mcp"}}
}

func TestJWT(t *testing.T) {
	i, other := newIssuer(t), newIssuer(t)
	file := filepath.Join(t.TempDir(), "keys.json")
	must(t, os.WriteFile(file, i.set(t), 0o600))
	g := guard(t, jwtConfig(file))
	w, id := ask(g, bearer(i.token(t, nil)))
	if w.Code != http.StatusOK || id == nil || id.Actor != "jwt:agent-7" || fmt.Sprint(id.Roles, id.Profiles, id.Tools) != "[deploy] [web-01 web-02] []" {
		t.Errorf("%d, %+v, %s", w.Code, id, w.Header().Get("WWW-Authenticate"))
	}
	set := func(name string, v any) string {
		return i.token(t, func(c jwt.MapClaims, _ map[string]any) {
			if c[name] = v; v == nil {
				delete(c, name)
			}
		})
	}
	shared := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"iss": "https://id.example.com/", "aud": "https://mcp.example.com/mcp", "sub": "x", "scope": "mcp",
		"exp": time.Now().Add(time.Hour).Unix()})
	hmac, err := shared.SignedString([]byte("secret"))
	must(t, err)
	unsigned := jwt.NewWithClaims(jwt.SigningMethodNone, shared.Claims)
	none, err := unsigned.SignedString(jwt.UnsafeAllowNoneSignatureType)
	must(t, err)
	whole := i.token(t, nil)
	for name, tc := range map[string]struct {
		token string
		want  int
		words string
	}{
		"another key":      {other.token(t, nil), 401, "cannot be verified"},
		"another issuer":   {set("iss", "https://evil.example.com/"), 401, "another issuer"},
		"another audience": {set("aud", "https://other.example.com"), 401, "another issuer"},
		"no audience":      {set("aud", nil), 401, "invalid_token"},
		"expired":          {set("exp", time.Now().Add(-time.Hour).Unix()), 401, "expired"},
		"no expiry":        {set("exp", nil), 401, "invalid_token"},
		"not yet":          {set("nbf", time.Now().Add(time.Hour).Unix()), 401, "invalid_token"},
		"no subject":       {set("sub", nil), 401, "no subject"},
		"another scope":    {set("scope", "mcpx profile"), 403, "insufficient_scope"},
		"no scope":         {set("scope", nil), 403, "insufficient_scope"},
		"no profiles":      {set("openaccess_profiles", []string{}), 401, "no profile"},
		"shared secret":    {hmac, 401, "invalid_token"},
		"no signature":     {none, 401, "invalid_token"},
		"unknown key":      {i.token(t, func(_ jwt.MapClaims, h map[string]any) { h["kid"] = "k2" }), 401, "invalid_token"},
		"spoilt":           {whole[:len(whole)-4] + "AAAA", 401, "invalid_token"},
		"another payload":  {strings.Join([]string{strings.Split(whole, ".")[0], "e30", strings.Split(whole, ".")[2]}, "."), 401, "invalid_token"},
	} {
		w, id := ask(g, bearer(tc.token))
		challenge := w.Header().Get("WWW-Authenticate")
		if w.Code != tc.want || id != nil || !strings.Contains(challenge, tc.words) ||
			!strings.Contains(challenge, `resource_metadata="https://mcp.example.com/.well-known/oauth-protected-resource/mcp"`) {
			t.Errorf("%s: %d, %v, %s", name, w.Code, id, challenge)
		}
	}
}

func TestMetadata(t *testing.T) {
	i := newIssuer(t)
	file := filepath.Join(t.TempDir(), "keys.json")
	must(t, os.WriteFile(file, i.set(t), 0o600))
	g := guard(t, jwtConfig(file))
	for path, want := range map[string]int{
		"/.well-known/oauth-protected-resource": 200, "/.well-known/oauth-protected-resource/mcp": 200, "/.well-known/oauth-protected-resource/other": 404,
	} {
		w, _ := ask(g, func(r *http.Request) { r.Method, r.URL.Path = http.MethodGet, path })
		if w.Code != want {
			t.Errorf("%s: %d", path, w.Code)
		}
		if want != 200 {
			continue
		}
		var doc struct {
			Resource string   `json:"resource"`
			Servers  []string `json:"authorization_servers"`
			Scopes   []string `json:"scopes_supported"`
		}
		must(t, json.Unmarshal(w.Body.Bytes(), &doc))
		if doc.Resource != "https://mcp.example.com/mcp" || fmt.Sprint(doc.Servers, doc.Scopes) != "[https://id.example.com/] [mcp]" {
			t.Errorf("%+v", doc)
		}
	}
}

// TestKeysFetched has a key set that comes from a URL.
func TestKeysFetched(t *testing.T) {
	i := newIssuer(t)
	var doc atomic.Pointer[[]byte]
	none := []byte(`{"keys":[]}`)
	doc.Store(&none)
	keys := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(*doc.Load()) }))
	defer keys.Close()
	g := guard(t, jwtConfig(keys.URL))
	set := i.set(t)
	doc.Store(&set) // so that the token names a key that is not known yet
	if w, id := ask(g, bearer(i.token(t, nil))); id == nil {
		t.Errorf("%d %s", w.Code, w.Header().Get("WWW-Authenticate"))
	}
	if err := (&JWT{Issuer: "i", Audience: "a", Keys: "http://keys.example.com"}).Check(); err == nil {
		t.Error("keys may come without TLS")
	}
}

func TestEndpoints(t *testing.T) {
	auth := Config{Tokens: "t", Hosts: []string{"h"}}
	for _, tc := range []struct {
		at   Endpoint
		who  Config
		want string
	}{
		{Endpoint{Listen: "127.0.0.1:0"}, Config{}, ""},
		{Endpoint{Listen: "127.0.0.1:0"}, auth, ""},
		{Endpoint{Listen: ":1", Certificate: "c", Key: "k"}, auth, ""},
		{Endpoint{Listen: "0.0.0.0:1", BehindProxy: true}, auth, ""},
		{Endpoint{Listen: "0.0.0.0:1", BehindProxy: true}, Config{Tokens: "t"}, "hosts"},
		{Endpoint{Listen: ":1", Certificate: "c", Key: "k"}, Config{}, "prove who they are"},
		{Endpoint{Listen: ":1", BehindProxy: true}, Config{}, "prove who they are"},
		{Endpoint{Listen: "192.0.2.1:1"}, auth, "read along"},
		{Endpoint{Listen: "127.0.0.1:1", Certificate: "c"}, auth, "needed together"},
		{Endpoint{Listen: "127.0.0.1:1"}, Config{Hosts: []string{"h"}}, "prove who they are"},
		{Endpoint{Listen: "127.0.0.1"}, auth, "127.0.0.1:8722"},
		{Endpoint{Listen: "127.0.0.1:1"}, Config{JWT: JWT{Issuer: "i"}}, "jwt_audience"},
	} {
		err := tc.at.Check(&tc.who)
		if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%+v, %+v: %v", tc.at, tc.who, err)
		}
	}
}

// TestCertificateIsReadAgain replaces the certificate of an endpoint in use, first by a broken one.
func TestCertificateIsReadAgain(t *testing.T) {
	dir := t.TempDir()
	c := &certificates{cert: filepath.Join(dir, "cert.pem"), key: filepath.Join(dir, "key.pem"), logger: discard}
	first := writePair(t, c, 1)
	must(t, c.read())
	serial := func() *big.Int {
		c.looked = time.Time{}
		pair, err := c.get(nil)
		must(t, err)
		leaf, err := x509.ParseCertificate(pair.Certificate[0])
		must(t, err)
		return leaf.SerialNumber
	}
	if n := serial(); n.Cmp(first) != 0 {
		t.Errorf("serial %v", n)
	}
	must(t, os.WriteFile(c.cert, []byte("broken"), 0o600))
	if n := serial(); n.Cmp(first) != 0 {
		t.Errorf("after a broken one: serial %v", n)
	}
	second := writePair(t, c, 2)
	if n := serial(); n.Cmp(second) != 0 {
		t.Errorf("after another: serial %v", n)
	}
	must(t, os.Remove(c.cert))
	if n := serial(); n.Cmp(second) != 0 {
		t.Errorf("after it is gone: serial %v", n)
	}
}

func writePair(t *testing.T, c *certificates, serial int64) *big.Int {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	must(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	for file, block := range map[string]*pem.Block{c.key: {Type: "PRIVATE KEY", Bytes: private}, c.cert: {Type: "CERTIFICATE", Bytes: der}} {
		must(t, os.WriteFile(file+".new", pem.EncodeToMemory(block), 0o600))
		must(t, os.Rename(file+".new", file))
	}
	return template.SerialNumber
}
