package loadgen

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// recorded are the moments of a driver's calls, from the start of the test.
type recorded struct {
	mu    sync.Mutex
	begin time.Time
	at    []time.Duration
	args  []string
}

// driver answers after some time.
func (r *recorded) driver(after time.Duration) *fakeDriver {
	r.begin = time.Now()
	answer := takes(after)
	return &fakeDriver{answer: func(ctx context.Context, c Call) (Reply, error) {
		r.mu.Lock()
		r.at = append(r.at, time.Since(r.begin))
		r.args = append(r.args, fmt.Sprint(c.Args["n"]))
		r.mu.Unlock()
		return answer(ctx, c)
	}}
}

func TestArrivalsOfTheSeed(t *testing.T) {
	for name, e := range map[string]Executor{
		"poisson": {Kind: Open, Rate: 50, Arrivals: Poisson, Warmup: time.Second, Duration: 5 * time.Second},
		"ramp":    {Kind: Open, Start: 10, Stages: []Stage{{100, 3 * time.Second}, {20, 2 * time.Second}}, Warmup: time.Second},
		"both":    {Kind: Open, Arrivals: Poisson, Stages: []Stage{{100, 3 * time.Second}, {20, 2 * time.Second}}},
		"trace":   {Kind: Open, Trace: []time.Duration{0, time.Second, time.Second, 1500 * time.Millisecond}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &Plan{Name: "test", Seed: 11, Executor: e, Steps: []Step{{Name: "exec", Tool: "ssh_exec", Args: map[string]any{"n": "${iteration}"}}}}
				var r recorded
				c := run(t, t.Context(), p, r.driver(time.Millisecond), Options{}).Cells[0]
				end := e.Warmup + e.length()
				want := taken(e.schedule(e.Warmup, 11, arrivalStream), end)
				slices.Sort(r.at)
				if !slices.Equal(r.at, want) {
					t.Fatalf("%d calls, want %d at the times of the schedule", len(r.at), len(want))
				}
				due := 0
				for _, at := range want {
					if at >= e.Warmup {
						due++
					}
				}
				if c.Requests != int64(due) || math.Abs(c.OfferedRate*c.Measured.Seconds()-float64(due)) > 1e-6 || c.Measured != e.length() || c.Lateness.Max() != 0 {
					t.Errorf("%d requests, offered %v over %v, want %d", c.Requests, c.OfferedRate, c.Measured, due)
				}
			})
		})
	}
}

// TestConstantArrivalsOverTenMinutes sees each arrival leave when it is due, at a rate that has no finite binary form.
func TestConstantArrivalsOverTenMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rate = 33.3
		var r recorded
		p := openPlan(rate, 10*time.Minute)
		res := run(t, t.Context(), p, r.driver(0), Options{})
		worst := 0.0
		for i, at := range r.at {
			worst = max(worst, math.Abs(at.Seconds()-float64(i)/rate))
		}
		if len(r.at) != 19_980 || worst > 1e-6 || !res.Generator.Valid {
			t.Errorf("%d arrivals, up to %v s off their time", len(r.at), worst)
		}
	})
}

func TestVirtualUsersComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := closedPlan(0, 0)
		p.Executor = Executor{Kind: Closed, Start: 2, Warmup: 2 * time.Second, Stages: []Stage{{8, 6 * time.Second}, {8, 2 * time.Second}, {0, 0}, {0, time.Second}, {4, 2 * time.Second}}}
		var mu sync.Mutex
		begin, users := time.Now(), map[int]int{} // by tenth of a second
		d := &fakeDriver{answer: func(ctx context.Context, c Call) (Reply, error) {
			mu.Lock()
			users[int(time.Since(begin)/(100*time.Millisecond))]++
			mu.Unlock()
			return takes(100*time.Millisecond)(ctx, c)
		}}
		c := run(t, t.Context(), p, d, Options{}).Cells[0]
		for at, n := range users {
			level := slowLevel(2, 2*time.Second, p.Executor.Stages, float64(at)/10+0.05)
			if math.Abs(float64(n)-level) > 1.1 {
				t.Errorf("at %v: %d users, want about %v", float64(at)/10, n, level)
			}
		}
		if users[0] != 2 || users[95] != 8 || users[102] > 0 || users[108] > 0 || c.Measured != 11*time.Second || d.opened != 8 {
			t.Errorf("users %v %v %v %v, measured %v, %d sessions", users[0], users[95], users[102], users[108], c.Measured, d.opened)
		}
	})
}

