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
	sigma, s, root := deviation(c.known), c.effectDiff, math.Sqrt(float64(n))
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
	o.Why = "no change is detectable with these pairs"
	if o.Detectable != nil {
		o.Why = fmt.Sprintf("a worsening of %s is detectable with %d pairs", size(o, *o.Detectable), o.Pairs)
	}
	if o.PairsNeeded != nil {
		o.Why += fmt.Sprintf(", about %d more are needed", *o.PairsNeeded)
	}
}

// needs is how many pairs decide the cell if its noise and estimate stay what they are: an estimate of a regression is to be detected, any other to
// be told from the margin.
func (c *cell) needs(l *look) (pairs int, ok bool) {
	sigma := deviation(c.known)
	z := normalOf(l.critical, l.n)
	if math.IsNaN(sigma) || math.IsNaN(z) {
		return 0, false
	}
	margin := distuv.UnitNormal.Quantile(1 - l.opts.Tail)
	decided := func(n int) bool {
		estimate := c.shift.Estimate
		if t := student(margin, n) * sigma / math.Sqrt(float64(n)); estimate+t < c.marginAt && t < c.marginAt {
			return true
		}
		return estimate >= c.effectDiff && c.detects(n, criticalOf(z, n)) <= estimate
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

// normalOf is the quantile of a normal distribution that stands for a critical value of the statistic of n pairs: r stands for Student's t of
// r·√((n−1)/(n−r²)), as it would be of normal differences.
func normalOf(critical float64, n int) float64 {
	if !(critical < math.Sqrt(float64(n))) || n < 2 {
		return math.NaN()
	}
	t := critical * math.Sqrt(float64(n-1)/(float64(n)-critical*critical))
	low, high := 0.0, t
	for range 50 {
		if mid := (low + high) / 2; student(mid, n) < t {
			low = mid
		} else {
			high = mid
		}
	}
	return high
}

// criticalOf is the critical value of n pairs for that quantile.
func criticalOf(z float64, n int) float64 {
	t := student(z, n)
	return t * math.Sqrt(float64(n)/(float64(n-1)+t*t))
}

// student is the quantile of Student's t of n values for one of the normal distribution, to the first order of its expansion in 1/(n−1) (M. Abramowitz
// and I. A. Stegun, Handbook of Mathematical Functions, 26.7.5): near enough to say how many pairs are needed.
func student(z float64, n int) float64 { return z + z*(z*z+1)/(4*float64(n-1)) }
