package driver

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

// endpoint is an HTTP URL and how to reach it.
type endpoint struct {
	addr     string      // host:port to dial
	tls      *tls.Config // nil for http
	path     string      // request target
	fixed    string      // header lines of every request
	readRate int64
}

func newEndpoint(cfg HTTPConfig) (*endpoint, error) {
	u, err := url.Parse(cfg.URL)
	if err != nil {
		return nil, err
	}
	e := &endpoint{path: u.RequestURI(), readRate: cfg.ReadRate}
	port := u.Port()
	switch {
	case u.Hostname() == "":
		return nil, fmt.Errorf("%q names no host: write it as http://127.0.0.1:8722/mcp", cfg.URL)
	case u.Scheme == "https":
		e.tls = &tls.Config{ServerName: u.Hostname(), NextProtos: []string{"http/1.1"}, RootCAs: cfg.RootCAs}
		if port == "" {
			port = "443"
		}
	case u.Scheme != "http":
		return nil, fmt.Errorf("%q is neither http nor https", cfg.URL)
	case port == "":
		port = "80"
	}
	e.addr = net.JoinHostPort(u.Hostname(), port)
	var fixed strings.Builder
	fmt.Fprintf(&fixed, "Host: %s\r\nUser-Agent: %s/%s\r\nAccept: application/json, text/event-stream\r\n", u.Host, clientName, clientVersion)
	for k, v := range cfg.Headers {
		if k == "" || strings.ContainsAny(k, "\r\n: ") || strings.ContainsAny(v, "\r\n") {
			return nil, fmt.Errorf("header %q: %q cannot be sent: a name has no space or colon, and neither has a line break", k, v)
		}
		fmt.Fprintf(&fixed, "%s: %s\r\n", k, v)
	}
	e.fixed = fixed.String()
	return e, nil
}

// request is one HTTP request to an endpoint.
type request struct {
	method string
	header string // lines of its own, each with its end
	body   []byte // JSON; nil for none
}

// append appends the request as it goes over the connection.
func (e *endpoint) append(b []byte, r request) []byte {
	b = append(append(append(b, r.method...), ' '), e.path...)
	b = append(append(append(b, " HTTP/1.1\r\n"...), e.fixed...), r.header...)
	if r.body != nil {
		b = append(b, "Content-Type: application/json\r\nContent-Length: "...)
		b = append(strconv.AppendInt(b, int64(len(r.body)), 10), "\r\n"...)
	}
	return append(append(b, "\r\n"...), r.body...)
}

// link is one HTTP/1.1 connection, which carries one exchange at a time. Package net/http's client would cost the generator two more
// goroutines, and their wake-ups, for each exchange; BenchmarkHTTPPaced measures what is left.
type link struct {
	raw  net.Conn // closing it ends whatever waits for the connection
	rw   net.Conn // raw, or TLS over it
	in   *bufio.Reader
	out  []byte    // the last request, kept for its memory
	body []byte    // the last body read, likewise
	idle time.Time // since when
}

func (e *endpoint) dial(ctx context.Context) (*link, error) {
	var d net.Dialer
	raw, err := d.DialContext(ctx, "tcp", e.addr)
	if err != nil {
		return nil, err
	}
	l := &link{raw: raw, rw: raw}
	if e.readRate > 0 { // what the kernel takes on its own would hide the slowness, and less than two reads would make TCP wait for its timers
		_ = raw.(*net.TCPConn).SetReadBuffer(int(min(max(4<<10, e.readRate/10), 4<<20)))
	}
	if e.tls != nil {
		c := tls.Client(raw, e.tls)
		if err := c.HandshakeContext(ctx); err != nil {
			raw.Close()
			return nil, err
		}
		l.rw = c
	}
	l.in = bufio.NewReader(throttled(l.rw, e.readRate))
	return l, nil
}

// exchange sends a request and returns the head of its answer.
func (l *link) exchange(e *endpoint, r request) (*http.Response, error) {
	l.out = e.append(l.out[:0], r)
	if _, err := l.rw.Write(l.out); err != nil {
		return nil, err
	}
	if cap(l.out) > maxKept {
		l.out = nil
	}
	for {
		resp, err := http.ReadResponse(l.in, requestOf[r.method])
		if err != nil || resp.StatusCode >= 200 { // not 100 Continue and the like
			return resp, err
		}
	}
}

