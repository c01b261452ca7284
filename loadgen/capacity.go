package loadgen

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen/stats"
)

// TrialPlan is one measurement that a search for capacity asks for.
type TrialPlan struct {
	Rate     float64 // arrivals per second
	Warmup   time.Duration
	Duration time.Duration // measured, after the warm-up
}

// time is what the trial takes.
func (p TrialPlan) time() time.Duration { return p.Warmup + p.Duration }

// Trial is what came of one.
type Trial struct {
	Plan      TrialPlan
	Took      time.Duration // all of it, a server that was started included; 0 means that it took what the plan says
	Good      bool          // the objective held, and MinAchieved of the offered rate was achieved
	Calls     int64         // that were due, those that were dropped included
	Bad       float64       // share of them that the objective counts as bad: too slow, failed or dropped
	Generator bool          // the generator was not to be believed, so that Good says nothing of the server
	Why       []string      // a sentence without its full stop for each reason why it is not Good
	Achieved  float64       // successes per second
	Mean      time.Duration // of the latency; 0 where there is none
	P50       time.Duration // likewise, as P95 and P99
	P95       time.Duration
	P99       time.Duration
	Resources TrialResources
}

// TrialResources says what was busy during a trial.
type TrialResources struct {
	ServerCPU    float64       // percent of one CPU; 0 where it is not known
	GeneratorCPU float64       // likewise, of this process, a fake host in it included
	Wait         time.Duration // mean time of a call in the server's queue, for a connection and for a channel on it
	Remote       time.Duration // mean time of a call at the host
	RSS          int64         // most bytes resident of the server; 0 where it is not known
}

// CapacityOptions say how to search. The zero value searches as documented.
type CapacityOptions struct {
	Start   float64       // rate of the first trial; 0 means 50
	Budget  time.Duration // time of all trials together; 0 means 170 s. With less, trials are shorter, and the interval is wider
	Allowed float64       // share of bad calls that the objective allows, such as 0.01 for a bound on p99; 0 means that. Trials are long enough for it
	Bound   time.Duration // the shortest latency of the objective; 0 means that it has none
	MaxRate float64       // beyond which nothing is tried; 0 means 100,000
	Width   float64       // of the interval, relative to the rate, at which the search ends early; 0 means 0.01
	Done    func(Trial)   // is told of every trial; nil for none
}

// How trials are measured.
const (
	MinAchieved = 0.99 // share of the offered rate that a good trial achieves

	fullBudget     = 170 * time.Second
	shortest       = 0.35             // of what follows, where the budget is smaller
	generatorTries = 3                // of a rate at which the generator was not to be believed, after the first
	quickTrial     = 2 * time.Second  // of the doubling
	longTrial      = 8 * time.Second  // of the bisection
	profileTrial   = 10 * time.Second // of the latency below capacity, for profileCalls at least as far as
	profileLongest = 20 * time.Second
	profileCalls   = 1000  // of which 50 are beyond the p95
	trialWarmup    = 0.25  // of the measured time, before it
	quickSamples   = 2     // times the fewest samples that a percentile needs, in the doubling
	trialSamples   = 10    // likewise in the bisection
	capacityTails  = 0.015 // of the posterior that is left out of the interval on either side
)

// ProfileShares are the shares of capacity at which latency is measured once the capacity is known.
var ProfileShares = []float64{0.5, 0.7, 0.9}

// Capacity is what a search found.
type Capacity struct {
	Rate      float64 // the highest rate that meets the objective
	Low, High float64 // interval that holds it with a probability of at least 95 %
	Knee      float64 // the rate measured whose ratio to the mean latency is highest, Kleinrock's power; 0 where nothing was measured
	Trials    []Trial
	Profile   []Trial // at ProfileShares of Rate, in this order
	Time      time.Duration
	Generator bool // the generator was the limit, so that Rate, Low and High say nothing of the server
	AtMaxRate bool // the objective held at the highest rate that was to be tried; Rate is it, and High is unknown, 0
}

// ErrNoCapacity is wrapped by SearchCapacity's error when the objective does not hold at any rate that was tried.
var ErrNoCapacity = errors.New("the objective is not met at any rate")

