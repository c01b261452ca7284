package stats

import (
	"fmt"
	"math"
	"slices"
)

// Bisection searches the load at which the share of bad calls rises beyond what an objective allows, by trials that are short and noisy. It is a
// probabilistic bisection as in Waeber, Frazier and Henderson, "Bisection search with noisy responses", SIAM Journal on Control and Optimization
// 51(3), 2013: a posterior over where the threshold lies, which each trial, made at its median, narrows by no more than it can be trusted.
//
// There a trial answers with one bit, right with a known probability. Here it answers with the share of calls that were bad. A yes or no by that
// share would be biased: queues make bad calls in bursts, so that of trials at the threshold most have too few and some have far too many. The share
// itself is right on average. Its logit is taken to rise in a straight line with the logarithm of the load, as steeply as the trials say. How much
// bursts blow up its variance, beyond that of independent calls, is learnt from how far trials lie from that line (McCullagh and Nelder,
// Generalized Linear Models, 1989, section 4.5).
//
// It is not safe for concurrent use.
type Bisection struct {
	allowed float64   // share of bad calls at the threshold
	at      []float64 // logarithms of the thresholds considered
	slopes  []float64
	trials  []bisectionTrial
	weight  []float64 // of the thresholds; they add up to 1
}

// bisectionTrial is one that was made, with the logarithms of what each line (by threshold, then slope) has for its share of bad and of good calls.
type bisectionTrial struct {
	at        float64 // logarithm of the load
	share     float64 // of bad calls
	calls     float64
	bad, good []float64
}

const (
	bisectionCells  = 300
	bisectionSlopes = 12
	leastSlope      = 30.0 // bad calls get 2.7 times as many with 3.3 % more load
	mostSlope       = 1000.0

	// What is taken for granted of bursts: a trial says as much as so many independent calls, as if priorTrials had shown it.
	independentCalls = 2
	priorTrials      = 4.0
	near             = 5 // times the allowed share, up to which a trial tells of bursts
)

// NewBisection starts with a threshold that may be anywhere from low to high alike, on a logarithmic scale. It panics unless 0 < low < high and
// 0 < allowed < 1.
func NewBisection(low, high, allowed float64) *Bisection {
	if !(low > 0 && low < high && !math.IsInf(high, 1) && allowed > 0 && allowed < 1) {
		panic(fmt.Sprintf("stats: bisection from %v to %v at %v", low, high, allowed))
	}
	b := &Bisection{allowed: allowed, at: make([]float64, bisectionCells), weight: make([]float64, bisectionCells)}
	for j := range bisectionSlopes {
		b.slopes = append(b.slopes, leastSlope*math.Pow(mostSlope/leastSlope, float64(j)/(bisectionSlopes-1)))
	}
	from, to := math.Log(low), math.Log(high)
	for i := range b.at {
		b.at[i] = from + (to-from)*(float64(i)+0.5)/bisectionCells
		b.weight[i] = 1.0 / bisectionCells
	}
	return b
}

// Observe takes in a trial at a load, of so many calls, of which a share was bad.
func (b *Bisection) Observe(load, share float64, calls int64) {
	t := bisectionTrial{at: math.Log(load), share: min(max(share, 0), 1), calls: float64(max(calls, 1))}
	for _, threshold := range b.at {
		for _, slope := range b.slopes {
			p := b.expected(t.at, threshold, slope)
			t.bad, t.good = append(t.bad, math.Log(p)), append(t.good, math.Log1p(-p))
		}
	}
	b.trials = append(b.trials, t)
	scores, spread := b.scores(1), 1.0
	for range 3 { // the spread and the line are learnt in turn
		spread = b.spread(scores)
		scores = b.scores(spread)
	}
	b.weigh(scores)
}

// expected is the share of bad calls that a line has at a load.
func (b *Bisection) expected(at, threshold, slope float64) float64 {
	p := 1 / (1 + math.Exp(-(math.Log(b.allowed/(1-b.allowed)) + slope*(at-threshold))))
	return min(max(p, b.allowed/1000), 1-b.allowed/1000)
}

// scores are the logarithms of the lines' likelihoods, but for a constant.
func (b *Bisection) scores(spread float64) []float64 {
	out := make([]float64, len(b.at)*len(b.slopes))
	for _, t := range b.trials {
		n := min(t.calls, independentCalls/spread)
		for i := range out {
			out[i] += n * (t.share*t.bad[i] + (1-t.share)*t.good[i])
		}
	}
	return out
}

// spread is by how much the squares of the trials' distances from the likeliest line are more than what was taken for granted.
func (b *Bisection) spread(scores []float64) float64 {
	line := 0
	for i, s := range scores {
		if s > scores[line] {
			line = i
		}
	}
	sum, n := priorTrials, priorTrials
	for _, t := range b.trials {
		p := math.Exp(t.bad[line])
		if p > near*b.allowed || p < b.allowed/near {
			continue
		}
		sum += min(t.calls, independentCalls) * (t.share - p) * (t.share - p) / (p * (1 - p))
		n++
	}
	return sum / n
}

// weigh makes the thresholds' weights of the lines' scores.
func (b *Bisection) weigh(scores []float64) {
	top := slices.Max(scores)
	sum := 0.0
	for i := range b.weight {
		b.weight[i] = 0
		for _, s := range scores[i*len(b.slopes) : (i+1)*len(b.slopes)] {
			b.weight[i] += math.Exp(s - top)
		}
		sum += b.weight[i]
	}
	for i := range b.weight {
		b.weight[i] /= sum
	}
}

// Quantile is the load that the threshold does not exceed with the probability p. The next trial belongs at that of 0.5.
func (b *Bisection) Quantile(p float64) float64 {
	half := (b.at[1] - b.at[0]) / 2
	sum := 0.0
	for i, cell := range b.weight {
		if cell > 0 && sum+cell >= p {
			return math.Exp(b.at[i] - half + 2*half*max(p-sum, 0)/cell)
		}
		sum += cell
	}
	return math.Exp(b.at[len(b.at)-1] + half)
}

// AtEdge reports whether the threshold may well lie outside of what was considered, below or above: the outermost hundredth on that side has
// more than a twentieth of the weight.
func (b *Bisection) AtEdge() (below, above bool) {
	low, high := 0.0, 0.0
	for i := range bisectionCells / 100 {
		low += b.weight[i]
		high += b.weight[bisectionCells-1-i]
	}
	return low > 0.05, high > 0.05
}
