package loadgen

import (
	"context"
	"sync"
	"sync/atomic"
)

// relay issues every arrival of an open executor's schedule. Its workers take turns to lead: the leader waits for the next arrival, hands the
// lead on and makes the call itself. So nothing has to be woken between the moment of an arrival and its call, and an arrival costs no new
// goroutine. This is the leader/followers pattern (Schmidt and others, Pattern-Oriented Software Architecture, volume 2).
type relay struct {
	load       *load
	ctx, calls context.Context
	free       *slots
	baton      chan struct{} // its holder leads; closed once nothing is left to issue
	idle       atomic.Int64  // workers that wait for the baton
	workers    sync.WaitGroup
}

func newRelay(l *load, ctx, calls context.Context) *relay {
	return &relay{load: l, ctx: ctx, calls: calls, free: newSlots(l.exec.maxInFlight()), baton: make(chan struct{}, 1)}
}

// run returns when the turn is over, or ctx has ended, and no call is under way.
func (r *relay) run() {
	r.pass()
	r.workers.Wait()
}

// pass hands the lead on, to a new worker where all others have a call under way. It never blocks: there is one baton.
func (r *relay) pass() {
	if r.idle.Load() == 0 {
		r.workers.Go(r.work)
	}
	r.baton <- struct{}{}
}

func (r *relay) work() {
	for r.await() {
		a, ok := r.lead()
		if !ok {
			close(r.baton)
			return
		}
		u := r.load.user(a.slot)
		r.pass()
		u.iterate(r.calls, a.part, a.n, a.intended, true)
		r.load.x.shares[a.part.index].inFlight.Add(-1)
		r.free.release(a.slot)
	}
}

// await waits for the lead; it is false when nothing is left to issue.
func (r *relay) await() bool {
	r.idle.Add(1)
	defer r.idle.Add(-1)
	_, ok := <-r.baton
	return ok
}

// lead waits for the next arrival that finds a slot; ok is false when there is none.
func (r *relay) lead() (a arrival, ok bool) {
	l := r.load
	pace, release := l.x.r.opts.pacer()
	defer release()
	for !ok && l.left && l.pending < l.until() {
		if pace(r.ctx, l.x.origin.Add(l.pending)) != nil {
			return a, false
		}
		a, ok = l.arrive(r.free)
		l.advance()
	}
	return a, ok
}
