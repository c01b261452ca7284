package loadgen

import (
	"context"
	"errors"
	"testing"
	"time"
)

func TestPacer(t *testing.T) {
	pace, release := newPacer()
	defer release()
	for _, d := range []time.Duration{-time.Second, 0, time.Millisecond, 30 * time.Millisecond} {
		at := time.Now().Add(d)
		if err := pace(t.Context(), at); err != nil {
			t.Fatal(err)
		}
		if now := time.Now(); now.Before(at) {
			t.Errorf("%v ahead: woke %v early", d, at.Sub(now))
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(10*time.Millisecond, cancel)
	if err := pace(ctx, time.Now().Add(time.Hour)); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled wait gave %v", err)
	}
	if err := pace(ctx, time.Now().Add(time.Millisecond)); !errors.Is(err, context.Canceled) {
		t.Errorf("a wait after the end gave %v", err)
	}
}

// BenchmarkPacer reports how late the pacer wakes at 2,000 arrivals a second.
func BenchmarkPacer(b *testing.B) {
	pace, release := newPacer()
	defer release()
	cpu, start := processCPU(), time.Now()
	var late time.Duration
	for i := range b.N {
		at := start.Add(intended(2000, int64(i)))
		if err := pace(b.Context(), at); err != nil {
			b.Fatal(err)
		}
		late += time.Since(at)
	}
	b.ReportMetric(float64(late)/float64(b.N), "late-ns/op")
	b.ReportMetric(float64(processCPU()-cpu)/float64(time.Since(start))*100, "cpu-%")
}
