package pool

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
)

// faulty makes h's dials go wrong as the returned value says.
func faulty(h *memHost) *atomic.Int64 {
	var f atomic.Int64
	h.fault = func() dialFault { return dialFault(f.Load()) }
	return &f
}

func TestBreaker(t *testing.T) {
	h := newMemHost(t)
	fault := faulty(h)
	fault.Store(int64(dialFails))
	p := h.pool(t, Config{BreakerFailures: 3, BreakerInterval: time.Second})
	web, other := target("web", "web"), target("other", "other")
	for range 3 {
		_, err := p.Acquire(t.Context(), web)
		wantKind(t, err, KindConnect)
		if !errors.Is(err, errNobody) {
			t.Errorf("not the dialer's error: %v", err)
		}
	}
	dials := h.dials.Load()
	_, err := p.Acquire(t.Context(), web)
	wantKind(t, err, KindConnect)
	var e *Error
	if !errors.As(err, &e) || e.RetryAfter <= 0 || e.RetryAfter > time.Second || !strings.Contains(err.Error(), "nobody listens); the next attempt is made in") {
		t.Errorf("the error does not name the next attempt: %v", err)
	}
	if h.dials.Load() != dials || p.Stats().BreakersOpen != 1 {
		t.Errorf("%d dials while the breaker was open, %+v", h.dials.Load()-dials, p.Stats())
	}

	_, err = p.Acquire(t.Context(), other) // another host has a breaker of its own
	if !errors.Is(err, errNobody) {
		t.Error(err)
	}

	host := hostOf(t, p, "web")
	due := func() bool { host.mu.Lock(); defer host.mu.Unlock(); return !time.Now().Before(host.retryAt) }
	waitUntil(t, due)
	dials = h.dials.Load()
	for range 3 { // one failed probe opens it again
		_, err = p.Acquire(t.Context(), web)
		wantKind(t, err, KindConnect)
	}
	if n := h.dials.Load() - dials; n != 1 {
		t.Errorf("%d probes", n)
	}
	fault.Store(int64(noFault))
	waitUntil(t, due)
	mustAcquire(t, p, web).Release()
	if s := p.Stats(); s.BreakersOpen != 0 {
		t.Errorf("stats %+v", s)
	}
}

func hostOf(t *testing.T, p *Pool, key string) *host {
	t.Helper()
	g, err := p.group(target("", key))
	if err != nil {
		t.Fatal(err)
	}
	return g.host
}

// TestOneProbe has many callers at the moment when the breaker may be tried, while the probe's dial hangs.
func TestOneProbe(t *testing.T) {
	h := newMemHost(t)
	fault := faulty(h)
	fault.Store(int64(dialFails))
	p := h.pool(t, Config{BreakerFailures: 1, BreakerInterval: time.Millisecond, DialTimeout: 200 * time.Millisecond})
	a, b := target("a", "a"), target("b", "b")
	b.Addr = a.Addr // the same host for another user
	_, err := p.Acquire(t.Context(), a)
	wantKind(t, err, KindConnect)
	fault.Store(int64(dialHangs))
	host := hostOf(t, p, "a")
	waitUntil(t, func() bool { host.mu.Lock(); defer host.mu.Unlock(); return time.Now().After(host.retryAt) })
	probe := make(chan error)
	go func() { _, err := p.Acquire(t.Context(), a); probe <- err }()
	waitUntil(t, func() bool { host.mu.Lock(); defer host.mu.Unlock(); return host.probing })
	_, err = p.Acquire(t.Context(), b)
	wantKind(t, err, KindConnect)
	if !strings.Contains(fmt.Sprint(err), "another attempt is under way") {
		t.Error(err)
	}
	wantKind(t, <-probe, KindTimeout)
}

// TestBreakerStaysClosed while a connection is up, and when the host answers but refuses the login.
func TestBreakerStaysClosed(t *testing.T) {
	h := newMemHost(t)
	fault := faulty(h)
	p := h.pool(t, Config{BreakerFailures: 1, BreakerInterval: time.Hour, ChannelsPerConn: 1})
	a, b := target("a", "a"), target("b", "b")
	b.Addr = a.Addr
	held := mustAcquire(t, p, a)
	fault.Store(int64(dialFails))
	for range 3 {
		_, err := p.Acquire(t.Context(), b)
		if !errors.Is(err, errNobody) {
			t.Errorf("got %v", err)
		}
	}
	fault.Store(int64(noFault))
	mustAcquire(t, p, b).Release()
	held.Release()

	host, q, _ := start(t, fakessh.Options{Users: map[string]fakessh.User{"u": {Password: "right"}}}, Config{BreakerFailures: 1, BreakerInterval: time.Hour})
	wrong := targetOf(t, host, func(dir string) { replace(t, dir+"/secrets/fake.json", "right", "wrong") })
	for range 3 {
		_, err := q.Session(t.Context(), wrong)
		wantKind(t, err, KindAuth)
	}
	mustRun(t, q, targetOf(t, host, nil), "echo hi", "hi\n")
}

// TestStartupDrops has callers of many targets at a host that drops connections as sshd does beyond its MaxStartups.
func TestStartupDrops(t *testing.T) {
	host, p, one := start(t, fakessh.Options{Latency: fakessh.Latency{Connect: fakessh.Fixed(5 * time.Millisecond)}}, Config{ChannelsPerConn: 2})
	if err := host.SetFaults(fakessh.Faults{Connect: fakessh.ConnectFaults{MaxStartups: 2}}); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 64 {
		each := *one
		each.Key = fmt.Sprint("key", i%16)
		wg.Go(func() {
			for range 3 {
				if out, err := run(t.Context(), p, &each, "echo hi"); err != nil || out != "hi\n" {
					t.Errorf("got %q, %v", out, err)
				}
			}
		})
	}
	wg.Wait()
	if s := p.Stats(); s.DialFailures == 0 || s.BreakersOpen != 0 || s.Leased != 0 || s.Open > 16*10 {
		t.Errorf("stats %+v", s)
	}
}

// TestHostThatDropsEverything is reported in the end.
func TestHostThatDropsEverything(t *testing.T) {
	h := newMemHost(t)
	faulty(h).Store(int64(dialDrops))
	p := h.pool(t, Config{})
	_, err := p.Acquire(t.Context(), target("web", "web"))
	wantKind(t, err, KindConnect)
	if !errors.Is(err, errDropped) || h.dials.Load() != startupTries {
		t.Errorf("%d dials, %v", h.dials.Load(), err)
	}
}