// SearchCapacity looks for the highest rate that meets an objective. It doubles the rate from Start until a trial is bad twice, then bisects with
// trials whose answers may be wrong (stats.Bisection) until the interval is narrow or the time is used up, and at last measures latency at 50, 70
// and 90 % of what it found. A trial in which the generator is not to be believed counts as a bad one; where such ones alone bound the rate from
// above, Capacity.Generator says so.
//
// A trial cannot see an overload so small that the queue does not reach the objective's bound before it ends. A good one therefore speaks for a
// rate that is lower by as much.
//
// The error is that of trial or ctx, or wraps ErrNoCapacity.
func SearchCapacity(ctx context.Context, o CapacityOptions, trial func(context.Context, TrialPlan) (Trial, error)) (*Capacity, error) {
	o.Start, o.Budget = cmp.Or(o.Start, 50), cmp.Or(o.Budget, fullBudget)
	o.Allowed, o.MaxRate, o.Width = cmp.Or(o.Allowed, 0.01), cmp.Or(o.MaxRate, 100_000), cmp.Or(o.Width, 0.01)
	s := &capacitySearch{CapacityOptions: o, trial: trial, out: &Capacity{}, scale: min(1, max(shortest, o.Budget.Seconds()/fullBudget.Seconds()))}
	good, bad, err := s.double(ctx)
	if err != nil {
		return nil, err
	}
	if bad == 0 {
		s.out.Rate, s.out.Low, s.out.AtMaxRate = good, good, true
	} else if err := s.bisect(ctx, good, bad); err != nil {
		return nil, err
	}
	s.out.Generator = s.out.Generator || s.generator()
	if !s.out.Generator {
		err = s.profile(ctx)
	}
	s.out.Knee = s.knee()
	return s.out, err
}

// capacitySearch is a search under way.
type capacitySearch struct {
	CapacityOptions
	trial func(context.Context, TrialPlan) (Trial, error)
	out   *Capacity
	scale float64 // of the trials' lengths
}

// plan makes a trial at a rate at least as long as the objective's percentile needs.
func (s *capacitySearch) plan(rate float64, least time.Duration, samples float64) TrialPlan {
	least = seconds(s.scale * max(least.Seconds(), samples/s.Allowed/rate))
	return TrialPlan{Rate: rate, Duration: least, Warmup: seconds(trialWarmup * least.Seconds())}
}

// try makes a trial.
func (s *capacitySearch) try(ctx context.Context, p TrialPlan) (Trial, error) {
	if err := ctx.Err(); err != nil {
		return Trial{}, err
	}
	t, err := s.trial(ctx, p)
	if err != nil {
		return t, err
	}
	t.Plan = p
	t.Good = t.Good && !t.Generator
	s.out.Time += cmp.Or(t.Took, p.time())
	if s.Done != nil {
		s.Done(t)
	}
	return t, nil
}

// add makes one that counts.
func (s *capacitySearch) add(ctx context.Context, p TrialPlan) (Trial, error) {
	t, err := s.try(ctx, p)
	if err == nil {
		s.out.Trials = append(s.out.Trials, t)
	}
	return t, err
}

// twice tries a rate, and once more, for longer, if that was bad; several times more where it was bad by the generator, which other work on the machine
// may have kept from a CPU for a moment.
func (s *capacitySearch) twice(ctx context.Context, rate float64) (good bool, err error) {
	t, err := s.add(ctx, s.plan(rate, quickTrial, quickSamples))
	for n := 0; err == nil && !t.Good && (n == 0 || t.Generator && n < generatorTries); n++ {
		t, err = s.add(ctx, s.plan(rate, quickTrial*3/2, quickSamples))
	}
	return t.Good, err
}

// double brackets the capacity: the objective held at good and did not at bad, which is 0 where it held at MaxRate.
func (s *capacitySearch) double(ctx context.Context) (good, bad float64, err error) {
	rate := min(s.Start, s.MaxRate)
	for {
		ok, err := s.twice(ctx, rate)
		switch {
		case err != nil:
			return 0, 0, err
		case ok && bad > 0, ok && rate == s.MaxRate:
			return rate, bad, nil
		case ok:
			good, rate = rate, min(2*rate, s.MaxRate)
		case good > 0:
			return good, rate, nil
		default:
			if bad, rate = rate, rate/2; rate < s.Start/64 || s.out.Time > s.Budget/2 {
				last := s.out.Trials[len(s.out.Trials)-1]
				if last.Generator {
					return 0, 0, fmt.Errorf("%w: the generator cannot be believed even at %.3g/s: %v", ErrNoCapacity, bad, last.Why)
				}
				return 0, 0, fmt.Errorf("%w, not even at %.3g/s: %v", ErrNoCapacity, bad, last.Why)
			}
		}
	}
}

