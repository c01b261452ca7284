package loadgen

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// fakeDriver answers calls in this process. Its zero value answers at once with exit code 0.
type fakeDriver struct {
	answer func(ctx context.Context, c Call) (Reply, error)
	shared bool
	closes func() error

	mu     sync.Mutex
	calls  []Call
	opened int
	open   atomic.Int64 // sessions and driver not closed yet
}

func (d *fakeDriver) opener(ctx context.Context, arm Arm) (Driver, error) {
	d.open.Add(1)
	return d, nil
}

func (d *fakeDriver) Open(ctx context.Context) (Session, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.opened++
	d.open.Add(1)
	return fakeSession{d}, nil
}

func (d *fakeDriver) Info() DriverInfo { return DriverInfo{Kind: "fake", SharedSession: d.shared} }

func (d *fakeDriver) Close() error {
	d.open.Add(-1)
	if d.closes != nil {
		return d.closes()
	}
	return nil
}

// called returns the arguments of all calls to a tool, in order.
func (d *fakeDriver) called(tool string) []map[string]any {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []map[string]any
	for _, c := range d.calls {
		if c.Tool == tool {
			out = append(out, c.Args)
		}
	}
	return out
}

type fakeSession struct{ d *fakeDriver }

func (s fakeSession) Call(ctx context.Context, c Call) (Reply, error) {
	s.d.mu.Lock()
	s.d.calls = append(s.d.calls, c)
	s.d.mu.Unlock()
	if s.d.answer == nil {
		return Reply{Data: map[string]any{"exit_code": 0.0}}, nil
	}
	return s.d.answer(ctx, c)
}

func (s fakeSession) Close() error {
	s.d.open.Add(-1)
	return nil
}

// takes answers after d, or fails when ctx ends first.
func takes(d time.Duration) func(ctx context.Context, c Call) (Reply, error) {
	return func(ctx context.Context, c Call) (Reply, error) {
		select {
		case <-time.After(d):
			return Reply{Data: map[string]any{}}, nil
		case <-ctx.Done():
			return Reply{}, ctx.Err()
		}
	}
}

// stall is a server that stops answering for a while.
type stall struct {
	start       time.Time
	from, until time.Duration
}

// answer is immediate outside the stall; inside it waits for its end.
func (s *stall) answer(ctx context.Context, c Call) (Reply, error) {
	if at := time.Since(s.start); at >= s.from && at < s.until {
		time.Sleep(s.until - at)
	}
	time.Sleep(time.Millisecond)
	return Reply{Data: map[string]any{}}, nil
}

var errBroken = errors.New("connection broke")

// timerPacer paces tests in virtual time.
func timerPacer() (pacer, func()) { return sleepTimer, func() {} }

func closedPlan(vus int, d time.Duration) *Plan {
	return &Plan{Name: "test", Executor: Executor{Kind: Closed, VUs: vus, Duration: d}, Steps: []Step{{Name: "exec", Tool: "ssh_exec"}}}
}

func openPlan(rate float64, d time.Duration) *Plan {
	return &Plan{Name: "test", Executor: Executor{Kind: Open, Rate: rate, Duration: d}, Steps: []Step{{Name: "exec", Tool: "ssh_exec"}}}
}

// collectorOf collects for a plan of some steps without a mix.
func collectorOf(steps []step, begin, end time.Duration) *collector {
	pt := &part{steps: steps}
	c := newCollector(&program{parts: []*part{pt}, loads: []workload{{exec: &Executor{}, parts: []*part{pt}, begin: begin, end: end}}})
	c.turn(turn{measure: begin, to: end})
	return c
}
