package pool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/profile"
)

// operations is how many random operations a test does: few, or with PROOF=whole in the environment as many as the documents claim.
func operations(few, whole int) int {
	if os.Getenv("PROOF") == "whole" {
		return whole
	}
	return few
}

// oracle keeps its own books of what a pool has given out, under one lock.
type oracle struct {
	cut func(net.Conn) bool // the host has ended that connection

	mu     sync.Mutex
	leased map[*Lease]bool
	held   map[*Lease]bool
	keys   map[int64]string // of connections
	slots  map[int64]int    // leases by connection
	most   int              // leases that a connection may have
	faults []string
}

func (o *oracle) fault(format string, args ...any) {
	o.faults = append(o.faults, fmt.Sprintf(format, args...))
}

// took notes a lease of a connection to key.
func (o *oracle) took(l *Lease, key string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.leased[l] || o.held[l] {
		o.fault("a lease was given out twice")
	}
	if other, ok := o.keys[l.Conn]; ok && other != key {
		o.fault("connection %d to %s serves %s", l.Conn, other, key)
	}
	o.keys[l.Conn] = key
	if l.hold {
		o.held[l] = true
		return
	}
	o.leased[l] = true
	if o.slots[l.Conn]++; o.slots[l.Conn] > o.most {
		o.fault("connection %d has %d leases, %d are allowed", l.Conn, o.slots[l.Conn], o.most)
	}
}

// gave is called before a lease is released.
func (o *oracle) gave(l *Lease) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !l.hold {
		o.slots[l.Conn]--
	}
	if l.ended() && !o.cut(l.conn.wire.Conn) {
		o.fault("connection %d was closed under its user", l.Conn)
	}
	delete(o.leased, l)
	delete(o.held, l)
}

