package server

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/policy"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/profile"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/remote"
)

// How long open connections may go on when their tunnel closes.
const (
	tunnelGrace   = 2 * time.Second        // by tunnel_close or at its expiry
	shutdownGrace = 500 * time.Millisecond // with the server
)

// tunnel is one that is open or dead, until it is closed or expires.
type tunnel struct {
	*remote.Tunnel
	id, profileID, owner string
	kind                 remote.TunnelKind
	target               string // host:port, or "" for a dynamic one
	created, expires     time.Time
	expiry               *time.Timer
}

// tunnels are those of one server. The zero value is ready.
type tunnels struct {
	mu     sync.Mutex
	closed bool
	open   map[string]*tunnel // by id
	count  map[string]int     // by profile, those being opened included
	work   sync.WaitGroup     // expiries
}

// reserve counts a tunnel of the profile before it opens; unreserve takes that back.
func (ts *tunnels) reserve(profileID string, limit int) error {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if ts.closed {
		return &callError{CodeConnectionFailed, "the server is closing"}
	}
	if ts.count[profileID] >= limit {
		return &callError{CodeLimitExceeded, fmt.Sprintf(
			"profile %s has %d tunnels, as many as its max_tunnels admits; close one with tunnel_close", profileID, limit)}
	}
	if ts.count == nil {
		ts.open, ts.count = map[string]*tunnel{}, map[string]int{}
	}
	ts.count[profileID]++
	return nil
}

func (ts *tunnels) unreserve(profileID string) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if ts.count[profileID]--; ts.count[profileID] == 0 {
		delete(ts.count, profileID)
	}
}

// add enters an open tunnel that was reserved, and has it end in time. It reports false when the server closed meanwhile.
func (ts *tunnels) add(t *tunnel) bool {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if ts.closed {
		return false
	}
	ts.open[t.id] = t
	t.expiry = time.AfterFunc(time.Until(t.expires), func() { ts.end(t) })
	return true
}

// end closes t and forgets it, unless somebody else has.
func (ts *tunnels) end(t *tunnel) {
	ts.mu.Lock()
	mine := !ts.closed && ts.open[t.id] == t
	if mine {
		delete(ts.open, t.id)
		ts.work.Add(1)
	}
	ts.mu.Unlock()
	if !mine {
		return
	}
	defer ts.work.Done()
	t.expiry.Stop()
	t.Close(tunnelGrace)
	ts.unreserve(t.profileID)
}

func (ts *tunnels) get(id string) *tunnel {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	return ts.open[id]
}

// list returns the tunnels, the oldest first.
func (ts *tunnels) list() []*tunnel {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	list := make([]*tunnel, 0, len(ts.open))
	for _, t := range ts.open {
		list = append(list, t)
	}
	slices.SortFunc(list, func(a, b *tunnel) int {
		return cmp.Or(a.created.Compare(b.created), cmp.Compare(a.id, b.id))
	})
	return list
}

// close ends all tunnels and refuses further ones.
func (ts *tunnels) close() {
	ts.mu.Lock()
	ts.closed = true
	open := ts.open
	ts.open = nil
	ts.mu.Unlock()
	var closing sync.WaitGroup
	for _, t := range open {
		t.expiry.Stop()
		closing.Go(func() { t.Close(shutdownGrace) })
	}
	closing.Wait()
	ts.work.Wait()
}

// newTunnelID returns a name that cannot be guessed.
func newTunnelID() string { return "tun-" + rand.Text()[:16] }

// openTunnel opens what spec describes for the profile of the call, until ttl has passed.
func (c *call) openTunnel(ctx context.Context, spec remote.TunnelSpec, ttl time.Duration) (*tunnel, error) {
	ts, id := &c.s.tunnels, c.profile.ID
	if err := ts.reserve(id, c.policy.TunnelLimit()); err != nil {
		return nil, err
	}
	spec.Resolve = func(ctx context.Context) (*profile.Target, error) { return c.s.profiles.Resolve(ctx, id) }
	spec.Allow = func(host string, port int) error { return c.s.allowStream(id, host, port) }
	opened, info, err := remote.OpenTunnel(ctx, c.s.pool, spec)
	c.timed(info, 0)
	if err != nil {
		ts.unreserve(id)
		return nil, err
	}
	now := time.Now()
	t := &tunnel{
		Tunnel: opened, id: newTunnelID(), profileID: id, owner: c.metadata.Actor, kind: spec.Kind, created: now, expires: now.Add(ttl),
	}
	if spec.TargetHost != "" {
		t.target = net.JoinHostPort(spec.TargetHost, strconv.Itoa(spec.TargetPort))
	}
	if !ts.add(t) {
		t.Close(0)
		ts.unreserve(id)
		return nil, &callError{CodeConnectionFailed, "the server is closing"}
	}
	return t, nil
}

// allowStream asks the profile, as it is now, about one connection of a tunnel that it allowed when that was opened.
func (s *Server) allowStream(profileID, host string, port int) error {
	p, err := s.profiles.Get(profileID)
	if err != nil {
		return err
	}
	rules, err := s.policies.of(p)
	if err != nil {
		return err
	}
	want := policy.Call{Operation: "tunnel.connect", Protocol: "tunnel", Target: net.JoinHostPort(host, strconv.Itoa(port))}
	if d := rules.Decide(want); !d.Allowed {
		return fmt.Errorf("refused by rule %s of profile %s: %s", d.Rule, profileID, d.Reason)
	}
	return nil
}
