package pool

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
	"github.com/openaccess-mcp/openaccess-mcp/fakessh/netem"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/profile"
)

// TestOldConnectionsEndUnused wants a connection past its lifetime to take nothing new where there is another way, and to be closed by the
// last who leaves it, not before.
func TestOldConnectionsEndUnused(t *testing.T) {
	h := newMemHost(t)
	p := h.pool(t, Config{MaxConns: 2})
	web := target("web", "web")
	held, stream := session(t, p, web), mustHold(t, p, web)
	g, _ := p.group(web)
	g.look(time.Now().Add(50 * time.Minute))
	if l := mustAcquire(t, p, web); l.Conn != held.Conn {
		t.Error("the connection was given up before its time")
	} else {
		l.Release()
	}
	g.look(time.Now().Add(70 * time.Minute))
	l := mustAcquire(t, p, web)
	if l.Conn == held.Conn {
		t.Error("an old connection got another lease")
	}
	l.Release()
	if _, err := held.Write([]byte("ping")); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 4)
	if _, err := held.Read(answer); err != nil || string(answer) != "ping" {
		t.Errorf("a leased connection ended: %q, %v", answer, err)
	}
	held.Close()
	if n := h.open(); n != 2 {
		t.Errorf("%d connections while the old one is held", n)
	}
	stream.Release()
	waitUntil(t, func() bool { return h.open() == 1 })
	if s := p.Stats(); s.Expired != 1 || s.Open != 1 {
		t.Errorf("stats %+v", s)
	}

	p.Reconfigure(Config{Dial: h.dial, MaxConns: 1}) // where there can be no other, an old one serves on
	first := mustAcquire(t, p, web)
	g.look(time.Now().Add(140 * time.Minute))
	second := mustAcquire(t, p, web)
	if first.Conn != l.Conn || second.Conn != l.Conn {
		t.Error("there is more than one connection")
	}
	first.Release()
	second.Release()
	waitUntil(t, func() bool { return h.open() == 0 })
}

func mustHold(t *testing.T, p *Pool, target *profile.Target) *Lease {
	t.Helper()
	l, err := p.Hold(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestLifetimeIsSpread(t *testing.T) {
	seen := map[time.Duration]bool{}
	for range 100 {
		d := jittered(time.Hour)
		if d < 54*time.Minute || d > 66*time.Minute {
			t.Fatal(d)
		}
		seen[d] = true
	}
	if len(seen) < 50 {
		t.Errorf("%d different lifetimes", len(seen))
	}
}

// TestKeepalive stops an idle connection's network, without an end that could be seen.
func TestKeepalive(t *testing.T) {
	host, p, target := start(t, fakessh.Options{}, Config{KeepaliveInterval: 50 * time.Millisecond, KeepaliveTimeout: 500 * time.Millisecond})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); p.Run(ctx) }()
	defer func() { cancel(); <-done }()
	mustRun(t, p, target, "echo hi", "hi\n")
	time.Sleep(400 * time.Millisecond) // it answers, so it stays
	if s := p.Stats(); s.Open != 1 || s.Silent != 0 {
		t.Fatalf("stats %+v", s)
	}
	if err := host.SetFaults(fakessh.Faults{Network: netem.Shape{Stall: netem.Stall{For: time.Hour}}}); err != nil {
		t.Fatal(err)
	}
	waitUntil(t, func() bool { s := p.Stats(); return s.Open == 0 && s.Silent == 1 })
	if err := host.SetFaults(fakessh.Faults{}); err != nil {
		t.Fatal(err)
	}
	mustRun(t, p, target, "echo again", "again\n")
}

// TestBusyConnectionIsNotSilent keeps back the answer to a probe while other things arrive.
func TestBusyConnectionIsNotSilent(t *testing.T) {
	h := newMemHost(t)
	p := h.pool(t, Config{KeepaliveTimeout: 300 * time.Millisecond})
	web := target("web", "web")
	s := session(t, p, web)
	never := make(chan struct{})
	waited := make(chan struct{})
	go func() { defer close(waited); p.await(s.lease.conn, never) }()
	for range 70 {
		time.Sleep(10 * time.Millisecond)
		if _, err := s.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Read(make([]byte, 1)); err != nil {
			t.Fatalf("the connection was ended: %v", err)
		}
	}
	<-waited // now that nothing comes any more
	if n := p.Stats().Silent; n != 1 {
		t.Errorf("%d silent connections", n)
	}
	s.Close()
}

