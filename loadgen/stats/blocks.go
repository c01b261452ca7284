package stats

import (
	"math"
	"math/rand/v2"
	"slices"
)

// BlockRatio gives an interval for the ratio of the medians of two series, head over base, whose values are all above 0: the circular block
// bootstrap of D. N. Politis and J. P. Romano, "A Circular Block-Resampling Procedure for Stationary Data" (1992), for the logarithm of the ratio.
// Neighbours are drawn together, in blocks of √n, so that a correlation which fades within a block widens the interval as it should; one that lasts
// longer does not. What differs between the two as a whole, such as the state of the machine, is in neither series and so not in the interval. With
// fewer than 10 values on a side ok is false.
func BlockRatio(base, head []float64, confidence float64, seed uint64) (low, high float64, ok bool) {
	const least, draws = 10, 1000
	if len(base) < least || len(head) < least {
		return 0, 0, false
	}
	rnd := rand.New(rand.NewPCG(seed, 0xb10c))
	ratios := make([]float64, draws)
	b, h := make([]float64, len(base)), make([]float64, len(head))
	for i := range ratios {
		ratios[i] = math.Log(medianOfBlocks(head, h, rnd) / medianOfBlocks(base, b, rnd))
	}
	slices.Sort(ratios)
	tail := int(math.Floor((1 - confidence) / 2 * draws))
	return math.Exp(ratios[tail]), math.Exp(ratios[draws-1-tail]), true
}

// medianOfBlocks fills a draw with blocks of the series, which is taken for a ring, and returns its median.
func medianOfBlocks(series, draw []float64, rnd *rand.Rand) float64 {
	n := len(series)
	block := int(math.Ceil(math.Sqrt(float64(n))))
	for i := 0; i < n; i += block {
		at := rnd.IntN(n)
		for j := i; j < min(i+block, n); j++ {
			draw[j] = series[(at+j-i)%n]
		}
	}
	slices.Sort(draw)
	return (draw[(n-1)/2] + draw[n/2]) / 2
}
