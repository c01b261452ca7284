package fakessh

import (
	"context"
	"crypto/subtle"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gliderlabs/ssh"
	gossh "golang.org/x/crypto/ssh"
)

// conn is one TCP connection.
type conn struct {
	*batchConn
	raw      net.Conn
	sessions atomic.Int64 // open session channels
	forwards forwards
	ctx      context.Context
	cancel   context.CancelFunc // by cut, and at the end of the connection
}

// cut ends the connection with a reset.
func (c *conn) cut() {
	c.cancel()
	if tcp, ok := c.raw.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	c.raw.Close()
}

// SetDeadline keeps the library from setting no deadline before each read and
// write, which costs a lock each time.
func (c *conn) SetDeadline(t time.Time) error {
	if t.IsZero() {
		return nil
	}
	return c.raw.SetDeadline(t)
}

// connKey finds the *conn in the context of a connection.
type connKey struct{}

func bindConn(ctx ssh.Context, c net.Conn) net.Conn {
	ctx.SetValue(connKey{}, c)
	return c
}

// serveConn serves one connection in a goroutine that Close waits for.
func (h *Host) serveConn(raw net.Conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		raw.Close()
		return
	}
	c := &conn{batchConn: newBatchConn(raw), raw: raw}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	h.conns[c] = struct{}{}
	h.stats.connsOpened.Add(1)
	h.wg.Go(func() {
		defer h.dropConn(c)
		h.delays.wait(c.ctx, h.delays.connect)
		h.server.HandleConn(c)
	})
}

func (h *Host) dropConn(c *conn) {
	c.cancel()
	c.Close()
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.conns, c)
	h.stats.connsClosed.Add(1)
}

// checkPassword admits everyone unless there are Users.
func (h *Host) checkPassword(ctx ssh.Context, password string) bool {
	if h.opts.Users == nil {
		return true
	}
	want := h.opts.Users[ctx.User()].Password
	ok := want != "" && subtle.ConstantTimeCompare([]byte(want), []byte(password)) == 1
	if !ok {
		h.stats.authFailures.Add(1)
	}
	return ok
}

// checkKey admits everyone unless there are Users.
func (h *Host) checkKey(ctx ssh.Context, key ssh.PublicKey) bool {
	if h.opts.Users == nil {
		return true
	}
	user, known := h.opts.Users[ctx.User()]
	ok := known && (h.profileKey.is(key) ||
		slices.ContainsFunc(user.AuthorizedKeys, func(k gossh.PublicKey) bool { return ssh.KeysEqual(k, key) }))
	if !ok {
		h.stats.authFailures.Add(1)
	}
	return ok
}

// blocked names what Close waited for in vain.
func (h *Host) blocked() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	var names []string
	for s := range h.sessions {
		names = append(names, fmt.Sprintf("%q of %s", s.what(), s.conn.RemoteAddr()))
	}
	slices.Sort(names)
	return fmt.Errorf("fakessh: close: after %v still running: %d connections, %d sessions (%s)",
		h.grace, len(h.conns), len(names), strings.Join(names, ", "))
}
