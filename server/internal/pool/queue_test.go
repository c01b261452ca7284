package pool

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/profile"
)

func mustAcquire(t *testing.T, p *Pool, target *profile.Target) *Lease {
	t.Helper()
	l, err := p.Acquire(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// tryAcquire reports whether a lease can be had at once or nearly so.
func tryAcquire(t *testing.T, p *Pool, target *profile.Target) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	l, err := p.Acquire(ctx, target)
	if err == nil {
		l.Release()
	}
	return err == nil
}

// TestProfilesTakeTurns queues five callers of one profile, then two of another that shares the only slot.
func TestProfilesTakeTurns(t *testing.T) {
	h := newMemHost(t)
	p := h.pool(t, Config{MaxConns: 1, ChannelsPerConn: 1})
	a, b := target("a", "shared"), target("b", "shared")
	held := mustAcquire(t, p, a)
	var mu sync.Mutex
	var order strings.Builder
	var wg sync.WaitGroup
	for i, who := range []*profile.Target{a, a, a, a, a, b, b} {
		wg.Go(func() {
			l, err := p.Acquire(t.Context(), who)
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			order.WriteString(who.Profile.ID)
			order.WriteByte(byte('0' + i))
			mu.Unlock()
			l.Release()
		})
		waitUntil(t, func() bool { return p.Stats().Waiting == i+1 })
	}
	held.Release()
	wg.Wait()
	if got := order.String(); got != "a0b5a1b6a2a3a4" {
		t.Errorf("served in the order %s", got)
	}
}

func TestAProfileHasItsShare(t *testing.T) {
	h := newMemHost(t)
	p := h.pool(t, Config{MaxConns: 2, ChannelsPerConn: 4, MaxPerProfile: 3})
	a, b := target("a", "shared"), target("b", "shared")
	var leases []*Lease
	for range 3 {
		leases = append(leases, mustAcquire(t, p, a))
	}
	if tryAcquire(t, p, a) {
		t.Error("a fourth lease")
	}
	fourth := make(chan *Lease)
	go func() { l, _ := p.Acquire(t.Context(), a); fourth <- l }()
	waitUntil(t, func() bool { return p.Stats().Waiting == 1 })
	for range 3 {
		leases = append(leases, mustAcquire(t, p, b)) // they pass by the one that may not
	}
	if n := p.Stats().Open; n != 2 {
		t.Errorf("%d connections for 6 leases", n)
	}
	leases[0].Release()
	(<-fourth).Release()
	for _, l := range leases {
		l.Release()
	}
	if s := p.Stats(); s.Leased != 0 || s.Waiting != 0 {
		t.Errorf("stats %+v", s)
	}
	for range 3 {
		defer mustAcquire(t, p, a).Release()
	}
	if tryAcquire(t, p, a) {
		t.Error("a fourth lease in the second round")
	}
}

func TestAFullQueueRefuses(t *testing.T) {
	h := newMemHost(t)
	p := h.pool(t, Config{MaxConns: 1, ChannelsPerConn: 1, MaxWaiting: 2})
	a, b := target("a", "shared"), target("b", "shared")
	held := mustAcquire(t, p, a)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			l, err := p.Acquire(t.Context(), a)
			if err != nil {
				t.Error(err)
				return
			}
			l.Release()
		})
	}
	waitUntil(t, func() bool { return p.Stats().Waiting == 2 })
	_, err := p.Acquire(t.Context(), a)
	wantKind(t, err, KindLimit)
	var e *Error
	if !errors.As(err, &e) || e.RetryAfter <= 0 || !strings.Contains(err.Error(), "try again in") {
		t.Errorf("no hint when to try again: %v", err)
	}
	wg.Go(func() { // another profile has a queue of its own
		l, err := p.Acquire(t.Context(), b)
		if err != nil {
			t.Error(err)
			return
		}
		l.Release()
	})
	waitUntil(t, func() bool { return p.Stats().Waiting == 3 })
	held.Release()
	wg.Wait()
	if s := p.Stats(); s.Limited != 1 || s.Waiting != 0 || s.Leased != 0 {
		t.Errorf("stats %+v", s)
	}
}

