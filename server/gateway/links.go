package gateway

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"
)

const (
	dialTimeout = 2 * time.Second
	linkIdle    = 60 * time.Second // less than a server keeps an idle connection, so that it is not closed under a request
	maxUnused   = 256              // connections kept for each server
	maxKept     = 1 << 20          // of a buffer's bytes between exchanges
)

// unsent is the error of a request of which not a byte went to the server: it surely did not start there.
type unsent struct{ error }

func (u unsent) Unwrap() error { return u.error }

// link is one HTTP/1.1 connection to a server, which carries one exchange at a time. Package net/http's client would cost two more
// goroutines and their wake-ups for each exchange, sends some requests a second time on its own, and does not tell whether a request that
// failed had left.
type link struct {
	conn net.Conn
	in   *bufio.Reader
	out  []byte    // the last request, kept for its memory
	idle time.Time // since when
}

// links is a pool of connections to one server: as many as there are exchanges at once. The one used last is used first. It is safe for
// concurrent use.
type links struct {
	addr string

	mu     sync.Mutex
	unused []*link
	closed bool
}

func newLinks(addr string) *links { return &links{addr: addr} }

// send writes a request that fill appends to a buffer, over a new connection where anew is set. Its error is unsent when that is sure. The connection is cut when ctx ends; the
// caller calls stop before it gives the link back, which it may only where stop reports true.
func (p *links) send(ctx context.Context, anew bool, fill func([]byte) []byte) (l *link, stop func() bool, err error) {
	for {
		l, fresh, err := p.take(ctx, anew)
		if err != nil {
			return nil, nil, unsent{err}
		}
		stop := context.AfterFunc(ctx, func() { l.conn.Close() })
		l.out = fill(l.out[:0])
		n, err := l.conn.Write(l.out)
		if cap(l.out) > maxKept {
			l.out = nil
		}
		if err == nil {
			return l, stop, nil
		}
		stop()
		l.conn.Close()
		switch {
		case n > 0:
			return nil, nil, err
		case fresh || ctx.Err() != nil:
			return nil, nil, unsent{err}
		}
	}
}

// take returns a connection that the server had not closed a moment ago, or a new one.
func (p *links) take(ctx context.Context, anew bool) (l *link, fresh bool, err error) {
	for !anew {
		l := p.lastUsed()
		if l == nil {
			break
		}
		if time.Since(l.idle) < linkIdle && alive(l.conn) {
			return l, false, nil
		}
		l.conn.Close()
	}
	d := net.Dialer{Timeout: dialTimeout}
	c, err := d.DialContext(ctx, "tcp", p.addr)
	if err != nil {
		return nil, true, err
	}
	return &link{conn: c, in: bufio.NewReaderSize(c, 8<<10)}, true, nil
}

func (p *links) lastUsed() *link {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.unused)
	if n == 0 {
		return nil
	}
	l := p.unused[n-1]
	p.unused[n-1] = nil
	p.unused = p.unused[:n-1]
	return l
}

// put gives back a connection whose exchange is over.
func (p *links) put(l *link) {
	l.idle = time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || len(p.unused) >= maxUnused {
		l.conn.Close()
		return
	}
	p.unused = append(p.unused, l)
}

// sweep closes what has been unused for too long.
func (p *links) sweep() {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for n < len(p.unused) && time.Since(p.unused[n].idle) >= linkIdle { // the first has waited longest
		p.unused[n].conn.Close()
		n++
	}
	p.unused = append(p.unused[:0:0], p.unused[n:]...)
}

// close closes the unused connections, and those in use once they are given back.
func (p *links) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, l := range p.unused {
		l.conn.Close()
	}
	p.unused = nil
}

// head reads the head of the answer to a request with this method.
func (l *link) head(method string) (*http.Response, error) {
	for {
		resp, err := http.ReadResponse(l.in, &http.Request{Method: method})
		if err != nil || resp.StatusCode >= 200 { // not 100 Continue and the like
			return resp, err
		}
	}
}

// refusedBy reports whether err says that nothing listens, rather than that connecting took too long or the caller gave up.
func refusedBy(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }

// readAll appends what r gives to b, up to max bytes. more reports that there is more.
func readAll(b []byte, r io.Reader, max int) (all []byte, more bool, err error) {
	for {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		switch {
		case err == io.EOF:
			return b, false, nil
		case err != nil:
			return b, false, err
		case len(b) >= max:
			return b, true, nil
		}
	}
}
