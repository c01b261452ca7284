package loadgen

import (
	"context"
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// brokenPause keeps a virtual user from spinning on a session that fails at once because its server is gone.
const brokenPause = 100 * time.Millisecond

// iterationStride keeps the iterations of several executors of one arm apart: each counts from a multiple of it.
const iterationStride = 1_000_000_000_000

// load is a workload under one arm.
type load struct {
	*workload
	x         *execution
	sessions  []Session
	users     []*user      // by number, made when they are first needed
	iteration atomic.Int64 // begun or dropped
	started   atomic.Int64 // closed: iterations started in the measured time
	retired   atomic.Int64 // closed: virtual users that have done all their iterations

	// What follows is for an open executor, and for the leader of its relay alone.

	arrivals schedule
	pending  time.Duration // the next arrival
	left     bool          // there is one
	due      int64         // arrivals of the measured time
	issued   int64         // of them, how many were sent or dropped before its end
}

// share is what an arm keeps for a part.
type share struct {
	inFlight atomic.Int64  // open: iterations under way
	due      int64         // open: arrivals of the measured time
	measured time.Duration // of the turns so far
}

func newLoad(x *execution, w *workload) *load {
	l := &load{workload: w, x: x}
	if w.exec.Kind == Open {
		l.arrivals = w.exec.shard.thin(w.exec.schedule(w.begin-w.from, x.r.plan.Seed, arrivalStream+w.index))
		l.advance()
	}
	return l
}

// number is that of the next iteration.
func (l *load) number() int64 {
	return int64(l.index)*iterationStride + l.exec.shard.whole(l.iteration.Add(1)-1)
}

// run keeps to the workload until the turn's end or until ctx ends.
func (l *load) run(ctx, calls context.Context) {
	switch {
	case l.counted():
	case l.exec.Kind == Closed:
		l.closed(ctx, calls)
	case l.exec.Kind == Occupancy:
		l.occupy(ctx, calls)
	default:
		newRelay(l, ctx, calls).run()
	}
}

// until is when the turn under way is over for the workload.
func (l *load) until() time.Duration { return min(l.x.turn.to, l.end) }

// measures reports whether an iteration intended for a time of the arm's clock counts.
func (l *load) measures(at time.Duration) bool {
	return at >= max(l.x.turn.measure, l.begin) && at < l.until()
}

// user makes the user of a number, or finds it.
func (l *load) user(i int) *user {
	for i >= len(l.users) {
		l.users = append(l.users, newUser(l, len(l.users)))
	}
	return l.users[i]
}

// closed loops the virtual users.
func (l *load) closed(ctx, calls context.Context) {
	var wg sync.WaitGroup
	for i := range l.exec.concurrency() {
		u := l.user(i)
		wg.Go(func() { l.virtualUser(ctx, calls, u) })
	}
	wg.Wait()
}

func (l *load) virtualUser(ctx, calls context.Context, u *user) {
	for ctx.Err() == nil && calls.Err() == nil {
		now := l.x.now()
		at := l.wanted(u, now)
		switch {
		case at >= l.until() || u.retired:
			return
		case at > now:
			_ = sleepTimer(ctx, l.x.origin.Add(at))
			continue
		case l.measures(now) && !l.admit(u):
			return
		}
		n := l.number()
		replied := u.iterate(calls, l.draw(l.x.r.plan.Seed, n, now), n, now, false)
		if pause := u.pause(replied); pause > 0 {
			_ = sleepTimer(ctx, l.x.origin.Add(min(l.x.now()+pause, l.until())))
		}
	}
}

// wanted is when a virtual user is next to run: now, unless stages ask for fewer. Each of them comes when the level is half way to it.
func (l *load) wanted(u *user, now time.Duration) time.Duration {
	if l.exec.Stages == nil {
		return max(now, l.from)
	}
	at := l.level.reaches(float64(l.exec.shard.whole(int64(u.index)))+0.5, max(0, now-l.from).Seconds())
	if math.IsInf(at, 1) {
		return forever
	}
	if rest := l.from + seconds(at); rest > now {
		return rest + 1 // the crossing is rounded down
	}
	return now
}

// admit counts a measured iteration; it is false when there have been as many as there are to be.
func (l *load) admit(u *user) bool {
	if limit := l.exec.Iterations; limit > 0 && l.started.Add(1) > limit {
		return false
	}
	limit := l.exec.IterationsPerVU
	if u.started++; limit > 0 && u.started > limit {
		u.retired = true
		l.retired.Add(1)
		return false
	}
	return true
}

// counted reports whether a limited number of iterations has ended the workload.
func (l *load) counted() bool {
	e := l.exec
	return e.Iterations > 0 && l.started.Load() > e.Iterations || e.IterationsPerVU > 0 && l.retired.Load() == int64(e.VUs)
}

// iterated is the share of its limited number of iterations that is over, 0 where nothing limits it.
func (l *load) iterated() float64 {
	switch e := l.exec; {
	case e.Iterations > 0:
		return min(1, float64(l.started.Load())/float64(e.Iterations))
	case e.IterationsPerVU > 0:
		return float64(l.retired.Load()) / float64(e.VUs)
	}
	return 0
}

// arrival is an iteration that the schedule of an open executor asks for.
type arrival struct {
	part     *part
	n        int64
	slot     int
	intended time.Duration
}

func (l *load) advance() {
	l.pending, l.left = l.arrivals.next()
	if l.pending > forever-l.from {
		l.left = false
	}
	l.pending += l.from
}

// arrive counts the arrival that is pending and finds it a slot; ok is false when it is dropped.
func (l *load) arrive(free *slots) (a arrival, ok bool) {
	x := l.x
	a = arrival{n: l.number(), intended: l.pending}
	a.part = l.draw(x.r.plan.Seed, a.n, a.intended)
	measured, now := l.measures(a.intended), x.now()
	share := &x.shares[a.part.index]
	if measured {
		l.due++
		share.due++
		if now < l.until() {
			l.issued++
		}
	}
	if limit := a.part.maxInFlight; limit == 0 || share.inFlight.Load() < limit {
		a.slot, ok = free.take()
	}
	if !ok {
		x.coll.drop(a.part, now, measured)
		return a, false
	}
	share.inFlight.Add(1)
	return a, true
}

// account closes the turn under way: it adds up its measured time and, where an interrupt cut it short, the arrivals that were due before.
func (l *load) account() {
	begin, end := max(l.x.turn.measure, l.begin), l.until()
	if l.x.stopped > 0 {
		end = min(end, l.x.stopped)
	}
	if l.exec.Kind == Open {
		for ; l.left && l.pending < end; l.advance() {
			if l.measures(l.pending) {
				l.due++
				l.x.shares[l.draw(l.x.r.plan.Seed, l.number(), l.pending).index].due++
			}
		}
	}
	if l.counted() {
		end = min(end, l.x.coll.last(l.parts))
	}
	for _, p := range l.parts {
		l.x.shares[p.index].measured += max(0, end-max(begin, p.start))
	}
}
