package stats

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func Example() {
	var h Histogram
	for i := 1; i <= 100; i++ {
		h.Record(time.Duration(i) * time.Millisecond)
	}
	p95, ok := h.Percentile(0.95)
	fmt.Println(p95.Round(time.Millisecond), ok)
	_, ok = h.Percentile(0.999)
	fmt.Println("p99.9 of 100 samples:", ok)
	// Output:
	// 95ms true
	// p99.9 of 100 samples: false
}

func TestMinSamples(t *testing.T) {
	for _, tt := range []struct {
		q    float64
		want int64
	}{
		{0, 1}, {0.5, 2}, {0.75, 4}, {0.9, 10}, {0.95, 20}, {0.99, 100}, {0.999, 1000}, {0.9999, 10000}, {1, 0}, {-0.1, 0}, {1.5, 0},
	} {
		if got := MinSamples(tt.q); got != tt.want {
			t.Errorf("MinSamples(%v) = %d, want %d", tt.q, got, tt.want)
		}
	}
}

func TestPercentileNeedsSamples(t *testing.T) {
	var h Histogram
	for range 99 {
		h.Record(time.Millisecond)
	}
	if v, ok := h.Percentile(0.99); ok || v != 0 {
		t.Errorf("p99 of 99 samples = %v, %v, want none", v, ok)
	}
	h.Record(time.Millisecond)
	if _, ok := h.Percentile(0.99); !ok {
		t.Error("p99 of 100 samples is missing")
	}
}

// TestAgainstSorted compares percentiles with those of the sorted samples.
func TestAgainstSorted(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		var h Histogram
		var all []time.Duration
		for range 2000 {
			d := time.Duration(r.ExpFloat64() * float64(5*time.Millisecond))
			h.Record(d)
			all = append(all, d)
		}
		slices.Sort(all)
		for _, q := range []float64{0.5, 0.75, 0.9, 0.95, 0.99, 0.999} {
			got, ok := h.Percentile(q)
			want := all[int(q*2000+0.5)-1]
			if !ok || !within(got, want, 0.001) {
				t.Errorf("p%v = %v, %v, want %v", q*100, got, ok, want)
			}
		}
		if !within(h.Min(), all[0], 0.001) || !within(h.Max(), all[len(all)-1], 0.001) {
			t.Errorf("min %v max %v, want %v %v", h.Min(), h.Max(), all[0], all[len(all)-1])
		}
	}
}

func TestClampsOutOfRange(t *testing.T) {
	var h Histogram
	h.Record(-time.Second)
	h.Record(24 * time.Hour)
	if h.Count() != 2 || h.Min() != 0 || !within(h.Max(), MaxValue, 0.001) {
		t.Errorf("count %d min %v max %v", h.Count(), h.Min(), h.Max())
	}
}

func TestEmptyAndNil(t *testing.T) {
	for _, h := range []*Histogram{nil, {}} {
		if _, ok := h.Percentile(0.5); ok || h.Count() != 0 || h.Min() != 0 || h.Max() != 0 || h.Mean() != 0 {
			t.Errorf("%v is not empty", h)
		}
		s, err := h.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if d, err := Decode(s); err != nil || d.Count() != 0 {
			t.Errorf("decoded empty: %v, %v", d.Count(), err)
		}
	}
}

func TestMergeEncodeDecode(t *testing.T) {
	var all, a, b Histogram
	for i := range 1000 {
		d := time.Duration(i*i) * time.Microsecond
		all.Record(d)
		[]*Histogram{&a, &b}[i%2].Record(d)
	}
	a.Merge(&b)
	a.Merge(nil)
	s, err := a.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := Decode(s)
	if err != nil {
		t.Fatal(err)
	}
	want, err := all.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := got.Encode(); again != want {
		t.Error("merged and decoded differs from recorded in one")
	}
	if got.Count() != 1000 || got.Mean() != all.Mean() {
		t.Errorf("count %d mean %v, want 1000 %v", got.Count(), got.Mean(), all.Mean())
	}
}

func FuzzDecode(f *testing.F) {
	var h Histogram
	h.Record(time.Second)
	s, err := h.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(s)
	f.Add("")
	f.Add("HISTFAAAAB")
	f.Fuzz(func(t *testing.T, s string) {
		h, err := Decode(s)
		if err != nil {
			return
		}
		again, err := h.Encode()
		if err != nil {
			t.Fatalf("decoded but does not encode: %v", err)
		}
		if d, err := Decode(again); err != nil || d.Count() != h.Count() {
			t.Fatalf("round trip: %v", err)
		}
	})
}

func TestCoarseBuckets(t *testing.T) {
	for i := range coarseBuckets {
		if got := coarseBucket(coarseStart(i)); got != i {
			t.Errorf("bucket of the start of %d (%v) = %d", i, coarseStart(i), got)
		}
		if got := coarseBucket(coarseStart(i+1) - 1); got != i {
			t.Errorf("bucket of the end of %d = %d", i, got)
		}
	}
	if got := coarseBucket(1000 * time.Hour); got != coarseBuckets-1 {
		t.Errorf("bucket of 1000 h = %d", got)
	}
}

func TestCoarsePercentile(t *testing.T) {
	var a, b Coarse
	if a.Percentile(0.5) != 0 || a.Max() != 0 {
		t.Error("an empty one answers")
	}
	for i := 1; i <= 1000; i++ {
		[]*Coarse{&a, &b}[i%2].Record(time.Duration(i) * 100 * time.Microsecond)
	}
	a.Merge(&b)
	for _, q := range []float64{0.5, 0.95, 0.99} {
		want := time.Duration(q * float64(100*time.Millisecond))
		if got := a.Percentile(q); !within(got, want, 0.13) {
			t.Errorf("p%v = %v, want about %v", q*100, got, want)
		}
	}
	if a.Count() != 1000 || a.Max() != 100*time.Millisecond || a.Percentile(1) != a.Max() {
		t.Errorf("count %d max %v p100 %v", a.Count(), a.Max(), a.Percentile(1))
	}
}

func BenchmarkRecord(b *testing.B) {
	var h Histogram
	for i := 0; b.Loop(); i++ {
		h.Record(time.Duration(i%1000) * time.Microsecond)
	}
}

func within(got, want time.Duration, rel float64) bool {
	diff := float64(got - want)
	return diff <= rel*float64(want)+1 && -diff <= rel*float64(want)+1
}
