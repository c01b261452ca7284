package pool

import (
	"context"
	"time"
)

// Run looks after what is open until ctx ends: it closes connections and SFTP sessions that have been idle for IdleTimeout and
// connections that have reached their lifetime, and asks those that are silent whether they are alive.
func (p *Pool) Run(ctx context.Context) {
	for {
		if !sleep(ctx, p.tick()) {
			return
		}
		now := time.Now()
		p.evictIdle(now.Add(-p.config().IdleTimeout))
		p.mu.Lock()
		groups := p.snapshot()
		p.mu.Unlock()
		for _, g := range groups {
			g.look(now)
		}
	}
}

// tick is how often Run looks around.
func (p *Pool) tick() time.Duration {
	cfg := p.config()
	return min(max(min(cfg.IdleTimeout/4, cfg.KeepaliveInterval/4, cfg.MaxLifetime/20), 10*time.Millisecond), 15*time.Second)
}

// look marks the connections whose lifetime is over, puts to rest those that nobody uses, and probes those that have been silent for KeepaliveInterval.
func (g *group) look(now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	interval := g.pool.config().KeepaliveInterval
	for i := len(g.conns) - 1; i >= 0; i-- {
		c := g.conns[i]
		if reads := c.wire.reads.Load(); reads != c.reads {
			c.reads, c.quietSince = reads, now
		} else if c.unused() {
			c.wire.rest()
		}
		if now.Sub(c.quietSince) >= interval {
			c.quietSince = now
			g.pool.probe(c, now.Add(-interval/2))
		}
		if now.After(c.expires) {
			c.old = true
			g.closeOld(c)
		}
		g.closeSurplus(c)
	}
	g.serve()
}

// probe asks the host in the background whether it is alive, unless it was asked since, and ends the connection when nothing comes from
// it for KeepaliveTimeout: whoever uses it then learns of that.
func (p *Pool) probe(c *conn, since time.Time) {
	if c.probed.Load() > since.UnixNano() && !since.IsZero() || !c.probing.CompareAndSwap(false, true) {
		return
	}
	c.probed.Store(time.Now().UnixNano())
	answered := make(chan struct{})
	if !p.spawn(func() {
		defer close(answered)
		_, _, _ = c.client.SendRequest("keepalive@openssh.com", true, nil) // any answer will do
	}) {
		return
	}
	p.spawn(func() {
		defer c.probing.Store(false)
		p.await(c, answered)
	})
}

// await closes c when nothing comes from it, be it the answer or anything else. Where this process stood still meanwhile, what came may not have been read
// yet: it waits once more.
func (p *Pool) await(c *conn, answered <-chan struct{}) {
	timeout := p.config().KeepaliveTimeout
	t := time.NewTimer(timeout)
	defer t.Stop()
	for reads, asked := c.wire.reads.Load(), time.Now(); ; {
		select {
		case <-answered:
			return
		case <-t.C:
		}
		now := c.wire.reads.Load()
		if now == reads && time.Since(asked) < 3*timeout/2 {
			p.count.silent.Add(1)
			c.close()
			return
		}
		reads, asked = now, time.Now()
		t.Reset(timeout)
	}
}
