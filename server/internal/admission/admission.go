// Package admission answers one question: may work start now? Limiter bounds how much runs at once for each profile; work beyond
// the bound waits in turn, and a queue that is full refuses at once.
package admission

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sync/semaphore"
)

// ErrLimit is behind every refusal. The work has not started and may be tried again later.
var ErrLimit = errors.New("too much work at once")

// maxQueue is how many callers may wait for one key.
const maxQueue = 4096

// Limiter holds a limit for each key. The zero value is ready; it is safe for concurrent use.
type Limiter struct {
	mu    sync.Mutex
	gates map[string]*gate
}

// gate is one key's limit. The limiter's mutex guards users.
type gate struct {
	slots *semaphore.Weighted
	limit int
	users int // running and waiting
}

// Enter waits in turn until fewer than limit callers of key run, or until ctx ends. leave must be called once. When a key's limit
// changes, the new one counts as soon as the work admitted under the old one has ended.
func (l *Limiter) Enter(ctx context.Context, key string, limit int) (leave func(), err error) {
	g, err := l.join(key, limit)
	if err != nil {
		return nil, err
	}
	if err := g.slots.Acquire(ctx, 1); err != nil {
		l.part(key, g)
		return nil, fmt.Errorf("%w: %s runs %d at once already, and none ended in time (%w)", ErrLimit, key, g.limit, context.Cause(ctx))
	}
	return sync.OnceFunc(func() {
		g.slots.Release(1)
		l.part(key, g)
	}), nil
}

func (l *Limiter) join(key string, limit int) (*gate, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	g := l.gates[key]
	if g == nil {
		g = &gate{slots: semaphore.NewWeighted(int64(limit)), limit: limit}
		if l.gates == nil {
			l.gates = map[string]*gate{}
		}
		l.gates[key] = g
	}
	if g.users >= g.limit+maxQueue {
		return nil, fmt.Errorf("%w: %d calls wait for %s already", ErrLimit, maxQueue, key)
	}
	g.users++
	return g, nil
}

func (l *Limiter) part(key string, g *gate) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if g.users--; g.users == 0 && l.gates[key] == g {
		delete(l.gates, key)
	}
}

// Stats counts the callers that run and wait, over all keys.
func (l *Limiter) Stats() (running, waiting int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, g := range l.gates {
		running += min(g.users, g.limit)
		waiting += max(0, g.users-g.limit)
	}
	return running, waiting
}