func TestIterationsOfEachUser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := closedPlan(3, 0)
		p.Executor.IterationsPerVU, p.Executor.Warmup = 5, time.Second
		p.Steps[0].Args = map[string]any{"n": "${vu}"}
		var r recorded
		c := run(t, t.Context(), p, r.driver(100*time.Millisecond), Options{}).Cells[0]
		each := map[string]int{}
		for i, vu := range r.args {
			if r.at[i] >= time.Second {
				each[vu]++
			}
		}
		if c.Requests != 15 || c.Measured != 500*time.Millisecond || each["0"] != 5 || each["1"] != 5 || each["2"] != 5 {
			t.Errorf("%d requests in %v, by user %v", c.Requests, c.Measured, each)
		}
	})
}

func TestThinkTime(t *testing.T) {
	var first []time.Duration
	for _, seed := range []uint64{1, 1, 2} {
		synctest.Test(t, func(t *testing.T) {
			p := closedPlan(2, 20*time.Second)
			p.Seed, p.Executor.ThinkTime = seed, ThinkTime{100 * time.Millisecond, 300 * time.Millisecond}
			p.Steps[0].Args = map[string]any{"n": "${vu}"}
			var r recorded
			run(t, t.Context(), p, r.driver(10*time.Millisecond), Options{})
			var gaps []time.Duration
			last := map[string]time.Duration{}
			total := time.Duration(0)
			for i, vu := range r.args {
				if before, ok := last[vu]; ok {
					gap := r.at[i] - before - 10*time.Millisecond
					if gap < 100*time.Millisecond || gap > 300*time.Millisecond {
						t.Errorf("user %s thinks for %v", vu, gap)
					}
					gaps, total = append(gaps, gap), total+gap
				}
				last[vu] = r.at[i]
			}
			if mean := total / time.Duration(len(gaps)); mean < 185*time.Millisecond || mean > 215*time.Millisecond {
				t.Errorf("mean %v of %d, want about 200 ms", mean, len(gaps))
			}
			if first == nil {
				first = gaps
			} else if slices.Equal(first, gaps) != (seed == 1) {
				t.Errorf("seed %d: equal to those of seed 1 is %v", seed, seed != 1)
			}
		})
	}
}

func TestOccupancy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &Plan{Name: "test", Executor: Executor{Kind: Occupancy, Holders: 5, Warmup: 5 * time.Second, Duration: 10 * time.Second}}
		p.Steps = []Step{
			{Name: "take", Tool: "take", Save: map[string]string{"id": "id"}},
			{Name: "give", Tool: "give", Args: map[string]any{"id": "${id}"}, Always: true},
		}
		p.Thresholds = []Threshold{{Step: "take", Metric: "held", Op: ">=", Value: 5}}
		begin := time.Now()
		var mu sync.Mutex
		held, most := map[string]bool{}, 0
		failed := 0
		d := &fakeDriver{answer: func(_ context.Context, c Call) (Reply, error) {
			mu.Lock()
			defer mu.Unlock()
			at := time.Since(begin)
			if c.Tool == "give" {
				if at < 15*time.Second || !held[c.Args["id"].(string)] {
					t.Errorf("%v is given back at %v", c.Args["id"], at)
				}
				delete(held, c.Args["id"].(string))
				return Reply{}, nil
			}
			if at >= 2*time.Second && at < 2500*time.Millisecond {
				failed++
				return Reply{Code: "LIMIT_EXCEEDED"}, nil
			}
			id := fmt.Sprint(len(held))
			held[id] = true
			most = max(most, len(held))
			return Reply{Data: map[string]any{"id": id}}, nil
		}}
		res := run(t, t.Context(), p, d, Options{})
		take, give := res.Cells[0], res.Cells[1]
		if most != 5 || len(held) != 0 || take.Requests != int64(5+failed) || take.Errors["LIMIT_EXCEEDED"] != int64(failed) || failed != 5 || give.Requests != 5 {
			t.Errorf("most %d, %d left, %d taken of which %v failed, %d given back", most, len(held), take.Requests, take.Errors, give.Requests)
		}
		if take.Held == nil || *take.Held != 5 || give.Held != nil || !res.Thresholds[0].OK {
			t.Errorf("held %v and %v, threshold %+v", take.Held, give.Held, res.Thresholds[0])
		}
		if len(take.Windows) != 10 || take.Windows[0].Held != 5 || take.Windows[9].Held != 5 {
			t.Errorf("windows %+v", take.Windows)
		}
	})
}

