package pool

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// slowTurns is turns as one list: who is next is found by counting how long ago each key had its turn.
type slowTurns struct {
	entries []slowEntry
	last    map[string]int // when a key was at the end of the ring: it came anew, or had its turn
	clock   int
}

type slowEntry struct {
	key string
	v   int
}

func (q *slowTurns) push(key string, v int, first bool) {
	q.clock++
	i := slices.IndexFunc(q.entries, func(e slowEntry) bool { return e.key == key })
	if i < 0 {
		q.last[key] = q.clock
	}
	if i < 0 || !first {
		i = len(q.entries)
	}
	q.entries = slices.Insert(q.entries, i, slowEntry{key, v})
}

func (q *slowTurns) pop(may func(string) bool) (int, bool) {
	q.clock++
	best := -1
	for i, e := range q.entries {
		if may(e.key) && (best < 0 || q.last[e.key] < q.last[q.entries[best].key]) {
			best = i
		}
	}
	if best < 0 {
		return 0, false
	}
	e := q.entries[best]
	q.entries = slices.Delete(q.entries, best, best+1)
	q.last[e.key] = q.clock
	return e.v, true
}

func (q *slowTurns) remove(key string, v int) bool {
	i := slices.Index(q.entries, slowEntry{key, v})
	if i >= 0 {
		q.entries = slices.Delete(q.entries, i, i+1)
	}
	return i >= 0
}

func TestTurnsAgainstAList(t *testing.T) {
	keys := []string{"a", "b", "c", "d"}
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 2))
		var q turns[int]
		slow := slowTurns{last: map[string]int{}}
		for n := range 400 {
			key := keys[r.IntN(len(keys))]
			switch r.IntN(8) {
			case 0, 1, 2:
				q.push(key, n, false)
				slow.push(key, n, false)
			case 3:
				q.push(key, n, true)
				slow.push(key, n, true)
			case 4:
				v := r.IntN(n + 1)
				if got, want := q.remove(key, v), slow.remove(key, v); got != want {
					t.Fatalf("seed %d, step %d: remove gives %v, want %v", seed, n, got, want)
				}
			default:
				barred := keys[r.IntN(len(keys))]
				may := func(k string) bool { return k != barred }
				got, ok := q.pop(may)
				want, wantOK := slow.pop(may)
				if got != want || ok != wantOK {
					t.Fatalf("seed %d, step %d: pop gives %d, %v; want %d, %v", seed, n, got, ok, want, wantOK)
				}
			}
			waiting := 0
			for _, k := range keys {
				waiting += q.waiting(k)
			}
			if q.len() != len(slow.entries) || waiting != q.len() || len(q.ring) != len(q.lanes) {
				t.Fatalf("seed %d, step %d: %d entries, want %d", seed, n, q.len(), len(slow.entries))
			}
		}
	}
}

// TestGateAgainstACounter has many come and go, and give up, while the limit changes.
func TestGateAgainstACounter(t *testing.T) {
	var mu sync.Mutex
	var g gate
	var limit, inside, most atomic.Int64
	limit.Store(3)
	var wg sync.WaitGroup
	for seed := range uint64(16) {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(seed, 3))
			for range 500 {
				ctx, cancel := t.Context(), context.CancelFunc(func() {})
				if r.IntN(2) == 0 {
					ctx, cancel = context.WithTimeout(ctx, time.Duration(r.IntN(100))*time.Microsecond)
				}
				mu.Lock()
				if g.enter(ctx, &mu, string(rune('a'+r.IntN(3))), int(limit.Load())) == nil {
					n := inside.Add(1)
					for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
					}
					inside.Add(-1)
					mu.Lock()
					g.leave(int(limit.Load()))
					mu.Unlock()
				}
				cancel()
				if r.IntN(20) == 0 {
					limit.Store(1 + r.Int64N(5))
				}
			}
		})
	}
	wg.Wait()
	if g.used != 0 || g.turns.len() != 0 || most.Load() > 5 {
		t.Errorf("%d places are taken, %d wait, %d were inside at once", g.used, g.turns.len(), most.Load())
	}
}