// rest reads what is left of an answer and reports whether another exchange may follow.
func (l *link) rest(resp *http.Response) bool {
	if resp.Close {
		return false
	}
	_, err := io.CopyN(io.Discard, resp.Body, maxUnread)
	return err == io.EOF
}

const (
	maxKept   = 1 << 20 // of a buffer's bytes between exchanges
	maxUnread = 64 << 10
)

// requestOf is what http.ReadResponse must know of a request.
var requestOf = map[string]*http.Request{http.MethodPost: {Method: http.MethodPost}, http.MethodDelete: {Method: http.MethodDelete}}

// all reads a body, which is valid until the next exchange.
func (l *link) all(r io.Reader) ([]byte, error) {
	b := l.body[:0]
	for {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if err == io.EOF {
			if l.body = b; cap(b) > maxKept {
				l.body = nil
			}
			return b, nil
		}
		if err != nil {
			return nil, err
		}
		if len(b) > maxLine {
			return nil, fmt.Errorf("the server sent an answer of more than %d MiB", maxLine>>20)
		}
	}
}

// links is a pool of connections to one endpoint: as many as there are exchanges at once. The one used last is used first.
type links struct {
	e *endpoint

	mu     sync.Mutex
	all    map[*link]struct{} // nil once closed
	unused []*link
	wg     sync.WaitGroup // streams whose end is awaited
}

func newLinks(e *endpoint) *links { return &links{e: e, all: map[*link]struct{}{}} }

const (
	checkAfter = 100 * time.Millisecond // idle connections are looked at before they are used
	dropAfter  = 90 * time.Second       // and closed
)

func (p *links) take(ctx context.Context) (*link, error) {
	for {
		l, err := p.lastUsed()
		if err != nil {
			return nil, err
		}
		if l == nil {
			break
		}
		if idle := time.Since(l.idle); idle < checkAfter || idle < dropAfter && alive(l.raw) {
			return l, nil
		}
		p.drop(l)
	}
	l, err := p.e.dial(ctx)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.all == nil {
		l.raw.Close()
		return nil, errClosed
	}
	p.all[l] = struct{}{}
	return l, nil
}

// lastUsed takes an unused connection, nil when there is none.
func (p *links) lastUsed() (*link, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.unused)
	switch {
	case p.all == nil:
		return nil, errClosed
	case n == 0:
		return nil, nil
	}
	l := p.unused[n-1]
	p.unused = p.unused[:n-1]
	return l, nil
}

func (p *links) put(l *link) {
	l.idle = time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.unused = append(p.unused, l)
}

// drop closes a connection. It reports whether the pool was closed before, and the connection with it.
func (p *links) drop(l *link) (closed bool) {
	l.raw.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.all, l)
	return p.all == nil
}

// close cuts every connection, also those in use, and waits until nothing is left of them but exchanges that their callers wait for.
func (p *links) close() {
	p.mu.Lock()
	for l := range p.all {
		l.raw.Close()
	}
	p.all, p.unused = nil, nil
	p.mu.Unlock()
	p.wg.Wait()
}

// do makes one exchange, whose answer read takes as far as it wants. When ctx ends, the connection is cut and ctx's error returned at once.
func (p *links) do(ctx context.Context, r request, read func(*http.Response, *link) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	l, err := p.take(ctx)
	if err != nil {
		return cmp.Or(ctx.Err(), err)
	}
	stop := context.AfterFunc(ctx, func() { l.raw.Close() })
	resp, err := l.exchange(p.e, r)
	if err == nil {
		err = read(resp, l)
	}
	switch {
	case !stop():
		p.drop(l)
		if err != nil {
			return ctx.Err()
		}
	case err != nil:
		if p.drop(l) {
			return errClosed
		}
	case isStream(resp):
		p.finishLater(l, resp)
	case l.rest(resp):
		p.put(l)
	default:
		p.drop(l)
	}
	return err
}

// streamEnd is how long the end of a stream may take after the answer in it. It usually is the next packet.
const streamEnd = time.Second

// finishLater waits for the end of a stream, so that its connection can be used again, while its answer is on its way to the caller.
func (p *links) finishLater(l *link, resp *http.Response) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.all == nil {
		return
	}
	p.wg.Go(func() {
		_ = l.rw.SetReadDeadline(time.Now().Add(streamEnd)) // a closed connection reads nothing
		if !l.rest(resp) || l.rw.SetReadDeadline(time.Time{}) != nil {
			p.drop(l)
			return
		}
		p.put(l)
	})
}

func isStream(resp *http.Response) bool {
	return strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream")
}
