package server

import (
	"math"
	"runtime"
	"runtime/metrics"
	"testing"
)

func TestReadGC(t *testing.T) {
	before := readGC()
	runtime.GC()
	after := readGC()
	if after.cycles <= before.cycles || after.heapBytes == 0 || after.pauseP99S <= 0 || after.pauseMaxS < after.pauseP99S {
		t.Errorf("%+v after a collection, %+v before", after, before)
	}
}

func TestQuantile(t *testing.T) {
	h := &metrics.Float64Histogram{Counts: []uint64{0, 98, 0, 1, 1}, Buckets: []float64{math.Inf(-1), 1, 2, 3, 4, math.Inf(1)}}
	for q, want := range map[float64]float64{0.5: 2, 0.98: 2, 0.99: 4, 1: 4} {
		if got := quantile(h, q); got != want {
			t.Errorf("%v: %v, want %v", q, got, want)
		}
	}
	if got := quantile(&metrics.Float64Histogram{Counts: []uint64{0}, Buckets: []float64{0, 1}}, 0.5); got != 0 {
		t.Errorf("of nothing: %v", got)
	}
}
