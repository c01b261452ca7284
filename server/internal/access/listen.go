package access

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
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

// Open listens, with TLS where there is a certificate, which is read again when its file changes.
func (e *Endpoint) Open(logger *slog.Logger) (net.Listener, error) {
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
	if certs == nil {
		return l, nil
	}
	return tls.NewListener(l, &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}, GetCertificate: certs.get}), nil
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

// maxSilent is how many connections may wait without having sent a request.
const maxSilent = 1024

// Harden bounds what clients may cost an HTTP server before they have said anything of use: headers by size and time, and connections that say nothing
// by number, of which the oldest is closed.
func Harden(srv *http.Server) {
	srv.ReadHeaderTimeout, srv.IdleTimeout, srv.MaxHeaderBytes = 10*time.Second, 2*time.Minute, 64<<10
	s := &silent{at: map[net.Conn]int64{}}
	before := srv.ConnState
	srv.ConnState = func(c net.Conn, state http.ConnState) {
		s.note(c, state)
		if before != nil {
			before(c, state)
		}
	}
}

// silent are the connections that have sent no request yet.
type silent struct {
	mu    sync.Mutex
	next  int64
	at    map[net.Conn]int64 // when each came
	order []net.Conn         // in which they came, those that are no longer silent too
}

func (s *silent) note(c net.Conn, state http.ConnState) {
	s.mu.Lock()
	if state != http.StateNew {
		delete(s.at, c)
		s.mu.Unlock()
		return
	}
	s.next++
	s.at[c] = s.next
	s.order = append(s.order, c)
	oldest := s.oldest()
	s.mu.Unlock()
	if oldest != nil {
		_ = oldest.Close()
	}
}

// oldest takes out the connection to close; nil where there is room.
func (s *silent) oldest() net.Conn {
	drop := 0
	for drop < len(s.order) && s.at[s.order[drop]] == 0 {
		drop++
	}
	var found net.Conn
	if len(s.at) > maxSilent {
		found = s.order[drop]
		delete(s.at, found)
		drop++
	}
	clear(s.order[:drop])
	s.order = s.order[drop:]
	if len(s.order) > 4*maxSilent && len(s.order) > 2*len(s.at) {
		s.compact()
	}
	return found
}

func (s *silent) compact() {
	kept := s.order[:0:0]
	for _, c := range s.order {
		if s.at[c] != 0 {
			kept = append(kept, c)
		}
	}
	s.order = kept
}
