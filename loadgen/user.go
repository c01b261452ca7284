package loadgen

import (
	"context"
	"math/rand/v2"
	"time"
)

// user runs iterations one after another: a virtual user, the holder of an occupancy, or a slot of an open executor. It keeps what an
// iteration needs, so that one costs no memory of its own.
type user struct {
	x       *execution
	load    *load
	index   int // in its load
	session Session
	own     Session    // opened by the iteration under way; nil when it has none
	chance  *rand.Rand // of its think time; nil without any
	started int64      // measured iterations
	retired bool       // has done all of them

	// What follows is of the iteration under way.

	part     *part
	vars     vars
	next     time.Duration // when the next step is intended; negative for when it starts
	measured bool
	failed   bool
	cut      bool // an interrupt took a call away: what follows counts nowhere
	replied  bool // to every call
}

func newUser(l *load, index int) *user {
	u := &user{x: l.x, load: l, index: index, session: l.sessions[index%len(l.sessions)]}
	u.vars = l.x.vars("")
	u.vars.vu, u.vars.user = l.vu+index, u
	if l.exec.ThinkTime.Max > 0 {
		u.chance = rand.New(rand.NewPCG(l.x.r.plan.Seed, thinkStream+uint64(l.exec.shard.whole(int64(u.vars.vu)))))
	}
	return u
}

// iterate runs all steps in order. After the first that fails, only those that clean up follow. One that no schedule wanted is intended when it
// starts. replied is false when a call got no reply.
func (u *user) iterate(calls context.Context, p *part, n int64, intended time.Duration, scheduled bool) (replied bool) {
	u.begin(p, n, u.load.measures(intended))
	if scheduled {
		u.next = intended
	}
	u.steps(calls, 0, len(p.steps))
	u.end()
	return u.replied
}

func (u *user) begin(p *part, n int64, measured bool) {
	u.x.coll.iterationBegins(p.index, u.x.now())
	u.part, u.next, u.measured = p, -1, measured
	u.failed, u.cut, u.replied = false, false, true
	u.vars.iteration = n
	if profiles := u.x.r.opts.Profiles; len(profiles) > 0 {
		u.vars.profile = profiles[n%int64(len(profiles))]
	}
	if len(u.vars.saved) != p.saved {
		u.vars.saved = make([]any, p.saved)
	}
	clear(u.vars.saved)
}

func (u *user) end() {
	if u.own != nil {
		_ = u.closeSession() // no step cares how it ends
	}
	u.x.coll.iterationEnds(u.part.index, u.x.now(), !u.failed)
}

// steps runs the steps from one up to another of the iteration under way.
func (u *user) steps(calls context.Context, from, to int) {
	for i := from; i < to; i++ {
		st := &u.part.steps[i]
		if u.failed && !(st.always && st.ready(&u.vars)) {
			continue
		}
		s := Sample{Step: u.part.cell + i}
		a := u.step(calls, st, &s)
		if s.Intended = s.Start; u.next >= 0 {
			s.Intended = u.next
		}
		u.next = -1
		if s.Cut > 0 {
			u.next = s.Cut // what follows measures how soon the server lets go
		}
		u.failed = u.failed || a.outcome != ""
		u.replied = u.replied && a.replied
		if u.cut = u.cut || !a.replied && context.Cause(calls) == errInterrupted; !u.cut {
			u.x.coll.add(&s, u.measured, a.message)
		}
	}
}

// step runs one step and fills in its sample, but for Intended.
func (u *user) step(calls context.Context, st *step, s *Sample) answer {
	ctx := calls
	if st.always {
		var release func()
		ctx, release = outlive(calls)
		defer release()
	}
	session := u.session
	if u.own != nil {
		session = u.own
	}
	rendered := st.action.render(&u.vars)
	s.Start = u.x.now()
	a := st.action.perform(ctx, session, rendered)
	s.End = u.x.now()
	st.settle(&a, rendered, &u.vars)
	s.Bytes, s.Outcome, s.Timing = a.bytes, a.outcome, a.timing
	if !a.told.IsZero() {
		s.Progress = a.told.Sub(u.x.origin)
	}
	if !a.cut.IsZero() {
		s.Cut = a.cut.Sub(u.x.origin)
	}
	return a
}

// pause is how long a virtual user waits before its next iteration.
func (u *user) pause(replied bool) time.Duration {
	var d time.Duration
	if t := u.load.exec.ThinkTime; u.chance != nil {
		d = t.Min + time.Duration(u.chance.Int64N(int64(t.Max-t.Min)+1))
	}
	if !replied {
		d = max(d, brokenPause)
	}
	return d
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
