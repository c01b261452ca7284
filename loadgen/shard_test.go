package loadgen

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// shards runs a plan whole, then in shards, and returns the calls of both as texts, sorted.
func splitRuns(t *testing.T, plan func() *Plan, count int) (whole, split []string, calls int64) {
	t.Helper()
	var mu sync.Mutex
	one := func(p *Plan, into *[]string) *Result {
		begun := time.Now().Add(5 * time.Second)
		d := &fakeDriver{answer: func(ctx context.Context, c Call) (Reply, error) {
			mu.Lock()
			*into = append(*into, fmt.Sprintf("%v %v", time.Since(begun), c.Args["n"]))
			mu.Unlock()
			return takes(3*time.Millisecond)(ctx, c)
		}}
		return run(t, t.Context(), p, d, Options{StartAt: begun})
	}
	one(plan(), &whole)
	for i := range count {
		p := plan()
		p.Shard = Shard{i + 1, count}
		r := one(p, &split)
		calls += r.Cells[0].Requests
		if len(r.Thresholds) > 0 || r.Grade != nil {
			t.Errorf("shard %v was judged", p.Shard)
		}
	}
	slices.Sort(whole)
	slices.Sort(split)
	return whole, split, calls
}

// TestShardsTogetherAreThePlan compares every call's time and number.
func TestShardsTogetherAreThePlan(t *testing.T) {
	for name, change := range map[string]func(*Plan){
		"constant": func(p *Plan) {},
		"poisson":  func(p *Plan) { p.Executor.Arrivals = Poisson },
		"stages": func(p *Plan) {
			p.Executor.Rate, p.Executor.Duration = 0, 0
			p.Executor.Start, p.Executor.Stages = 20, []Stage{{200, time.Second}, {50, time.Second}}
		},
		"mix": func(p *Plan) {
			p.Mix = []Part{{Name: "a", Weight: 3, Steps: p.Steps}, {Name: "b", Weight: 1, MaxInFlight: 40, Steps: p.Steps}}
			p.Steps = nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				whole, split, _ := splitRuns(t, func() *Plan {
					p := openPlan(100, 2*time.Second)
					p.Executor.Warmup, p.Seed = 500*time.Millisecond, 11
					p.Steps[0].Args = map[string]any{"n": "${iteration}"}
					p.Target = &Target{Target: time.Second, Acceptable: 2 * time.Second}
					change(p)
					return p
				}, 3)
				if len(whole) < 150 || !slices.Equal(whole, split) {
					t.Errorf("%d calls whole, %d in shards\n%v\n%v", len(whole), len(split), whole, split)
				}
			})
		})
	}
}

func TestShardsShareUsersAndIterations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		closed := func() *Plan {
			p := closedPlan(7, time.Minute)
			p.Executor.Iterations = 100
			p.Steps[0].Args = map[string]any{"n": "${iteration}"}
			return p
		}
		whole, split, calls := splitRuns(t, closed, 3)
		number := func(list []string) (out []string) {
			for _, s := range list {
				out = append(out, strings.Fields(s)[1])
			}
			return out
		}
		seen := map[string]bool{}
		for _, n := range number(split) {
			if seen[n] {
				t.Errorf("iteration %s ran twice", n)
			}
			seen[n] = true
		}
		if calls != 100 || len(whole) != 100 || len(split) != 100 {
			t.Errorf("%d calls in shards and %d whole, want 100", len(split), len(whole))
		}
		for count := 1; count < 5; count++ {
			sum := 0
			for i := range count {
				p := closed()
				p.Shard = Shard{i + 1, count}
				_, n := p.PacedBy("")
				sum += n
			}
			if sum != 7 {
				t.Errorf("%d shards have %d users together, want 7", count, sum)
			}
		}
	})
}

func TestStartAtIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &fakeDriver{}
		begin := time.Now()
		_, err := Run(t.Context(), openPlan(10, time.Second), d.opener, Options{StartAt: begin.Add(-time.Millisecond), pacer: timerPacer})
		if !errors.Is(err, ErrLateStart) {
			t.Errorf("a start that has passed: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		r, err := Run(ctx, openPlan(10, time.Second), d.opener, Options{StartAt: begin.Add(time.Hour), pacer: timerPacer})
		if err != nil || !r.Interrupted || len(r.Cells) != 0 {
			t.Errorf("interrupted before the start: %v, %+v", err, r)
		}
	})
}

func TestWhatCannotBeSplit(t *testing.T) {
	for want, change := range map[string]func(*Plan){
		"no shard 3 of 2":                   func(p *Plan) { p.Shard = Shard{3, 2} },
		"several arms take turns":           func(p *Plan) { p.Arms = []Arm{{Name: "a"}, {Name: "b"}} },
		"no shard alone can judge a window": func(p *Plan) { p.Thresholds = []Threshold{{Metric: "p50", Op: "<", Value: 1e9, Window: time.Second}} },
		"1 at once cannot be split":         func(p *Plan) { p.Executor.MaxInFlight = 1 },
	} {
		p := openPlan(10, 5*time.Second)
		p.Shard = Shard{1, 2}
		change(p)
		if err := ValidatePlan(p); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func TestParseShard(t *testing.T) {
	for _, s := range []string{"1/1", "2/8", "8/8"} {
		if got, err := ParseShard(s); err != nil || got.String() != s {
			t.Errorf("%s: %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "1", "0/2", "3/2", "1/2/3", "a/b", "-1/2"} {
		if got, err := ParseShard(s); err == nil {
			t.Errorf("%q is read as %v", s, got)
		}
	}
}

func TestDigestTellsPlansApart(t *testing.T) {
	digest := func(change func(*Plan)) string {
		p := openPlan(10, time.Second)
		change(p)
		d, err := p.Digest()
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	same := digest(func(*Plan) {})
	if got := digest(func(p *Plan) { p.Shard = Shard{2, 3} }); got != same {
		t.Error("shards of one plan have different digests")
	}
	for i, change := range []func(*Plan){
		func(p *Plan) { p.Executor.Rate = 11 }, func(p *Plan) { p.Steps[0].Args = map[string]any{"x": 1} }, func(p *Plan) { p.Seed = 2 },
		func(p *Plan) { p.Thresholds = []Threshold{{Metric: "p50", Op: "<", Value: 1}} },
	} {
		if got := digest(change); reflect.DeepEqual(got, same) {
			t.Errorf("change %d is not seen", i)
		}
	}
}