func TestWarm(t *testing.T) {
	h := newMemHost(t)
	p := h.pool(t, Config{})
	web := target("web", "web")
	for range 2 {
		if err := p.Warm(t.Context(), web); err != nil {
			t.Fatal(err)
		}
	}
	l := mustAcquire(t, p, web)
	defer l.Release()
	if s := p.Stats(); !l.Reused || s.Dials != 1 || s.Held != 0 {
		t.Errorf("%+v, stats %+v", l.Info, s)
	}
	faulty(h).Store(int64(dialFails))
	if err := p.Warm(t.Context(), target("down", "down")); !errors.Is(err, errNobody) {
		t.Error(err)
	}
}

func TestReconfigureTakesEffect(t *testing.T) {
	h := newMemHost(t)
	p := h.pool(t, Config{MaxConns: 1, ChannelsPerConn: 1})
	web := target("web", "web")
	a := mustAcquire(t, p, web)
	if tryAcquire(t, p, web) {
		t.Error("two leases of one slot")
	}
	p.Reconfigure(Config{Dial: h.dial, MaxConns: 2, ChannelsPerConn: 1})
	b := mustAcquire(t, p, web)
	a.Release()
	b.Release()
	if n := h.mostOpen("web"); n != 2 {
		t.Errorf("%d connections", n)
	}
}

// TestLowerBoundsTakeConnections lowers the bound, and switches pooling off, while connections are leased and held: none of these may
// end under its user, and what is too much goes as soon as it is free.
func TestLowerBoundsTakeConnections(t *testing.T) {
	h := newMemHost(t)
	p := h.pool(t, Config{MaxConns: 3, ChannelsPerConn: 1})
	web := target("web", "web")
	var leases []*Lease
	for range 3 {
		leases = append(leases, mustAcquire(t, p, web))
	}
	hold := mustHold(t, p, web)
	p.Reconfigure(Config{Dial: h.dial, MaxConns: 1, ChannelsPerConn: 1})
	if n := h.open(); n != 3 {
		t.Fatalf("%d connections, 3 are in use", n)
	}
	for _, l := range leases {
		l.Release()
	}
	waitUntil(t, func() bool { return h.open() == 1 })
	if s := p.Stats(); s.Open != 1 || s.Held != 1 || hold.conn.dead {
		t.Errorf("stats %+v", s)
	}
	p.Reconfigure(Config{Dial: h.dial, Disabled: true})
	own := mustAcquire(t, p, web)
	if own.Conn == hold.Conn {
		t.Error("pooling is off, and a connection is shared")
	}
	hold.Release()
	own.Release()
	waitUntil(t, func() bool { return h.open() == 0 })
}

// TestLeastLoadedFirst wants leases to be spread evenly over the connections that are there.
func TestLeastLoadedFirst(t *testing.T) {
	h := newMemHost(t)
	p := h.pool(t, Config{MaxConns: 3, ChannelsPerConn: 4})
	web := target("web", "web")
	var leases []*Lease
	for range 12 {
		leases = append(leases, mustAcquire(t, p, web))
	}
	for _, l := range leases {
		l.Release()
	}
	count := map[int64]int{}
	for range 6 {
		l := mustAcquire(t, p, web)
		defer l.Release()
		count[l.Conn]++
	}
	if len(count) != 3 {
		t.Errorf("leases by connection: %v", count)
	}
	for id, n := range count {
		if n != 2 {
			t.Errorf("connection %d has %d of 6 leases", id, n)
		}
	}
}

