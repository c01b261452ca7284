package fakessh

import (
	"context"
	"crypto/subtle"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gliderlabs/ssh"
	gossh "golang.org/x/crypto/ssh"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh/netem"
)

// conn is one TCP connection.
type conn struct {
	*batchConn
	wire     *netem.Conn  // beneath it
	started  func()       // tells that the client has logged in, or is gone; once
	locked   bool         // no key and no password is accepted
	sessions atomic.Int64 // open session channels
	forwards forwards
	ctx      context.Context
	cancel   context.CancelFunc // by cut, and at the end of the connection
}

// cut ends the connection with a reset.
func (c *conn) cut() {
	c.cancel()
	c.wire.Abort()
}

// SetDeadline keeps the library from setting no deadline before each read and
// write, which costs a lock each time.
func (c *conn) SetDeadline(t time.Time) error {
	if t.IsZero() {
		return nil
	}
	return c.wire.SetDeadline(t)
}

// connKey finds the *conn in the context of a connection.
type connKey struct{}

func bindConn(ctx ssh.Context, c net.Conn) net.Conn {
	ctx.SetValue(connKey{}, c)
	return c
}

// serveConn serves one connection in a goroutine that Close waits for.
func (h *Host) serveConn(raw net.Conn) {
	arrived := time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		raw.Close()
		return
	}
	wire := h.inject.network.Conn(raw)
	c := &conn{batchConn: newBatchConn(wire), wire: wire}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	h.startups.Add(1)
	c.started = sync.OnceFunc(func() { h.startups.Add(-1) })
	h.conns[c] = struct{}{}
	h.stats.connsOpened.Add(1)
	h.wg.Go(func() {
		defer h.dropConn(c)
		if h.welcome(c) && h.inject.connect(c.ctx, arrived) {
			h.server.HandleConn(c)
		}
	})
}

// welcome decides what becomes of a new connection and reports whether it is
// served.
func (h *Host) welcome(c *conn) bool {
	f := h.inject.now.Load()
	chance := f.sources[streamConnect].chance
	refused, mute := chance(f.Connect.Refuse), chance(f.Connect.Mute)
	c.locked = f.sources[streamAuth].chance(f.Auth.Fail)
	switch {
	case refused:
		h.stats.refused.Add(1)
		c.cut()
	case f.Connect.MaxStartups > 0 && h.startups.Load() > int64(f.Connect.MaxStartups):
		h.stats.refused.Add(1)
		io.WriteString(c, "Exceeded MaxStartups\r\n")
	case mute:
		io.Copy(io.Discard, c) // until the client gives up, or the host is closed
	default:
		return true
	}
	return false
}

func (h *Host) dropConn(c *conn) {
	c.cancel()
	c.started()
	c.Close()
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.conns, c)
	h.stats.connsClosed.Add(1)
}

// locked waits as an answer has to and reports whether it is no, whoever asks.
func (h *Host) locked(ctx ssh.Context) bool {
	c := ctx.Value(connKey{}).(*conn)
	h.inject.auth(c.ctx)
	if c.locked && h.opts.Users == nil {
		h.stats.authFailures.Add(1)
	}
	return c.locked
}

// checkPassword admits everyone unless there are Users.
func (h *Host) checkPassword(ctx ssh.Context, password string) bool {
	locked := h.locked(ctx)
	if h.opts.Users == nil {
		return !locked
	}
	want := h.opts.Users[ctx.User()].Password
	ok := !locked && want != "" && subtle.ConstantTimeCompare([]byte(want), []byte(password)) == 1
	if !ok {
		h.stats.authFailures.Add(1)
	}
	return ok
}

// checkKey admits everyone unless there are Users.
func (h *Host) checkKey(ctx ssh.Context, key ssh.PublicKey) bool {
	locked := h.locked(ctx)
	if h.opts.Users == nil {
		return !locked
	}
	user, known := h.opts.Users[ctx.User()]
	ok := !locked && known && (h.profileKey.is(key) ||
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
