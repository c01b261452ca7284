package gateway

import (
	"bytes"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// three is a balancer over servers a, b and c.
func three(strategy string) (*balancer, *bytes.Buffer) {
	var log bytes.Buffer
	l := &balancer{log: slog.New(slog.NewTextHandler(&log, nil))}
	l.configure(&Config{Strategy: strategy, EjectAfter: 3, EjectFor: 1, Backends: []Backend{
		{URL: "http://127.0.0.1:1"}, {URL: "http://127.0.0.1:2"}, {URL: "http://127.0.0.1:3"},
	}})
	return l, &log
}

// chosen makes n choices, each left before the next when leave says so, and lists the servers' numbers.
func chosen(l *balancer, n int, leave bool) string {
	var s string
	for range n {
		v := l.pick(nil, false)
		s += v.addr[len(v.addr)-1:]
		if leave {
			v.leave(answered)
		}
	}
	return s
}

func TestRoundRobinTakesTurns(t *testing.T) {
	l, _ := three(RoundRobin)
	if got := chosen(l, 7, false); got != "1231231" {
		t.Errorf("chose %s", got)
	}
	l.probed(l.backends[1], Down, "test")
	if got := chosen(l, 4, false); got != "3131" {
		t.Errorf("with 2 down it chose %s", got)
	}
}

func TestLeastInFlight(t *testing.T) {
	l, _ := three(LeastInFlight)
	if got := chosen(l, 6, true); got != "123123" {
		t.Errorf("with nothing under way, turns should be taken: %s", got)
	}
	held := l.stay(l.backends[0], false)
	if got := chosen(l, 4, true); got != "2323" {
		t.Errorf("with a call at 1 it chose %s", got)
	}
	held.leave(answered)
	l.stay(l.backends[1], true)
	if got := chosen(l, 3, true); !strings.Contains(got, "2") {
		t.Errorf("a stream should not count as load: %s", got)
	}
}

func TestPickLeavesOutWhatWasTried(t *testing.T) {
	l, _ := three(RoundRobin)
	tried := slices.Clone(l.backends[:2])
	if v := l.pick(tried, false); v.backend != l.backends[2] {
		t.Errorf("chose %s", v.url)
	}
	if v := l.pick(l.backends, false); v != nil {
		t.Errorf("chose %s of none", v.url)
	}
}

// TestChoosesTheLeastBad takes servers out one after another.
func TestChoosesTheLeastBad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, log := three(RoundRobin)
		a, b, c := l.backends[0], l.backends[1], l.backends[2]
		l.probed(a, Down, "test")
		for range 3 {
			l.stay(b, false).leave(broken)
		}
		if got := chosen(l, 3, true); got != "333" || !l.ready() {
			t.Errorf("one is ready, but chosen were %s", got)
		}
		l.probed(c, NotReady, "about to end")
		if v := l.pick(nil, false); v.backend != c || !v.degraded || l.ready() {
			t.Errorf("of one that drains, one ejected and one down, chose %s", v.url)
		}
		if v := l.pick([]*backend{c}, false); v.backend != b {
			t.Errorf("of one ejected and one down, chose %s", v.url)
		}
		if v := l.pick([]*backend{b, c}, false); v.backend != a {
			t.Errorf("when only one that is down is left, chose %s", v.url)
		}
		if n := strings.Count(log.String(), "no server is ready"); n != 1 {
			t.Errorf("it was logged %d times that none is ready:\n%s", n, log.String())
		}
		l.probed(c, Ready, "")
		if v := l.pick(nil, false); v.degraded || !strings.Contains(log.String(), "a server is ready again") {
			t.Errorf("it was not logged that one is ready again:\n%s", log.String())
		}
	})
}

func TestEjection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, _ := three(RoundRobin)
		b := l.backends[0]
		visit := func(how verdict) { l.stay(b, false).leave(how) }
		state := func() State { s, _ := b.state(time.Now()); return s }
		visit(broken)
		visit(broken)
		visit(answered)
		visit(broken)
		visit(broken)
		visit(void)
		if state() != Ready {
			t.Fatal("ejected before three failures in a row")
		}
		visit(broken)
		if state() != Ejected {
			t.Fatal("not ejected after three failures in a row")
		}
		for i, pause := range []time.Duration{1, 2, 4, 8, 16, 32, 32} {
			time.Sleep(pause*time.Second - time.Millisecond)
			if _, rank := b.state(time.Now()); rank == 0 {
				t.Fatalf("ejection %d ended early", i+1)
			}
			time.Sleep(time.Millisecond)
			if _, rank := b.state(time.Now()); rank != 0 {
				t.Fatalf("ejection %d did not end after %d s", i+1, pause)
			}
			visit(broken) // the trial
		}
		time.Sleep(32 * time.Second)
		visit(answered)
		if state() != Ready || b.doublings != 0 {
			t.Errorf("after a trial that went well it is %s", state())
		}
	})
}

func TestHalfOpenTakesOneCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, _ := three(RoundRobin)
		for range 3 {
			l.stay(l.backends[0], false).leave(broken)
		}
		time.Sleep(time.Second)
		if got := chosen(l, 6, false); strings.Count(got, "1") != 1 {
			t.Errorf("chose %s", got)
		}
	})
}

func TestProbes(t *testing.T) {
	l, _ := three(RoundRobin)
	b := l.backends[0]
	for i, step := range []struct {
		probe, want State
	}{
		{Ready, Ready}, {"", Ready}, {"", Ready}, {Ready, Ready}, {"", Ready}, {"", Ready}, {"", Down}, {Ready, Ready},
		{NotReady, NotReady}, {"", NotReady}, {"", NotReady}, {"", Down}, {NotReady, NotReady}, {Down, Down}, {"", Down}, {Ready, Ready},
	} {
		l.probed(b, step.probe, "test")
		if s, _ := b.state(time.Now()); s != step.want {
			t.Fatalf("step %d: after %q it is %s, want %s", i, step.probe, s, step.want)
		}
	}
}

func TestServerThatCameBackIsNotJudgedByItsPast(t *testing.T) {
	l, _ := three(RoundRobin)
	b := l.backends[0]
	for range 3 {
		l.stay(b, false).leave(broken)
	}
	l.probed(b, Ready, "")
	if s, _ := b.state(time.Now()); s != Ejected {
		t.Errorf("a probe should not end an ejection, yet it is %s", s)
	}
	l.probed(b, Down, "gone")
	l.probed(b, Ready, "")
	if s, _ := b.state(time.Now()); s != Ready {
		t.Errorf("after it was down and came back, it is %s", s)
	}
}

func TestRefusalTakesAServerOutAtOnce(t *testing.T) {
	l, _ := three(RoundRobin)
	l.stay(l.backends[0], false).leave(refused)
	l.stay(l.backends[1], false).leave(unreached)
	a, _ := l.backends[0].state(time.Now())
	b, _ := l.backends[1].state(time.Now())
	if a != Down || b != Ready {
		t.Errorf("the one that refused is %s, the one that was not reached once is %s", a, b)
	}
}

func TestOwner(t *testing.T) {
	l, _ := three(RoundRobin)
	b := l.backends[1]
	for _, step := range []struct {
		set func()
		ok  bool
	}{
		{func() {}, true},
		{func() { l.probed(b, NotReady, "") }, true},
		{func() { b.drain = true }, true},
		{func() { l.probed(b, Down, "") }, false},
		{func() { l.probed(l.backends[0], Down, ""); l.probed(l.backends[2], Down, "") }, true}, // all are
	} {
		step.set()
		if got, ok := l.owner(b.tag); got != b || ok != step.ok {
			t.Errorf("reachable %v, want %v", ok, step.ok)
		}
	}
	if got, ok := l.owner("nobody"); got != nil || ok {
		t.Errorf("an unknown tag has the owner %v", got)
	}
}

func TestConfigureKeepsWhatItKnows(t *testing.T) {
	l, _ := three(RoundRobin)
	b := l.backends[1]
	l.probed(b, Down, "test")
	added, gone := l.configure(&Config{Strategy: RoundRobin, EjectAfter: 3, EjectFor: 1, Backends: []Backend{
		{URL: "http://127.0.0.1:9"}, {URL: "http://127.0.0.1:2/mcp"}, {URL: "http://127.0.0.1:1", Drain: true},
	}})
	if len(added) != 1 || added[0].addr != "127.0.0.1:9" || len(gone) != 1 || gone[0].addr != "127.0.0.1:3" {
		t.Errorf("added %v, gone %v", urls(added), urls(gone))
	}
	if l.backends[1] != b || b.probe != Down {
		t.Error("a server that stays was made anew")
	}
	if got := chosen(l, 2, true); got != "99" {
		t.Errorf("with one down and one drained it chose %s", got)
	}
}

func TestSessionIDs(t *testing.T) {
	b := newBackend(target{url: "http://127.0.0.1:1/mcp"})
	for _, id := range []string{"mcp-session-1", "a.b.c", "."} {
		if tag, own := untag(b.tagged(id)); tag != b.tag || own != id {
			t.Errorf("%q became tag %q and id %q", id, tag, own)
		}
	}
	for _, id := range []string{"", "mcp-session-1", "short.x"} {
		if tag, own := untag(id); tag != "" || own != id {
			t.Errorf("%q became tag %q and id %q", id, tag, own)
		}
	}
	if b.tag == newBackend(target{url: "http://127.0.0.1:2/mcp"}).tag {
		t.Error("two servers share a tag")
	}
}
