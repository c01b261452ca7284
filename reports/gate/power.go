package gate

import (
	"fmt"
	"math"

	"gonum.org/v1/gonum/stat/distuv"

	"github.com/openaccess-mcp/openaccess-mcp/reports/result"
)

// power is the chance with which a detectable effect is found.
const power = 0.9

// maxNeeded is the most pairs that are given as needed.
const maxNeeded = 100_000

// detectable says which worsening would have been found with these pairs.
func (c *cell) detectable(l *look) {
	d := c.detects(len(c.known), l.critical)
	if c.cell.Measure != result.MeasureErrors {
		d = math.Expm1(d)
	}
	c.out.Detectable = number(d)
}

// detects is the difference that n pairs find in nine gates of ten when the statistic has to exceed critical. With differences of mean τ and deviation
// σ the statistic is about √n·τ/√(τ²+σ²+s²), which is turned round.
func (c *cell) detects(n int, critical float64) float64 {
	sigma, s, root := deviation(c.known), c.effectDiff*smooth, math.Sqrt(float64(n))
	if !(critical < root) {
		return math.Inf(1)
	}
	least := critical * math.Hypot(sigma, s) / math.Sqrt(float64(n)-critical*critical)
	return max(least, c.effectDiff) + distuv.UnitNormal.Quantile(power)*sigma/root
}

// inconclusive says what is missing.
func (c *cell) inconclusive(l *look) {
	o := &c.out
	if needed, ok := c.needs(l); ok {
		more := max(needed-len(c.known), 1)
		o.PairsNeeded = &more
	}
	switch {
	case o.Detectable == nil:
		o.Why = "no change is detectable with these pairs"
	default:
		o.Why = fmt.Sprintf("%s is detectable with %d pairs", change(o, *o.Detectable), o.Pairs)
	}
	if o.PairsNeeded != nil {
		o.Why += fmt.Sprintf(", about %d more are needed", *o.PairsNeeded)
	}
}

// needs is how many pairs decide the cell if its noise and estimate stay what they are: an estimate of a regression is to be detected, any other to
// be told from the margin.
func (c *cell) needs(l *look) (pairs int, ok bool) {
	sigma := deviation(c.known)
	tail := tailOf(l.critical, l.n)
	if math.IsNaN(sigma) || math.IsNaN(tail) {
		return 0, false
	}
	decided := func(n int) bool {
		estimate := c.shift.Estimate
		if t := quantile(l.opts.Alpha, n) * sigma / math.Sqrt(float64(n)); estimate+t < c.marginAt && t < c.marginAt {
			return true
		}
		return estimate >= c.effectDiff && c.detects(n, criticalOf(tail, n)) <= estimate
	}
	low, high := len(c.known), maxNeeded
	if !decided(high) {
		return 0, false
	}
	for high-low > 1 {
		if mid := (low + high) / 2; decided(mid) {
			high = mid
		} else {
			low = mid
		}
	}
	return high, true
}

// tailOf is the chance beyond a critical value of the statistic for one cell alone, taking it for what it would be of normal differences: r of
// n pairs stands for Student's t of r·√((n−1)/(n−r²)).
func tailOf(critical float64, n int) float64 {
	if !(critical < math.Sqrt(float64(n))) || n < 2 {
		return math.NaN()
	}
	t := critical * math.Sqrt(float64(n-1)/(float64(n)-critical*critical))
	return distuv.StudentsT{Mu: 0, Sigma: 1, Nu: float64(n - 1)}.Survival(t)
}

// criticalOf is the critical value of n pairs with that chance beyond it.
func criticalOf(tail float64, n int) float64 {
	t := quantile(tail, n)
	return t * math.Sqrt(float64(n)/(float64(n-1)+t*t))
}

// quantile is what Student's t of n values exceeds with that chance.
func quantile(tail float64, n int) float64 {
	return distuv.StudentsT{Mu: 0, Sigma: 1, Nu: float64(n - 1)}.Quantile(1 - tail)
}
