package driver

import (
	"context"
	"crypto/x509"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
)

// HTTPConfig says how to reach a running server.
type HTTPConfig struct {
	Client
	URL     string            // of the MCP endpoint, such as http://127.0.0.1:8080/mcp
	Headers map[string]string // sent with every request
	RootCAs *x509.CertPool    // that sign an https server's certificate; nil for the system's
}

// HTTP drives a running server over Streamable HTTP, directly: proxies named in the environment are not used. ctx bounds the first
// exchange alone. The error matches ErrServerStart when the server does not answer as an MCP server.
func HTTP(ctx context.Context, cfg HTTPConfig) (loadgen.Driver, error) {
	return newHTTPDriver(ctx, cfg, nil)
}

// HTTPChild starts a server as a child process, learns its URL from the line of its standard error that has url=http://… (or the same as a
// JSON field), and drives it as HTTP does. Close ends the child.
func HTTPChild(ctx context.Context, cfg HTTPChildConfig) (loadgen.Driver, error) {
	cfg.complete()
	found := make(chan string, 1)
	c, err := startChild(cfg, false, func(line string) {
		if u, ok := urlIn(line); ok {
			select {
			case found <- u:
			default:
			}
		}
	})
	if err != nil {
		return nil, err
	}
	limited, cancel := context.WithTimeout(ctx, cfg.StartTimeout)
	defer cancel()
	var url string
	select {
	case url = <-found:
	case <-c.exited:
		err = c.explain(nil)
	case <-limited.Done():
		err = limited.Err()
	}
	if err != nil {
		_ = c.end() // what went wrong before says more
		return nil, startError(ctx, &cfg, err, c.tail)
	}
	d, err := newHTTPDriver(limited, HTTPConfig{Client: cfg.Client, URL: url}, c)
	if err != nil {
		_ = c.end()
		return nil, err
	}
	return d, nil
}

// urlIn finds the URL of an MCP endpoint in a line of a server's log: url=http://… or "url":"http://…".
func urlIn(line string) (url string, ok bool) {
	for _, mark := range []string{`url=`, `"url":`} {
		at := strings.Index(line, mark)
		if at < 0 || mark == `url=` && at > 0 && line[at-1] != ' ' {
			continue
		}
		value := strings.TrimLeft(line[at+len(mark):], ` "`)
		if end := strings.IndexAny(value, "\" \t\r"); end >= 0 {
			value = value[:end]
		}
		if strings.HasPrefix(value, "http://") || strings.HasPrefix(value, "https://") {
			return value, true
		}
	}
	return "", false
}

type httpDriver struct {
	cfg      HTTPConfig
	endpoint *endpoint
	info     loadgen.DriverInfo
	child    *child // nil when the server is not ours
	nextID   atomic.Int64

	mu       sync.Mutex
	sessions map[*httpSession]struct{}
	first    *httpSession // made with the driver: for the first Open, or for all
	closed   bool
}

func newHTTPDriver(ctx context.Context, cfg HTTPConfig, c *child) (loadgen.Driver, error) {
	if err := cfg.check("http", SessionsPerVU); err != nil {
		return nil, err
	}
	e, err := newEndpoint(cfg)
	if err != nil {
		return nil, err
	}
	d := &httpDriver{cfg: cfg, endpoint: e, child: c, sessions: map[*httpSession]struct{}{}}
	s, g, err := d.connect(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: no MCP session at %s: %w", ErrServerStart, cfg.URL, err)
	}
	d.first = s
	d.info = loadgen.DriverInfo{
		Kind: cfg.Kind, ServerName: g.name, ServerVersion: g.serverVersion, Address: cfg.URL,
		Protocol: g.version, Sessions: cfg.Sessions, SharedSession: cfg.Sessions == SessionsShared,
	}
	if c != nil {
		d.info.PID, d.info.PIDs = c.pid(), []int{c.pid()}
	}
	if cfg.Sessions == SessionsPerCall {
		return &perCall{Driver: d}, nil
	}
	return d, nil
}

// connect opens a session of its own and asks the server who it is.
func (d *httpDriver) connect(ctx context.Context) (*httpSession, greeting, error) {
	s := d.newSession()
	g, err := s.hello(ctx)
	if err != nil {
		s.links.close()
		return nil, g, err
	}
	return s, g, d.keep(s)
}

// keep enters a session among those that Close closes.
func (d *httpDriver) keep(s *httpSession) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		s.links.close()
		return errClosed
	}
	d.sessions[s] = struct{}{}
	return nil
}

func (d *httpDriver) Open(ctx context.Context) (loadgen.Session, error) {
	if s, err := d.ready(); s != nil || err != nil {
		return s, err
	}
	if newWire(d.cfg.Protocol).stateless() { // there is nothing to ask for
		s := d.newSession()
		return s, d.keep(s)
	}
	s, _, err := d.connect(ctx)
	switch {
	case err == nil:
		return s, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	}
	return nil, d.blame(err)
}

// ready returns what Open gives without a request; nil for nothing.
func (d *httpDriver) ready() (loadgen.Session, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.first
	switch {
	case d.closed:
		return nil, errClosed
	case s == nil:
		return nil, nil
	case d.info.SharedSession:
		return sharedSession{s}, nil
	}
	d.first = nil
	return s, nil
}

func (d *httpDriver) Info() loadgen.DriverInfo { return d.info }

func (d *httpDriver) Close() error {
	d.mu.Lock()
	d.closed = true
	var open []*httpSession
	for s := range d.sessions {
		open = append(open, s)
	}
	d.mu.Unlock()
	var wg sync.WaitGroup
	for _, s := range open {
		wg.Go(func() { _ = s.Close() })
	}
	wg.Wait()
	if d.child == nil {
		return nil
	}
	return d.child.end()
}

// blame puts the end of our server, if that is what happened, in the place of the broken connection it caused.
func (d *httpDriver) blame(err error) error {
	if d.child == nil {
		return err
	}
	return d.child.explainWithin(blameGrace, err)
}

// blameGrace is how long a broken connection waits for the news that the server has ended.
var blameGrace = 100 * time.Millisecond // the tests, whose machine may be busy, wait longer