func TestOccupancyThatLosesAHolder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &Plan{Name: "test", Executor: Executor{Kind: Occupancy, Holders: 4, Duration: 6 * time.Second}}
		p.Steps = []Step{{Name: "take", Tool: "take"}, {Name: "give", Tool: "give", Always: true}}
		begin, n := time.Now(), 0
		var mu sync.Mutex
		d := &fakeDriver{answer: func(_ context.Context, c Call) (Reply, error) {
			mu.Lock()
			defer mu.Unlock()
			if c.Tool == "take" && time.Since(begin) < 2500*time.Millisecond {
				if n++; n >= 3 {
					return Reply{Code: "LIMIT_EXCEEDED"}, nil
				}
			}
			return Reply{}, nil
		}}
		c := run(t, t.Context(), p, d, Options{}).Cells[0]
		var held []int64
		for _, w := range c.Windows {
			held = append(held, w.Held)
		}
		if *c.Held != 2 || fmt.Sprint(held) != "[2 2 2 4 4 4]" {
			t.Errorf("held %d, by second %v", *c.Held, held)
		}
	})
}

func TestInterruptedOccupancyGivesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		p := &Plan{Name: "test", Executor: Executor{Kind: Occupancy, Holders: 3, Duration: time.Hour}}
		p.Steps = []Step{{Name: "take", Tool: "take"}, {Name: "give", Tool: "give", Always: true}}
		d := &fakeDriver{}
		res := run(t, ctx, p, d, Options{})
		if !res.Interrupted || len(d.called("give")) != 3 || *res.Cells[0].Held != 3 || res.Cells[0].Measured != 3*time.Second {
			t.Errorf("interrupted %v, %d given back, %+v", res.Interrupted, len(d.called("give")), res.Cells[0])
		}
	})
}

// visitor is a session that is told apart from the shared ones.
type visitor struct {
	fakeSession
	v *visitors
}

type visitors struct {
	fakeDriver
	mu                sync.Mutex
	shared            int // sessions that the executor opens first
	calls             int // on sessions of their own
	closed, abandoned int
	refuse            func() bool
}

func (v *visitors) opener(context.Context, Arm) (Driver, error) { return v, nil }

func (v *visitors) Open(ctx context.Context) (Session, error) {
	s, _ := v.fakeDriver.Open(ctx)
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.opened <= v.shared {
		return s, nil
	}
	if v.refuse != nil && v.refuse() {
		_ = s.Close()
		return nil, errors.New("too many sessions")
	}
	time.Sleep(5 * time.Millisecond)
	return visitor{s.(fakeSession), v}, nil
}

func (s visitor) Call(ctx context.Context, c Call) (Reply, error) {
	s.v.mu.Lock()
	s.v.calls++
	s.v.mu.Unlock()
	return s.fakeSession.Call(ctx, c)
}

func (s visitor) Close() error {
	s.v.mu.Lock()
	s.v.closed++
	s.v.mu.Unlock()
	return s.fakeSession.Close()
}

func (s visitor) Abandon() error {
	s.v.mu.Lock()
	s.v.abandoned++
	s.v.mu.Unlock()
	return s.fakeSession.Close()
}