// TestWedgedSFTPSession leaves the others on its connection alone.
func TestWedgedSFTPSession(t *testing.T) {
	host, p, target := start(t, fakessh.Options{}, Config{})
	s, err := p.SFTP(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	if err := host.SetFaults(fakessh.Faults{SFTP: fakessh.SFTPFaults{Delay: netem.Fixed(time.Hour)}}); err != nil {
		t.Fatal(err)
	}
	hung := make(chan error)
	go func() { _, err := s.Stat("/"); hung <- err }()
	mustRun(t, p, target, "echo beside", "beside\n")
	s.Interrupt()
	if err := <-hung; err == nil {
		t.Error("the request succeeded")
	}
	s.Discard()
	mustRun(t, p, target, "echo after", "after\n")
	if err := host.SetFaults(fakessh.Faults{}); err != nil {
		t.Fatal(err)
	}
	again, err := p.SFTP(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := again.Stat("/"); err != nil {
		t.Error(err)
	}
	again.Release()
	if s := p.Stats(); s.Dials != 1 || s.SFTPSessions != 1 {
		t.Errorf("stats %+v", s)
	}
}

// chain starts n hosts, each the jump of the next, and returns the targets in that order.
func chain(t *testing.T, n int) (hosts []*fakessh.Host, targets []*profile.Target) {
	t.Helper()
	for i := range n {
		host := fakessh.Start(fakessh.Options{})
		t.Cleanup(func() {
			if err := host.Close(); err != nil {
				t.Error(err)
			}
		})
		at := *targetOf(t, host, nil)
		if i > 0 {
			at.Jump = targets[i-1]
			at.Key += " through " + at.Jump.Key
		}
		hosts, targets = append(hosts, host), append(targets, &at)
	}
	return hosts, targets
}

// TestJumpsTakeNoSlot reaches a host over three others, each of which has a single slot that is taken.
func TestJumpsTakeNoSlot(t *testing.T) {
	hosts, targets := chain(t, 4)
	p := New(Config{MaxConns: 1, ChannelsPerConn: 1})
	t.Cleanup(p.Close)
	for _, jump := range targets[:3] {
		defer mustAcquire(t, p, jump).Release()
	}
	for range 3 {
		mustRun(t, p, targets[3], "echo far", "far\n")
	}
	for i, h := range hosts {
		if n := h.Stats().Connections; n != 1 {
			t.Errorf("host %d has seen %d connections", i, n)
		}
	}
	p.evictIdle(time.Now().Add(time.Hour))
	waitUntil(t, func() bool { s := p.Stats(); return s.Open == 3 && s.Held == 2 })
}

func TestJumpIsReplaced(t *testing.T) {
	hosts, targets := chain(t, 3)
	p := New(Config{})
	t.Cleanup(p.Close)
	mustRun(t, p, targets[2], "echo hi", "hi\n")
	hosts[1].CloseClientConnections()
	waitUntil(t, func() bool { return p.Stats().Open == 1 })
	mustRun(t, p, targets[2], "echo hi", "hi\n")
	if a, b := hosts[0].Stats().Connections, hosts[1].Stats().Connections; a != 1 || b != 2 {
		t.Errorf("%d connections to the first jump, %d to the second", a, b)
	}
}

// TestJumpErrorsNameTheHost that failed, and count for its breaker alone.
func TestJumpErrorsNameTheHost(t *testing.T) {
	hosts, targets := chain(t, 2)
	p := New(Config{BreakerFailures: 1, BreakerInterval: time.Hour})
	t.Cleanup(p.Close)
	hosts[1].Close()
	_, err := p.Session(t.Context(), targets[1])
	wantKind(t, err, KindConnect)
	var e *Error
	if !errors.As(err, &e) || e.Addr != targets[1].Addr {
		t.Errorf("got %v", err)
	}
	mustRun(t, p, targets[0], "echo hi", "hi\n")

	hosts, targets = chain(t, 2)
	hosts[0].Close()
	for range 2 {
		_, err = p.Session(t.Context(), targets[1])
		wantKind(t, err, KindConnect)
		if !errors.As(err, &e) || e.Addr != targets[0].Addr {
			t.Errorf("got %v", err)
		}
	}
	if n := p.Stats().BreakersOpen; n != 2 { // that of the host before, and of the jump
		t.Errorf("%d breakers are open", n)
	}
}

func TestJumpsInACircle(t *testing.T) {
	for _, disabled := range []bool{false, true} {
		p := New(Config{Disabled: disabled})
		t.Cleanup(p.Close)
		a, b, c := target("a", "a"), target("b", "b"), target("c", "c")
		a.Jump, b.Jump, c.Jump = b, c, a
		_, err := p.Session(t.Context(), a)
		wantKind(t, err, KindConnect)
		if got := fmt.Sprint(err); got != "a:22: the jump hosts lead in a circle: a:22 comes again" {
			t.Error(got)
		}
		if _, err := p.SFTP(t.Context(), a); err == nil {
			t.Error("SFTP over a circle")
		}
		if _, err := p.Hold(t.Context(), a); err == nil {
			t.Error("held a circle")
		}
	}
}
