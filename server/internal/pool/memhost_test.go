package pool

import (
	"context"
	"crypto/ed25519"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh/netem"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/profile"
)

// memHost is an SSH host at the other end of an in-memory dialer. Its session channels send back what they get. What goes wrong there
// may be changed at any time.
type memHost struct {
	cfg  *ssh.ServerConfig
	work sync.WaitGroup

	sessions atomic.Int64 // at once on a connection; 0 is no bound, -1 none
	refused  atomic.Int64 // session channels
	breaks   atomic.Bool  // a connection on which a channel is asked for ends
	dials    atomic.Int64
	killed   atomic.Int64     // connections, by kill
	asks     atomic.Bool      // asks 40 times on each channel whether the client is alive
	answered atomic.Int64     // such questions
	closed   atomic.Int64     // session channels
	fault    func() dialFault // of each dial; nil is none

	mu    sync.Mutex
	conns map[net.Conn]string   // the host's ends, by the key of their targets
	nears map[net.Conn]net.Conn // the other ends of these
	cut   map[net.Conn]bool     // near ends, by kill
	most  map[string]int        // open at once, by key
}

type dialFault int

const (
	noFault   dialFault = iota
	dialFails           // nobody listens
	dialDrops           // the connection ends before the first word
	dialHangs           // nothing ever comes
)

var errNobody = errors.New("nobody listens")

func newMemHost(t testing.TB) *memHost {
	t.Helper()
	_, key, _ := ed25519.GenerateKey(nil)
	signer, err := ssh.NewSignerFromSigner(key)
	if err != nil {
		t.Fatal(err)
	}
	h := &memHost{cfg: &ssh.ServerConfig{NoClientAuth: true}, conns: map[net.Conn]string{}, nears: map[net.Conn]net.Conn{}, cut: map[net.Conn]bool{}, most: map[string]int{}}
	h.cfg.KeyExchanges = []string{"curve25519-sha256"}
	h.cfg.AddHostKey(signer)
	t.Cleanup(func() { h.killAll(); h.work.Wait() })
	return h
}

// pool makes a pool that reaches every address at h.
func (h *memHost) pool(t testing.TB, cfg Config) *Pool {
	t.Helper()
	cfg.Dial = h.dial
	p := New(cfg)
	t.Cleanup(p.Close)
	return p
}

// target makes a target by hand.
func target(id, key string) *profile.Target {
	return &profile.Target{
		Profile: &profile.Profile{ID: id}, Addr: key + ":22", User: "u", Key: key,
		HostKeyCallback: ssh.InsecureIgnoreHostKey(),
	}
}

func (h *memHost) dial(ctx context.Context, t *profile.Target) (net.Conn, error) {
	h.dials.Add(1)
	f := noFault
	if h.fault != nil {
		f = h.fault()
	}
	if f == dialFails {
		return nil, errNobody
	}
	near, far := netem.Pipe()
	switch f {
	case dialDrops:
		far.Close()
		return near, nil
	case dialHangs:
		context.AfterFunc(ctx, func() { far.Close() })
		return near, nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.conns[far], h.nears[far] = t.Key, near
	open := 0
	for _, key := range h.conns {
		if key == t.Key {
			open++
		}
	}
	h.most[t.Key] = max(h.most[t.Key], open)
	h.work.Go(func() { h.serve(far) })
	return near, nil
}

func (h *memHost) serve(far net.Conn) {
	defer func() {
		far.Close()
		h.mu.Lock()
		delete(h.conns, far)
		delete(h.nears, far)
		h.mu.Unlock()
	}()
	conn, chans, reqs, err := ssh.NewServerConn(far, h.cfg)
	if err != nil {
		return
	}
	defer conn.Close()
	h.work.Go(func() { ssh.DiscardRequests(reqs) })
	var open atomic.Int64
	for nc := range chans {
		if h.breaks.Load() {
			return
		}
		most := h.sessions.Load()
		if n := open.Add(1); nc.ChannelType() != "session" || most != 0 && n > most {
			open.Add(-1)
			h.refused.Add(1)
			_ = nc.Reject(ssh.ConnectionFailed, "open failed")
			continue
		}
		ch, reqs, err := nc.Accept()
		if err != nil {
			return
		}
		h.work.Go(func() {
			defer h.closed.Add(1)
			defer open.Add(-1)
			ssh.DiscardRequests(reqs)
		})
		if h.asks.Load() {
			h.work.Go(func() { h.ask(ch) })
		}
		h.work.Go(func() { _, _ = io.Copy(ch, ch); ch.Close() })
	}
}

// ask asks on a channel, as OpenSSH does with ClientAliveInterval.
func (h *memHost) ask(ch ssh.Channel) {
	for range 40 {
		if _, err := ch.SendRequest("keepalive@openssh.com", true, nil); err != nil {
			return
		}
		h.answered.Add(1)
	}
}

// kill cuts a connection chosen at random.
func (h *memHost) kill(r *rand.Rand) {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := r.IntN(len(h.conns) + 1)
	for c := range h.conns {
		if n--; n < 0 {
			h.killed.Add(1)
			h.cut[h.nears[c]] = true
			c.Close()
			return
		}
	}
}

// hasCut reports whether the connection with that near end was cut by kill.
func (h *memHost) hasCut(near net.Conn) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.cut[near]
}

func (h *memHost) killAll() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for c := range h.conns {
		c.Close()
	}
}

func (h *memHost) open() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.conns)
}

// mostOpen is how many connections of a key there were at once.
func (h *memHost) mostOpen(key string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.most[key]
}