func TestSessionSteps(t *testing.T) {
	for _, tt := range []struct {
		name                      string
		steps                     []Step
		refuse                    func() bool
		calls, closed, abandoned  int
		cells                     string
		opensLatency, holdsLength time.Duration
	}{
		{"closed", []Step{{Name: "open", Session: SessionOpen}, {Name: "call", Tool: "x"}, {Name: "close", Session: SessionClose, Always: true}},
			nil, 10, 10, 0, "open10 call10 close10", 5 * time.Millisecond, 0},
		{"abandoned", []Step{{Name: "open", Session: SessionOpen}, {Name: "call", Tool: "x"}, {Name: "abandon", Session: SessionAbandon}},
			nil, 10, 0, 10, "open10 call10 abandon10", 5 * time.Millisecond, 0},
		{"left open", []Step{{Name: "open", Session: SessionOpen}, {Name: "pause", Hold: time.Second}, {Name: "call", Tool: "x"}},
			nil, 10, 10, 0, "open10 call10", 5 * time.Millisecond, time.Second},
		{"refused", []Step{{Name: "open", Session: SessionOpen}, {Name: "call", Tool: "x"}, {Name: "close", Session: SessionClose, Always: true}},
			func() bool { return true }, 0, 0, 0, "open10 call0 close0", 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := &visitors{shared: 1, refuse: tt.refuse}
				p := &Plan{Name: "test", Executor: Executor{Kind: Closed, VUs: 1, Iterations: 10}, Steps: tt.steps}
				begin := time.Now()
				res, err := Run(t.Context(), p, v.opener, Options{pacer: timerPacer})
				if err != nil {
					t.Fatal(err)
				}
				var cells []string
				for _, c := range res.Cells {
					cells = append(cells, fmt.Sprint(c.Step, c.Requests))
				}
				if got := strings.Join(cells, " "); got != tt.cells {
					t.Errorf("cells %s, want %s", got, tt.cells)
				}
				if v.calls != tt.calls || v.closed != tt.closed || v.abandoned != tt.abandoned {
					t.Errorf("%d calls on sessions of their own, %d closed, %d abandoned", v.calls, v.closed, v.abandoned)
				}
				if got := res.Cells[0].Latency.Max(); tt.opensLatency > 0 && !about(got, tt.opensLatency) {
					t.Errorf("the handshake took %v", got)
				}
				if took := time.Since(begin); took < 10*tt.holdsLength {
					t.Errorf("the pauses together took %v", took)
				}
				if tt.refuse != nil && res.Cells[0].Errors[CodeTransport] != 10 {
					t.Errorf("errors %v", res.Cells[0].Errors)
				}
			})
		})
	}
}

