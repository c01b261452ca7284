package pool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/profile"
)

// Forwarded connections share the connections that are there. They take no slot: OpenSSH's MaxSessions, which slots stand for, does
// not count them.

// ErrBroken is what a Stream's Read and Write return when the SSH connection has broken, so that the end of what arrived is not taken for
// its orderly end.
var ErrBroken = errors.New("the SSH connection broke")

// Stream is a TCP connection at the host's end, carried by a pooled connection, which its user closes. Read returns io.EOF at the
// other side's orderly end, and Write io.EOF after it has closed altogether. One goroutine may read while another writes.
type Stream struct {
	Info
	ch    duplex
	lease *Lease
}

type duplex interface {
	io.ReadWriteCloser
	CloseWrite() error
}

// Read implements io.Reader.
func (s *Stream) Read(p []byte) (int, error) {
	n, err := s.ch.Read(p)
	return n, s.lease.endOf(err)
}

// Write implements io.Writer.
func (s *Stream) Write(p []byte) (int, error) {
	s.lease.conn.wire.room()
	n, err := s.ch.Write(p)
	return n, s.lease.endOf(err)
}

// CloseWrite tells the other side that nothing more comes. It is called by the goroutine that writes.
func (s *Stream) CloseWrite() error { return s.lease.endOf(s.ch.CloseWrite()) }

// Close ends both directions and lets go of the pooled connection. It may be called at any time, and again.
func (s *Stream) Close() error {
	err := s.ch.Close()
	s.lease.Release()
	return err
}

// endOf tells a channel's orderly end from that of its connection.
func (l *Lease) endOf(err error) error {
	if err != nil && l.conn.wire.broken.Load() {
		return ErrBroken
	}
	return err
}

// Hold returns a lease that keeps a connection to t from eviction without taking a slot. It dials where there is none, which also shows
// whether the host can be reached. The error is an *Error or ErrClosed.
func (p *Pool) Hold(ctx context.Context, t *profile.Target) (*Lease, error) {
	if !p.config().Disabled {
		g, err := p.group(t)
		if err != nil {
			return nil, err
		}
		if c := g.holdAny(); c != nil {
			p.count.leases.Add(1)
			p.count.reused.Add(1)
			return &Lease{conn: c, group: g, hold: true, Info: Info{Conn: c.id, Reused: true}}, nil
		}
	}
	l, err := p.Acquire(ctx, t)
	if err != nil || l.group == nil {
		return l, err
	}
	held := l.again()
	l.Release()
	return held, nil
}

// again holds the lease's connection once more. Where pooling is off there is nothing to hold: the connection ends with l.
func (l *Lease) again() *Lease {
	if l.group == nil {
		again := &Lease{conn: l.conn, Info: l.Info}
		again.release.Do(func() {})
		return again
	}
	l.group.mu.Lock()
	defer l.group.mu.Unlock()
	l.conn.held++
	return &Lease{conn: l.conn, group: l.group, hold: true, Info: l.Info}
}

// holdAny holds the connection with the fewest holds, or returns nil where there is none.
func (g *group) holdAny() *conn {
	g.mu.Lock()
	defer g.mu.Unlock()
	var best *conn
	for _, c := range g.conns {
		if !c.wire.broken.Load() && (best == nil || !c.old && best.old || c.old == best.old && c.held < best.held) {
			best = c
		}
	}
	if best != nil {
		best.held++
	}
	return best
}

func (g *group) unhold(c *conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	c.held--
	c.idleSince = time.Now()
	g.closeOld(c)
	g.closeSurplus(c)
	g.serve()
}

// Dial has t connect to host and port, which t resolves; from is the address of whom the connection is for. A connection that broke
// before t answered is replaced once. The error is an *Error, of KindRefused when t did not reach the address (an *ssh.OpenChannelError
// or context.DeadlineExceeded is behind it), or ErrClosed.
func (p *Pool) Dial(ctx context.Context, t *profile.Target, host string, port int, from net.Addr) (*Stream, error) {
	addr := net.JoinHostPort(host, strconv.Itoa(port))
	for broken := 1; ; broken++ {
		lease, err := p.Hold(ctx, t)
		if err != nil {
			return nil, err
		}
		start := time.Now()
		ch, reqs, err := lease.open(ctx, "direct-tcpip", directOpen(host, port, from))
		var refused *ssh.OpenChannelError
		switch {
		case err == nil:
			go ssh.DiscardRequests(reqs)
			lease.Channel = time.Since(start)
			return &Stream{Info: lease.Info, ch: ch, lease: lease}, nil
		case errors.As(err, &refused):
			lease.Release()
			return nil, &Error{Kind: KindRefused, Addr: t.Addr, Err: fmt.Errorf("the host did not connect to %s: %w", addr, refused)}
		case errors.Is(err, errGaveUp):
			p.probe(lease.conn, time.Time{})
			return nil, &Error{Kind: KindRefused, Addr: t.Addr, Err: fmt.Errorf("the host did not connect to %s in time: %w", addr, context.Cause(ctx))}
		}
		lease.drop()
		if broken == maxBroken {
			return nil, &Error{Kind: KindConnect, Addr: t.Addr, Err: fmt.Errorf("the connection broke before the host connected to %s: %w", addr, err)}
		}
	}
}

