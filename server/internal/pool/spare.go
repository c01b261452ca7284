package pool

import (
	"time"

	"golang.org/x/crypto/ssh"
)

const (
	spareLife  = 4 * time.Second // of a channel that nobody takes
	sparePause = time.Second     // until another is tried after one was refused
)

// spare is a session channel that was opened before anybody asked for it, which saves the next command a round trip. A connection has one at
// most, and only while it is in use: what opens it is that another was taken. It needs room on the connection, but nobody waits because of
// it: whoever needs its place takes it along.
type spare struct {
	ch       ssh.Channel
	requests <-chan *ssh.Request
	taken    chan struct{} // received once by whoever keeps it, who then reads requests no more
	ended    bool          // the host has closed it; valid once taken was sent
}

// prepare opens a spare channel on c in the background where c has none and has room for it.
func (g *group) prepare(c *conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.mayPrepare(c) {
		return
	}
	c.preparing = g.pool.spawn(func() { g.keepSpare(c) })
}

// mayPrepare reports whether c should get a spare channel; g.mu is held. There is none for a connection whose limit is only being tried.
func (g *group) mayPrepare(c *conn) bool {
	return !g.pool.config().NoSpares && c.spare == nil && !c.preparing && !c.old && !c.dead && c.leased < c.limit &&
		c.opened.Load() && !c.trial.Load() && g.waiters.len() == 0 && (c.spareAfter.IsZero() || time.Now().After(c.spareAfter))
}

// keepSpare opens a channel and keeps it until somebody takes it, the host closes it or its time is over.
func (g *group) keepSpare(c *conn) {
	ch, requests, err := c.client.OpenChannel("session", nil)
	s := &spare{ch: ch, requests: requests, taken: make(chan struct{})}
	g.mu.Lock()
	c.preparing = false
	if err != nil {
		c.spareAfter = time.Now().Add(sparePause)
	} else {
		c.spare = s
	}
	g.serve()
	g.mu.Unlock()
	if err == nil {
		g.hold(c, s)
	}
}

// hold answers what the host asks on s, as OpenSSH's does to learn whether the client is alive, until s goes.
func (g *group) hold(c *conn, s *spare) {
	over := time.NewTimer(g.pool.spareLife)
	defer over.Stop()
	for {
		select {
		case <-s.taken:
			return
		case req, ok := <-s.requests:
			switch {
			case ok && req.WantReply:
				_ = req.Reply(false, nil)
			case !ok:
				s.ended = true
				g.giveUp(c, s)
				return
			}
		case <-over.C:
			if g.giveUp(c, s) {
				go ssh.DiscardRequests(s.requests)
				_ = s.ch.Close()
			}
			return
		}
	}
}

// giveUp forgets s, or hands it over where somebody has just taken it.
func (g *group) giveUp(c *conn, s *spare) bool {
	g.mu.Lock()
	ours := c.spare == s
	if ours {
		c.spare = nil
	}
	g.mu.Unlock()
	if !ours {
		<-s.taken
	}
	return ours
}

// takeSpare returns the spare channel of the lease's connection, or nil where there is none that is open.
func (l *Lease) takeSpare() *spare {
	if l.group == nil {
		return nil
	}
	l.group.mu.Lock()
	s := l.conn.spare
	l.conn.spare = nil
	l.group.mu.Unlock()
	if s == nil {
		return nil
	}
	s.taken <- struct{}{}
	if s.ended {
		return nil
	}
	return s
}

// spares is how many channels are open, or being opened, for nobody; g.mu is held.
func (c *conn) spares() int {
	if c.spare != nil || c.preparing {
		return 1
	}
	return 0
}
