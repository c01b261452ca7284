package stats

import (
	"cmp"
	"math"
	"slices"

	"gonum.org/v1/gonum/stat/distuv"
)

// Slope is how a series changes with time, per unit of time.
type Slope struct {
	Slope     float64
	Low, High float64 // interval that holds it with the confidence asked for
	Points    int
	Inflation float64 // how many times wider than that of independent values the variance is, 1 or more: of ranks or values, whichever is more
}

// TheilSen fits a line through values y at the ascending times x, of which there are at least 3, or else ok is false. The slope is the median of
// those of all pairs, so that a quarter of the values may be wild (Theil 1950; Sen, "Estimates of the Regression Coefficient Based on Kendall's
// Tau", JASA 63, 1968). Values should come about evenly in time.
//
// The interval is the wider one, on each side, of two. Sen's goes by ranks, with ties as in Gilbert, Statistical Methods for Environmental Pollution
// Monitoring, 1987, section 16.5, and does not see a step that most pairs do not straddle. That of least squares goes by what the line leaves, and
// does. Both grow with the root of an inflation, of ranks or values, since neighbours are alike: Matalas and Sankarasubramanian, "Effect of persistence on trend
// detection via regression", Water Resources Research 39, 2003; and there are only as many independent values left as a quantile of Student's t
// makes up for. A series that wanders like a random walk has a wide interval, that may hold a little less often than the confidence says.
func TheilSen(x, y []float64, confidence float64) (s Slope, ok bool) {
	n := len(y)
	if n < 3 || len(x) != n {
		return Slope{}, false
	}
	slopes := make([]float64, 0, n*(n-1)/2)
	for i := range n {
		for j := i + 1; j < n; j++ {
			if x[j] > x[i] {
				slopes = append(slopes, (y[j]-y[i])/(x[j]-x[i]))
			}
		}
	}
	if len(slopes) == 0 {
		return Slope{}, false
	}
	slices.Sort(slopes)
	s = Slope{Slope: middle(slopes), Points: n}
	rest, spread := s.leaves(x, y)
	byRank, byValue := inflation(ranks(rest)), inflation(rest)
	s.Inflation = max(byRank, byValue)
	low, high := senEnds(slopes, quantile(n, byRank, confidence)*math.Sqrt(kendallVariance(y)))
	reach := math.Sqrt(byValue) * quantile(n, byValue, confidence) * spread
	s.Low = s.Slope - max(math.Sqrt(byRank)*(s.Slope-low), reach)
	s.High = s.Slope + max(math.Sqrt(byRank)*(high-s.Slope), reach)
	return s, true
}

// quantile is that of Student's t for n values, of which neighbours are alike.
func quantile(n int, inflation, confidence float64) float64 {
	return distuv.StudentsT{Sigma: 1, Nu: max(float64(n)/inflation-2, 3)}.Quantile((1 + confidence) / 2)
}

// leaves is what the line leaves of the values, and the standard error that the slope of least squares has by it.
func (s Slope) leaves(x, y []float64) (rest []float64, spread float64) {
	n := float64(len(y))
	rest = make([]float64, len(y))
	var mean, at, squares, times float64
	for i := range rest {
		rest[i] = y[i] - s.Slope*x[i]
		mean += rest[i] / n
		at += x[i] / n
	}
	for i := range rest {
		squares += (rest[i] - mean) * (rest[i] - mean)
		times += (x[i] - at) * (x[i] - at)
	}
	return rest, math.Sqrt(squares / (n - 2) / times)
}

// senEnds are the ends of Sen's interval for a reach of Kendall's S: two of the sorted slopes, the outermost where the reach is beyond.
func senEnds(slopes []float64, reach float64) (low, high float64) {
	from := max(int(math.Floor((float64(len(slopes))-reach)/2)), 1)
	return slopes[from-1], slopes[len(slopes)-from]
}

// middle is the median of sorted values.
func middle(sorted []float64) float64 {
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// kendallVariance is that of Kendall's S of independent values without a trend, ties taken into account.
func kendallVariance(y []float64) float64 {
	of := func(n int) float64 { return float64(n) * float64(n-1) * float64(2*n+5) / 18 }
	sorted := slices.Sorted(slices.Values(y))
	v := of(len(y))
	for i := 0; i < len(sorted); {
		j := i
		for j < len(sorted) && sorted[j] == sorted[i] {
			j++
		}
		v -= of(j - i)
		i = j
	}
	return v
}

// inflation is by how much the likeness of neighbours widens the variance: n/n* of Hamed and Rao ("A modified Mann–Kendall trend test for
// autocorrelated data", Journal of Hydrology 204, 1998), of the autocorrelations that differ from 0 with 95 % confidence, or what a
// first-order autoregression has, (1+r)/(1−r), where that is more. Its r makes up for what fitting a line takes from it (Marriott and Pope, "Bias
// in the estimation of autocorrelations", Biometrika 41, 1954), which n/n* does not. It is never less than 1: a series that swings back and forth
// is no reason to be surer than of independent values. It is at most 2n−1, that of a random walk.
func inflation(r []float64) float64 {
	size := len(r)
	n := float64(size)
	var mean, whole, squares float64
	for _, v := range r {
		mean += v / n
		squares += v * v
	}
	for _, v := range r {
		whole += (v - mean) * (v - mean)
	}
	if whole <= 1e-24*squares { // all the same but for rounding
		return 1
	}
	var sum, next float64
	for lag := 1; lag < size-2; lag++ {
		var c float64
		for i := range size - lag {
			c += (r[i] - mean) * (r[i+lag] - mean)
		}
		c /= whole
		if lag == 1 {
			next = c
		}
		if math.Abs(c) > 1.96/math.Sqrt(n) {
			left := n - float64(lag)
			sum += left * (left - 1) * (left - 2) * c
		}
	}
	if next += 2 / n; n > 4 {
		next /= 1 - 4/n
	}
	next = min(max(next, 0), 1-1/n)
	return min(max(1+2*sum/(n*(n-1)*(n-2)), (1+next)/(1-next)), 2*n-1)
}

// ranks gives each value its place in the order of all, from 1 on; equal ones share the mean of theirs.
func ranks(values []float64) []float64 {
	order := make([]int, len(values))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(values[a], values[b]) })
	out := make([]float64, len(values))
	for i := 0; i < len(order); {
		j := i
		for j < len(order) && values[order[j]] == values[order[i]] {
			j++
		}
		for _, at := range order[i:j] {
			out[at] = float64(i+j+1) / 2
		}
		i = j
	}
	return out
}
