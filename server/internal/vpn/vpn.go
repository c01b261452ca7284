// Package vpn brings WireGuard peers up and down and dials through those that are up.
//
// Start with Tunnels.Up: it opens a tunnel (tunnel.go) over a link, which is a network stack in this process (userspace.go) or an
// interface of the kernel (tun_linux.go), and returns once the peer has answered a handshake. Tunnels.Dial then connects to hosts behind
// the peer. The protocol itself is wireguard-go's.
package vpn

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/secret"
)

// DefaultTimeout is how long Up waits for the peer's answer unless told otherwise.
const DefaultTimeout = 10 * time.Second

// Peer is a WireGuard peer and this end of the tunnel to it.
type Peer struct {
	Name         string   // PROFILE/PEER; names the tunnel
	PublicKey    [32]byte // the peer's
	Endpoint     string   // where the peer listens, host:port
	Addresses    []netip.Prefix
	AllowedIPs   []netip.Prefix // networks behind the peer
	DNS          []netip.Addr   // name servers in the tunnel; without any, names are resolved outside
	Keepalive    time.Duration  // in whole seconds; 0 is none
	MTU          int
	TUN          bool         // an interface of the kernel instead of a network stack in this process
	PrivateKey   secret.Value // this end's, in base64
	PresharedKey secret.Value // in base64; empty is none
}

func (p *Peer) equal(o *Peer) bool {
	return p.Name == o.Name && p.PublicKey == o.PublicKey && p.Endpoint == o.Endpoint && slices.Equal(p.Addresses, o.Addresses) &&
		slices.Equal(p.AllowedIPs, o.AllowedIPs) && slices.Equal(p.DNS, o.DNS) && p.Keepalive == o.Keepalive && p.MTU == o.MTU && p.TUN == o.TUN &&
		p.PrivateKey.Reveal() == o.PrivateKey.Reveal() && p.PresharedKey.Reveal() == o.PresharedKey.Reveal()
}

// Kind says what kept a tunnel from coming up or from being used.
type Kind int

// The kinds of Error.
const (
	KindUnreachable Kind = iota // nothing could be sent to the endpoint, or the host is not behind the peer
	KindTimeout                 // the peer did not answer in time, or the caller gave up first
	KindDown                    // the tunnel is not up
	KindUnsupported             // this machine cannot do what the profile asks for
)

// Error says why a tunnel did not come up or could not be used. After a failed Up nothing is left behind.
type Error struct {
	Kind Kind
	Name string // PROFILE/PEER
	Err  error
}

// Error implements error.
func (e *Error) Error() string { return fmt.Sprintf("WireGuard peer %s: %v", e.Name, e.Err) }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Status is the state of a tunnel.
type Status struct {
	Up            bool
	Interface     string         // its name; empty while down
	Addresses     []netip.Prefix // of this end
	LastHandshake time.Time      // zero while down
}

// Tunnels holds the peers that are up. It is safe for concurrent use; make one with New and Close it in the end.
type Tunnels struct {
	timeout time.Duration
	life    time.Duration   // sessionLife, but for tests
	ctx     context.Context // ends at Close
	cancel  context.CancelFunc

	mu    sync.Mutex
	slots map[string]*slot // by peer name; they stay
}

// slot is one peer's place.
type slot struct {
	turn      chan struct{} // holds an element while the peer is toggled
	initiated time.Time     // when the last handshake was initiated; for the one whose turn it is

	mu     sync.Mutex
	tunnel *tunnel // nil is down
}

// New returns an empty set. timeout bounds how long Up waits for a peer; 0 means DefaultTimeout.
func New(timeout time.Duration) *Tunnels {
	if timeout <= 0 {
		timeout = DefaultTimeout
	}
	t := &Tunnels{timeout: timeout, life: sessionLife, slots: map[string]*slot{}}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	return t
}

