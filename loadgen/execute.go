package loadgen

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// brokenPause keeps a virtual user from spinning on a session that fails at once because its server is gone.
const brokenPause = 100 * time.Millisecond

// Why calls are cut off.
var (
	errDrained     = errors.New("the run ended before the call did")
	errInterrupted = errors.New("the run was interrupted")
)

// execution is the measurement of one arm. Offsets count from its origin.
type execution struct {
	r        *runner
	sessions []Session
	coll     *collector
	observer *observer // of the arm's server
	origin   time.Time
	begin    time.Duration // of the measured time
	end      time.Duration // of the measured time; forever where iterations alone end it

	iteration atomic.Int64  // closed: iterations started, warm-up included
	measured  atomic.Int64  // closed: iterations started in the measured time
	issued    int64         // open: arrivals of the measured time issued before its end
	stopped   time.Duration // when an interrupt stopped new calls, 0 when none did
}

func newExecution(r *runner, sessions []Session) *execution {
	e := &r.plan.Executor
	x := &execution{r: r, sessions: sessions, begin: e.Warmup, end: forever}
	if e.Duration > 0 {
		x.end = e.Warmup + e.Duration
	}
	x.coll = newCollector(r.prog.steps, x.begin, x.end)
	x.origin = time.Now()
	return x
}

func (x *execution) now() time.Duration { return time.Since(x.origin) }

// run measures until the plan's end or until ctx ends, and returns when no call is under way.
func (x *execution) run(ctx context.Context) (interrupted bool) {
	calls, cut := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cut(nil)
	defer x.observe()()
	done := make(chan struct{})
	go func() {
		defer close(done)
		if x.r.plan.Executor.Kind == Closed {
			x.closed(ctx, calls)
		} else {
			x.opened(ctx, calls)
		}
	}()
	var drained <-chan time.Time
	if x.end != forever {
		timer := time.NewTimer(x.end + drainTimeout - x.now())
		defer timer.Stop()
		drained = timer.C
	}
	select {
	case <-done:
	case <-drained:
		cut(errDrained)
	case <-ctx.Done():
		interrupted = true
		x.stopped = x.now()
		x.coll.stop(x.stopped)
		grace := time.NewTimer(interruptTimeout)
		defer grace.Stop()
		select {
		case <-done:
		case <-grace.C:
			cut(errInterrupted)
		}
	}
	<-done
	return interrupted || ctx.Err() != nil
}

// closed loops the virtual users.
func (x *execution) closed(ctx, calls context.Context) {
	var wg sync.WaitGroup
	for vu := range x.r.plan.Executor.VUs {
		wg.Go(func() { x.virtualUser(ctx, calls, vu) })
	}
	wg.Wait()
}

func (x *execution) virtualUser(ctx, calls context.Context, vu int) {
	session := x.sessions[vu%len(x.sessions)]
	limit := x.r.plan.Executor.Iterations
	for ctx.Err() == nil && calls.Err() == nil {
		now := x.now()
		if now >= x.end || limit > 0 && now >= x.begin && x.measured.Add(1) > limit {
			return
		}
		if replied := x.iterate(calls, session, vu, x.iteration.Add(1)-1, now, true); !replied {
			_ = sleepTimer(ctx, time.Now().Add(brokenPause))
		}
	}
}

// arrival is an iteration that the schedule of an open executor asks for.
type arrival struct {
	i        int64
	slot     int
	intended time.Duration
}

// opened issues every arrival of the schedule. Each slot in use has a worker that outlives its calls, so an arrival costs no new goroutine.
func (x *execution) opened(ctx, calls context.Context) {
	e := &x.r.plan.Executor
	pace, release := x.r.opts.pacer()
	defer release()
	free := newSlots(e.maxInFlight())
	var workers []chan arrival
	var wg sync.WaitGroup
	for i := range arrivals(e.Rate, x.end) {
		a := arrival{i: i, intended: intended(e.Rate, i)}
		if pace(ctx, x.origin.Add(a.intended)) != nil {
			break
		}
		if a.intended >= x.begin && x.now() < x.end {
			x.issued++
		}
		var ok bool
		if a.slot, ok = free.take(); !ok {
			x.coll.drop(x.now(), a.intended >= x.begin)
			continue
		}
		for a.slot >= len(workers) {
			work := make(chan arrival, 1)
			workers = append(workers, work)
			wg.Go(func() { x.worker(calls, work, free) })
		}
		workers[a.slot] <- a // never blocks: the slot is free once its worker is done
	}
	for _, work := range workers {
		close(work)
	}
	wg.Wait()
}

