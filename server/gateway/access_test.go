package gateway

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/access"
)

// newToken adds a token to a file.
func newToken(t *testing.T, file string, of access.Token) string {
	t.Helper()
	token, entry, err := access.NewToken(of)
	if err != nil {
		t.Fatal(err)
	}
	if err := access.AddToken(file, entry); err != nil {
		t.Fatal(err)
	}
	return token
}

// TestGatewayAsksWhoComes lets only those with a good token, and for its names, through to a server.
func TestGatewayAsksWhoComes(t *testing.T) {
	tokens := filepath.Join(t.TempDir(), "tokens.yaml")
	good := newToken(t, tokens, access.Token{Name: "ci"})
	old := newToken(t, tokens, access.Token{Name: "old", Expires: time.Now().Add(-time.Hour)})
	a := newFake(t)
	r := run(t, func(c *Config) {
		c.Tokens, c.Hosts, c.Origins = tokens, []string{"mcp.example"}, []string{"https://app.example"}
	}, a)
	for _, tc := range []struct {
		name   string
		header []string
		status int
	}{
		{"no token", nil, 401},
		{"a wrong one", []string{"Authorization", "Bearer " + good + "x"}, 401},
		{"an old one", []string{"Authorization", "Bearer " + old}, 401},
		{"another scheme", []string{"Authorization", "Basic " + good}, 401},
		{"a foreign host", []string{"Authorization", "Bearer " + good, "Host", "evil.example"}, 403},
		{"a foreign origin", []string{"Authorization", "Bearer " + good, "Origin", "https://evil.example"}, 403},
	} {
		got := r.post(call, tc.header...)
		if got.status != tc.status || tc.status == 401 && !strings.HasPrefix(got.header.Get("WWW-Authenticate"), "Bearer ") {
			t.Errorf("%s: %+v", tc.name, got)
		}
	}
	if n := a.calls.Load(); n != 0 {
		t.Fatalf("%d of them reached the server", n)
	}
	if got := r.post(call, "Authorization", "Bearer "+good, "Host", "mcp.example", "Origin", "https://app.example"); got.status != 200 {
		t.Fatalf("a good one: %+v", got)
	}
	seen, _ := a.last()
	if seen.Header.Get("Authorization") != "Bearer "+good || seen.Header.Get("Origin") != "" || seen.Host != a.addr {
		t.Errorf("the server saw %v for %s", seen.Header, seen.Host)
	}
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 200, "/status": 401} {
		if got := r.get(path); got.status != want {
			t.Errorf("%s: %d, want %d", path, got.status, want)
		}
	}
}

// selfSigned writes a certificate for 127.0.0.1 and its key.
func selfSigned(t *testing.T, serial int64, certFile, keyFile string) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
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
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	for file, data := range map[string][]byte{certFile: certificate, keyFile: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})} {
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certificate
}

// TestGatewayTLS serves with a certificate, and with the next one once that is in the files.
func TestGatewayTLS(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(selfSigned(t, 1, cert, key))
	a := newFake(t)
	r := run(t, func(c *Config) { c.TLSCertificate, c.TLSKey = cert, key }, a)
	if !strings.HasPrefix(r.url, "https://127.0.0.1:") {
		t.Fatalf("it serves %s", r.url)
	}
	r.http.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, DisableKeepAlives: true}
	if got := r.post(call); got.status != 200 {
		t.Errorf("over TLS: %+v", got)
	}
	pool.AppendCertsFromPEM(selfSigned(t, 2, cert, key))
	waitUntil(t, "the next certificate is shown", func() bool {
		c, err := tls.Dial("tcp", strings.TrimSuffix(strings.TrimPrefix(r.url, "https://"), endpoint), &tls.Config{RootCAs: pool})
		if err != nil {
			return false // one file is there without the other, or the first certificate's serial is asked for no more
		}
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].SerialNumber.Int64() == 2
	})
}

func TestGatewayBeyondLoopback(t *testing.T) {
	whole := func() Config {
		return Config{
			Backends: []Backend{{URL: "http://127.0.0.1:8731"}}, Listen: "0.0.0.0:8721", Tokens: "tokens.yaml", TLSCertificate: "c", TLSKey: "k", Hosts: []string{"mcp.example"},
		}
	}
	for _, tc := range []struct {
		change func(*Config)
		word   string // of the mistake; empty for none
	}{
		{func(*Config) {}, ""},
		{func(c *Config) { c.TLSCertificate, c.TLSKey, c.BehindProxy = "", "", true }, ""},
		{func(c *Config) { c.Tokens = "" }, "tokens or jwt_issuer"},
		{func(c *Config) { c.TLSCertificate, c.TLSKey = "", "" }, "tls_certificate and tls_key"},
		{func(c *Config) { c.TLSKey = "" }, "needed together"},
		{func(c *Config) { c.Hosts = nil }, "hosts"},
		{func(c *Config) { c.RateLimit = -1 }, "rate_limit"},
		{func(c *Config) { c.Waiting = -1 }, "waiting_connections"},
		{func(c *Config) { c.JWTIssuer = "https://id.example/" }, "jwt_"},
	} {
		cfg := whole()
		tc.change(&cfg)
		_, err := New(cfg)
		if (err == nil) != (tc.word == "") || err != nil && !strings.Contains(err.Error(), tc.word) {
			t.Errorf("%v, want %q", err, tc.word)
		}
	}
	cfg, err := Load(Sources{Environ: []string{
		"OPENACCESS_GATEWAY_HOSTS=a.example,b.example", "OPENACCESS_GATEWAY_BEHIND_PROXY=true", "OPENACCESS_GATEWAY_BACKENDS=http://127.0.0.1:1",
		"OPENACCESS_GATEWAY_TOKENS=tokens.yaml", "OPENACCESS_GATEWAY_LISTEN=0.0.0.0:1",
	}, Flags: []Flag{{Name: "--hosts", Key: "hosts", Value: "c.example"}}})
	if err != nil || len(cfg.Hosts) != 1 || cfg.Hosts[0] != "c.example" || !cfg.BehindProxy {
		t.Errorf("%+v, %v", cfg, err)
	}
}
