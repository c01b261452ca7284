package pool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/profile"
)

// conn is one shared SSH connection. Its group's mutex guards leased, held, limit, idleSince and dead.
type conn struct {
	id       int64
	client   *ssh.Client
	wire     *wire
	jump     *Lease        // slot on the jump host's connection that carries this one, or nil
	born     time.Time     // when it was ready
	dialTime time.Duration // how long it took
	ended    chan struct{} // closed when the transport has ended; only for a connection in a group

	leased    int
	held      int // forwarded connections and listeners; they take no slot
	limit     int // channels it may carry at once
	idleSince time.Time
	dead      bool

	probing atomic.Bool  // a probe is under way
	probed  atomic.Int64 // Unix nanoseconds of the last probe
}

// close ends the connection; the monitor then removes it from its group.
func (c *conn) close() {
	c.client.Close()
	if c.jump != nil {
		c.jump.Release()
	}
}

// dial connects, verifies the host key and authenticates, within DialTimeout and ctx.
func (p *Pool) dial(ctx context.Context, t *profile.Target) (*conn, error) {
	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, p.cfg.DialTimeout)
	defer cancel()
	transport, jump, err := p.dialTransport(ctx, t)
	if err == nil {
		wire := newWire(transport)
		var client *ssh.Client
		if client, err = handshake(ctx, wire, t); err == nil {
			wire.onBroken(func() { _, _, _ = client.SendRequest("keepalive@openssh.com", false, nil) })
			now := time.Now()
			p.count.dials.Add(1)
			p.count.dialNanos.Add(int64(now.Sub(start)))
			return &conn{
				id: p.nextID.Add(1), client: client, wire: wire, jump: jump, born: now, dialTime: now.Sub(start), idleSince: now,
				ended: make(chan struct{}),
			}, nil
		}
	}
	if jump != nil {
		jump.Release()
	}
	p.count.dialFailures.Add(1)
	return nil, dialError(t.Addr, err)
}

// dialTransport opens the byte stream to t: by Config.Dial, or as a channel of the jump host's pooled connection.
func (p *Pool) dialTransport(ctx context.Context, t *profile.Target) (net.Conn, *Lease, error) {
	if t.Jump == nil {
		c, err := p.cfg.Dial(ctx, t)
		return c, nil, err
	}
	lease, err := p.Acquire(ctx, t.Jump)
	if err != nil {
		return nil, nil, err
	}
	c, err := lease.conn.client.DialContext(ctx, "tcp", t.Addr)
	if err != nil {
		lease.Release()
		return nil, nil, err
	}
	return c, lease, nil
}

// handshake makes an SSH client of transport, which it closes on failure. ctx bounds it.
func handshake(ctx context.Context, transport net.Conn, t *profile.Target) (*ssh.Client, error) {
	verified := false // the host key; what fails after it is the login
	stop := context.AfterFunc(ctx, func() { transport.Close() })
	cc, chans, reqs, err := ssh.NewClientConn(transport, t.Addr, &ssh.ClientConfig{
		User: t.User,
		Auth: t.Auth,
		HostKeyCallback: func(hostname string, remote net.Addr, key ssh.PublicKey) error {
			err := t.HostKeyCallback(hostname, remote, key)
			verified = err == nil
			return err
		},
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
