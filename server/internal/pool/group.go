package pool

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/profile"
)

// dialBackoff keeps a group that has connections from dialling in a loop when the host admits no further one.
const dialBackoff = time.Second

// group is the connections of one key. Its mutex is never held over I/O; those of its host and of the wires are taken under it.
//
// After each change of what it guards, no caller waits that could be served (serve). So a caller that finds a free slot passes nobody by.
type group struct {
	pool *Pool
	key  string
	vpn  string // tunnel that the connections go through, or ""
	host *host

	mu           sync.Mutex
	retired      bool // removed from the pool; a caller that still holds it asks the pool again
	conns        []*conn
	dialing      int
	waiters      turns[*waiter]
	leased       map[string]int // leases in use by profile, of those that MaxPerProfile bounds
	channelLimit int            // for new connections; see limit.go
	raiseAt      time.Time
	raisePause   time.Duration
	dialAfter    time.Time     // no further connection before this, since the last dial failed while others lived
	wake         *time.Timer   // serves those who wait for nothing but time; nil until needed
	turn         time.Duration // between two waiters served, smoothed
	served       time.Time     // when a waiter was served last
	sftp         sftpSet
}

// waiter is a caller in the queue.
type waiter struct {
	target *profile.Target
	owner  owner
	ready  chan grant // buffered: a grant is never blocked by a waiter that left
}

type grant struct {
	conn *conn
	err  error
}

// owner is whose turn it is when a lease is granted.
type owner struct {
	lane    string // in the queue: the profile
	counted bool   // MaxPerProfile bounds the leases of the lane
}

func ownerOf(t *profile.Target) owner {
	if t.Profile == nil {
		return owner{"", true}
	}
	return owner{t.Profile.ID, true}
}

// acquire takes a slot: at once on the least loaded connection, else in turn when one is released or dialled. A caller that was in turn
// before may be first of its profile's.
func (g *group) acquire(ctx context.Context, t *profile.Target, o owner, first bool) (*conn, error) {
	g.mu.Lock()
	if g.retired {
		g.mu.Unlock()
		return nil, errRetired
	}
	if g.may(o.lane) {
		if c := g.leastLoaded(); c != nil {
			g.take(c, o)
			g.mu.Unlock()
			return c, nil
		}
	}
	if n := g.waiters.waiting(o.lane); n >= g.pool.config().MaxWaiting {
		retry := g.retryAfter(n)
		g.mu.Unlock()
		g.pool.count.limited.Add(1)
		return nil, limitError(t.Addr, "a connection", n, retry)
	}
	w := &waiter{target: t, owner: o, ready: make(chan grant, 1)}
	g.waiters.push(o.lane, w, first)
	g.serve()
	g.mu.Unlock()

	select {
	case gr := <-w.ready:
		return gr.conn, gr.err
	case <-ctx.Done():
	}
	g.mu.Lock()
	gone := g.waiters.remove(o.lane, w)
	g.mu.Unlock()
	if !gone { // granted meanwhile
		if gr := <-w.ready; gr.conn != nil {
			g.release(gr.conn, o)
		}
	}
	return nil, waitError(ctx, t.Addr, "no free connection in time")
}

// retryAfter is how long n waiters may take, as far as the last ones tell; g.mu is held.
func (g *group) retryAfter(n int) time.Duration {
	return min(max(time.Duration(n)*g.turn, 100*time.Millisecond), 30*time.Second)
}

// may reports whether MaxPerProfile admits another lease; g.mu is held.
func (g *group) may(lane string) bool {
	limit := g.pool.config().MaxPerProfile
	return limit == 0 || g.leased[lane] < limit
}

// take leases a slot of c; g.mu is held.
func (g *group) take(c *conn, o owner) {
	c.leased++
	if !o.counted || g.pool.config().MaxPerProfile == 0 {
		return
	}
	if g.leased == nil {
		g.leased = map[string]int{}
	}
	g.leased[o.lane]++
}