func (x *execution) worker(calls context.Context, work <-chan arrival, free *slots) {
	for a := range work {
		x.iterate(calls, x.sessions[a.slot%len(x.sessions)], a.slot, a.i, a.intended, false)
		free.release(a.slot)
	}
}

// iterate runs all steps in order. After the first that fails, only those that clean up follow. A closed iteration is intended when it
// starts. replied is false when a call got no reply.
func (x *execution) iterate(calls context.Context, session Session, vu int, n int64, intended time.Duration, closed bool) (replied bool) {
	x.coll.iterationBegins(0, x.now())
	v := x.vars(vu, n)
	measured := intended >= x.begin && intended < x.end
	replied = true
	failed, cut := false, false
	release := time.Duration(0) // when the step before was cancelled, as it wanted
	defer func() { x.coll.iterationEnds(0, x.now(), !failed) }()
	for i := range x.r.prog.steps {
		st := &x.r.prog.steps[i]
		if failed && !(st.always && st.ready(&v)) {
			continue
		}
		s := Sample{Step: i}
		a := x.step(calls, session, st, &v, &s)
		if s.Intended = s.Start; i == 0 && !closed {
			s.Intended = intended
		} else if release > 0 {
			s.Intended = release
		}
		release = s.Cut
		failed = failed || a.outcome != ""
		replied = replied && a.replied
		if cut = cut || !a.replied && context.Cause(calls) == errInterrupted; !cut {
			x.coll.add(&s, measured, a.message)
		}
	}
	return replied
}

func (x *execution) vars(vu int, n int64) vars {
	var profile string
	if p := x.r.opts.Profiles; len(p) > 0 {
		profile = p[n%int64(len(p))]
	}
	v := x.r.vars(profile)
	v.vu, v.iteration = vu, n
	if saved := x.r.prog.saved; saved > 0 {
		v.saved = make([]any, saved)
	}
	return v
}

// step runs one step and fills in its sample, but for Intended.
func (x *execution) step(calls context.Context, session Session, st *step, v *vars, s *Sample) answer {
	ctx := calls
	if st.always {
		var release func()
		ctx, release = outlive(calls)
		defer release()
	}
	rendered := st.action.render(v)
	s.Start = x.now()
	a := st.action.perform(ctx, session, rendered)
	s.End = x.now()
	st.settle(&a, rendered, v)
	s.Bytes, s.Outcome, s.Timing = a.bytes, a.outcome, a.timing
	if !a.told.IsZero() {
		s.Progress = a.told.Sub(x.origin)
	}
	if !a.cut.IsZero() {
		s.Cut = a.cut.Sub(x.origin)
	}
	return a
}

// outlive gives a context that ends cleanupTimeout after calls does.
func outlive(calls context.Context) (ctx context.Context, release func()) {
	ctx, end := context.WithCancelCause(context.WithoutCancel(calls))
	stop := context.AfterFunc(calls, func() {
		timer := time.NewTimer(cleanupTimeout)
		defer timer.Stop()
		select {
		case <-timer.C:
			end(context.Cause(calls))
		case <-ctx.Done():
		}
	})
	return ctx, func() {
		stop()
		end(nil)
	}
}

// cells hands out the measurement and tells the generator's health what bears on it.
func (x *execution) cells(arm string, info DriverInfo) []Cell {
	e := &x.r.plan.Executor
	length := x.measuredTime()
	var offered float64
	if e.Kind == Open && length > 0 {
		due := arrivals(e.Rate, x.begin+length) - arrivals(e.Rate, x.begin)
		offered = float64(due) / length.Seconds()
		x.r.health.due += due
		x.r.health.issued += x.issued
	}
	_, ended := x.coll.counts()
	server := x.observer.report(ended)
	var out []Cell
	for i := range x.r.plan.Steps {
		if !x.coll.shown(i) {
			continue
		}
		cell := x.coll.cell(i, length, x.counted())
		cell.Step, cell.Arm, cell.Driver, cell.OfferedRate = x.r.plan.Steps[i].Name, arm, info, offered
		cell.Server = server
		if e.Kind == Open && i == 0 { // later steps follow when the one before is done, so they are never late
			x.r.health.lateness.Merge(cell.Lateness)
		}
		out = append(out, cell)
	}
	return out
}

// measuredTime is the length of the measured time: as planned, up to an interrupt, or until the last of a limited number of iterations.
func (x *execution) measuredTime() time.Duration {
	end := x.end
	if x.counted() {
		end = min(end, x.coll.last)
	}
	if x.stopped > 0 {
		end = min(end, x.stopped)
	}
	return max(0, end-x.begin)
}

// counted reports whether a limited number of iterations ended the measured time.
func (x *execution) counted() bool {
	limit := x.r.plan.Executor.Iterations
	return limit > 0 && x.measured.Load() > limit
}
