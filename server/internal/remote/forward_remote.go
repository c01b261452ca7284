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

// How a remote tunnel has its host listen again after their connection has ended: at once, then after pauses that double up to
// relistenMax. After relistenFor in vain the tunnel is dead; the host may hold the port that long for a connection it believes alive.
const (
	relistenFirst   = 100 * time.Millisecond
	relistenMax     = 5 * time.Second
	relistenFor     = 2 * time.Minute
	relistenTimeout = 15 * time.Second // of one attempt
)

// openRemote has the host listen and serves what it accepts.
func (t *Tunnel) openRemote(ctx context.Context) (pool.Info, error) {
	l, err := t.listen(ctx)
	if err != nil {
		return pool.Info{}, err
	}
	t.port = l.Port
	t.bind(l.Close)
	t.work.Go(func() { t.serveRemote(l) })
	return l.Info, nil
}

func (t *Tunnel) listen(ctx context.Context) (*pool.Listener, error) {
	target, err := t.spec.Resolve(ctx)
	if err != nil {
		return nil, err
	}
	return t.pool.Listen(ctx, target, t.host, t.port)
}

// serveRemote accepts until the tunnel closes, with one listener after the other.
func (t *Tunnel) serveRemote(l *pool.Listener) {
	for l != nil {
		err := t.acceptRemote(l)
		if t.stopping.Err() != nil {
			return // Close closes the listener
		}
		t.setState(TunnelReconnecting, fmt.Sprintf("the host no longer listens: %v", err))
		l.Close()
		l = t.relisten()
	}
}

func (t *Tunnel) acceptRemote(l *pool.Listener) error {
	for {
		s, err := l.Accept()
		if err != nil {
			return err
		}
		t.take(s, func() { t.serveAccepted(s) })
	}
}

// relisten has the host listen on the same port again. It returns nil when the tunnel is closing or dead.
func (t *Tunnel) relisten() *pool.Listener {
	wait := relistenFirst
	giveUp := time.Now().Add(relistenFor)
	for {
		ctx, cancel := context.WithTimeout(t.stopping, relistenTimeout)
		l, err := t.listen(ctx)
		cancel()
		switch {
		case err == nil && t.bind(l.Close):
			t.setState(TunnelOpen, "")
			return l
		case err == nil:
			t.work.Go(func() { drain(l) })
			l.Close()
			return nil
		case t.stopping.Err() != nil:
			return nil
		case hopeless(err) || time.Now().After(giveUp):
			t.setState(TunnelDead, fmt.Sprintf("the host was not made to listen again: %v", err))
			return nil
		}
		t.setState(TunnelReconnecting, err.Error())
		pause(t.stopping, wait)
		wait = min(2*wait, relistenMax)
	}
}

// drain refuses what l still accepts, until it is closed.
func drain(l *pool.Listener) {
	for {
		s, err := l.Accept()
		if err != nil {
			return
		}
		s.Close()
	}
}

// hopeless reports whether trying again as before cannot help.
func hopeless(err error) bool {
	var e *pool.Error
	if errors.As(err, &e) {
		return e.Kind == pool.KindAuth || e.Kind == pool.KindHostKey
	}
	return true // the pool is closed, or the profile or its credential is gone
}

// serveAccepted carries one connection that the host accepted to the target, as this machine reaches it.
func (t *Tunnel) serveAccepted(near *pool.Stream) {
	far, err := t.reachLocal()
	if err != nil {
		t.failed.Add(1)
		near.Close()
		return
	}
	t.relay(near, far)
}

func (t *Tunnel) reachLocal() (duplex, error) {
	host, port := t.spec.TargetHost, t.spec.TargetPort
	if err := t.allowed(host, port); err != nil {
		return nil, err
	}
	d := net.Dialer{Timeout: connectTimeout}
	c, err := d.DialContext(t.ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}