func TestExecutorMistakes(t *testing.T) {
	open, closed := Executor{Kind: Open, Rate: 10, Duration: time.Second}, Executor{Kind: Closed, VUs: 2, Duration: time.Second}
	occupy := Executor{Kind: Occupancy, Holders: 2, Duration: time.Second}
	up := []Stage{{10, time.Second}}
	for _, tt := range []struct {
		e      Executor
		change func(e *Executor)
		want   string
	}{
		{open, func(e *Executor) { e.Stages, e.Rate = up, 0 }, "executor.duration: the stages say"},
		{open, func(e *Executor) { e.Stages, e.Duration = up, 0 }, "executor.rate: the stages say"},
		{open, func(e *Executor) { e.Stages, e.Duration, e.Rate = []Stage{{-1, time.Second}}, 0, 0 }, "executor.stages[0].target: -1 arrivals"},
		{open, func(e *Executor) { e.Stages, e.Duration, e.Rate = []Stage{{1, -time.Second}}, 0, 0 }, "executor.stages[0].duration: the duration"},
		{open, func(e *Executor) { e.Stages, e.Duration, e.Rate = []Stage{{1, 0}}, 0, 0 }, "executor.stages: the stages take no time"},
		{open, func(e *Executor) { e.Stages, e.Duration, e.Rate = []Stage{{0, 1}}, 0, 0 }, "executor.stages: no stage rises"},
		{open, func(e *Executor) { e.Stages, e.Duration, e.Rate = []Stage{}, 0, 0 }, "executor.stages: there is no stage"},
		{open, func(e *Executor) { e.Start = 3 }, "executor.start: there is no stage"},
		{open, func(e *Executor) { e.Arrivals = "bursty" }, "executor.arrivals: unknown"},
		{open, func(e *Executor) { e.Trace = []time.Duration{1} }, "executor.trace: the trace says"},
		{open, func(e *Executor) { e.Rate, e.Trace = 0, []time.Duration{2, 1} }, "executor.trace: the offsets"},
		{open, func(e *Executor) { e.Rate, e.Trace = 0, []time.Duration{} }, "executor.trace: the trace has no"},
		{open, func(e *Executor) { e.Rate, e.Trace, e.Warmup = 0, []time.Duration{2}, time.Second }, "executor.trace: no arrival"},
		{open, func(e *Executor) { e.Rate, e.Trace, e.Warmup, e.Duration = 0, []time.Duration{2}, time.Second, 0 }, "executor.trace: the trace ends"},
		{open, func(e *Executor) { e.ThinkTime.Max = 1 }, "executor.think_time: an open executor has no think time"},
		{open, func(e *Executor) { e.Holders = 1 }, "executor.holders: an open executor has no holders"},
		{closed, func(e *Executor) { e.Stages, e.Duration = up, 0 }, "executor.vus: the stages say"},
		{closed, func(e *Executor) { e.Stages, e.Duration, e.VUs = []Stage{{1.5, 1}}, 0, 0 }, "executor.stages[0].target: there are no 1.5 virtual"},
		{closed, func(e *Executor) { e.IterationsPerVU = -1 }, "executor.iterations_per_vu: the number"},
		{closed, func(e *Executor) { e.ThinkTime = ThinkTime{2, 1} }, "executor.think_time: 2ns to 1ns"},
		{closed, func(e *Executor) { e.Arrivals = Poisson }, "executor.arrivals: a closed executor has no arrivals"},
		{closed, func(e *Executor) { e.Duration = 0 }, "executor.duration: nothing"},
		{occupy, func(e *Executor) { e.Holders = 0 }, "executor.holders: an occupancy needs"},
		{occupy, func(e *Executor) { e.VUs = 1 }, "executor.vus: an occupancy executor has no virtual users"},
		{occupy, func(e *Executor) { e.Duration = 0 }, "executor.duration: nothing"},
	} {
		p := &Plan{Name: "x", Executor: tt.e, Steps: []Step{{Name: "a", Tool: "t"}}}
		if err := ValidatePlan(p); err != nil {
			t.Fatal(err)
		}
		tt.change(&p.Executor)
		var errs PlanErrors
		if errors.As(ValidatePlan(p), &errs); len(errs) != 1 || !strings.HasPrefix(errs[0].Error(), tt.want) {
			t.Errorf("%v, want %s", errs, tt.want)
		}
	}
	steps := func(change func(p *Plan)) *Plan {
		p := &Plan{Name: "x", Executor: occupy, Steps: []Step{{Name: "a", Session: SessionOpen}, {Name: "b", Session: SessionClose, Always: true}}}
		change(p)
		return p
	}
	for want, p := range map[string]*Plan{
		"steps[0]: an occupancy takes":                      steps(func(p *Plan) { p.Steps[0].Always = true }),
		"steps[2]: an occupancy gives":                      steps(func(p *Plan) { p.Steps = append(p.Steps, Step{Name: "c", Tool: "t"}) }),
		"steps[0].session: nothing is done":                 steps(func(p *Plan) { p.Steps = []Step{{Name: "a", Session: "reset"}} }),
		"steps[0].session: the iteration has no session":    steps(func(p *Plan) { p.Steps = []Step{{Name: "a", Session: SessionClose}} }),
		"steps[1].session: the iteration has a session":     steps(func(p *Plan) { p.Steps[1].Session = SessionOpen }),
		"steps[0].hold: the pause":                          steps(func(p *Plan) { p.Steps = []Step{{Name: "a", Hold: -1}} }),
		"setup[0].session: setup takes":                     steps(func(p *Plan) { p.Setup = []Step{{Name: "a", Session: SessionOpen}} }),
		"slice: 1ms is no":                                  steps(func(p *Plan) { p.Slice = time.Millisecond }),
		"arms[0].driver.kind: unknown kind \"pigeon\"":      steps(func(p *Plan) { p.Arms = []Arm{{Driver: &ArmDriver{Kind: "pigeon"}}} }),
		"arms[0].driver.read_rate: the rate is negative":    steps(func(p *Plan) { p.Arms = []Arm{{Driver: &ArmDriver{ReadRate: -1}}} }),
		"steps[0]: the step does several things: keep one ": steps(func(p *Plan) { p.Steps[0].Tool = "t" }),
	} {
		var errs PlanErrors
		errors.As(ValidatePlan(p), &errs)
		if !slices.ContainsFunc(errs, func(e *PlanError) bool { return strings.HasPrefix(e.Error(), want) }) {
			t.Errorf("%v, want %s", errs, want)
		}
	}
}
