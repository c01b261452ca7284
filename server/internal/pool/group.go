package pool

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/profile"
)

// maxParallelDials bounds the handshakes under way at once to one target; sshd drops connections beyond its MaxStartups.
const maxParallelDials = 4

// dialBackoff keeps a group that has connections from dialling in a loop when the host admits no further one.
const dialBackoff = time.Second

// group is the connections of one key. Its mutex is never held over I/O.
type group struct {
	pool *Pool
	key  string
	vpn  string // tunnel that the connections go through, or ""

	mu           sync.Mutex
	retired      bool // removed from the pool; a caller that still holds it asks the pool again
	conns        []*conn
	dialing      int
	waiters      []*waiter // first come, first served
	channelLimit int       // for new connections; learned from refusals
	dialAfter    time.Time // no further connection before this, since the last dial failed while others lived
	sftp         sftpSet
}

type waiter struct {
	target *profile.Target
	ready  chan grant // buffered: a grant is never blocked by a waiter that left
}

type grant struct {
	conn *conn
	err  error
}

// acquire takes a slot: at once on the least loaded connection, else in turn when one is released or dialled.
func (g *group) acquire(ctx context.Context, t *profile.Target) (*conn, error) {
	g.mu.Lock()
	if g.retired {
		g.mu.Unlock()
		return nil, errRetired
	}
	if len(g.waiters) == 0 {
		if c := g.leastLoaded(); c != nil {
			c.leased++
			g.mu.Unlock()
			return c, nil
		}
	}
	w := &waiter{target: t, ready: make(chan grant, 1)}
	g.waiters = append(g.waiters, w)
	g.dialMore()
	g.mu.Unlock()

	select {
	case gr := <-w.ready:
		return gr.conn, gr.err
	case <-ctx.Done():
	}
	g.mu.Lock()
	i := slices.Index(g.waiters, w)
	if i >= 0 {
		g.waiters = slices.Delete(g.waiters, i, i+1)
	}
	g.mu.Unlock()
	if i < 0 { // granted meanwhile
		if gr := <-w.ready; gr.conn != nil {
			g.release(gr.conn)
		}
	}
	return nil, waitError(ctx, t.Addr, "no free connection in time")
}

// leastLoaded returns the live connection with the most free slots, or nil; g.mu is held.
func (g *group) leastLoaded() *conn {
	var best *conn
	for _, c := range g.conns {
		if c.leased < c.limit && (best == nil || c.leased < best.leased) {
			best = c
		}
	}
	return best
}

// dialMore starts as many dials as the waiters need, or frees a slot that an idle SFTP session holds; g.mu is held.
func (g *group) dialMore() {
	want := len(g.waiters) - g.dialing*g.channelLimit
	if want <= 0 {
		return
	}
	if len(g.conns) > 0 && time.Now().Before(g.dialAfter) || len(g.conns)+g.dialing >= g.pool.cfg.MaxConns {
		if s := g.sftp.takeIdle(); s != nil {
			g.pool.spawn(s.close)
		}
		return
	}
	for want > 0 && g.dialing < maxParallelDials && len(g.conns)+g.dialing < g.pool.cfg.MaxConns {
		target := g.waiters[0].target
		if !g.pool.spawn(func() { g.dial(target) }) {
			g.failWaiters(ErrClosed)
			return
		}
		g.dialing++
		want -= g.channelLimit
	}
}

// dial adds a connection and serves the waiters, or fails them when nothing else could serve them.
func (g *group) dial(t *profile.Target) {
	c, err := g.pool.dial(g.pool.ctx, t)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.dialing--
	if err != nil {
		g.dialAfter = time.Now().Add(dialBackoff)
		if len(g.conns) == 0 && g.dialing == 0 {
			g.failWaiters(err)
		}
		return
	}
	if !g.pool.spawn(func() { g.monitor(c) }) {
		c.close()
		return
	}
	c.limit = g.channelLimit
	g.conns = append(g.conns, c)
	g.serve()
}

// monitor removes c once its transport has ended.
func (g *group) monitor(c *conn) {
	_ = c.client.Wait()
	close(c.ended)
	g.drop(c)
}

// drop closes c and forgets it.
func (g *group) drop(c *conn) {
	c.close()
	g.mu.Lock()
	c.dead = true
	g.conns = slices.DeleteFunc(g.conns, func(o *conn) bool { return o == c })
	ended := g.sftp.takeEnded()
	g.dialMore()
	g.mu.Unlock()
	closeSFTP(ended)
}

// serve hands free slots to waiters in turn and dials for those left; g.mu is held.
func (g *group) serve() {
	for len(g.waiters) > 0 {
		c := g.leastLoaded()
		if c == nil {
			g.dialMore()
			return
		}
		w := g.waiters[0]
		g.waiters = g.waiters[1:]
		c.leased++
		w.ready <- grant{conn: c}
	}
}

func (g *group) failWaiters(err error) {
	for _, w := range g.waiters {
		w.ready <- grant{err: err}
	}
	g.waiters = nil
}

// release gives a slot of c back.
func (g *group) release(c *conn) {
	g.mu.Lock()
	c.leased--
	c.idleSince = time.Now()
	g.serve()
	g.mu.Unlock()
}

// refused notes that the server opened no further channel on c and reports whether c carried none but the caller's own, so that
// waiting for others to end would not help.
func (g *group) refused(c *conn) (alone bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	c.limit = max(1, min(c.limit, c.leased-1))
	g.channelLimit = max(1, min(g.channelLimit, c.limit))
	return c.leased == 1
}

// evictIdle closes SFTP sessions and connections unused since before.
func (g *group) evictIdle(before time.Time) {
	g.mu.Lock()
	sessions := g.sftp.takeIdleSince(before)
	g.mu.Unlock()
	closeSFTP(sessions)
	var idle []*conn
	g.mu.Lock()
	g.conns = slices.DeleteFunc(g.conns, func(c *conn) bool {
		if c.leased == 0 && c.held == 0 && c.idleSince.Before(before) {
			idle = append(idle, c)
			return true
		}
		return false
	})
	g.mu.Unlock()
	for _, c := range idle {
		c.close()
	}
}

// retire marks an empty group so that its pool may forget it.
func (g *group) retire() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.retired = len(g.conns) == 0 && g.dialing == 0 && len(g.waiters) == 0 && g.sftp.open == 0
	return g.retired
}

func (g *group) closeAll() {
	g.mu.Lock()
	conns := slices.Clone(g.conns)
	g.failWaiters(ErrClosed)
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
	s.Waiting += len(g.waiters)
	s.SFTPSessions += g.sftp.open
	for _, c := range g.conns {
		s.Leased += c.leased
		s.Held += c.held
	}
}
