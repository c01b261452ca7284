package server

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
)

// startGuarded makes a fixture whose profile "guarded" is for the role deploy only, and names a file for tokens.
func startGuarded(t *testing.T) (f *fixture, tokens string) {
	t.Helper()
	f = start(t, fakessh.Options{}, func(f *fixture) {
		f.profile(t, "guarded", func(p map[string]any) { p["policy"] = map[string]any{"roles": []string{"deploy", "admin"}} })
	})
	f.server.Close()
	return f, filepath.Join(f.dir, "tokens.yaml")
}

// restart gives the fixture another server.
func (f *fixture) restart(t *testing.T, cfg Config) {
	t.Helper()
	var err error
	if f.server, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.server.Close)
}

// callAs calls a tool over HTTP with a token.
func callAs(t *testing.T, url, token, tool, arguments string) reply {
	t.Helper()
	header := map[string]string{"Mcp-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call", "Mcp-Name": tool}
	if token != "" {
		header["Authorization"] = "Bearer " + token
	}
	return post(t, url+"/mcp", fmt.Sprintf(`{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":%q,"arguments":%s,
		"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}`, tool, arguments), header)
}

func TestIdentityOverHTTP(t *testing.T) {
	f, tokens := startGuarded(t)
	token := func(o TokenOptions) string {
		text, err := NewToken(tokens, o)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	all := token(TokenOptions{Name: "all"})
	scoped := token(TokenOptions{Name: "scoped", Profiles: []string{"guard*"}, Tools: []string{"ssh_exec", "profile_list"}})
	deploy := token(TokenOptions{Name: "deployer", Roles: []string{"deploy"}})
	cfg := f.config()
	cfg.Auth.Tokens = tokens
	on := true
	cfg.Audit = Audit{Enabled: &on, Path: filepath.Join(f.dir, "audit.db")}
	f.restart(t, cfg)
	srv := web(t, f)
	defer http.DefaultClient.CloseIdleConnections()
	for _, tc := range []struct {
		name, token, tool, arguments string
		status                       int
		words                        []string
	}{
		{"no token", "", "ssh_exec", `{"profile_id":"fake","command":"echo hi"}`, 401, nil},
		{"a wrong one", all + "x", "ssh_exec", `{"profile_id":"fake","command":"echo hi"}`, 401, nil},
		{"a right one", all, "ssh_exec", `{"profile_id":"fake","command":"echo hi","caller":"root"}`, 200,
			[]string{`"stdout":"hi\n"`, `"actor":"token:all"`, `"caller":"root"`}},
		{"another profile", scoped, "ssh_exec", `{"profile_id":"fake","command":"echo hi"}`, 200, []string{"AUTHORIZATION_FAILED", "token:scoped may not use profile"}},
		{"no such profile", scoped, "ssh_exec", `{"profile_id":"none","command":"echo hi"}`, 200, []string{"AUTHORIZATION_FAILED"}},
		{"another tool", scoped, "server_stats", `{}`, 200, []string{"AUTHORIZATION_FAILED", "token:scoped may not use server.stats"}},
		{"the list", scoped, "profile_list", `{}`, 200, []string{`"id":"guarded"`}},
		{"without role", all, "ssh_exec", `{"profile_id":"guarded","command":"echo hi"}`, 200, []string{"POLICY_VIOLATION", "rule roles", "deploy, admin"}},
		{"in scope, without role", scoped, "ssh_exec", `{"profile_id":"guarded","command":"echo hi"}`, 200, []string{"POLICY_VIOLATION"}},
		{"with role", deploy, "ssh_exec", `{"profile_id":"guarded","command":"echo hi"}`, 200, []string{`"stdout":"hi\n"`, `"actor":"token:deployer"`}},
		{"a diagnosis out of scope", scoped, "debug_performance", `{"operation":"ssh.exec","profile_id":"fake"}`, 200, []string{"AUTHORIZATION_FAILED"}},
		{"a diagnosis without role", all, "debug_performance", `{"operation":"ssh.exec","profile_id":"guarded"}`, 200, []string{"POLICY_VIOLATION"}},
	} {
		got := callAs(t, srv.URL, tc.token, tc.tool, tc.arguments)
		if got.status != tc.status {
			t.Errorf("%s: %+v", tc.name, got)
		}
		for _, w := range tc.words {
			if !strings.Contains(got.body, w) {
				t.Errorf("%s: no %s in %s", tc.name, w, got.body)
			}
		}
		if tc.name == "the list" && strings.Contains(got.body, `"id":"fake"`) {
			t.Error("the list shows a profile that the token is not for")
		}
	}
	for path, want := range map[string]int{"/metrics": 403, "/readyz": 200} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+scoped)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: %d", path, resp.StatusCode)
		}
	}
	f.server.Close()
	actors := map[string]bool{}
	err := ListAudit(t.Context(), cfg.Audit.Path, AuditFilter{}, func(r *AuditRecord) error { actors[r.Actor] = true; return nil })
	if err != nil || len(actors) != 3 || !actors["token:all"] || !actors["token:scoped"] || !actors["token:deployer"] {
		t.Errorf("recorded %v, %v", actors, err)
	}
}

