package stats

import (
	"math"
	"slices"
	"sync"
)

// maxSignedRank bounds n where the signed-rank distribution is needed: its table has n²/2 entries and takes n³/2 steps.
const maxSignedRank = 1000

// SignedRank is the distribution of Wilcoxon's signed-rank statistic for n differences without ties: the chance at index w that the ranks of the
// positive ones add up to w, 0 to n(n+1)/2. n is 0 to 1000. It is exact but for rounding.
func SignedRank(n int) []float64 { return slices.Clone(signedRank(n)) }

// signedRanks keeps the distributions that were asked for, by n.
var signedRanks sync.Map

// signedRank is SignedRank's own copy.
func signedRank(n int) []float64 {
	if known, ok := signedRanks.Load(n); ok {
		return known.([]float64)
	}
	if n < 0 || n > maxSignedRank {
		panic("stats: the signed-rank distribution is of 0 to 1000 differences")
	}
	chance := make([]float64, n*(n+1)/2+1)
	chance[0] = 1
	for rank, top := 1, 0; rank <= n; rank++ {
		top += rank
		for w := top; w >= 0; w-- {
			with := 0.0
			if w >= rank {
				with = chance[w-rank]
			}
			chance[w] = (chance[w] + with) / 2
		}
	}
	signedRanks.Store(n, chance)
	return chance
}

// Walsh are the means of all pairs of values, each with itself included, in ascending order (J. E. Walsh, Annals of Mathematical Statistics 20, 1949).
func Walsh(values []float64) []float64 {
	out := make([]float64, 0, len(values)*(len(values)+1)/2)
	for i, a := range values {
		for _, b := range values[i:] {
			out = append(out, a/2+b/2)
		}
	}
	slices.Sort(out)
	return out
}

// Shift is where a sample is centred.
type Shift struct {
	Estimate   float64 // the Hodges–Lehmann estimate: the median of the Walsh averages
	Low, High  float64 // an interval around it
	Confidence float64 // of the interval, as really reached: 1 − 2·tail or the next that the sample's size has above it. 0 where it has none
}

// HodgesLehmann estimates the centre of the distribution that values, at most 1000, came from, and an interval whose ends err with a chance of at most
// tail each (J. L. Hodges and E. L. Lehmann, "Estimates of Location Based on Rank Tests", Annals of Mathematical Statistics 34, 1963; the
// interval is J. W. Tukey's, as in M. Hollander and D. A. Wolfe, Nonparametric Statistical Methods, sections 3.2 and 3.3). It is exact for
// a symmetric continuous distribution. Where even the smallest and largest value are no such interval, they are given with a Confidence of
// 0. No values give not-a-numbers.
func HodgesLehmann(values []float64, tail float64) Shift {
	if len(values) == 0 {
		return Shift{Estimate: math.NaN(), Low: math.NaN(), High: math.NaN()}
	}
	walsh := Walsh(values)
	m := len(walsh)
	s := Shift{Estimate: walsh[(m-1)/2]/2 + walsh[m/2]/2, Low: walsh[0], High: walsh[m-1]}
	below := 0.0 // chance that the statistic is at most k − 1
	for k, chance := range signedRank(len(values)) {
		if below+chance > tail || k >= (m+1)/2 {
			break
		}
		below += chance
		s.Low, s.High, s.Confidence = walsh[k], walsh[m-1-k], 1-2*below
	}
	return s
}
