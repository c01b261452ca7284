package loadgen

import (
	"context"
	"sync"
	"time"
)

// occupy keeps holders' iterations open: each takes, holds until the turn is over, and gives back.
func (l *load) occupy(ctx, calls context.Context) {
	var wg sync.WaitGroup
	for i := range l.exec.Holders {
		u := l.user(i)
		wg.Go(func() { l.holder(ctx, calls, u) })
	}
	wg.Wait()
}

// holder waits for its place in the warm-up, over which the holders spread evenly. One that fails tries again after a pause.
func (l *load) holder(ctx, calls context.Context, u *user) {
	wait := l.from + time.Duration(float64(l.begin-l.from)*float64(u.index)/float64(l.exec.Holders))
	for ctx.Err() == nil && calls.Err() == nil && wait < l.until() {
		if sleepTimer(ctx, l.x.origin.Add(wait)) != nil || l.x.now() >= l.until() {
			return
		}
		l.hold(ctx, calls, u)
		wait = l.x.now() + brokenPause
	}
}

// hold runs one iteration. All of it counts, also what falls in the warm-up.
func (l *load) hold(ctx, calls context.Context, u *user) {
	n := l.number()
	p := l.draw(l.x.r.plan.Seed, n, l.x.now())
	u.begin(p, n, true)
	u.steps(calls, 0, p.give)
	if !u.failed {
		l.x.coll.hold(p, l.x.now(), 1)
		_ = sleepTimer(ctx, l.x.origin.Add(l.until()))
		l.x.coll.hold(p, l.x.now(), -1)
	}
	u.steps(calls, p.give, len(p.steps))
	u.end()
}

// gauge follows how many iterations are held. Its times count from the start of the measured time. The zero value holds none.
type gauge struct {
	now   int64
	since time.Duration // the timeline knows what came before
	low   int64         // the fewest so far, where since is above 0
}

// reach notes that the number has been the same until at.
func (g *gauge) reach(at time.Duration, t *timeline) {
	if at <= g.since {
		return
	}
	if g.since == 0 || g.now < g.low {
		g.low = g.now
	}
	t.hold(g.since, at, g.now)
	g.since = at
}