func TestLocalIdentity(t *testing.T) {
	f, _ := startGuarded(t)
	cfg := f.config()
	cfg.Auth = Auth{LocalName: "claude-code", LocalRoles: []string{"deploy"}}
	f.restart(t, cfg)
	c := f.connect(t.Context(), t)
	if e := c.call("ssh_exec", args{"profile_id": "guarded", "command": "echo hi"}); !e.Success || e.Metadata.Actor != "stdio:claude-code" {
		t.Errorf("%+v", e)
	}
	c.end()
	f.server.Close()
	f.restart(t, f.config())
	c = f.connect(t.Context(), t)
	c.call("ssh_exec", args{"profile_id": "guarded", "command": "echo hi"}).wantCode(t, CodePolicyViolation, "rule roles")
	c.end()
}

// endless is a body that is only as long as anybody reads it.
type endless struct{ read int64 }

func (e *endless) Read(p []byte) (int, error) {
	e.read += int64(len(p))
	return len(p), nil
}

func TestHugeBodies(t *testing.T) {
	f, tokens := startGuarded(t)
	token, err := NewToken(tokens, TokenOptions{Name: "ci"})
	if err != nil {
		t.Fatal(err)
	}
	cfg := f.config()
	cfg.Auth.Tokens = tokens
	f.restart(t, cfg)
	h := f.server.Handler()
	for name, tc := range map[string]struct {
		token  string
		length int64
		want   int
		most   int64
	}{
		"no token":     {"", 1 << 30, 401, 0},
		"told":         {token, 1 << 30, 413, 0},
		"without told": {token, -1, 400, maxMessage + 1<<20},
	} {
		body := &endless{}
		r := httptest.NewRequest(http.MethodPost, "http://127.0.0.1/mcp", io.LimitReader(body, 1<<30))
		r.ContentLength = tc.length
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Accept", "application/json, text/event-stream")
		if tc.token != "" {
			r.Header.Set("Authorization", "Bearer "+tc.token)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != tc.want || body.read > 2*tc.most {
			t.Errorf("%s: %d %s, %d bytes read", name, w.Code, w.Body, body.read)
		}
	}
}

// listen runs the server over HTTP and gives its address.
func (f *fixture) listen(t *testing.T) (addr string, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- f.server.Run(ctx, HTTP("127.0.0.1:0")) }()
	waitUntil(t, "the server listens", func() bool {
		addr, _ = f.server.health.address.Load().(string)
		return addr != "" || len(done) > 0
	})
	return addr, func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// certificate makes a certificate for 127.0.0.1 and the files of it and its key.
func certificate(t *testing.T, dir string) (pool *x509.CertPool, certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	mustWrite(t, certFile, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	mustWrite(t, keyFile, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})))
	pool = x509.NewCertPool()
	pool.AppendCertsFromPEM(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	return pool, certFile, keyFile
}

// TestTLS serves with a certificate, to callers with a token.
func TestTLS(t *testing.T) {
	f, tokens := startGuarded(t)
	token, err := NewToken(tokens, TokenOptions{Name: "ci"})
	if err != nil {
		t.Fatal(err)
	}
	pool, cert, key := certificate(t, f.dir)
	cfg := f.config()
	cfg.Auth.Tokens, cfg.HTTP.Certificate, cfg.HTTP.Key = tokens, cert, key
	f.restart(t, cfg)
	addr, stop := f.listen(t)
	defer stop()
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	defer transport.CloseIdleConnections()
	before := http.DefaultClient.Transport
	http.DefaultClient.Transport = transport
	defer func() { http.DefaultClient.Transport = before }()
	if got := callAs(t, "https://"+addr, token, "ssh_exec", `{"profile_id":"fake","command":"echo hi"}`); !strings.Contains(got.body, `"stdout":"hi\n"`) {
		t.Errorf("%+v", got)
	}
	if got := callAs(t, "https://"+addr, "", "ssh_exec", `{}`); got.status != 401 {
		t.Errorf("%+v", got)
	}
	if got, err := http.Get("http://" + addr + "/readyz"); err == nil {
		got.Body.Close()
		if got.StatusCode == http.StatusOK {
			t.Error("it answers without TLS")
		}
	}
}
