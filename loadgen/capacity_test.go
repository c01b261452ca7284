package loadgen_test

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
	"github.com/openaccess-mcp/openaccess-mcp/loadgen/stats"
)

// queue is a system with a known capacity, simulated: c workers, one queue in the order of arrival. Times are seconds.
type queue struct {
	workers int
	service float64 // mean
	random  bool    // exponential service; otherwise fixed
	poisson bool    // arrivals independent of each other; otherwise evenly spaced
	bound   float64 // of the latency
	over    float64 // share of calls that may exceed it
}

// trial simulates one from an empty queue on.
func (q *queue) trial(r *rand.Rand, p loadgen.TrialPlan) loadgen.Trial {
	free := make([]float64, q.workers)
	warmup, end := p.Warmup.Seconds(), (p.Warmup + p.Duration).Seconds()
	var calls, late, ended int
	sum := 0.0
	at := 0.0
	for {
		if q.poisson {
			at += r.ExpFloat64() / p.Rate
		} else {
			at += 1 / p.Rate
		}
		if at >= end {
			break
		}
		w := 0
		for k := range free {
			if free[k] < free[w] {
				w = k
			}
		}
		work := q.service
		if q.random {
			work *= r.ExpFloat64()
		}
		free[w] = max(free[w], at) + work
		if free[w] >= warmup && free[w] < end {
			ended++
		}
		if at < warmup {
			continue
		}
		calls++
		sum += free[w] - at
		if free[w]-at > q.bound {
			late++
		}
	}
	mean := sum / float64(calls)
	achieved := float64(ended)/p.Duration.Seconds() + p.Rate*min(mean, q.bound)/p.Duration.Seconds()
	t := loadgen.Trial{Calls: int64(calls), Bad: float64(late) / float64(calls), Achieved: achieved, Mean: time.Duration(mean * 1e9)}
	t.Good = float64(late) <= q.over*float64(calls) && t.Achieved >= loadgen.MinAchieved*float64(calls)/p.Duration.Seconds()
	return t
}

// erlangC is the chance that an arrival of an M/M/c queue waits, whose offered load is a.
func erlangC(c int, a float64) float64 {
	b := 1.0 // Erlang's B by its recurrence
	for k := 1; k <= c; k++ {
		b = a * b / (float64(k) + a*b)
	}
	rho := a / float64(c)
	return b / (1 - rho + rho*b)
}

// latencyMMc is the chance that an M/M/c queue takes longer than t for a call.
func latencyMMc(c int, rate, service, t float64) float64 {
	mu, a := 1/service, rate*service
	wait := erlangC(c, a)
	k := float64(c) - 1 - a // the decay of the wait is mu·(k+1)
	return math.Exp(-mu*t) * (1 + wait*(1-math.Exp(-mu*t*k))/k)
}

// latencyMDc is the same of an M/D/c queue: Crommelin's equations for how many calls there are, and the formula of Franx ("A simple solution for
// the M/D/c waiting time distribution", Operations Research Letters 29, 2001) for the wait.
func latencyMDc(c int, rate, service, t float64) float64 {
	const most = 400
	a := rate * service
	poisson := make([]float64, most)
	for k := range poisson {
		lg, _ := math.Lgamma(float64(k) + 1)
		poisson[k] = math.Exp(float64(k)*math.Log(a) - a - lg)
	}
	p := make([]float64, most)
	p[0] = 1
	for change := 1.0; change > 1e-8; {
		next := make([]float64, most)
		for n, w := range p {
			left := max(n-c, 0)
			for k := 0; left+k < most && k < 60; k++ {
				next[left+k] += w * poisson[k]
			}
		}
		change = 0
		for n := range p {
			change += math.Abs(p[n] - next[n])
		}
		p = next
	}
	waiting := make([]float64, most) // chance of at most so many
	sum := 0.0
	for n, w := range p {
		sum += w
		if n >= c {
			waiting[n-c] = sum
		}
	}
	x := t - service
	k := int(math.Floor(x/service)) + 1
	u := rate * (float64(k)*service - x)
	within := 0.0
	for j := range k * c {
		lg, _ := math.Lgamma(float64(j) + 1)
		within += waiting[k*c-j-1] * math.Exp(float64(j)*math.Log(u)-u-lg)
	}
	return 1 - within
}

// systems have a bound of 100 ms on 99 % of the calls. TestQueuesHaveTheirTheorysCapacity holds truth, calls a second, against theory.
var systems = []struct {
	name  string
	queue queue
	truth float64
}{
	{"fixed service, even arrivals", queue{8, 0.010, false, false, 0.1, 0.01}, 800},
	{"fixed service, Poisson arrivals", queue{8, 0.010, false, true, 0.1, 0.01}, 775.1},
	{"exponential service, Poisson arrivals", queue{8, 0.010, true, true, 0.1, 0.01}, 749.0},
}

