package pool

import "time"

// How many channels a connection may carry is learned. A refused channel lowers the limit of its connection, and of those dialled later, to
// what it carries besides; after a pause, one more is tried when callers wait for it. A pause doubles whenever that was refused again.
//
// A host may also refuse a channel because one that was closed before still counts, as OpenSSH's does until the command has ended. So a
// limit can fall too low, even to 0: the connection then rests for a moment.
const (
	raisePause    = 100 * time.Millisecond
	maxRaisePause = 30 * time.Second
	restPause     = 5 * time.Millisecond
	maxRestPause  = 200 * time.Millisecond
)

// maxRefusals is how many channels a caller has refused by connections on which none opened before it gives up.
const maxRefusals = 3

// refused notes that the host opened no further channel on c. It reports whether the host has opened none on c at all.
func (g *group) refused(c *conn) (never bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	c.limit = max(0, min(c.limit, c.leased-1+c.spares()))
	if c.limit == 0 {
		c.rest = min(max(restPause, 2*c.rest), maxRestPause)
		c.restUntil = now.Add(c.rest)
	} else {
		g.channelLimit = min(g.channelLimit, c.limit)
	}
	if c.trial.Swap(false) {
		g.raisePause = min(2*g.raisePause, maxRaisePause)
	}
	g.raiseAt = now.Add(g.raisePause)
	return !c.opened.Load() && c.leased == 1
}

// opened notes that a channel opened on c, where that was the first or a trial.
func (g *group) opened(c *conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	c.opened.Store(true)
	c.rest = 0
	if c.leased > g.channelLimit {
		g.channelLimit = min(c.leased, g.pool.config().ChannelsPerConn)
		g.raisePause = raisePause
		g.raiseAt = time.Now().Add(raisePause)
		for _, o := range g.conns {
			if o.limit > 0 {
				o.limit = max(o.limit, g.channelLimit)
			}
		}
	} else if c.limit > g.channelLimit {
		return // the trial's own channel has yet to open
	}
	c.limit = max(c.limit, g.channelLimit)
	c.trial.Store(false)
	g.serve()
}

// raise lets connections that have rested carry one channel again, and one more be tried where that is due; g.mu is held.
func (g *group) raise(now time.Time) {
	most := g.pool.config().ChannelsPerConn
	for _, c := range g.conns {
		if c.limit == 0 && !now.Before(c.restUntil) {
			c.limit = 1
			c.trial.Store(true)
		}
	}
	if g.channelLimit >= most || now.Before(g.raiseAt) {
		return
	}
	g.raiseAt = now.Add(g.raisePause)
	for _, c := range g.conns {
		if 0 < c.limit && c.limit < most && c.leased == c.limit && !c.trial.Load() {
			c.limit++
			c.trial.Store(true)
			return
		}
	}
}

// raiseDue is when raise may be able to do something, zero for never; g.mu is held.
func (g *group) raiseDue() (due time.Time) {
	for _, c := range g.conns {
		if c.limit == 0 {
			due = sooner(due, c.restUntil)
		}
	}
	if len(g.conns) > 0 && g.channelLimit < g.pool.config().ChannelsPerConn {
		due = sooner(due, g.raiseAt)
	}
	return due
}

// sooner returns the earlier of two times, where zero is never.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
