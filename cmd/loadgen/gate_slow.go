package main

import (
	"context"
	"runtime"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
)

// slowed is a driver whose every call takes longer by a share of what it took, as a server would that is slower by as much. The self-test so
// injects a slowdown whose size is known, into a server that is otherwise the same.
type slowed struct {
	loadgen.Driver
	share float64
}

// slow has the servers of an opener answer later, by a share of each call's time.
func slow(open loadgen.Opener, share float64) loadgen.Opener {
	return func(ctx context.Context, arm loadgen.Arm) (loadgen.Driver, error) {
		d, err := open(ctx, arm)
		if err != nil {
			return nil, err
		}
		return &slowed{d, share}, nil
	}
}

func (d *slowed) Open(ctx context.Context) (loadgen.Session, error) {
	s, err := d.Driver.Open(ctx)
	if err != nil {
		return nil, err
	}
	return &slowedSession{s, d.share}, nil
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
}

func (s *slowedSession) Call(ctx context.Context, c loadgen.Call) (loadgen.Reply, error) {
	began := time.Now()
	reply, err := s.Session.Call(ctx, c)
	if err != nil {
		return reply, err
	}
	return reply, hold(ctx, time.Now().Add(time.Duration(s.share*float64(time.Since(began)))))
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