// directOpen is the payload of a direct-tcpip channel (RFC 4254, section 7.2).
func directOpen(host string, port int, from net.Addr) []byte {
	open := struct {
		Host       string
		Port       uint32
		OriginHost string
		OriginPort uint32
	}{host, uint32(port), "127.0.0.1", 0}
	if tcp, ok := from.(*net.TCPAddr); ok {
		open.OriginHost, open.OriginPort = tcp.IP.String(), uint32(tcp.Port)
	}
	return ssh.Marshal(open)
}

// Listener is an address on which the host listens for us. Its user accepts until Accept fails, and calls Close.
type Listener struct {
	Info
	Port  int // the host's choice, where 0 was asked for
	l     net.Listener
	pool  *Pool
	lease *Lease

	mu    sync.Mutex
	check *time.Timer // nil once closed
}

// Listen has t listen on host and port (0 for one of its choice). The error is an *Error, of KindRefused when t would not, or ErrClosed.
// A connection that carries listeners is asked from time to time whether it is alive, and closed when it is not.
func (p *Pool) Listen(ctx context.Context, t *profile.Target, host string, port int) (*Listener, error) {
	addr := net.JoinHostPort(host, strconv.Itoa(port))
	lease, err := p.Hold(ctx, t)
	if err != nil {
		return nil, err
	}
	l, err := lease.listen(ctx, addr)
	switch {
	case err == nil:
	case errors.Is(err, errGaveUp):
		p.probe(lease.conn, time.Time{})
		return nil, waitError(ctx, t.Addr, "the host did not say in time whether it listens on "+addr)
	case errors.Is(err, errEnded), brokeOff(err), lease.conn.wire.broken.Load():
		lease.drop()
		return nil, &Error{Kind: KindConnect, Addr: t.Addr, Err: fmt.Errorf("the connection broke before the host listened on %s: %w", addr, err)}
	default:
		lease.Release()
		return nil, &Error{Kind: KindRefused, Addr: t.Addr, Err: fmt.Errorf("the host does not listen on %s: the port is taken, or forbidden there", addr)}
	}
	ln := &Listener{Info: lease.Info, Port: l.Addr().(*net.TCPAddr).Port, l: l, pool: p, lease: lease}
	ln.mu.Lock()
	defer ln.mu.Unlock()
	ln.check = time.AfterFunc(p.config().KeepaliveInterval, ln.recheck)
	return ln, nil
}

// listen asks the host to listen. When ctx ends first, it returns errGaveUp, and the listener is closed and the hold released as soon as the host answers.
func (l *Lease) listen(ctx context.Context, addr string) (net.Listener, error) {
	type listening struct {
		l   net.Listener
		err error
	}
	done := make(chan listening, 1)
	go func() {
		ln, err := l.conn.client.Listen("tcp", addr)
		done <- listening{ln, err}
	}()
	select {
	case r := <-done:
		return r.l, r.err
	case <-l.conn.ended:
		return nil, errEnded
	case <-ctx.Done():
	}
	go func() {
		if r := <-done; r.err == nil {
			r.l.Close()
		}
		l.Release()
	}()
	return nil, errGaveUp
}

// Accept waits for a connection. It fails once the listener was closed or its connection has ended.
func (l *Listener) Accept() (*Stream, error) {
	c, err := l.l.Accept()
	for err != nil && !errors.Is(err, io.EOF) { // that one could not be accepted; io.EOF follows the last
		c, err = l.l.Accept()
	}
	if err != nil {
		return nil, l.lease.endOf(err)
	}
	ch, ok := c.(duplex)
	if !ok {
		c.Close()
		return nil, fmt.Errorf("a forwarded %T cannot be half closed", c)
	}
	return &Stream{Info: l.Info, ch: ch, lease: l.lease.again()}, nil
}

// closeWait bounds how long Close waits for the host to confirm.
const closeWait = time.Second

// Close has the host stop listening; streams accepted before go on, unless pooling is off. Accept must be called until it fails, or the SSH connection stalls.
// Further calls do nothing.
func (l *Listener) Close() {
	l.mu.Lock()
	check := l.check
	l.check = nil
	l.mu.Unlock()
	if check == nil {
		return
	}
	check.Stop()
	done := make(chan struct{})
	go func() { defer close(done); l.l.Close() }()
	wait := time.NewTimer(closeWait)
	defer wait.Stop()
	select {
	case <-done:
	case <-wait.C:
		l.pool.probe(l.lease.conn, time.Time{})
	}
	l.lease.Release()
}

// recheck probes the connection unless another listener had it probed a moment ago.
func (l *Listener) recheck() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.check == nil {
		return
	}
	every := l.pool.config().KeepaliveInterval
	l.pool.probe(l.lease.conn, time.Now().Add(-every/2))
	l.check.Reset(every)
}
