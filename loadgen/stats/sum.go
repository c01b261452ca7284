package stats

import (
	"math"
	"time"
)

// SumPercentile is the percentile q of the sum of two independent durations whose distributions a and b hold, to a thousandth: of a delay and
// of what the path around it costs, for example. ok is false when either has too few samples for q.
//
// The sum's distribution is the convolution of theirs. P(A+B ≤ x) is found in one pass over the bars of both, and x by bisection.
func SumPercentile(a, b *Histogram, q float64) (value time.Duration, ok bool) {
	if need := MinSamples(q); need == 0 || a.Count() < need || b.Count() < need {
		return 0, false
	}
	as, bs := a.bars(), b.bars()
	want := q * float64(a.Count()) * float64(b.Count())
	low, high := a.Min()+b.Min(), a.Max()+b.Max()
	for high-low > max(1, high/10_000) {
		mid := low + (high-low)/2
		if pairsUpTo(as, bs, mid) >= want {
			high = mid
		} else {
			low = mid
		}
	}
	return high, true
}

// bar is a bucket of a histogram that holds something.
type bar struct {
	value time.Duration // its middle
	count float64
}

// bars lists the buckets by ascending value.
func (h *Histogram) bars() []bar {
	var out []bar
	for _, b := range h.h.Distribution() {
		if b.Count > 0 {
			out = append(out, bar{time.Duration(math.Round((float64(b.From) + float64(b.To)) / 2)), float64(b.Count)})
		}
	}
	return out
}

// pairsUpTo counts the pairs of one sample of each whose sum is at most x.
func pairsUpTo(as, bs []bar, x time.Duration) float64 {
	below := 0.0 // samples of b that fit beside the current bar of a
	for _, b := range bs {
		below += b.count
	}
	pairs, j := 0.0, len(bs)
	for _, a := range as {
		for j > 0 && a.value+bs[j-1].value > x {
			j--
			below -= bs[j].count
		}
		pairs += a.count * below
	}
	return pairs
}
