package loadgen

import (
	"math"
	"math/rand/v2"
	"time"
)

// maxRate bounds Executor.Rate, well above what one generator can send.
const maxRate = 1_000_000

// schedule says when the arrivals of an open executor are due, one after another. Nothing that happens during the run moves them: an arrival
// that is sent late or dropped shifts none of those after it.
type schedule interface {
	// next is the offset of the next arrival from the executor's start, never less than the one before; ok is false when none is left.
	next() (at time.Duration, ok bool)
}

// schedule makes the executor's arrivals afresh. lead is the part of its time that comes before the measured one. The same seed and stream
// give the same arrivals.
func (e *Executor) schedule(lead time.Duration, seed, stream uint64) schedule {
	switch {
	case e.Trace != nil:
		return &trace{offsets: e.Trace}
	case e.Arrivals == Poisson:
		return &poisson{rate: e.ramp(lead), chance: rand.New(rand.NewPCG(seed, stream))}
	case e.Stages != nil:
		return &ramped{rate: e.ramp(lead)}
	}
	return &constant{rate: e.Rate}
}

// ramp is how the rate, or the number of virtual users, changes over the executor's time.
func (e *Executor) ramp(lead time.Duration) ramp {
	if e.Stages != nil {
		return newRamp(e.Start, lead, e.Stages)
	}
	return newRamp(max(e.Rate, float64(e.VUs)), 0, nil)
}

// constant arrivals are evenly spaced, counted rather than added up, so that they cannot drift.
type constant struct {
	rate float64
	i    int64
}

func (c *constant) next() (time.Duration, bool) {
	at := intended(c.rate, c.i)
	c.i++
	return at, true
}

// intended is when arrival i of a constant rate a second is due.
func intended(rate float64, i int64) time.Duration {
	return seconds(float64(i) / rate)
}

// arrivals is how many arrivals of a constant rate are due before d.
func arrivals(rate float64, d time.Duration) int64 {
	n := int64(math.Ceil(rate * d.Seconds()))
	for n > 0 && intended(rate, n-1) >= d {
		n--
	}
	for d > 0 && intended(rate, n) < d {
		n++
	}
	return n
}

// ramped arrivals come whenever the area under the rate reaches the next whole number.
type ramped struct {
	rate ramp
	i    int64
}

func (r *ramped) next() (time.Duration, bool) {
	at := r.rate.when(float64(r.i))
	r.i++
	return seconds(at), !math.IsInf(at, 1)
}

// poisson arrivals are those of a unit rate, whose gaps are exponential with mean 1, on a clock that runs as the area under the rate grows.
type poisson struct {
	rate   ramp
	chance *rand.Rand
	unit   float64
}

func (p *poisson) next() (time.Duration, bool) {
	p.unit += p.chance.ExpFloat64()
	at := p.rate.when(p.unit)
	return seconds(at), !math.IsInf(at, 1)
}

// trace replays arrivals that were recorded.
type trace struct {
	offsets []time.Duration
	i       int
}

func (t *trace) next() (time.Duration, bool) {
	if t.i == len(t.offsets) {
		return 0, false
	}
	t.i++
	return t.offsets[t.i-1], true
}
