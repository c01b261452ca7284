package netem

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"
)

func TestTimerWakesNobodyEarly(t *testing.T) {
	timer := new(Timer)
	defer timer.Close()
	var wg sync.WaitGroup
	for i := range 200 {
		until := time.Now().Add(time.Duration(200-i) * 100 * time.Microsecond) // each before the last
		wg.Go(func() {
			if err := timer.Wait(context.Background(), until); err != nil || time.Now().Before(until) {
				t.Errorf("woken %v early, %v", time.Until(until), err)
			}
		})
	}
	wg.Wait()
	if len(timer.waits) > 0 {
		t.Errorf("%d waits are left", len(timer.waits))
	}
}

func TestTimerContext(t *testing.T) {
	timer := new(Timer)
	defer timer.Close()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- timer.Wait(ctx, time.Now().Add(time.Hour)) }()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("wait: %v", err)
	}
	if err := timer.Wait(ctx, time.Now().Add(-time.Hour)); !errors.Is(err, context.Canceled) {
		t.Errorf("wait under an ended context: %v", err)
	}
	if len(timer.waits) > 0 {
		t.Errorf("%d waits are left", len(timer.waits))
	}
}

func TestTimerClose(t *testing.T) {
	timer := new(Timer)
	done := make(chan error)
	until := time.Now().Add(20 * ms)
	for range 2 {
		go func() { done <- timer.Wait(context.Background(), until) }()
	}
	time.Sleep(ms)
	timer.Close()
	timer.Close()
	for range 2 {
		if err := <-done; err != nil || time.Now().Before(until) {
			t.Errorf("wait: %v, %v early", err, time.Until(until))
		}
	}
	if err := timer.Wait(context.Background(), time.Now().Add(ms)); err != nil {
		t.Error(err)
	}
	(*Timer)(nil).Close()
}

// BenchmarkLateness waits for 500 points in time a second and reports how late it is, of Timer and of Go's own timers.
func BenchmarkLateness(b *testing.B) {
	for name, timer := range map[string]*Timer{"timer": {}, "go": nil} {
		b.Run(name, func(b *testing.B) {
			r := rand.New(rand.NewPCG(1, 0))
			late := make([]time.Duration, b.N)
			var wg sync.WaitGroup
			start := time.Now().Add(10 * ms)
			for i := range b.N {
				until := start.Add(time.Duration(r.Int64N(int64(b.N) * int64(2*ms))))
				wg.Go(func() {
					_ = timer.Wait(context.Background(), until)
					late[i] = time.Since(until)
				})
			}
			wg.Wait()
			slices.Sort(late)
			b.ReportMetric(float64(late[b.N/2])/1e3, "p50-µs")
			b.ReportMetric(float64(late[b.N*99/100])/1e3, "p99-µs")
		})
		timer.Close()
	}
}