// release gives a slot of c back.
func (g *group) release(c *conn, o owner) {
	g.mu.Lock()
	defer g.mu.Unlock()
	c.leased--
	if o.counted && g.leased[o.lane] > 0 { // 0 where MaxPerProfile was not set when it was taken
		g.leased[o.lane]--
	}
	c.idleSince = time.Now()
	g.closeOld(c)
	g.closeSurplus(c)
	g.serve()
}

// leastLoaded returns the connection with the fewest leases that has a free slot, or nil; g.mu is held. An old one has its turn when
// there is no other and none can be dialled.
func (g *group) leastLoaded() *conn {
	var best, old *conn
	for _, c := range g.conns {
		switch {
		case c.leased >= c.limit:
		case c.old:
			if old == nil || c.leased < old.leased {
				old = c
			}
		case best == nil || c.leased < best.leased:
			best = c
		}
	}
	if best == nil && len(g.conns)+g.dialing >= g.pool.config().MaxConns {
		return old
	}
	return best
}

// serve hands free slots to the profiles that wait, in turn, and does what brings more slots for those left; g.mu is held.
func (g *group) serve() {
	for g.waiters.len() > 0 {
		c := g.leastLoaded()
		if c == nil {
			g.raise(time.Now())
			if c = g.leastLoaded(); c == nil {
				g.dialMore()
				g.wakeLater()
				return
			}
		}
		w, ok := g.next()
		if !ok {
			return // MaxPerProfile keeps all of them back
		}
		g.take(c, w.owner)
		g.keepTime()
		w.ready <- grant{conn: c}
	}
}

func (g *group) next() (*waiter, bool) {
	if g.pool.config().MaxPerProfile == 0 {
		return g.waiters.pop(nil)
	}
	return g.waiters.pop(g.may)
}

// keepTime notes how long the queue takes for a turn; g.mu is held.
func (g *group) keepTime() {
	now := time.Now()
	if !g.served.IsZero() {
		g.turn += (now.Sub(g.served) - g.turn) / 8
	}
	g.served = now
	if g.waiters.len() == 0 {
		g.served = time.Time{}
	}
}

// wakeLater sees to it that those who are left are served when time alone brings a slot; g.mu is held.
func (g *group) wakeLater() {
	due := g.raiseDue()
	now := time.Now()
	if len(g.conns) > 0 && len(g.conns)+g.dialing < g.pool.config().MaxConns && g.dialAfter.After(now) {
		due = sooner(due, g.dialAfter)
	}
	if due.IsZero() || g.waiters.len() == 0 {
		return
	}
	wait := max(due.Sub(now), time.Millisecond)
	if g.wake == nil {
		g.wake = time.AfterFunc(wait, g.serveLate)
	} else {
		g.wake.Reset(wait)
	}
}

func (g *group) serveLate() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.serve()
}

// wanted is how many slots are missing for those who wait; g.mu is held.
func (g *group) wanted() int {
	limit := g.pool.config().MaxPerProfile
	if limit == 0 {
		return g.waiters.len()
	}
	n := 0
	for _, l := range g.waiters.ring {
		n += min(len(l.entries), max(0, limit-g.leased[l.key]))
	}
	return n
}

// dialMore starts as many dials as the waiters need, or frees a slot that an idle SFTP session holds; g.mu is held.
func (g *group) dialMore() {
	want := g.wanted() - g.dialing*g.channelLimit
	if want <= 0 {
		return
	}
	most := g.pool.config().MaxConns
	if len(g.conns) > 0 && time.Now().Before(g.dialAfter) || len(g.conns)+g.dialing >= most {
		if s := g.sftp.takeIdle(); s != nil {
			g.pool.spawn(s.close)
		}
		return
	}
	for ; want > 0 && g.dialing < maxParallelDials && len(g.conns)+g.dialing < most; want -= g.channelLimit {
		probe, err := g.host.admit()
		if err == nil {
			target := g.waiters.ring[0].entries[0].target
			if g.pool.spawn(func() { g.dial(target, probe) }) {
				g.dialing++
				continue
			}
			err = ErrClosed
		}
		if len(g.conns)+g.dialing == 0 {
			g.failWaiters(err)
		}
		return
	}
}

