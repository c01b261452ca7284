package pool

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/profile"
)

// sftpSet is a group's SFTP sessions. slots bounds those in use. The group's mutex guards all of it.
type sftpSet struct {
	slots gate
	idle  []*SFTP // most recently used last
	open  int     // in use and idle
}

// takeIdle removes the session that was idle longest, for the caller to close, or returns nil.
func (s *sftpSet) takeIdle() *SFTP {
	if len(s.idle) == 0 {
		return nil
	}
	f := s.idle[0]
	s.idle = s.idle[1:]
	s.open--
	return f
}

func (s *sftpSet) takeIdleSince(before time.Time) (taken []*SFTP) {
	for len(s.idle) > 0 && s.idle[0].idleSince.Before(before) {
		taken = append(taken, s.takeIdle())
	}
	return taken
}

// takeEnded removes the idle sessions that have ended, with their connection or alone.
func (s *sftpSet) takeEnded() (taken []*SFTP) {
	s.idle = slices.DeleteFunc(s.idle, func(f *SFTP) bool {
		ended := f.ended.Load() || f.session.lease.conn.dead
		if ended {
			taken = append(taken, f)
			s.open--
		}
		return ended
	})
	return taken
}

// SFTP is an SFTP session leased by one caller, who ends the lease once: by Release, which keeps the session for the next, or by
// Discard, when it failed or must be interrupted (closing it also ends a call that hangs in it).
type SFTP struct {
	*sftp.Client
	Info      // what it took to get this lease
	group     *group
	session   *Session
	idleSince time.Time
	ended     *atomic.Bool // the subsystem has gone
}

// SFTP leases an idle SFTP session to t, or opens one. At most MaxSFTP are in use for a target; further callers wait in turn.
// The error is an *Error or ErrClosed.
func (p *Pool) SFTP(ctx context.Context, t *profile.Target) (*SFTP, error) {
	if p.config().Disabled {
		return p.openSFTP(ctx, t, nil)
	}
	start := time.Now()
	g, s, err := p.sftpSlot(ctx, t)
	if err != nil {
		return nil, err
	}
	waited := time.Since(start)
	if s != nil {
		p.count.leases.Add(1)
		p.count.reused.Add(1)
		// A lease of its own, so that who has released one may still read its Info.
		info := Info{Conn: s.Conn, Queue: waited, Reused: true}
		return &SFTP{Client: s.Client, Info: info, group: g, session: s.session, ended: s.ended}, nil
	}
	if s, err = p.openSFTP(ctx, t, g); err != nil {
		g.sftpGone()
		return nil, err
	}
	s.Queue += waited
	return s, nil
}

// sftpSlot waits for the right to use an SFTP session, and takes an idle one along where there is one. Without one, the new session
// is counted as open already.
func (p *Pool) sftpSlot(ctx context.Context, t *profile.Target) (*group, *SFTP, error) {
	for {
		g, err := p.group(t)
		if err != nil {
			return nil, nil, err
		}
		if err := g.enterSFTP(ctx, t); err != nil {
			return nil, nil, err
		}
		g.mu.Lock()
		if g.retired {
			g.leaveSFTP()
			g.mu.Unlock()
			continue
		}
		ended := g.sftp.takeEnded()
		var s *SFTP
		if n := len(g.sftp.idle); n > 0 {
			s = g.sftp.idle[n-1]
			g.sftp.idle = g.sftp.idle[:n-1]
		} else {
			g.sftp.open++
		}
		g.mu.Unlock()
		closeSFTP(ended)
		return g, s, nil
	}
}

func (g *group) enterSFTP(ctx context.Context, t *profile.Target) error {
	cfg := g.pool.config()
	g.mu.Lock()
	if n := g.sftp.slots.turns.len(); n >= cfg.MaxWaiting {
		g.mu.Unlock()
		g.pool.count.limited.Add(1)
		return limitError(t.Addr, "an SFTP session", n, time.Second)
	}
	if err := g.sftp.slots.enter(ctx, &g.mu, ownerOf(t).lane, cfg.MaxSFTP); err != nil {
		return waitError(ctx, t.Addr, "no free SFTP session in time")
	}
	return nil
}

// leaveSFTP gives the right to use an SFTP session back; g.mu is held.
func (g *group) leaveSFTP() { g.sftp.slots.leave(g.pool.config().MaxSFTP) }

// sftpGone takes back the count and the slot of a session that is no more.
func (g *group) sftpGone() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.sftp.open--
	g.leaveSFTP()
}

// openSFTP opens a session channel and starts the sftp subsystem there. ctx bounds it.
func (p *Pool) openSFTP(ctx context.Context, t *profile.Target, g *group) (*SFTP, error) {
	sess, err := p.session(ctx, t, owner{lane: "sftp " + ownerOf(t).lane})
	if err != nil {
		return nil, err
	}
	go ssh.DiscardRequests(sess.Requests)
	start := time.Now()
	stop := context.AfterFunc(ctx, func() { sess.Channel.Close() })
	client, err := startSFTP(sess)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		sess.Close()
		if ctx.Err() != nil {
			return nil, waitError(ctx, t.Addr, "opening an SFTP session took too long")
		}
		return nil, &Error{Kind: KindRefused, Addr: t.Addr, Err: fmt.Errorf("no SFTP session: %w", err)}
	}
	s := &SFTP{Client: client, Info: sess.Info, group: g, session: sess, ended: new(atomic.Bool)}
	s.Channel += time.Since(start)
	if !p.spawn(func() { _ = client.Wait(); s.ended.Store(true) }) {
		s.close()
		return nil, ErrClosed
	}
	return s, nil
}

func startSFTP(sess *Session) (*sftp.Client, error) {
	ok, err := sess.SendRequest("subsystem", true, ssh.Marshal(struct{ Name string }{"sftp"}))
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, fmt.Errorf("the host has no sftp subsystem")
	}
	return sftp.NewClientPipe(sess.Channel, sess.Channel, sftp.UseConcurrentWrites(true), sftp.UseFstat(true))
}

// Release returns the session for the next caller.
func (s *SFTP) Release() {
	g := s.group
	if g == nil || s.ended.Load() {
		s.Discard()
		return
	}
	s.idleSince = time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.sftp.idle = append(g.sftp.idle, s)
	g.leaveSFTP()
	g.serve() // a caller may be waiting for the channel that this session holds
}

// Discard closes the session.
func (s *SFTP) Discard() {
	s.close()
	if s.group != nil {
		s.group.sftpGone()
	}
}

func (s *SFTP) close() {
	s.session.Close()
	s.Client.Close()
}

func closeSFTP(sessions []*SFTP) {
	for _, s := range sessions {
		s.close()
	}
}

// Interrupt ends whatever hangs in the session by closing its channel. The lease is then ended with Discard.
func (s *SFTP) Interrupt() { s.session.Channel.Close() }
