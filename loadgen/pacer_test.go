package loadgen

import (
	"context"
	"errors"
	"fmt"
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

// BenchmarkLateness reports how late calls are sent and what an arrival costs, from the pacer to a session that answers at once.
func BenchmarkLateness(b *testing.B) {
	for _, rate := range []float64{2000, 10000} {
		b.Run(fmt.Sprintf("%.0f", rate), func(b *testing.B) {
			n := max(b.N, 100)
			p := &Plan{
				Name: "bench", Seed: 1, Steps: []Step{{Name: "exec", Tool: "ssh_exec"}},
				Executor: Executor{Kind: Open, Rate: rate, Duration: time.Duration(float64(n) / rate * float64(time.Second))},
			}
			cpu := processCPU()
			res, err := Run(b.Context(), p, openIdle, Options{})
			if err != nil {
				b.Fatal(err)
			}
			cpu = processCPU() - cpu
			late := res.Cells[0].Lateness
			for _, q := range []float64{0.5, 0.99} {
				d, _ := late.Percentile(q)
				b.ReportMetric(float64(d)/float64(time.Microsecond), fmt.Sprintf("µs-late-p%.0f", 100*q))
			}
			b.ReportMetric(cpu.Seconds()*1e6/float64(n), "µs-cpu/arrival")
		})
	}
}