// dial adds a connection and serves the waiters, or fails them when nothing else could serve them.
func (g *group) dial(t *profile.Target, probe bool) {
	c, err := g.host.dial(g.pool.ctx, t, g.desperate)
	g.host.done(probe, err)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.dialing--
	if err != nil {
		g.dialAfter = time.Now().Add(dialBackoff)
		if len(g.conns)+g.dialing == 0 {
			g.failWaiters(err)
		}
		g.serve()
		return
	}
	monitor, ok := g.pool.promise(func() { g.monitor(c) })
	if !ok {
		c.close()
		g.host.gone()
		return
	}
	c.wire.onEnd(monitor)
	c.limit = g.channelLimit
	g.conns = append(g.conns, c)
	g.serve()
}

// desperate reports whether callers wait while there is no connection at all.
func (g *group) desperate() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.conns) == 0 && g.waiters.len() > 0
}

// monitor removes c once its transport has ended.
func (g *group) monitor(c *conn) {
	_ = c.client.Wait()
	close(c.ended)
	g.host.gone()
	g.drop(c)
}

// drop closes c and forgets it.
func (g *group) drop(c *conn) {
	c.close()
	g.mu.Lock()
	c.dead = true
	g.forget(c)
	ended := g.sftp.takeEnded()
	g.serve()
	g.mu.Unlock()
	closeSFTP(ended)
}

func (g *group) forget(c *conn) {
	g.conns = slices.DeleteFunc(g.conns, func(o *conn) bool { return o == c })
}

func (g *group) failWaiters(err error) {
	for {
		w, ok := g.waiters.pop(nil)
		if !ok {
			return
		}
		w.ready <- grant{err: err}
	}
}

// closeOld closes c when its lifetime is over and nobody uses it any more; g.mu is held.
func (g *group) closeOld(c *conn) {
	if c.old && c.unused() && !c.dead {
		g.forget(c)
		g.pool.count.expired.Add(1)
		g.pool.spawn(c.close)
	}
}

// closeSurplus closes c when it is one too many, since the bounds are lower now, and nobody uses it; g.mu is held.
func (g *group) closeSurplus(c *conn) {
	cfg := g.pool.config()
	if (len(g.conns) > cfg.MaxConns || cfg.Disabled) && c.unused() && !c.dead && !c.old {
		g.forget(c)
		g.pool.count.evicted.Add(1)
		g.pool.spawn(c.close)
	}
}

// evictIdle closes SFTP sessions and connections unused since before.
func (g *group) evictIdle(before time.Time) (closed int) {
	g.mu.Lock()
	sessions := g.sftp.takeIdleSince(before)
	g.mu.Unlock()
	closeSFTP(sessions)
	var idle []*conn
	g.mu.Lock()
	g.conns = slices.DeleteFunc(g.conns, func(c *conn) bool {
		if c.unused() && c.idleSince.Before(before) {
			idle = append(idle, c)
			return true
		}
		return false
	})
	g.serve()
	g.mu.Unlock()
	for _, c := range idle {
		c.close()
	}
	return len(idle)
}

// retire marks an empty group so that its pool may forget it.
func (g *group) retire() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.retired = len(g.conns) == 0 && g.dialing == 0 && g.waiters.len() == 0 && g.sftp.open == 0
	return g.retired
}

func (g *group) closeAll() {
	g.mu.Lock()
	conns := slices.Clone(g.conns)
	g.failWaiters(ErrClosed)
	if g.wake != nil {
		g.wake.Stop()
	}
	g.mu.Unlock()
	for _, c := range conns {
		c.close()
	}
}

// dropAll closes the connections and forgets them.
func (g *group) dropAll() {
	g.mu.Lock()
	conns := slices.Clone(g.conns)
	g.mu.Unlock()
	for _, c := range conns {
		g.drop(c)
	}
}

func (g *group) addTo(s *Stats) {
	g.mu.Lock()
	defer g.mu.Unlock()
	s.Open += len(g.conns)
	s.Waiting += g.waiters.len() + g.sftp.slots.turns.len()
	s.SFTPSessions += g.sftp.open
	for _, c := range g.conns {
		s.Leased += c.leased
		s.Held += c.held
	}
}