func TestIdentitiesNeverShare(t *testing.T) {
	h := newMemHost(t)
	p := h.pool(t, Config{})
	seen := map[int64]string{}
	for _, key := range []string{"a", "b", "a", "b"} {
		same := target("web", key)
		same.Addr = "web:22"
		l := mustAcquire(t, p, same)
		if other, ok := seen[l.Conn]; ok && other != key {
			t.Errorf("%s and %s share connection %d", key, other, l.Conn)
		}
		seen[l.Conn] = key
		l.Release()
	}
	if len(seen) != 2 {
		t.Errorf("%d connections for two identities", len(seen))
	}
}

// session opens a session on p and returns what ends it.
func session(t *testing.T, p *Pool, target *profile.Target) *Session {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	s, err := p.Session(ctx, target)
	if err != nil {
		t.Fatal(err)
	}
	go ssh.DiscardRequests(s.Requests)
	return s
}

// TestChannelLimitRecovers has a host that admits two channels, and later eight.
func TestChannelLimitRecovers(t *testing.T) {
	h := newMemHost(t)
	h.sessions.Store(2)
	p := h.pool(t, Config{MaxConns: 3, ChannelsPerConn: 8})
	web := target("web", "web")
	work := func(n int) {
		var wg sync.WaitGroup
		for range n {
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				defer cancel()
				s, err := p.Session(ctx, web)
				if err != nil {
					t.Error(err)
					return
				}
				go ssh.DiscardRequests(s.Requests)
				time.Sleep(time.Millisecond)
				s.Close()
			})
		}
		wg.Wait()
	}
	work(60)
	if n := h.mostOpen("web"); n != 3 || h.refused.Load() == 0 {
		t.Errorf("%d connections, %d refusals", n, h.refused.Load())
	}
	g, _ := p.group(web)
	learned := func() int { g.mu.Lock(); defer g.mu.Unlock(); return g.channelLimit }
	if n := learned(); n > 2 {
		t.Errorf("learned a limit of %d, the host's is 2", n)
	}
	h.sessions.Store(0)
	for deadline := time.Now().Add(20 * time.Second); learned() < 8; work(60) {
		if time.Now().After(deadline) {
			t.Fatalf("the limit is still %d", learned())
		}
	}
	if s := p.Stats(); s.Leased != 0 || s.Waiting != 0 {
		t.Errorf("stats %+v", s)
	}
}

// TestRefusalsAreProbedEverMoreRarely keeps callers waiting at a host that never admits more than two channels.
func TestRefusalsAreProbedEverMoreRarely(t *testing.T) {
	h := newMemHost(t)
	h.sessions.Store(2)
	p := h.pool(t, Config{MaxConns: 1, ChannelsPerConn: 8})
	web := target("web", "web")
	a, b := session(t, p, web), session(t, p, web)
	g, _ := p.group(web)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { _, err := p.Session(ctx, web); done <- err }()
	waitUntil(t, func() bool { g.mu.Lock(); defer g.mu.Unlock(); return g.raisePause >= 4*raisePause })
	cancel()
	wantKind(t, <-done, KindTimeout)
	if n := h.refused.Load(); n < 3 || n > 20 {
		t.Errorf("%d refusals", n)
	}
	a.Close()
	b.Close()
	session(t, p, web).Close()
}

// TestHostThatOpensNoChannel is given up soon.
func TestHostThatOpensNoChannel(t *testing.T) {
	h := newMemHost(t)
	h.sessions.Store(-1)
	p := h.pool(t, Config{})
	_, err := p.Session(t.Context(), target("web", "web"))
	wantKind(t, err, KindRefused)
	if n := h.refused.Load(); n != maxRefusals {
		t.Errorf("%d refusals", n)
	}
	if s := p.Stats(); s.Leased != 0 {
		t.Errorf("stats %+v", s)
	}
}
