package pool

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/profile"
)

// Info says what it took to get a lease.
type Info struct {
	Conn    int64         // number of the connection, unique in the pool
	Queue   time.Duration // waiting for a slot
	Dial    time.Duration // waiting for a connection to be dialled
	Channel time.Duration // opening the channel; 0 for a bare lease
	Reused  bool          // the connection was open before the caller came
}

// Lease is one slot on a connection. Release gives it back; a leased connection is not evicted.
type Lease struct {
	Info
	conn    *conn
	group   *group // nil for a connection of the lease's own
	owner   owner
	hold    bool // it keeps the connection and takes no slot; see Hold
	release sync.Once
}

// Acquire waits for a slot on a connection to t, dialling one when needed. The error is an *Error or ErrClosed.
//
// A caller whose ctx ends leaves the queue; a dial that it started goes on and serves the next caller.
func (p *Pool) Acquire(ctx context.Context, t *profile.Target) (*Lease, error) {
	return p.lease(ctx, t, ownerOf(t), false)
}

func (p *Pool) lease(ctx context.Context, t *profile.Target, o owner, first bool) (*Lease, error) {
	start := time.Now()
	c, g, err := p.acquire(ctx, t, o, first)
	if err != nil {
		return nil, err
	}
	l := &Lease{conn: c, group: g, owner: o, Info: Info{Conn: c.id, Reused: c.born.Before(start)}}
	waited := time.Since(start)
	if !l.Reused {
		l.Dial = min(waited, c.dialTime)
	}
	l.Queue = waited - l.Dial
	p.count.leases.Add(1)
	if l.Reused {
		p.count.reused.Add(1)
	}
	return l, nil
}

func (p *Pool) acquire(ctx context.Context, t *profile.Target, o owner, first bool) (*conn, *group, error) {
	if p.config().Disabled {
		if err := checkJumps(t); err != nil {
			return nil, nil, err
		}
		c, err := p.dial(ctx, t)
		return c, nil, err
	}
	for {
		g, err := p.group(t)
		if err != nil {
			return nil, nil, err
		}
		c, err := g.acquire(ctx, t, o, first)
		if !errors.Is(err, errRetired) {
			return c, g, err
		}
	}
}

// Release gives the slot back. Further calls do nothing.
func (l *Lease) Release() {
	l.release.Do(func() {
		switch {
		case l.group == nil:
			l.conn.close()
		case l.hold:
			l.group.unhold(l.conn)
		default:
			l.group.release(l.conn, l.owner)
		}
	})
}

// drop releases the lease and forgets its connection, which has broken.
func (l *Lease) drop() {
	if l.group != nil {
		l.group.drop(l.conn)
	}
	l.Release()
}

// Session is an open session channel on a pooled connection, on which nothing has run yet. Its user reads Requests until it is
// closed, and calls Close once.
type Session struct {
	ssh.Channel
	Info
	Requests <-chan *ssh.Request
	lease    *Lease
}

// Another has a channel opened for the next command on the connection, beside the one that runs here.
func (s *Session) Another() {
	if g := s.lease.group; g != nil {
		g.prepare(s.lease.conn)
	}
}

// Close closes the channel and gives its slot back. The host hears of it no later than of the next session on the connection.
func (s *Session) Close() error {
	err := s.lease.conn.wire.leisurely(s.Channel.Close)
	s.lease.Release()
	return err
}

// maxBroken is how many connections may break before the channel opened until Session gives up.
const maxBroken = 2

// Session opens a session channel to t. A refused channel is waited out or opened on another connection, and a connection that
// broke before the channel opened is replaced once; both are safe, since nothing has run. The error is an *Error or ErrClosed.
func (p *Pool) Session(ctx context.Context, t *profile.Target) (*Session, error) {
	return p.session(ctx, t, ownerOf(t))
}

func (p *Pool) session(ctx context.Context, t *profile.Target, o owner) (*Session, error) {
	var total Info
	var never, broken int
	for try := 0; ; try++ {
		lease, err := p.lease(ctx, t, o, try > 0)
		if err != nil {
			return nil, err
		}
		total.Queue += lease.Queue
		total.Dial += lease.Dial
		total.Conn, total.Reused = lease.Conn, lease.Reused && try == 0
		if s := lease.takeSpare(); s != nil {
			return &Session{Channel: s.ch, Requests: s.requests, Info: total, lease: lease}, nil
		}
		start := time.Now()
		ch, reqs, err := lease.open(ctx, "session", nil)
		total.Channel += time.Since(start)
		if err == nil {
			lease.opened()
			return &Session{Channel: ch, Requests: reqs, Info: total, lease: lease}, nil
		}
		var refused *ssh.OpenChannelError
		switch {
		case errors.Is(err, errGaveUp):
			p.probe(lease.conn, time.Time{})
			return nil, waitError(ctx, t.Addr, "opening a channel took too long")
		case errors.As(err, &refused):
			p.count.refused.Add(1)
			if lease.refused() {
				never++
			}
			lease.Release()
			if never == maxRefusals {
				return nil, &Error{Kind: KindRefused, Addr: t.Addr, Err: fmt.Errorf("the host opens no session channel: %w", err)}
			}
		default:
			lease.drop()
			if broken++; broken == maxBroken {
				return nil, &Error{Kind: KindConnect, Addr: t.Addr, Err: fmt.Errorf("the connection broke before a channel opened: %w", err)}
			}
		}
	}
}

// opened and refused note how the host answered the request for a session channel; see limit.go.
func (l *Lease) opened() {
	if c := l.conn; l.group != nil && (!c.opened.Load() || c.trial.Load()) {
		l.group.opened(c)
	}
}

func (l *Lease) refused() (never bool) { return l.group == nil || l.group.refused(l.conn) }

var (
	errEnded  = errors.New("the connection has ended")
	errGaveUp = errors.New("the caller gave up") // and the lease is no longer its own
)

// open opens a channel. When ctx ends first, it returns errGaveUp, and the channel is closed and the slot released as soon as the host
// answers.
func (l *Lease) open(ctx context.Context, kind string, payload []byte) (ssh.Channel, <-chan *ssh.Request, error) {
	type opened struct {
		ch   ssh.Channel
		reqs <-chan *ssh.Request
		err  error
	}
	done := make(chan opened, 1)
	go func() {
		ch, reqs, err := l.conn.client.OpenChannel(kind, payload)
		done <- opened{ch, reqs, err}
	}()
	select {
	case o := <-done:
		return o.ch, o.reqs, o.err
	case <-l.conn.ended:
		return nil, nil, errEnded
	case <-ctx.Done():
	}
	go func() {
		if o := <-done; o.err == nil {
			go ssh.DiscardRequests(o.reqs)
			o.ch.Close()
		}
		l.Release()
	}()
	return nil, nil, errGaveUp
}

// sleep waits for d and reports false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
