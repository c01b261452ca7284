package stats

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

func TestSparse(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for name, draw := range map[string]func() time.Duration{
		"nothing":     nil,
		"one value":   func() time.Duration { return 3 * time.Millisecond },
		"narrow":      func() time.Duration { return time.Millisecond + time.Duration(rng.Int64N(1e6)) },
		"log-normal":  func() time.Duration { return time.Duration(20e6 * math.Exp(0.5*rng.NormFloat64())) },
		"everything":  func() time.Duration { return time.Duration(math.Exp(rng.Float64()*22+6)) * time.Nanosecond },
		"beyond ends": func() time.Duration { return []time.Duration{0, 1000 * time.Hour}[rng.IntN(2)] },
	} {
		var c Coarse
		for range 5000 {
			if draw != nil {
				c.Record(draw())
			}
		}
		s := c.Sparse(32)
		got, err := DecodeSparse(s)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got.Count() != c.Count() || got.used(0) > 32 {
			t.Errorf("%s: %d in %d buckets, want %d in at most 32", name, got.Count(), got.used(0), c.Count())
		}
		if again := got.Sparse(32); got.used(0) == c.used(0) && again != s {
			t.Errorf("%s: encoded again it is %q, was %q", name, again, s)
		}
		for _, q := range []float64{0.5, 0.95, 0.99} {
			if a, b := got.Percentile(q), c.Percentile(q); name != "everything" && !within(a, b, 0.2) {
				t.Errorf("%s: p%v is %v, was %v", name, 100*q, a, b)
			}
		}
	}
}

func TestBuckets(t *testing.T) {
	var c Coarse
	for _, d := range []time.Duration{3 * time.Millisecond, 500 * time.Nanosecond, 3 * time.Millisecond, time.Second} {
		c.Record(d)
	}
	var n, last int64 = 0, -1
	for b := range c.Buckets() {
		if int64(b.Start) <= last || b.End <= b.Start || b.N == 0 {
			t.Errorf("%+v follows a bucket from %d on", b, last)
		}
		if b.N == 2 && !(b.Start <= 3*time.Millisecond && 3*time.Millisecond < b.End) {
			t.Errorf("%+v holds two", b)
		}
		n, last = n+b.N, int64(b.Start)
	}
	if n != 4 {
		t.Errorf("the buckets hold %d, want 4", n)
	}
	for range c.Buckets() {
		break // and it can be left early
	}
}

func FuzzDecodeSparse(f *testing.F) {
	var c Coarse
	f.Add(c.Sparse(32))
	for i := range 1000 {
		c.Record(time.Duration(i) * time.Millisecond)
	}
	f.Add(c.Sparse(32))
	f.Add(c.Sparse(1))
	f.Add("")
	f.Fuzz(func(t *testing.T, s string) {
		c, err := DecodeSparse(s)
		if err != nil {
			return
		}
		again, err := DecodeSparse(c.Sparse(coarseBuckets))
		if err != nil || again.Count() != c.Count() {
			t.Fatalf("%v: %d, want %d", err, again.Count(), c.Count())
		}
	})
}
