package loadgen

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func mixPlan(e Executor, parts ...Part) *Plan {
	for i := range parts {
		if parts[i].Steps == nil {
			parts[i].Steps = []Step{{Name: "exec", Tool: parts[i].Name, Args: map[string]any{"n": "${iteration}", "vu": "${vu}"}}}
		}
	}
	return &Plan{Name: "test", Seed: 5, Executor: e, Mix: parts}
}

func cellsByPart(res *Result) map[string]*Cell {
	out := map[string]*Cell{}
	for i := range res.Cells {
		out[res.Cells[i].Part+"."+res.Cells[i].Step] = &res.Cells[i]
	}
	return out
}

func TestMixDrawsByWeight(t *testing.T) {
	for _, seed := range []uint64{0, 1, 2, 1 << 60} {
		l := workload{parts: []*part{{weight: 3}, {weight: 1, start: time.Second}, {weight: 0.5}}}
		count := map[*part]float64{}
		runs, last := 0, (*part)(nil)
		const n = 100_000
		for i := range int64(n) {
			p := l.draw(seed, i, time.Second)
			if count[p]++; p != last {
				runs, last = runs+1, p
			}
			if p != l.draw(seed, i, time.Hour) {
				t.Fatalf("seed %d: iteration %d is drawn in two ways", seed, i)
			}
			if early := l.draw(seed, i, time.Second-1); early == l.parts[1] {
				t.Fatalf("seed %d: iteration %d draws a part that has not started", seed, i)
			}
		}
		chi, changes := 0.0, 1.0
		for _, p := range l.parts {
			share := p.weight / 4.5
			chi += math.Pow(count[p]-n*share, 2) / (n * share)
			changes -= share * share
		}
		// 13.8 is the chi-square distribution's 0.1 % point for two degrees of freedom.
		if chi > 13.8 || math.Abs(float64(runs)-n*changes) > 5*math.Sqrt(n) {
			t.Errorf("seed %d: drawn %v, chi-square %.1f, in %d runs, want about %.0f", seed, count, chi, runs, n*changes)
		}
	}
}

func TestMixOfArrivals(t *testing.T) {
	var first []string
	for _, seed := range []uint64{5, 5, 6} {
		synctest.Test(t, func(t *testing.T) {
			p := mixPlan(Executor{Kind: Open, Rate: 200, Warmup: time.Second, Duration: 20 * time.Second},
				Part{Name: "a", Weight: 3}, Part{Name: "b", Weight: 1}, Part{Name: "late", Weight: 4, Start: 10 * time.Second})
			p.Seed = seed
			d := &fakeDriver{answer: takes(10 * time.Millisecond)}
			res := run(t, t.Context(), p, d, Options{})
			var order []string
			for _, c := range d.calls {
				order = append(order, c.Tool)
			}
			if first == nil {
				first = order
			} else if slices.Equal(first, order) != (seed == 5) {
				t.Errorf("seed %d draws the same as seed 5: %v", seed, seed != 5)
			}
			cells := cellsByPart(res)
			a, b, late := cells["a.exec"], cells["b.exec"], cells["late.exec"]
			// Of 4,000 arrivals the first half is shared 3 to 1, the second 3 to 1 to 4.
			for _, tt := range []struct {
				c        *Cell
				want     float64
				measured time.Duration
			}{{a, 2250, 20 * time.Second}, {b, 750, 20 * time.Second}, {late, 1000, 10 * time.Second}} {
				n := float64(tt.c.Requests)
				if math.Abs(n-tt.want) > 4*math.Sqrt(tt.want) || tt.c.Measured != tt.measured || math.Abs(tt.c.OfferedRate-n/tt.measured.Seconds()) > 1e-9 {
					t.Errorf("part %s: %v requests, want about %v; measured %v, offered %v", tt.c.Part, n, tt.want, tt.c.Measured, tt.c.OfferedRate)
				}
			}
			if total := a.Requests + b.Requests + late.Requests; total != 4000 || a.Dropped+b.Dropped+late.Dropped > 0 || !res.Generator.Valid {
				t.Errorf("%d requests, generator %+v", total, res.Generator)
			}
		})
	}
}

func TestMixBesideEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := mixPlan(Executor{Kind: Open, Rate: 100, MaxInFlight: 6, Warmup: time.Second, Duration: 10 * time.Second},
			Part{Name: "slow", Weight: 1, MaxInFlight: 2}, Part{Name: "fast", Weight: 1},
			Part{Name: "users", Start: 4 * time.Second, Executor: &Executor{Kind: Closed, VUs: 3, Duration: 3 * time.Second}},
			Part{Name: "poisson", Executor: &Executor{Kind: Open, Rate: 20, Arrivals: Poisson}})
		begin := time.Now()
		vus := map[string]string{}
		d := &fakeDriver{}
		d.answer = func(ctx context.Context, c Call) (Reply, error) {
			at := time.Since(begin)
			if c.Tool == "users" && (at < 5*time.Second || at >= 8*time.Second) {
				t.Errorf("users run at %v", at)
			}
			d.mu.Lock()
			vu := c.Args["vu"].(string)
			if other := vus[vu]; other != "" {
				t.Errorf("%s and %s share the virtual user %s", other, c.Tool, vu)
			}
			vus[vu] = c.Tool
			d.mu.Unlock()
			time.Sleep(map[string]time.Duration{"slow": 100 * time.Millisecond, "users": 50 * time.Millisecond}[c.Tool] + time.Millisecond)
			d.mu.Lock()
			delete(vus, vu)
			d.mu.Unlock()
			return Reply{}, nil
		}
		p.Thresholds = []Threshold{{Step: "users", Metric: "rate", Op: ">", Value: 50}, {Step: "fast.exec", Metric: "error_rate", Op: "==", Value: 0}}
		res := run(t, t.Context(), p, d, Options{})
		cells := cellsByPart(res)
		slow, fast, users := cells["slow.exec"], cells["fast.exec"], cells["users.exec"]
		if n := slow.Requests + slow.Dropped + fast.Requests; n != 1000 || fast.Dropped != 0 || slow.Requests < 140 || slow.Requests > 200 { // two at a time take at most 19.8 a second
			t.Errorf("slow %d and %d dropped, fast %d and %d dropped", slow.Requests, slow.Dropped, fast.Requests, fast.Dropped)
		}
		if users.Requests != 3*59 || users.Measured != 3*time.Second || users.OfferedRate != 0 || math.Abs(users.AchievedRate-58) > 1 {
			t.Errorf("users: %d requests in %v at %v", users.Requests, users.Measured, users.AchievedRate)
		}
		if n := cells["poisson.exec"].Requests; n < 150 || n > 250 {
			t.Errorf("poisson: %d requests, want about 200", n)
		}
		if len(res.Thresholds) != 2 || !res.Thresholds[0].OK || !res.Thresholds[1].OK {
			t.Errorf("thresholds %+v", res.Thresholds)
		}
		seen := map[any]bool{}
		for _, c := range d.calls {
			if seen[c.Args["n"]] {
				t.Errorf("iteration %v occurs twice", c.Args["n"])
			}
			seen[c.Args["n"]] = true
		}
	})
}

func TestMixThatUsersShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := mixPlan(Executor{Kind: Closed, VUs: 4, Iterations: 2000}, Part{Name: "a", Weight: 1}, Part{Name: "b", Weight: 3})
		p.Mix[1].Steps = []Step{{Name: "make", Tool: "make", Save: map[string]string{"id": "id"}}, {Name: "use", Tool: "use", Args: map[string]any{"id": "${id}"}}}
		d := &fakeDriver{answer: func(context.Context, Call) (Reply, error) {
			time.Sleep(time.Millisecond)
			return Reply{Data: map[string]any{"id": "x"}}, nil
		}}
		cells := cellsByPart(run(t, t.Context(), p, d, Options{}))
		a, b := cells["a.exec"].Requests, cells["b.make"].Requests
		if a+b != 2000 || cells["b.use"].Requests != b || math.Abs(float64(b)-1500) > 80 {
			t.Errorf("a %d, b %d, use %d", a, b, cells["b.use"].Requests)
		}
	})
}

func TestMixMistakes(t *testing.T) {
	good := func() *Plan {
		return mixPlan(Executor{Kind: Open, Rate: 10, Duration: 10 * time.Second}, Part{Name: "a", Weight: 1},
			Part{Name: "b", Executor: &Executor{Kind: Closed, VUs: 1}})
	}
	if err := ValidatePlan(good()); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(p *Plan){
		"mix: the plan has steps":           func(p *Plan) { p.Steps = p.Mix[0].Steps },
		"mix[0].name: the part has no name": func(p *Plan) { p.Mix[0].Name = "" },
		"mix[1].name: part \"a\" occurs":    func(p *Plan) { p.Mix[1].Name = "a" },
		"mix[0].weight: a part cannot":      func(p *Plan) { p.Mix[0].Weight = 0 },
		"mix[0].weight: a part cannot ":     func(p *Plan) { p.Mix[0].Weight = math.NaN() },
		"mix[1].weight: a part with":        func(p *Plan) { p.Mix[1].Weight = 1 },
		"mix[0].max_in_flight: -1":          func(p *Plan) { p.Mix[0].MaxInFlight = -1 },
		"mix[1].max_in_flight: it bounds":   func(p *Plan) { p.Mix[1].MaxInFlight = 1 },
		"mix[0].start: the start":           func(p *Plan) { p.Mix[1].Start = 0; p.Mix[0].Start = -1 },
		"mix[1].start: the measured 10s":    func(p *Plan) { p.Mix[1].Start = 10 * time.Second },
		"mix: all parts that share":         func(p *Plan) { p.Mix[0].Start = time.Second },
		"mix[1].executor.vus: a closed":     func(p *Plan) { p.Mix[1].Executor.VUs = 0 },
		"mix[1].executor.warmup: a part":    func(p *Plan) { p.Mix[1].Executor.Warmup = 1 },
		"mix[1].executor.duration: neither": func(p *Plan) { p.Executor = Executor{Kind: Closed, VUs: 1, Iterations: 1} },
		"mix[0].steps: the plan does":       func(p *Plan) { p.Mix[0].Steps = nil },
		"mix[0].steps[0].tool: ":            func(p *Plan) { p.Mix[0].Steps[0].Tool = "" },
		"executor.kind: each part":          func(p *Plan) { p.Mix = p.Mix[1:] },
		"executor.rate: an open":            func(p *Plan) { p.Executor.Rate = 0 },
		"executor.duration: nothing":        func(p *Plan) { p.Mix, p.Executor = p.Mix[1:], Executor{} },
		"thresholds[0]: there is no":        func(p *Plan) { p.Thresholds = []Threshold{{Step: "b.none", Metric: "p50", Op: "<", Value: 1}} },
	} {
		p := good()
		change(p)
		var errs PlanErrors
		errors.As(ValidatePlan(p), &errs)
		if !slices.ContainsFunc(errs, func(e *PlanError) bool { return strings.HasPrefix(e.Error(), want) }) {
			t.Errorf("%v, want %s", fmt.Sprint(errs), want)
		}
	}
}
