package remote

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/pool"
)

// openLocal serves a local or dynamic tunnel.
func (t *Tunnel) openLocal(ctx context.Context) (pool.Info, error) {
	target, err := t.spec.Resolve(ctx)
	if err != nil {
		return pool.Info{}, err
	}
	lease, err := t.pool.Hold(ctx, target)
	if err != nil {
		return pool.Info{}, err
	}
	lease.Release()
	addr := net.JoinHostPort(localHost(t.spec.ListenHost), strconv.Itoa(t.spec.ListenPort))
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return lease.Info, &Error{Kind: Local, Err: fmt.Errorf("this machine does not listen on %s: %w", addr, listenCause(err))}
	}
	bound := l.Addr().(*net.TCPAddr)
	t.host, t.port = bound.IP.String(), bound.Port
	t.bind(func() { l.Close() })
	t.work.Go(func() { t.acceptLocal(l) })
	return lease.Info, nil
}

// listenCause is err without the address, which the message says already.
func listenCause(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

// acceptPause is how long the accept loop waits after a failure such as a lack of descriptors.
const acceptPause = 20 * time.Millisecond

func (t *Tunnel) acceptLocal(l net.Listener) {
	for {
		c, err := l.Accept()
		switch {
		case err == nil:
			near := c.(*net.TCPConn)
			t.take(near, func() { t.serveLocal(near) })
		case errors.Is(err, net.ErrClosed):
			return
		default:
			pause(t.stopping, acceptPause)
		}
	}
}

// serveLocal carries one connection that was accepted here.
func (t *Tunnel) serveLocal(near *net.TCPConn) {
	stop := context.AfterFunc(t.ctx, func() { abort(near) })
	defer stop()
	var far duplex
	if t.spec.Kind == DynamicTunnel {
		far = t.socks(near)
	} else {
		far = t.reach(near)
	}
	if far == nil {
		t.failed.Add(1)
		return
	}
	t.relay(near, far)
}

// reach connects a local tunnel's client to the target. On failure it resets the client and returns nil.
func (t *Tunnel) reach(near *net.TCPConn) duplex {
	host, port := t.spec.TargetHost, t.spec.TargetPort
	err := t.allowed(host, port)
	if err == nil {
		var far *pool.Stream
		if far, err = t.dial(host, port, near.RemoteAddr()); err == nil {
			return far
		}
	}
	abort(near)
	return nil
}

// pause waits for d, or less when ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
