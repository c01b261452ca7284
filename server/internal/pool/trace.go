package pool

import (
	"context"
	"net"
	"net/http/httptrace"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/profile"
)

// Step is a part of connecting to a host.
type Step string

// The steps of connecting, in their order.
const (
	StepDNS         Step = "dns"            // looking up the address
	StepTCP         Step = "tcp"            // opening the byte stream, through the jump host or tunnel where there is one
	StepBanner      Step = "banner"         // from then until the host's first byte
	StepKeyExchange Step = "key_exchange"   // from then until the host's key was verified
	StepAuth        Step = "authentication" // from then until the host has admitted the user
)

// Hop is what one attempt to connect to one host took; see Config.Trace. Steps that were not reached, or not needed, took 0.
type Hop struct {
	Target                              *profile.Target
	DNS, TCP, Banner, KeyExchange, Auth time.Duration
	Named                               bool // the address is a name that was looked up here
	Failed                              Step // in which Err came; empty after a login
	Err                                 error
}

// hopTimer times one attempt. A nil one does nothing. The steps follow each other; only look-ups may end on other goroutines.
type hopTimer struct {
	report func(Hop)

	mu     sync.Mutex
	hop    Hop
	step   Step
	mark   time.Time // when step began
	lookup time.Time // when the look-up began
}

func (p *Pool) timeHop(t *profile.Target) *hopTimer {
	report := p.config().Trace
	if report == nil {
		return nil
	}
	return &hopTimer{report: report, hop: Hop{Target: t}, step: StepTCP, mark: time.Now()}
}

// context has net's dialer tell when it looks names up.
func (h *hopTimer) context(ctx context.Context) context.Context {
	if h == nil || h.hop.Target.Jump != nil { // the jump host looks the name up
		return ctx
	}
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		DNSStart: func(httptrace.DNSStartInfo) { h.looksUp() },
		DNSDone:  func(i httptrace.DNSDoneInfo) { h.found(i.Err) },
	})
}

func (h *hopTimer) looksUp() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.hop.Named, h.step, h.lookup = true, StepDNS, time.Now()
}

func (h *hopTimer) found(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.hop.DNS += time.Since(h.lookup)
	if err == nil {
		h.step = StepTCP
	}
}

// next ends the present step and begins another.
func (h *hopTimer) next(step Step) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.advance(step)
}

// advance is next; h.mu is held.
func (h *hopTimer) advance(step Step) {
	now := time.Now()
	took := now.Sub(h.mark)
	switch h.step {
	case StepDNS, StepTCP:
		h.hop.TCP = took - h.hop.DNS
	case StepBanner:
		h.hop.Banner = took
	case StepKeyExchange:
		h.hop.KeyExchange = took
	case StepAuth:
		h.hop.Auth = took
	}
	h.step, h.mark = step, now
}

// transport ends the opening of the byte stream, and has the first byte that comes noted.
func (h *hopTimer) transport(c net.Conn) net.Conn {
	if h == nil {
		return c
	}
	h.next(StepBanner)
	return &firstByte{Conn: c, h: h}
}

// verifies ends the key exchange with the verification of the host's key.
func (h *hopTimer) verifies(check ssh.HostKeyCallback) ssh.HostKeyCallback {
	if h == nil {
		return check
	}
	return func(hostname string, remote net.Addr, key ssh.PublicKey) error {
		err := check(hostname, remote, key)
		if err == nil {
			h.next(StepAuth)
		}
		return err
	}
}

// end reports the attempt.
func (h *hopTimer) end(err error) {
	if h == nil {
		return
	}
	h.mu.Lock()
	failed := h.step
	h.advance("")
	if err != nil {
		h.hop.Failed, h.hop.Err = failed, err
	}
	hop := h.hop
	h.mu.Unlock()
	h.report(hop)
}

// firstByte notes when the host says its first word.
type firstByte struct {
	net.Conn
	h    *hopTimer
	once sync.Once
}

func (f *firstByte) Read(p []byte) (int, error) {
	n, err := f.Conn.Read(p)
	if n > 0 {
		f.once.Do(func() { f.h.next(StepKeyExchange) })
	}
	return n, err
}

// RoundTrip asks the host for a sign of life over a connection that is open or is made for it, and says how long the answer took. The error is an
// *Error or ErrClosed.
func (p *Pool) RoundTrip(ctx context.Context, t *profile.Target) (time.Duration, error) {
	l, err := p.Hold(ctx, t)
	if err != nil {
		return 0, err
	}
	start := time.Now()
	answered := make(chan error, 1)
	go func() {
		defer l.Release()
		_, _, err := l.conn.client.SendRequest("keepalive@openssh.com", true, nil) // any answer will do
		answered <- err
	}()
	select {
	case err := <-answered:
		if err != nil {
			return 0, &Error{Kind: KindConnect, Addr: t.Addr, Err: err}
		}
		return time.Since(start), nil
	case <-ctx.Done():
		return 0, waitError(ctx, t.Addr, "the host does not answer")
	}
}

// Room opens up to n session channels at once on one connection, on which nothing else runs, and closes them again. It returns how many the host
// granted. The error is an *Error or ErrClosed.
func (p *Pool) Room(ctx context.Context, t *profile.Target, n int) (int, error) {
	l, err := p.Hold(ctx, t)
	if err != nil {
		return 0, err
	}
	granted := make(chan int, 1)
	go func() {
		defer l.Release()
		open := 0
		for ; open < n && ctx.Err() == nil; open++ {
			ch, reqs, err := l.conn.client.OpenChannel("session", nil)
			if err != nil {
				break
			}
			go ssh.DiscardRequests(reqs)
			defer ch.Close()
		}
		granted <- open
	}()
	select {
	case open := <-granted:
		return open, nil
	case <-ctx.Done():
		return 0, waitError(ctx, t.Addr, "the host does not answer")
	}
}
