package loadgen

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

func TestLiveFiguresAreOfTheLastSeconds(t *testing.T) {
	var c tally
	at := func(ms int) time.Duration { return time.Duration(ms) * time.Millisecond }
	for ms := 0; ms < 10_000; ms += 10 { // 100/s for 10 s, slow at first
		latency := 400 * time.Millisecond
		if ms >= 4000 {
			latency = 20 * time.Millisecond
		}
		c.begin(at(ms))
		c.succeed(at(ms), latency)
		c.end(at(ms), true)
	}
	live := c.live(at(10_000) - 1)
	if live.P50 < 15*time.Millisecond || live.P99 > 25*time.Millisecond {
		t.Errorf("p50 %v, p99 %v: the slow start is still in", live.P50, live.P99)
	}
	if live.Rate < 99 || live.Rate > 101 || live.Offered < 99 || live.Offered > 101 || live.InFlight != 0 {
		t.Errorf("%+v", live)
	}
	c.begin(at(10_000))
	c.drop(at(10_000))
	live = c.live(at(20_000))
	if live.Rate != 0 || live.Offered != 0 || live.P50 != 0 || live.InFlight != 1 || live.Dropped != 1 {
		t.Errorf("long after: %+v", live)
	}
}

func TestTallyNamesTheMostFrequentError(t *testing.T) {
	var c tally
	for range 2 {
		c.fail("TIMEOUT")
		c.fail("CONNECTION_FAILED")
	}
	if l := c.live(0); l.TopError != "CONNECTION_FAILED" || l.TopErrors != 2 || l.Errors != 4 {
		t.Errorf("%+v", l)
	}
	c.fail("TIMEOUT")
	if l := c.live(0); l.TopError != "TIMEOUT" || l.TopErrors != 3 {
		t.Errorf("%+v", l)
	}
	for i := range 1000 {
		c.fail(fmt.Sprint(i))
	}
	if len(c.codes) > maxErrorCodes+1 {
		t.Errorf("%d codes are kept", len(c.codes))
	}
}

func TestTalliesAddUp(t *testing.T) {
	var a, b, sum tally
	a.begin(time.Second)
	a.succeed(2*time.Second, time.Second)
	a.end(2*time.Second, true)
	b.begin(9 * time.Second)
	b.fail("TIMEOUT")
	b.drop(9 * time.Second)
	sum.add(&b)
	sum.add(&a)
	l := sum.live(9 * time.Second)
	if l.InFlight != 1 || l.Errors != 1 || l.Dropped != 1 || l.TopError != "TIMEOUT" || l.P50 != 0 || l.Offered == 0 {
		t.Errorf("%+v", l)
	}
}

func TestProgressShowsEachArm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := openPlan(100, 2*time.Second)
		p.Arms = []Arm{{Name: "a"}, {Name: "b"}}
		var seen []Progress
		d := &fakeDriver{answer: takes(10 * time.Millisecond)}
		run(t, t.Context(), p, d, Options{Progress: func(p Progress) { seen = append(seen, p) }})
		last := seen[len(seen)-1]
		if len(last.Groups) != 2 || last.Groups[0].Arm != "a" || last.Groups[1].Arm != "b" {
			t.Fatalf("groups %+v", last.Groups)
		}
		for _, g := range last.Groups {
			if g.Requests != 200 || g.P99 == 0 || g.Offered < 90 || g.Rate < 90 {
				t.Errorf("%+v", g)
			}
		}
		if last.Done != 1 || last.Requests != 200 {
			t.Errorf("last %+v", last)
		}
	})
}

func TestOnlyAnOpenExecutorOffers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var last Progress
		d := &fakeDriver{answer: takes(10 * time.Millisecond)}
		run(t, t.Context(), closedPlan(2, 2*time.Second), d, Options{Progress: func(p Progress) { last = p }})
		if last.Offered != 0 || last.Groups[0].Offered != 0 || last.Rate < 190 {
			t.Errorf("%+v", last)
		}
	})
}
