// Package admission answers one question: may work start now? Limiter bounds how much runs at once, in all and for each profile; work
// beyond the bounds waits in turn, and a queue that is full refuses at once. Memory (memory.go) watches the process's memory and has the
// limiter refuse work before the system kills the process.
//
// Start with Limiter.Enter.
package admission

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// ErrLimit is behind every refusal. The work has not started and may be tried again later.
var ErrLimit = errors.New("too much work at once")

// Bounds of the queue.
const (
	maxQueue   = 1024 // callers that wait for one key
	maxWaiting = 4096 // callers that wait in all
	keepGates  = 4096 // keys remembered while nobody uses them
)

// Refusal says why work was not admitted and when to try again. It matches ErrLimit.
type Refusal struct {
	Reason     string
	RetryAfter time.Duration
}

func (r *Refusal) Error() string {
	return fmt.Sprintf("%v: %s; try again in %v", ErrLimit, r.Reason, r.RetryAfter)
}

// Is matches ErrLimit.
func (r *Refusal) Is(target error) bool { return target == ErrLimit }

// Limiter holds a limit over all and one for each key. Keys that wait get free slots in turn, whatever the length of their queues; the
// callers of one key are served first come, first served. The zero value has no limit over all; it is safe for concurrent use.
type Limiter struct {
	refusal atomic.Pointer[Refusal]
	refused struct{ memory, queue, patience atomic.Int64 }

	mu      sync.Mutex
	max     int // over all; 0 is none
	running int
	waiting int
	gates   map[string]*gate
	turns   list.List // of *gate: those that are eligible, the next first
}

// gate is one key's limit. The limiter's mutex guards it.
type gate struct {
	key     string
	limit   int
	running int
	waiters list.List     // of *ticket
	turn    *list.Element // its place in the turns, or nil
}

// eligible says whether a waiter could run but for the limit over all.
func (g *gate) eligible() bool { return g.waiters.Len() > 0 && g.running < g.limit }

// ticket is one caller that waits or runs. The limiter's mutex guards it.
type ticket struct {
	gate  *gate
	ready chan struct{} // closed when it may run; nil when it never had to wait
	place *list.Element // among the waiters; nil when it runs or has ended
	ended bool
}

// SetMax sets the limit over all; 0 is none. A lower one counts as running work ends.
func (l *Limiter) SetMax(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.max = n
	l.dispatch()
}

// Refuse has Enter refuse all work with r until it is called with nil. Work that runs or waits goes on.
func (l *Limiter) Refuse(r *Refusal) { l.refusal.Store(r) }

// Enter waits in turn until fewer than limit callers of key run, and fewer than the limit over all, or until ctx ends. leave must be
// called; further calls of it do nothing. A changed limit of a key counts for all its callers from now on.
func (l *Limiter) Enter(ctx context.Context, key string, limit int) (leave func(), err error) {
	if r := l.refusal.Load(); r != nil {
		l.refused.memory.Add(1)
		return nil, r
	}
	t, err := l.request(key, limit)
	if err != nil {
		l.refused.queue.Add(1)
		return nil, err
	}
	if t.ready != nil {
		select {
		case <-t.ready:
		case <-ctx.Done():
			return nil, l.giveUp(ctx, t)
		}
	}
	return func() { l.end(t) }, nil
}

// request enters a caller, which runs at once or stands in the queue.
func (l *Limiter) request(key string, limit int) (*ticket, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	g := l.gate(key, limit)
	t := &ticket{gate: g}
	if g.waiters.Len() == 0 && g.running < g.limit && l.free() {
		l.running++
		g.running++
		return t, nil
	}
	if g.waiters.Len() >= maxQueue || l.waiting >= maxWaiting {
		return nil, &Refusal{fmt.Sprintf("%d calls wait for profile %s already, and %d in all", g.waiters.Len(), key, l.waiting), time.Second}
	}
	t.ready = make(chan struct{})
	t.place = g.waiters.PushBack(t)
	l.waiting++
	l.settle(g)
	return t, nil
}

// gate finds the gate of key and gives it its limit; l.mu is held.
func (l *Limiter) gate(key string, limit int) *gate {
	g := l.gates[key]
	if g == nil {
		g = &gate{key: key, limit: limit}
		if l.gates == nil {
			l.gates = map[string]*gate{}
		}
		l.gates[key] = g
	}
	if g.limit != limit {
		g.limit = limit
		l.settle(g)
	}
	return g
}

// free says whether the limit over all has room; l.mu is held.
func (l *Limiter) free() bool { return l.max == 0 || l.running < l.max }

// settle brings the turns in line with g, which has changed, and lets run who may; l.mu is held.
func (l *Limiter) settle(g *gate) {
	l.place(g)
	l.dispatch()
	if len(l.gates) > keepGates && g.running == 0 && g.waiters.Len() == 0 {
		delete(l.gates, g.key)
	}
}

func (l *Limiter) place(g *gate) {
	switch eligible := g.eligible(); {
	case eligible && g.turn == nil:
		g.turn = l.turns.PushBack(g)
	case !eligible && g.turn != nil:
		l.turns.Remove(g.turn)
		g.turn = nil
	}
}

// dispatch lets waiters run, one of each gate in turn, as long as there is room; l.mu is held.
func (l *Limiter) dispatch() {
	for l.turns.Len() > 0 && l.free() {
		g := l.turns.Front().Value.(*gate)
		t := g.waiters.Remove(g.waiters.Front()).(*ticket)
		t.place = nil
		l.waiting--
		l.running++
		g.running++
		close(t.ready)
		l.turns.Remove(g.turn)
		g.turn = nil
		l.place(g)
	}
}

// end gives back the slot of t, or takes it out of the queue.
func (l *Limiter) end(t *ticket) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case t.ended:
		return
	case t.place != nil:
		t.gate.waiters.Remove(t.place)
		t.place = nil
		l.waiting--
	default:
		l.running--
		t.gate.running--
	}
	t.ended = true
	l.settle(t.gate)
}

// giveUp ends t, whose context has ended while it waited.
func (l *Limiter) giveUp(ctx context.Context, t *ticket) error {
	l.refused.patience.Add(1)
	l.mu.Lock()
	what, running := "profile "+t.gate.key+" runs", t.gate.running
	if running < t.gate.limit {
		what, running = "the server runs", l.running
	}
	l.mu.Unlock()
	l.end(t)
	return fmt.Errorf("%w: %s %d calls at once already, and none ended in time (%w)", ErrLimit, what, running, context.Cause(ctx))
}

// Refusals counts the callers that were not admitted, by reason.
type Refusals struct {
	Memory   int64 // Refuse said so
	Queue    int64 // too many waited already
	Patience int64 // their contexts ended while they waited
}

// Refused returns the counts so far.
func (l *Limiter) Refused() Refusals {
	return Refusals{l.refused.memory.Load(), l.refused.queue.Load(), l.refused.patience.Load()}
}

// Stats counts the callers that run and wait, over all keys.
func (l *Limiter) Stats() (running, waiting int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.running, l.waiting
}
