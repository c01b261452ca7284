package stats

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// TestSumPercentile compares with the sorted sums of all pairs.
func TestSumPercentile(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	var a, b Histogram
	var as, bs, sums []time.Duration
	for range 1200 {
		slow := 10 * time.Millisecond
		if r.Float64() < 0.02 {
			slow = 200 * time.Millisecond
		}
		as = append(as, slow)
		bs = append(bs, time.Duration(r.ExpFloat64()*float64(time.Millisecond)))
		a.Record(as[len(as)-1])
		b.Record(bs[len(bs)-1])
	}
	for _, x := range as {
		for _, y := range bs {
			sums = append(sums, x+y)
		}
	}
	slices.Sort(sums)
	for _, q := range []float64{0.01, 0.5, 0.95, 0.97, 0.99, 0.999} {
		want := sums[int(q*float64(len(sums)))]
		if got, ok := SumPercentile(&a, &b, q); !ok || !within(got, want, 0.002) {
			t.Errorf("p%v = %v, %v, want %v", q*100, got, ok, want)
		}
	}
}

func TestSumPercentileNeedsSamples(t *testing.T) {
	var many, few Histogram
	for i := range 1000 {
		many.Record(time.Duration(i))
		if i < 99 {
			few.Record(time.Duration(i))
		}
	}
	for _, h := range []*Histogram{&few, {}, nil} {
		if v, ok := SumPercentile(&many, h, 0.99); ok || v != 0 {
			t.Errorf("with %d samples: %v, %v", h.Count(), v, ok)
		}
		if _, ok := SumPercentile(h, &many, 0.99); ok {
			t.Errorf("with %d samples first: an answer", h.Count())
		}
	}
}

// TestSumPercentileOfNothingAdded leaves a distribution what it is when the other is always 0.
func TestSumPercentileOfNothingAdded(t *testing.T) {
	var a, zero Histogram
	for i := 1; i <= 1000; i++ {
		a.Record(time.Duration(i) * time.Millisecond)
		zero.Record(0)
	}
	for _, q := range []float64{0.5, 0.99, 0.999} {
		want, _ := a.Percentile(q)
		if got, ok := SumPercentile(&a, &zero, q); !ok || !within(got, want, 0.0015) {
			t.Errorf("p%v = %v, want %v", q*100, got, want)
		}
	}
}
