package pool

import (
	"context"
	"slices"
	"sync"
)

// turns is a queue that serves its keys in turn, and the entries of one key in the order in which they came. The zero value is empty.
type turns[T comparable] struct {
	lanes map[string]*lane[T] // those with entries
	ring  []*lane[T]          // the same, next first
	n     int
}

type lane[T comparable] struct {
	key     string
	entries []T
}

func (q *turns[T]) len() int { return q.n }

// waiting counts the entries of key.
func (q *turns[T]) waiting(key string) int {
	if l := q.lanes[key]; l != nil {
		return len(l.entries)
	}
	return 0
}

// push adds v, behind the entries of its key, or before them where first is set.
func (q *turns[T]) push(key string, v T, first bool) {
	l := q.lanes[key]
	if l == nil {
		if q.lanes == nil {
			q.lanes = map[string]*lane[T]{}
		}
		l = &lane[T]{key: key}
		q.lanes[key] = l
		q.ring = append(q.ring, l)
	}
	if first {
		l.entries = slices.Insert(l.entries, 0, v)
	} else {
		l.entries = append(l.entries, v)
	}
	q.n++
}

// pop takes the first entry of the next key that may have its turn; may nil admits all.
func (q *turns[T]) pop(may func(key string) bool) (v T, ok bool) {
	for i, l := range q.ring {
		if may != nil && !may(l.key) {
			continue
		}
		v = l.entries[0]
		var none T
		l.entries[0] = none
		l.entries = l.entries[1:]
		q.n--
		q.ring = slices.Delete(q.ring, i, i+1)
		if len(l.entries) > 0 {
			q.ring = append(q.ring, l)
		} else {
			delete(q.lanes, l.key)
		}
		return v, true
	}
	return v, false
}

// remove takes v out and reports whether it was there.
func (q *turns[T]) remove(key string, v T) bool {
	l := q.lanes[key]
	if l == nil {
		return false
	}
	i := slices.Index(l.entries, v)
	if i < 0 {
		return false
	}
	l.entries = slices.Delete(l.entries, i, i+1)
	q.n--
	if len(l.entries) == 0 {
		delete(q.lanes, key)
		q.ring = slices.DeleteFunc(q.ring, func(o *lane[T]) bool { return o == l })
	}
	return true
}

// gate admits a number of holders at once; the others wait in turn. A mutex of its owner guards it. The zero value is ready.
type gate struct {
	used  int
	turns turns[chan struct{}]
}

// enter waits for one of limit places. mu is the owner's and held; enter returns with it unlocked. Each place taken is left once.
func (g *gate) enter(ctx context.Context, mu *sync.Mutex, key string, limit int) error {
	if g.used < limit && g.turns.len() == 0 {
		g.used++
		mu.Unlock()
		return nil
	}
	given := make(chan struct{})
	g.turns.push(key, given, false)
	mu.Unlock()
	select {
	case <-given:
		return nil
	case <-ctx.Done():
	}
	mu.Lock()
	defer mu.Unlock()
	if !g.turns.remove(key, given) {
		g.leave(limit)
	}
	return context.Cause(ctx)
}

// leave gives a place back and admits as many as limit allows; the owner's mutex is held.
func (g *gate) leave(limit int) {
	g.used--
	for g.used < limit {
		given, ok := g.turns.pop(nil)
		if !ok {
			return
		}
		g.used++
		close(given)
	}
}
