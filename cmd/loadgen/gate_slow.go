package main

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"sync"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
)

// slowdown is a slowdown of known size. The zero value is none.
type slowdown struct {
	share   float64 // of what a call took, by which it takes longer
	slowest float64 // share of a tool's calls that are slowed: those that take longest; 0 for all
}

func (i slowdown) String() string {
	switch {
	case i.share == 0:
		return "no difference"
	case i.slowest == 0:
		return fmt.Sprintf("calls %.4g %% slower", 100*i.share)
	}
	return fmt.Sprintf("slowest %.4g %% of calls %.4g %% slower", 100*i.slowest, 100*i.share)
}

// slowed is a driver whose calls take longer by a share of what they took, as those of a server would that is slower by as much. The self-test so
// injects a slowdown whose size is known, into a server that is otherwise the same.
type slowed struct {
	loadgen.Driver
	share float64
	tail  *tail
}

// slow has the servers of an opener answer later.
func slow(open loadgen.Opener, by slowdown) loadgen.Opener {
	tail := &tail{share: by.slowest, start: map[string]float64{}}
	return func(ctx context.Context, arm loadgen.Arm) (loadgen.Driver, error) {
		d, err := open(ctx, arm)
		if err != nil {
			return nil, err
		}
		return &slowed{d, by.share, tail}, nil
	}
}

func (d *slowed) Open(ctx context.Context) (loadgen.Session, error) {
	s, err := d.Driver.Open(ctx)
	if err != nil {
		return nil, err
	}
	return &slowedSession{s, d.share, d.tail}, nil
}

// Measuring passes on what a Watcher wants to hear.
func (d *slowed) Measuring(on bool) {
	if w, ok := d.Driver.(loadgen.Watcher); ok {
		w.Measuring(on)
	}
}

type slowedSession struct {
	loadgen.Session
	share float64
	tail  *tail
}

func (s *slowedSession) Call(ctx context.Context, c loadgen.Call) (loadgen.Reply, error) {
	began := time.Now()
	reply, err := s.Session.Call(ctx, c)
	took := time.Since(began)
	if err != nil || !s.tail.has(c.Tool, took) {
		return reply, err
	}
	return reply, hold(ctx, began.Add(took+time.Duration(s.share*float64(took))))
}

// tail tells which calls of a tool are among the slowest. Where they start, a quantile of ln(time), it estimates from all calls so far by stochastic approximation
// with a step that stays the same (H. Robbins and S. Monro, "A Stochastic Approximation Method", Annals of Mathematical Statistics 22, 1951), so that
// it follows the machine. It may be used concurrently.
type tail struct {
	share float64 // of calls; 0 for all
	mu    sync.Mutex
	start map[string]float64 // ln(ns) by tool
}

// tailStep is the most by which ln(time) moves at a call: a few hundred calls find the slowest twentieth, and thereafter it is known to about 5 %.
const tailStep = 0.02

// has tells whether a call that took so long is one of the slowest.
func (t *tail) has(tool string, took time.Duration) bool {
	if t.share == 0 {
		return true
	}
	ln := math.Log(float64(max(took, 1)))
	t.mu.Lock()
	defer t.mu.Unlock()
	start, known := t.start[tool]
	if !known {
		start = ln
	}
	slowest := ln > start
	if slowest {
		start += tailStep * (1 - t.share)
	} else {
		start -= tailStep * t.share
	}
	t.start[tool] = start
	return slowest
}

// oversleep is how much later than it should Go's timer may wake a goroutine.
const oversleep = 1200 * time.Microsecond

// hold returns at a time, to the microsecond: it sleeps while there is time to oversleep, and else lets others run.
func hold(ctx context.Context, until time.Time) error {
	if d := time.Until(until) - oversleep; d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	for time.Now().Before(until) {
		runtime.Gosched()
	}
	return nil
}