// agrees waits until the pool's books are like these. Nobody may be at work, but a host may still owe answers to those who gave up.
func (o *oracle) agrees(t *testing.T, p *Pool) {
	t.Helper()
	var pools, ours string
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		if pools, ours = o.books(p); pools == ours {
			break
		}
		if time.Now().After(deadline) {
			t.Errorf("the pool counts %s; given out were %s", pools, ours)
			break
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, f := range o.faults {
		t.Error(f)
	}
	o.faults = nil
}

// books counts what the pool has given out by its own reckoning and by the oracle's. The pool forgets the leases of a connection that has
// broken, whose holders release them all the same.
func (o *oracle) books(p *Pool) (pools, ours string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	leased, held := 0, 0
	for l := range o.leased {
		if !l.gone() {
			leased++
		}
	}
	for l := range o.held {
		if !l.gone() {
			held++
		}
	}
	s := p.Stats()
	return fmt.Sprintf("%d leases, %d holds, %d waiters", s.Leased, s.Held, s.Waiting), fmt.Sprintf("%d leases, %d holds, 0 waiters", leased, held)
}

// ended reports whether the lease's connection has.
func (l *Lease) ended() bool {
	select {
	case <-l.conn.ended:
		return true
	default:
		return false
	}
}

// gone reports whether the group has forgotten the lease's connection.
func (l *Lease) gone() bool {
	l.group.mu.Lock()
	defer l.group.mu.Unlock()
	for _, c := range l.group.conns {
		if c == l.conn {
			return false
		}
	}
	return true
}

// randomUser is one of those who use a pool at random.
type randomUser struct {
	*rand.Rand
	t       *testing.T
	p       *Pool
	h       *memHost
	o       *oracle
	targets []*profile.Target
	mine    []*Lease
	done    int // operations
}

// step does one operation. One that may wait for long is done only by who holds nothing that others may wait for, so it has to succeed.
func (u *randomUser) step() {
	u.done++
	target := u.targets[u.IntN(len(u.targets))]
	switch n := u.IntN(1000); {
	case n < 430 && len(u.mine) < 3:
		u.acquire(target)
	case n < 450:
		u.session(target)
	case n < 500 && len(u.mine) < 3:
		if l, err := u.p.Hold(u.soon(), target); err == nil {
			u.took(l, target)
		} else {
			u.check(err)
		}
	case n < 501:
		u.h.kill(u.Rand)
	case n < 503:
		u.p.evictIdle(time.Now())
	case n < 504:
		if g, err := u.p.group(target); err == nil {
			g.look(time.Now().Add(time.Duration(u.IntN(80)) * time.Minute))
		}
	case n < 510:
		u.p.Stats()
	default:
		u.giveOne()
	}
}

func (u *randomUser) took(l *Lease, t *profile.Target) {
	u.o.took(l, t.Key)
	u.mine = append(u.mine, l)
}

func (u *randomUser) giveOne() {
	if len(u.mine) == 0 {
		u.done-- // that was none
		return
	}
	i := u.IntN(len(u.mine))
	l := u.mine[i]
	u.mine = append(u.mine[:i], u.mine[i+1:]...)
	u.o.gave(l)
	l.Release()
	if u.IntN(10) == 0 {
		l.Release()
	}
}

// soon is a context that leaves hardly time to wait.
func (u *randomUser) soon() context.Context {
	ctx, cancel := context.WithTimeout(u.t.Context(), time.Duration(u.IntN(2000))*time.Microsecond)
	context.AfterFunc(ctx, cancel)
	return ctx
}

func (u *randomUser) acquire(target *profile.Target) {
	ctx, patient := u.soon(), len(u.mine) == 0
	if patient {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(u.t.Context(), time.Minute)
		defer cancel()
	}
	l, err := u.p.Acquire(ctx, target)
	if err != nil {
		u.check(err)
		if patient && ctx.Err() != nil {
			u.t.Errorf("a caller was forgotten: %v", err)
		}
		return
	}
	u.took(l, target)
}

// session has a channel of its own carry something there and back.
func (u *randomUser) session(target *profile.Target) {
	s, err := u.p.Session(u.soon(), target)
	if err != nil {
		u.check(err)
		return
	}
	u.o.took(s.lease, target.Key)
	if u.IntN(2) == 0 {
		s.Another()
	}
	go ssh.DiscardRequests(s.Requests)
	word := fmt.Sprint(u.Uint64())
	_, _ = s.Write([]byte(word))
	got := make([]byte, len(word))
	if _, err := io.ReadFull(s, got); err == nil && string(got) != word {
		u.t.Errorf("sent %s, got %s", word, got)
	}
	u.o.gave(s.lease)
	s.Close()
}

// check wants every error to be one of the pool's.
func (u *randomUser) check(err error) {
	var e *Error
	if !errors.As(err, &e) {
		u.t.Errorf("%T: %v", err, err)
	}
}

// TestPoolAgainstOracle has many use a pool at random, while dials fail, drop and hang, connections are cut and the host bounds channels.
// From time to time all pause, and the pool's books are compared with the oracle's.
func TestPoolAgainstOracle(t *testing.T) {
	const users, rounds = 16, 20
	each := operations(30_000, 1_000_000) / users / rounds
	h := newMemHost(t)
	var draws atomic.Uint64
	h.fault = func() dialFault { // of 50 dials, two fail, one drops and one hangs
		return map[uint64]dialFault{3: dialFails, 17: dialFails, 29: dialDrops, 41: dialHangs}[draws.Add(1)%50]
	}
	o := &oracle{leased: map[*Lease]bool{}, held: map[*Lease]bool{}, keys: map[int64]string{}, slots: map[int64]int{}, most: 6, cut: h.hasCut}
	p := h.pool(t, Config{
		MaxConns: 3, ChannelsPerConn: 6, MaxPerProfile: 5, MaxWaiting: 2, DialTimeout: 200 * time.Millisecond, BreakerFailures: 3, BreakerInterval: 5 * time.Millisecond,
	})
	var targets []*profile.Target
	for i := range 9 {
		targets = append(targets, target(fmt.Sprint("profile-", i%5), fmt.Sprint("host-", i%3)))
	}
	all := make([]*randomUser, users)
	for i := range all {
		all[i] = &randomUser{Rand: rand.New(rand.NewPCG(uint64(i), 4)), t: t, p: p, h: h, o: o, targets: targets}
	}
	together := func(do func(u *randomUser)) {
		var wg sync.WaitGroup
		for _, u := range all {
			wg.Go(func() { do(u) })
		}
		wg.Wait()
	}
	for round := range rounds {
		if t.Failed() {
			t.Fatalf("in round %d", round-1)
		}
		h.sessions.Store(int64(round % 5))
		together(func(u *randomUser) {
			for end := u.done + each; u.done < end; {
				u.step()
			}
			for len(u.mine) > 0 {
				u.giveOne()
			}
		})
		o.agrees(t, p)
		together(func(u *randomUser) {
			target := targets[u.IntN(len(targets))]
			if l, err := p.Acquire(u.soon(), target); err == nil {
				u.took(l, target)
			}
		})
		o.agrees(t, p)
	}
	together(func(u *randomUser) {
		for len(u.mine) > 0 {
			u.giveOne()
		}
	})
	waitUntil(t, func() bool {
		p.evictIdle(time.Now())
		s := p.Stats()
		return s.Open == 0 && s.Targets == 0 && h.open() == 0
	})
	if s := p.Stats(); s.Leased != 0 || s.Held != 0 || s.Waiting != 0 || h.mostOpen("host-0") == 0 {
		t.Errorf("stats %+v", s)
	}
	s := p.Stats()
	done := 0
	for _, u := range all {
		done += u.done
	}
	t.Logf("%d operations: %d leases, %d reused, %d dials, %d of them in vain, %d channels refused, %d callers refused, %d connections ended by the host", done, s.Leases, s.Reused, s.Dials+s.DialFailures, s.DialFailures, s.Refused, s.Limited, h.killed.Load())
}