// searches makes many searches in virtual time and asserts what issue and documents claim of them.
func searches(t *testing.T, n int, least float64) {
	for _, s := range systems {
		t.Run(s.name, func(t *testing.T) {
			truth := s.truth
			covered, far := 0, 0
			bias, worst, width := 0.0, 0.0, 0.0
			var longest, total time.Duration
			for seed := range n {
				r := rand.New(rand.NewPCG(uint64(seed), 7))
				c, err := loadgen.SearchCapacity(t.Context(), loadgen.CapacityOptions{Allowed: 0.01, Bound: 100 * time.Millisecond},
					func(_ context.Context, p loadgen.TrialPlan) (loadgen.Trial, error) { return s.queue.trial(r, p), nil })
				if err != nil {
					t.Fatal(err)
				}
				off := c.Rate/truth - 1
				bias += off / float64(n)
				width += (c.High - c.Low) / truth / float64(n)
				worst = max(worst, math.Abs(off))
				if math.Abs(off) > 0.05 {
					far++
				}
				longest, total = max(longest, c.Time), total+c.Time
				if c.Low <= truth && truth <= c.High {
					covered++
				}
			}
			t.Logf("truth %.1f/s; %d searches: interval covers it in %.1f %%, its width %.2f %%, off by %+.2f %% on average, %.2f %% at most, by more than 5 %% in %.1f %%; time %v on average, %v at most",
				truth, n, 100*float64(covered)/float64(n), 100*width, 100*bias, 100*worst, 100*float64(far)/float64(n), (total / time.Duration(n)).Round(time.Second), longest.Round(time.Second))
			if share := float64(covered) / float64(n); share < least {
				t.Errorf("the interval covers the truth in %.1f %%, less than %.1f %%", 100*share, 100*least)
			}
			if share := float64(far) / float64(n); share > 0.05 {
				t.Errorf("%.1f %% of the searches are off by more than 5 %%", 100*share)
			}
			if longest > 3*time.Minute {
				t.Errorf("a search took %v, more than 3 minutes", longest)
			}
		})
	}
}

// TestCapacityIsFound is fixed by its seeds; the proof makes a thousand searches.
func TestCapacityIsFound(t *testing.T) { searches(t, 20, 0.85) }

// answers is a trial function of which nothing but the rate decides.
func answers(good func(rate float64) bool, generator bool) func(context.Context, loadgen.TrialPlan) (loadgen.Trial, error) {
	return func(_ context.Context, p loadgen.TrialPlan) (loadgen.Trial, error) {
		t := loadgen.Trial{Good: good(p.Rate), Calls: int64(p.Rate * p.Duration.Seconds()), Achieved: p.Rate, Mean: 10 * time.Millisecond}
		if !t.Good {
			t.Bad, t.Generator, t.Why = 0.5, generator, []string{"it was slow"}
		}
		return t, nil
	}
}

func TestCapacityIsRefusedWhereTheGeneratorIsTheLimit(t *testing.T) {
	for _, generator := range []bool{true, false} {
		c, err := loadgen.SearchCapacity(t.Context(), loadgen.CapacityOptions{}, answers(func(rate float64) bool { return rate < 300 }, generator))
		if err != nil || c.Generator != generator {
			t.Errorf("generator at fault: %v; the search says %v, %v", generator, c.Generator, err)
			continue
		}
		what, _ := c.Saturated(2)
		if (what == loadgen.SaturatedGenerator) != generator {
			t.Errorf("generator at fault: %v; short first: %q", generator, what)
		}
	}
}

func TestCapacityOfNothing(t *testing.T) {
	never := answers(func(float64) bool { return false }, false)
	if _, err := loadgen.SearchCapacity(t.Context(), loadgen.CapacityOptions{}, never); !errors.Is(err, loadgen.ErrNoCapacity) {
		t.Errorf("an objective that is never met gives %v", err)
	}
}

func TestCapacityBelowTheStart(t *testing.T) {
	c, err := loadgen.SearchCapacity(t.Context(), loadgen.CapacityOptions{Start: 400}, answers(func(rate float64) bool { return rate < 130 }, false))
	if err != nil || math.Abs(c.Rate/130-1) > 0.05 {
		t.Errorf("130/s are found as %+v: %v", c, err)
	}
}

func TestCapacityBeyondTheHighestRate(t *testing.T) {
	always := answers(func(float64) bool { return true }, false)
	c, err := loadgen.SearchCapacity(t.Context(), loadgen.CapacityOptions{MaxRate: 500}, always)
	if err != nil || !c.AtMaxRate || c.Rate != 500 || len(c.Profile) != 3 {
		t.Errorf("without a limit: %+v, %v", c, err)
	}
}

func TestCapacityEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	made := 0
	_, err := loadgen.SearchCapacity(ctx, loadgen.CapacityOptions{}, func(context.Context, loadgen.TrialPlan) (loadgen.Trial, error) {
		if made++; made == 3 {
			cancel()
		}
		return loadgen.Trial{Good: true}, nil
	})
	if !errors.Is(err, context.Canceled) || made != 3 {
		t.Errorf("after %d trials: %v", made, err)
	}
}

func TestObjectiveIsReadStrictly(t *testing.T) {
	o, err := loadgen.ParseObjective("p99<100ms, p50<=20ms, errors<0.1%")
	if err != nil || math.Abs(o.Allowed()-0.01) > 1e-9 || o.Bound() != 20*time.Millisecond {
		t.Errorf("%+v: %v", o, err)
	}
	for _, wrong := range []string{"", "errors<1%", "p99>100ms", "p99<100ms over 10s", "exec:p99<1s", "mean<1s", "p99<100ms,,", "p99<100ms,rate>5", "p99<100"} {
		if _, err := loadgen.ParseObjective(wrong); err == nil {
			t.Errorf("%q is read", wrong)
		}
	}
}

// TestTrialCountsWhatTheObjectiveDoes has 1,000 calls that were due.
func TestTrialCountsWhatTheObjectiveDoes(t *testing.T) {
	for name, c := range map[string]struct {
		slo                   string
		slow, failed, dropped int
		good                  bool
		bad                   float64
	}{
		"all fast":              {"p99<100ms", 0, 0, 0, true, 0},
		"ten slow":              {"p99<100ms", 10, 0, 0, true, 0.01},
		"eleven slow":           {"p99<100ms", 11, 0, 0, false, 0.011},
		"slow and dropped":      {"p99<100ms", 6, 0, 6, false, 0.012},
		"two failed":            {"p99<100ms,errors<0.1%", 0, 2, 0, false, 0.02},
		"one failed":            {"p99<100ms,errors<0.1%", 0, 1, 0, true, 0.01},
		"eleven failed, unsaid": {"p99<100ms", 0, 11, 0, false, 0.011},
		"the tighter of two":    {"p90<100ms,p99<200ms", 120, 0, 0, false, 0.012},
	} {
		t.Run(name, func(t *testing.T) {
			o, err := loadgen.ParseObjective(c.slo)
			if err != nil {
				t.Fatal(err)
			}
			cell := loadgen.Cell{Step: "exec", OfferedRate: 100, AchievedRate: 100, Requests: int64(1000 - c.dropped), Dropped: int64(c.dropped), Measured: 10 * time.Second, Latency: &stats.Histogram{}}
			for i := range 1000 - c.dropped - c.failed {
				d := 10 * time.Millisecond
				if i < c.slow {
					d = 150 * time.Millisecond
				}
				cell.Latency.Record(d)
			}
			if c.failed > 0 {
				cell.Errors = map[string]int64{"TIMEOUT": int64(c.failed)}
			}
			r := &loadgen.Result{Cells: []loadgen.Cell{cell}, Generator: loadgen.GeneratorHealth{Valid: true}}
			trial := loadgen.TrialOf(o, r)
			if trial.Good != c.good || math.Abs(trial.Bad-c.bad) > 1e-9 || trial.Good != (len(trial.Why) == 0) {
				t.Errorf("good %v, bad %v, want %v, %v: %v", trial.Good, trial.Bad, c.good, c.bad, trial.Why)
			}
			r.Generator = loadgen.GeneratorHealth{Why: []string{"it was late"}}
			if trial = loadgen.TrialOf(o, r); trial.Good || !trial.Generator {
				t.Errorf("a generator that cannot be believed gives %+v", trial)
			}
		})
	}
}

// TestQueuesHaveTheirTheorysCapacity holds the capacities that searches are judged by against theory, and the simulation as well.
func TestQueuesHaveTheirTheorysCapacity(t *testing.T) {
	for i, latency := range []func(c int, rate, service, t float64) float64{1: latencyMDc, 2: latencyMMc} {
		if latency == nil {
			continue // evenly spaced calls never wait below 800 a second
		}
		s := systems[i]
		if share := latency(s.queue.workers, s.truth, s.queue.service, s.queue.bound); math.Abs(share/s.queue.over-1) > 0.01 {
			t.Errorf("%s: by theory %.3f %% of the calls are slower than allowed at %.1f/s", s.name, 100*share, s.truth)
		}
		trial := s.queue.trial(rand.New(rand.NewPCG(1, 1)), loadgen.TrialPlan{Rate: s.truth, Warmup: 30 * time.Second, Duration: 20 * time.Minute})
		if trial.Bad < 0.006 || trial.Bad > 0.016 {
			t.Errorf("%s: at %.1f/s %.2f %% of the simulated calls are slower than allowed, by theory 1 %%", s.name, s.truth, 100*trial.Bad)
		}
	}
}
