package loadgen

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Why calls are cut off.
var (
	errDrained     = errors.New("the run ended before the call did")
	errInterrupted = errors.New("the run was interrupted")
)

// execution is the measurement of one arm. Its clock runs only while the arm has its turn: offsets count from its origin.
type execution struct {
	r         *runner
	arm       Arm
	remoteDir string
	driver    Driver
	ready     bool      // its setup has begun
	observer  *observer // of the arm's server
	loads     []*load
	shares    []share // by part of the plan
	coll      *collector
	origin    time.Time
	begin     time.Duration // of the measured time
	end       time.Duration // of the measured time; forever where iterations alone end it
	turn      turn          // under way, or the last one
	stopped   time.Duration // when an interrupt stopped new calls, 0 when none did
}

// turn is a stretch of an arm's clock in which the arm is loaded. What is due before measure is not measured.
type turn struct{ from, measure, to time.Duration }

func newExecution(r *runner, arm Arm, remoteDir string) *execution {
	x := &execution{r: r, arm: arm, remoteDir: remoteDir, begin: r.plan.Executor.Warmup, shares: make([]share, len(r.prog.parts))}
	for i := range r.prog.loads {
		x.loads = append(x.loads, newLoad(x, &r.prog.loads[i]))
		x.end = max(x.end, r.prog.loads[i].end)
	}
	x.coll = newCollector(r.prog)
	x.coll.turns = r.plan.mirrored
	x.coll.export, x.coll.scenario, x.coll.arm = r.opts.Export, r.plan.Name, arm.Name
	return x
}

func (x *execution) now() time.Duration { return time.Since(x.origin) }

// start begins a turn of the arm.
func (x *execution) start(t turn) {
	x.turn = t
	x.coll.turn(t)
	x.origin = time.Now().Add(-t.from)
	if !x.r.begin.IsZero() {
		x.origin, x.r.begin = x.r.begin, time.Time{}
	}
	x.r.progress.measuring(x)
}

// run measures until the turn's end or until ctx ends, and returns when no call is under way.
func (x *execution) run(ctx context.Context) (interrupted bool) {
	t := x.turn
	calls, cut := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cut(nil)
	defer x.observe()()
	done := make(chan struct{})
	go func() {
		defer close(done)
		var wg sync.WaitGroup
		for _, l := range x.loads {
			wg.Go(func() { l.run(ctx, calls) })
		}
		wg.Wait()
	}()
	var drained <-chan time.Time
	if t.to != forever {
		timer := time.NewTimer(t.to + drainTimeout + x.r.prog.holds - x.now())
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
	for _, l := range x.loads {
		l.account()
	}
	return interrupted || ctx.Err() != nil
}

// finished reports whether nothing is left to measure.
func (x *execution) finished() bool {
	if x.turn.to >= x.end {
		return true
	}
	for _, l := range x.loads {
		if !l.counted() {
			return false
		}
	}
	return true
}

// measured is the length of the measured time, all turns together.
func (x *execution) measured() time.Duration {
	var d time.Duration
	for i := range x.shares {
		d = max(d, x.shares[i].measured)
	}
	return d
}

// iterated is the share of a limited number of iterations that is over, 0 where nothing limits it.
func (x *execution) iterated() float64 {
	share := 1.0
	for _, l := range x.loads {
		share = min(share, l.iterated())
	}
	return share
}

// cells hands out the measurement and tells the generator's health what bears on it.
func (x *execution) cells() []Cell {
	info := x.driver.Info()
	calls, ended := x.coll.counts()
	server := x.observer.report(ended)
	x.r.health.calls += calls
	x.coll.close(x.measured())
	var out []Cell
	for _, l := range x.loads {
		x.r.health.due += l.due
		x.r.health.issued += l.issued
	}
	for _, p := range x.r.prog.parts {
		l := x.of(p)
		for i := range p.steps {
			n := p.cell + i
			if l.exec.Kind == Open && i == 0 { // later steps follow when the one before is done, so they are never late
				x.r.health.lateness.Merge(&x.coll.cells[n].lateness)
			}
			if !x.coll.shown(n) {
				continue
			}
			measured := x.shares[p.index].measured
			var held *int64
			if l.exec.Kind == Occupancy && i == p.take {
				fewest := x.coll.fewest(p, measured)
				held = &fewest
			}
			cell := x.coll.cell(n, measured, l.counted())
			cell.Step, cell.Arm, cell.Part, cell.Driver, cell.Server = p.steps[i].name, x.arm.Name, p.name, info, server
			if l.exec.Kind == Open && cell.Measured > 0 {
				cell.OfferedRate = float64(x.shares[p.index].due) / cell.Measured.Seconds()
			}
			cell.Held = held
			out = append(out, cell)
		}
	}
	return out
}

// of finds the load that a part belongs to.
func (x *execution) of(p *part) *load {
	for _, l := range x.loads {
		for _, q := range l.parts {
			if p == q {
				return l
			}
		}
	}
	return nil
}