// bisect finds the threshold between a rate that was good and one that was bad, of which short trials alone told.
func (s *capacitySearch) bisect(ctx context.Context, good, bad float64) error {
	b := stats.NewBisection(0.7*good, 1.2*bad, s.Allowed)
	reserve := s.profileTime(good)
	for {
		low, high := b.Quantile(capacityTails), b.Quantile(1-capacityTails)
		p := s.plan(b.Quantile(0.5), longTrial, trialSamples)
		if s.out.Time+p.time()+reserve > s.Budget || high-low < s.Width*low {
			s.out.Rate, s.out.Low, s.out.High = p.Rate, low, high
			return nil
		}
		p.Rate *= 1 + s.unseen(p)/2 // between where it would speak for more and where for less
		t, err := s.add(ctx, p)
		if err != nil {
			return err
		}
		s.observe(b, t)
		if below, above := b.AtEdge(); (below || above) && s.out.Time < s.Budget/2 {
			b = s.learn(s.beyond(b, below))
		}
	}
}

// unseen is the relative overload that a trial cannot see: over its time the queue does not grow to the bound, and MinAchieved is kept.
func (s *capacitySearch) unseen(p TrialPlan) float64 {
	if s.Bound == 0 {
		return 1 - MinAchieved
	}
	return min(1-MinAchieved, s.Bound.Seconds()/p.time().Seconds())
}

// observe tells a bisection what a trial says. A good one says no more than that the threshold lies above what it would have seen.
func (s *capacitySearch) observe(b *stats.Bisection, t Trial) {
	at, share := t.Plan.Rate, t.Bad
	switch {
	case t.Good:
		at *= 1 - s.unseen(t.Plan)
	default:
		share = max(share, 1-t.Achieved/t.Plan.Rate, 2*s.Allowed*btof(t.Generator))
	}
	b.Observe(at, share, t.Calls)
}

func btof(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// learn tells a new bisection of all long trials so far.
func (s *capacitySearch) learn(b *stats.Bisection) *stats.Bisection {
	for _, t := range s.out.Trials {
		if t.Plan.Duration.Seconds() >= s.scale*longTrial.Seconds() {
			s.observe(b, t)
		}
	}
	return b
}

// beyond is a bisection over more than one that has run into an edge of what it considers.
func (s *capacitySearch) beyond(b *stats.Bisection, below bool) *stats.Bisection {
	low, high := b.Quantile(0), b.Quantile(1)
	if below {
		return stats.NewBisection(low/2, high, s.Allowed)
	}
	return stats.NewBisection(low, high*2, s.Allowed)
}

// generator reports whether it was the generator that bounded the rate: of the bad trials up to the next doubling most were bad by it alone.
func (s *capacitySearch) generator() bool {
	all, by := 0, 0
	for _, t := range s.out.Trials {
		if t.Good || t.Plan.Rate > 2*s.out.Rate {
			continue
		}
		all++
		if t.Generator {
			by++
		}
	}
	return all > 0 && 2*by > all
}

// profilePlan makes a trial for the latency below capacity.
func (s *capacitySearch) profilePlan(rate float64) TrialPlan {
	return s.plan(rate, min(max(profileTrial, seconds(profileCalls/rate)), profileLongest), trialSamples)
}

// profileTime is what the trials of profile take for a capacity.
func (s *capacitySearch) profileTime(rate float64) (sum time.Duration) {
	for _, share := range ProfileShares {
		sum += s.profilePlan(share * rate).time()
	}
	return sum
}

// profile measures latency below capacity.
func (s *capacitySearch) profile(ctx context.Context) error {
	for _, share := range ProfileShares {
		t, err := s.try(ctx, s.profilePlan(share*s.out.Rate))
		if err != nil {
			return err
		}
		s.out.Profile = append(s.out.Profile, t)
	}
	return nil
}

// knee is the rate of the trial with the highest power, which is its rate over its mean latency (Kleinrock, "Power and deterministic rules of
// thumb for probabilistic problems in computer communications", ICC 1979).
func (s *capacitySearch) knee() (rate float64) {
	best := 0.0
	for _, t := range slices.Concat(s.out.Trials, s.out.Profile) {
		if t.Generator || t.Mean == 0 {
			continue
		}
		if power := t.Achieved / t.Mean.Seconds(); power > best && !math.IsInf(power, 0) {
			best, rate = power, t.Plan.Rate
		}
	}
	return rate
}