// Up brings p up and returns once a handshake with it has completed. A peer that is up already stays as it is, but for a session that has
// expired unused, which is renewed; one that is up with other settings is brought down first. Callers for one peer take turns. The error
// is an *Error.
func (t *Tunnels) Up(ctx context.Context, p Peer) (Status, error) {
	ctx, cancel := t.bound(ctx)
	defer cancel()
	s, err := t.take(ctx, p.Name)
	if err != nil {
		return Status{}, err
	}
	defer s.giveUp()
	tun := s.current()
	if tun != nil && (!tun.alive() || !tun.peer.equal(&p)) {
		s.replace(nil).close()
		tun = nil
	}
	if tun != nil {
		if time.Since(tun.lastHandshake()) > t.life {
			err = tun.shakeHands(ctx, time.Now(), &s.initiated)
		}
		return tun.status(), err
	}
	if tun, err = open(ctx, p); err != nil {
		return Status{}, err
	}
	if err := tun.shakeHands(ctx, tun.opened, &s.initiated); err != nil {
		tun.close()
		return Status{}, err
	}
	tun.keepAlive()
	s.replace(tun)
	return tun.status(), nil
}

// Down closes the tunnel of the peer and every connection in it. One that is down already is no error.
func (t *Tunnels) Down(ctx context.Context, name string) (Status, error) {
	ctx, cancel := t.bound(ctx)
	defer cancel()
	s, err := t.take(ctx, name)
	if err != nil {
		return Status{}, err
	}
	defer s.giveUp()
	if tun := s.replace(nil); tun != nil {
		tun.close()
	}
	return Status{}, nil
}

// IsUp says whether the peer is up.
func (t *Tunnels) IsUp(name string) bool { return t.tunnel(name) != nil }

// CountUp says how many peers are up.
func (t *Tunnels) CountUp() (n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range t.slots {
		if s.current() != nil {
			n++
		}
	}
	return n
}

// tunnel returns that of the peer, or nil.
func (t *Tunnels) tunnel(name string) *tunnel {
	t.mu.Lock()
	s := t.slots[name]
	t.mu.Unlock()
	if s == nil {
		return nil
	}
	return s.current()
}

// Dial connects to addr (host:port) behind the peer over TCP. The connection is closed when the tunnel is. The error is an *Error, or
// that of the dial.
func (t *Tunnels) Dial(ctx context.Context, name, addr string) (net.Conn, error) {
	if tun := t.tunnel(name); tun != nil && tun.alive() {
		return tun.dial(ctx, addr)
	}
	return nil, downError(name)
}

// Close brings every peer down and waits. Calls of Up fail from then on.
func (t *Tunnels) Close() {
	t.cancel()
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range t.slots {
		s.turn <- struct{}{}
		if tun := s.replace(nil); tun != nil {
			tun.close()
		}
		s.giveUp()
	}
}

// bound ends ctx after the timeout and at Close.
func (t *Tunnels) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeoutCause(ctx, t.timeout, fmt.Errorf("no answer within %v", t.timeout))
	stop := context.AfterFunc(t.ctx, cancel)
	return ctx, func() {
		stop()
		cancel()
	}
}

// take waits for the peer's turn.
func (t *Tunnels) take(ctx context.Context, name string) (*slot, error) {
	t.mu.Lock()
	s := t.slots[name]
	if s == nil {
		s = &slot{turn: make(chan struct{}, 1)}
		t.slots[name] = s
	}
	t.mu.Unlock()
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, &Error{Kind: KindTimeout, Name: name, Err: fmt.Errorf("another call is toggling it: %w", context.Cause(ctx))}
	}
	if t.ctx.Err() != nil {
		s.giveUp()
		return nil, &Error{Kind: KindDown, Name: name, Err: fmt.Errorf("the server is closing")}
	}
	return s, nil
}

func (s *slot) giveUp() { <-s.turn }

func (s *slot) current() *tunnel {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tunnel
}

// replace puts tun in the place of the tunnel that it returns.
func (s *slot) replace(tun *tunnel) (old *tunnel) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, s.tunnel = s.tunnel, tun
	return old
}
