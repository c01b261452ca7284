package loadgen

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// pairedServers starts fake servers and keeps what each got.
type pairedServers struct {
	t       *testing.T
	mu      sync.Mutex
	started []*pairedServer
	busy    map[*pairedServer]int
}

type pairedServer struct {
	fakeDriver
	side  string
	texts []string
	first time.Time
	last  time.Time
}

// opener starts servers whose calls take d.
func (p *pairedServers) opener(side string, d time.Duration) Opener {
	answer := takes(d)
	return func(ctx context.Context, arm Arm) (Driver, error) {
		s := &pairedServer{side: side}
		s.answer = func(ctx context.Context, c Call) (Reply, error) {
			p.mu.Lock()
			if s.first.IsZero() {
				s.first = time.Now()
			}
			s.last = time.Now()
			s.texts = append(s.texts, fmt.Sprint(c.Args["text"]))
			if p.busy[s]++; len(p.busy) > 1 {
				p.t.Error("two servers are loaded at once")
			}
			p.mu.Unlock()
			defer func() {
				p.mu.Lock()
				if p.busy[s]--; p.busy[s] == 0 {
					delete(p.busy, s)
				}
				p.mu.Unlock()
			}()
			return answer(ctx, c)
		}
		p.mu.Lock()
		p.started = append(p.started, s)
		p.mu.Unlock()
		return s.opener(ctx, arm)
	}
}

func testPairs(t *testing.T) (*Pairs, *pairedServers) {
	servers := &pairedServers{t: t, busy: map[*pairedServer]int{}}
	plan := openPlan(0, 0)
	plan.Steps[0].Args = map[string]any{"text": "${iteration} ${profile}"}
	return &Pairs{
		Base: servers.opener("base", 10*time.Millisecond), Head: servers.opener("head", 12*time.Millisecond), Seed: 7,
		Workloads: []Workload{{Plan: plan, Rate: 200, Slice: time.Second, Warmup: 100 * time.Millisecond, Burst: 200 * time.Millisecond, VUs: 4}},
		Control:   servers.opener("control", time.Millisecond), ControlLoad: Workload{Plan: openPlan(0, 0), Rate: 100, Slice: time.Second},
		Options: func(*Plan) Options { return Options{pacer: timerPacer, Profiles: []string{"a"}} },
	}, servers
}

func TestPairsMeasureBothSides(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, servers := testPairs(t)
		var pairs []Pair
		if err := p.Run(t.Context(), 20, func(pair Pair) (bool, error) {
			pairs = append(pairs, pair)
			return len(pairs) == 12, nil
		}); err != nil {
			t.Fatal(err)
		}
		if len(pairs) != 12 || len(servers.started) != 12*4 {
			t.Fatalf("%d pairs with %d processes, want 12 with 4 each", len(pairs), len(servers.started))
		}
		for i, pair := range pairs {
			checkPair(t, i, &pair)
			own := servers.started[4*i : 4*i+4]
			base, head := own[0], own[1]
			if base.side == "head" {
				base, head = head, base
			}
			if head.first.Before(base.first) != pair.HeadFirst {
				t.Errorf("pair %d: head first %v, and the calls came the other way", i, pair.HeadFirst)
			}
			if head.last.After(base.last) != pair.HeadFirst {
				t.Errorf("pair %d: the burst did not come back to the side that it began with", i)
			}
			if n := min(len(base.texts), len(head.texts)); n < 220 || !slices.Equal(base.texts[:220], head.texts[:220]) {
				t.Errorf("pair %d: the sides got %d and %d calls, and not the same", i, len(base.texts), len(head.texts))
			}
			for _, s := range own {
				if s.open.Load() != 0 {
					t.Errorf("pair %d: %s is still open", i, s.side)
				}
			}
		}
		firsts := 0
		for _, pair := range pairs {
			if pair.HeadFirst {
				firsts++
			}
		}
		if firsts == 0 || firsts == len(pairs) {
			t.Errorf("the coin fell on one side %d times of %d", firsts, len(pairs))
		}
	})
}

func checkPair(t *testing.T, i int, pair *Pair) {
	t.Helper()
	base, head := &pair.Base[0], &pair.Head[0]
	if pair.Index != i || base.Requests < 176 || base.Requests > 200 || head.Requests != base.Requests || base.Errors+head.Errors != 0 {
		t.Errorf("pair %d: index %d, %d and %d requests, %d and %d errors", i, pair.Index, base.Requests, head.Requests, base.Errors, head.Errors)
	}
	b, h := base.Steps[0].Percentile(0.9), head.Steps[0].Percentile(0.9)
	if ratio := float64(h) / float64(b); ratio < 1.19 || ratio > 1.21 {
		t.Errorf("pair %d: p90 %v and %v", i, b, h)
	}
	if p99 := base.Steps[0].Percentile(0.99); p99 != 0 {
		t.Errorf("p99 of 200 requests is %v, want none", p99)
	}
	if base.Saturation < 390 || base.Saturation > 410 || head.Saturation < 320 || head.Saturation > 345 {
		t.Errorf("pair %d: saturation %v and %v, want 4 users' worth of 10 and of 12 ms", i, base.Saturation, head.Saturation)
	}
	if c := pair.Control; c[0].Requests < 88 || c[1].Requests != c[0].Requests {
		t.Errorf("pair %d: control %d and %d requests", i, c[0].Requests, c[1].Requests)
	}
}

func TestProbeFindsTheRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, servers := testPairs(t)
		found, err := p.Probe(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if s := found[0].Saturation; s < 390 || s > 410 || p.Workloads[0].Rate != probeLoad*s || found[0].Noise > 0.01 {
			t.Errorf("found %+v, rate %v, want what 4 users get out of calls of 10 ms", found[0], p.Workloads[0].Rate)
		}
		if len(servers.started) != 1 || servers.started[0].side != "base" {
			t.Errorf("a probe starts the base alone")
		}
	})
}

// Where one call at a time is all that the base does, more users only wait for each other.
func TestProbeOfAFullBase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _ := testPairs(t)
		turn := make(chan struct{}, 1)
		var mu sync.Mutex
		var in, most int
		d := &fakeDriver{answer: func(ctx context.Context, c Call) (Reply, error) {
			mu.Lock()
			in++
			most = max(most, in)
			mu.Unlock()
			turn <- struct{}{}
			defer func() {
				<-turn
				mu.Lock()
				in--
				mu.Unlock()
			}()
			return takes(10*time.Millisecond)(ctx, c)
		}}
		p.Base = d.opener
		p.Workloads[0].VUs = 64
		found, err := p.Probe(t.Context())
		if s := found[0].Saturation; err != nil || s < 95 || s > 105 {
			t.Errorf("found %+v, %v, want one call every 10 ms", found[0], err)
		}
		if users := 2 * max(1, runtime.NumCPU()/2); most > users {
			t.Errorf("%d users were tried, want at most %d", most, users)
		}
	})
}

// One trial that something disturbs decides nothing, be it that of fewer users, after which more seem to pay, or that of more.
func TestProbeOfADisturbedBase(t *testing.T) {
	users := max(1, runtime.NumCPU()/2)
	for name, tc := range map[string]struct {
		disturbed, by time.Duration // the second of the probe, and what its calls take more
		crowd         time.Duration // what a call takes more while so many others are in flight
		want          float64       // calls per second and user
	}{
		"fewer users": {disturbed: 0, by: 5 * time.Millisecond, crowd: 4 * time.Millisecond, want: 100},
		"more users":  {disturbed: 1, by: 2 * time.Millisecond, want: 400},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, _ := testPairs(t)
				var in atomic.Int64
				start := time.Now()
				d := &fakeDriver{answer: func(ctx context.Context, c Call) (Reply, error) {
					spent := 10*time.Millisecond + time.Duration(in.Add(1)-1)/time.Duration(users)*tc.crowd
					defer in.Add(-1)
					if time.Since(start)/time.Second == tc.disturbed {
						spent += tc.by
					}
					return takes(spent)(ctx, c)
				}}
				p.Base = d.opener
				p.Workloads[0].VUs = 4 * users
				found, err := p.Probe(t.Context())
				if s := found[0].Saturation / float64(users); err != nil || math.Abs(s-tc.want) > tc.want/20 {
					t.Errorf("found %+v, %v, want %v calls a second of each of %d users", found[0], err, tc.want, users)
				}
			})
		})
	}
}

// A base that refuses more users than pay is measured with those that it takes.
func TestProbeOfABaseThatRefusesMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _ := testPairs(t)
		users := max(1, runtime.NumCPU()/2)
		start := time.Now()
		d := &fakeDriver{answer: func(ctx context.Context, c Call) (Reply, error) {
			r, err := takes(10*time.Millisecond)(ctx, c)
			if time.Since(start)/time.Second == 1 {
				r.Code, r.Error = "LIMIT_EXCEEDED", "too many"
			}
			return r, err
		}}
		p.Base = d.opener
		p.Workloads[0].VUs = 4 * users
		found, err := p.Probe(t.Context())
		if err != nil || math.Abs(found[0].Saturation/float64(users)-100) > 5 {
			t.Errorf("found %+v, %v", found, err)
		}
	})
}

func TestProbeOfABaseThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _ := testPairs(t)
		d := &fakeDriver{answer: func(context.Context, Call) (Reply, error) {
			time.Sleep(time.Millisecond)
			return Reply{Code: "TIMEOUT", Error: "no"}, nil
		}}
		p.Base = d.opener
		_, err := p.Probe(t.Context())
		if err == nil || err.Error() != "the base did none of scenario test: TIMEOUT: no" {
			t.Error(err)
		}
	})
}

func TestPairsEndWithTheirContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, servers := testPairs(t)
		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer cancel()
		err := p.Run(ctx, 20, func(Pair) (bool, error) { t.Error("a pair that was cut off"); return false, nil })
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		for _, s := range servers.started {
			if s.open.Load() != 0 {
				t.Errorf("%s is still open", s.side)
			}
		}
	})
}

func TestSlicePlanRefusesLoadsThatChange(t *testing.T) {
	for _, p := range []*Plan{
		{Name: "a", Mix: []Part{{}}}, {Name: "b", Executor: Executor{Kind: Occupancy}},
		{Name: "c", Executor: Executor{Stages: []Stage{{}}}}, {Name: "d", Executor: Executor{Trace: []time.Duration{1}}},
	} {
		if _, err := SlicePlan(p); err == nil {
			t.Errorf("%s was taken", p.Name)
		}
	}
	p := openPlan(1, time.Second)
	p.Arms = []Arm{{Name: "pooled", ServerConfig: map[string]any{"a": 1}}, {Name: "other"}}
	p.Thresholds = []Threshold{{}}
	got, err := SlicePlan(p)
	if err != nil || len(got.Arms) != 1 || got.Arms[0].Name != "" || got.Arms[0].ServerConfig["a"] != 1 || got.Thresholds != nil {
		t.Errorf("%+v, %v", got, err)
	}
}
