package pool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/profile"
)

// conn is one shared SSH connection. Its group's mutex guards what stands below it.
type conn struct {
	id       int64
	client   *ssh.Client
	wire     *wire
	born     time.Time     // when it was ready
	dialTime time.Duration // how long it took
	ended    chan struct{} // closed when the transport has ended; only for a connection in a group

	leased    int
	held      int           // forwarded connections and listeners; they take no slot
	limit     int           // channels it may carry at once; see limit.go
	rest      time.Duration // for which it carries none once limit is 0
	restUntil time.Time     // while limit is 0
	idleSince time.Time
	expires   time.Time // when it is to take no new work
	old       bool      // that time has come
	dead      bool

	spare      *spare    // nil for none; see spare.go
	preparing  bool      // a spare is being opened
	spareAfter time.Time // none is opened before this

	reads      uint64    // wire.reads when it was looked at last
	quietSince time.Time // since when that has not changed

	opened  atomic.Bool  // a session channel has opened once
	trial   atomic.Bool  // limit is above what is known to be good
	probing atomic.Bool  // a probe is under way
	probed  atomic.Int64 // Unix nanoseconds of the last probe
}

// close ends the connection, and with it what it holds of its jump host's; the monitor then removes it from its group.
func (c *conn) close() { c.client.Close() }

// unused reports whether nothing keeps c from being closed.
func (c *conn) unused() bool { return c.leased == 0 && c.held == 0 }

// dial connects, verifies the host key and authenticates, within DialTimeout and ctx.
func (p *Pool) dial(ctx context.Context, t *profile.Target) (*conn, error) {
	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, p.config().DialTimeout)
	defer cancel()
	c, err := p.connect(ctx, t)
	if err != nil {
		p.count.dialFailures.Add(1)
		return nil, dialError(t.Addr, err)
	}
	now := time.Now()
	c.id, c.born, c.dialTime, c.idleSince, c.quietSince = p.nextID.Add(1), now, now.Sub(start), now, now
	c.expires = now.Add(jittered(p.config().MaxLifetime))
	p.count.dials.Add(1)
	p.count.dialNanos.Add(int64(c.dialTime))
	if heard := p.config().Dialled; heard != nil {
		heard(c.dialTime)
	}
	return c, nil
}

func (p *Pool) connect(ctx context.Context, t *profile.Target) (*conn, error) {
	hop := p.timeHop(t)
	transport, err := p.dialTransport(hop.context(ctx), t)
	if err != nil {
		hop.end(err)
		return nil, err
	}
	wire := newWire(hop.transport(transport))
	client, err := handshake(ctx, wire, t, hop)
	hop.end(err)
	if err != nil {
		return nil, err
	}
	wire.onBroken(func() { _, _, _ = client.SendRequest("keepalive@openssh.com", false, nil) })
	return &conn{client: client, wire: wire, ended: make(chan struct{})}, nil
}

// dialTransport opens the byte stream to t: by Config.Dial, or as a forwarded connection of the jump host, which is pooled itself.
func (p *Pool) dialTransport(ctx context.Context, t *profile.Target) (net.Conn, error) {
	if t.Jump == nil {
		c, err := p.config().Dial(ctx, t)
		if err != nil && t.VPN != "" {
			err = &wayError{dialError(t.Addr, err)}
		}
		return c, err
	}
	host, port, err := splitAddr(t.Addr)
	if err != nil {
		return nil, err
	}
	s, err := p.Dial(ctx, t.Jump, host, port, nil)
	var e *Error
	switch {
	case err == nil:
		return streamConn{s}, nil
	case errors.As(err, &e) && e.Kind == KindRefused && ctx.Err() != nil:
		return nil, &Error{Kind: KindTimeout, Addr: t.Addr, Err: err}
	case errors.As(err, &e) && e.Kind == KindRefused:
		return nil, &Error{Kind: KindConnect, Addr: t.Addr, Err: err}
	}
	return nil, &wayError{err}
}

func splitAddr(addr string) (host string, port int, err error) {
	host, service, err := net.SplitHostPort(addr)
	if err == nil {
		port, err = strconv.Atoi(service)
	}
	return host, port, err
}

// streamConn is a Stream below an SSH connection, which sets no deadlines.
type streamConn struct{ *Stream }

func (streamConn) LocalAddr() net.Addr              { return throughJump{} }
func (streamConn) RemoteAddr() net.Addr             { return throughJump{} }
func (streamConn) SetDeadline(time.Time) error      { return errors.ErrUnsupported }
func (streamConn) SetReadDeadline(time.Time) error  { return errors.ErrUnsupported }
func (streamConn) SetWriteDeadline(time.Time) error { return errors.ErrUnsupported }

// throughJump is the address of either end of a forwarded connection: this end has none, and the jump host keeps the other's to itself.
type throughJump struct{}

func (throughJump) Network() string { return "jump" }
func (throughJump) String() string  { return "through a jump host" }

// jittered spreads d by a tenth either way, so that what began together does not end together.
func jittered(d time.Duration) time.Duration {
	if d < 10 {
		return d
	}
	return d - d/10 + rand.N(d/5)
}

// handshake makes an SSH client of transport, which it closes on failure. ctx bounds it.
func handshake(ctx context.Context, transport net.Conn, t *profile.Target, hop *hopTimer) (*ssh.Client, error) {
	verified := false // the host key; what fails after it is the login
	stop := context.AfterFunc(ctx, func() { transport.Close() })
	cc, chans, reqs, err := ssh.NewClientConn(transport, t.Addr, &ssh.ClientConfig{
		User: t.User,
		Auth: t.Auth,
		HostKeyCallback: hop.verifies(func(hostname string, remote net.Addr, key ssh.PublicKey) error {
			err := t.HostKeyCallback(hostname, remote, key)
			verified = err == nil
			return err
		}),
		HostKeyAlgorithms: t.HostKeyAlgorithms,
		ClientVersion:     "SSH-2.0-OpenAccessMCP",
	})
	if !stop() && err == nil {
		cc.Close()
		err = context.Cause(ctx)
	}
	if err != nil {
		switch {
		case ctx.Err() != nil:
			err = context.Cause(ctx)
		case !verified && brokeOff(err):
			err = &Error{Kind: KindConnect, Addr: t.Addr, Err: fmt.Errorf("%w (%s)", errDropped, trimSSH(err))}
		case verified && !brokeOff(err):
			err = &Error{Kind: KindAuth, Addr: t.Addr, Err: fmt.Errorf("the host refused the credential (%s)", trimSSH(err))}
		}
		return nil, err
	}
	return ssh.NewClient(cc, chans, reqs), nil
}

// brokeOff reports whether err is of the transport rather than of the protocol.
func brokeOff(err error) bool {
	var netErr net.Error
	return errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || errors.As(err, &netErr)
}
