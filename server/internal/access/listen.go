package access

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/loopback"
)

func isLoopback(host string) bool { return loopback.Name(host) }

// Endpoint is where a guarded endpoint listens.
type Endpoint struct {
	Listen      string // host:port
	Certificate string // file of the TLS certificate and its chain; without, there is no TLS
	Key         string // file of its private key
	BehindProxy bool   // TLS ends at a proxy, which nobody can go around
	Crowd       Crowd  // how many connections may wait
}

// Check says why an endpoint may not listen as it would: beyond loopback, callers must prove who they are, and nobody may read along.
func (e *Endpoint) Check(guard *Config) error {
	host, _, err := net.SplitHostPort(e.Listen)
	if err != nil {
		return fmt.Errorf("listen: %q: %w; write it as 127.0.0.1:8722", e.Listen, err)
	}
	if (e.Certificate == "") != (e.Key == "") {
		return errors.New("tls_certificate and tls_key: one is missing, they are needed together")
	}
	if err := guard.JWT.Check(); err != nil {
		return err
	}
	switch beyond := !loopback.Name(host); {
	case beyond && !guard.Authenticated():
		return fmt.Errorf("listen: %q is not loopback, where callers must prove who they are: give tokens or jwt_issuer, or listen on 127.0.0.1", e.Listen)
	case beyond && e.Certificate == "" && !e.BehindProxy:
		return fmt.Errorf("listen: %q is not loopback, where tokens must not be read along: give tls_certificate and tls_key, or behind_proxy: true where a proxy that nobody can go around does TLS",
			e.Listen)
	case beyond && len(guard.Hosts) == 0:
		return fmt.Errorf("listen: %q is not loopback, so requests come for other names: list them in hosts", e.Listen)
	case len(guard.Hosts)+len(guard.Origins) > 0 && !guard.Authenticated():
		return errors.New("hosts, origins: others than this machine's processes must prove who they are: give tokens or jwt_issuer")
	}
	return nil
}

// Open listens, with TLS where there is a certificate, which is read again when its file changes. The Listener must be closed, which an HTTP server that
// serves on it does.
func (e *Endpoint) Open(logger *slog.Logger) (*Listener, error) {
	var certs *certificates
	if e.Certificate != "" {
		certs = &certificates{cert: e.Certificate, key: e.Key, logger: logger, looked: time.Now()}
		if err := certs.read(); err != nil {
			return nil, fmt.Errorf("tls_certificate, tls_key: %w", err)
		}
	}
	l, err := net.Listen("tcp", e.Listen)
	if err != nil {
		return nil, fmt.Errorf("cannot listen: %w", err)
	}
	var secured *tls.Config
	if certs != nil {
		secured = &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}, GetCertificate: certs.get}
	}
	return gather(l, secured, e.Crowd), nil
}

// Scheme is that of the endpoint's URL.
func (e *Endpoint) Scheme() string {
	if e.Certificate != "" {
		return "https"
	}
	return "http"
}

// certificates is a certificate that is read again when its file changes. One that cannot be used leaves the last good one in place.
type certificates struct {
	cert, key string
	logger    *slog.Logger

	mu      sync.Mutex
	looked  time.Time
	seen    [2]os.FileInfo
	current *tls.Certificate
}

func (c *certificates) read() error {
	var seen [2]os.FileInfo
	for i, file := range []string{c.cert, c.key} {
		info, err := os.Stat(file)
		if err != nil {
			return err
		}
		seen[i] = info
	}
	c.seen = seen
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil {
		return err
	}
	c.current = &pair
	return nil
}

func (c *certificates) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); now.Sub(c.looked) >= lookInterval {
		c.looked = now
		if c.changed() {
			if err := c.read(); err != nil {
				c.logger.Error("the TLS certificate cannot be used; the one before stays", "path", c.cert, "error", err)
			} else {
				c.logger.Info("TLS certificate read again", "path", c.cert)
			}
		}
	}
	return c.current, nil
}

func (c *certificates) changed() bool {
	for i, file := range []string{c.cert, c.key} {
		info, err := os.Stat(file)
		if err != nil || !os.SameFile(info, c.seen[i]) || !info.ModTime().Equal(c.seen[i].ModTime()) || info.Size() != c.seen[i].Size() {
			return err == nil
		}
	}
	return false
}
