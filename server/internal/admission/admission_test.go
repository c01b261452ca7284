package admission

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestEnterWaitsItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Limiter
		leave, err := l.Enter(t.Context(), "k", 1)
		if err != nil {
			t.Fatal(err)
		}
		var order []int
		var wg sync.WaitGroup
		for i := range 3 {
			wg.Go(func() {
				leave, err := l.Enter(t.Context(), "k", 1)
				if err != nil {
					t.Error(err)
					return
				}
				order = append(order, i) // one at a time, so no lock
				leave()
			})
			synctest.Wait()
		}
		if running, waiting := l.Stats(); running != 1 || waiting != 3 {
			t.Errorf("%d run, %d wait", running, waiting)
		}
		if other, err := l.Enter(t.Context(), "other", 1); err != nil {
			t.Error("another key was held up:", err)
		} else {
			other()
		}
		leave()
		leave() // a second call does nothing
		wg.Wait()
		if len(order) != 3 || order[0] != 0 || order[1] != 1 || order[2] != 2 {
			t.Errorf("served in the order %v", order)
		}
		if running, waiting := l.Stats(); running+waiting != 0 {
			t.Errorf("%d run, %d wait", running, waiting)
		}
	})
}

func TestEnterEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Limiter
		leave, _ := l.Enter(t.Context(), "k", 1)
		defer leave()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := l.Enter(ctx, "k", 1)
		if !errors.Is(err, ErrLimit) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}

func TestFullQueueRefusesAtOnce(t *testing.T) {
	var l Limiter
	leave, _ := l.Enter(t.Context(), "k", 1)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range maxQueue {
		wg.Go(func() { _, _ = l.Enter(ctx, "k", 1) })
	}
	for {
		if _, waiting := l.Stats(); waiting == maxQueue {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if _, err := l.Enter(t.Context(), "k", 1); !errors.Is(err, ErrLimit) {
		t.Errorf("got %v", err)
	}
	cancel()
	wg.Wait()
	leave()
	if r, w := l.Stats(); r+w != 0 {
		t.Errorf("%d run, %d wait", r, w)
	}
}

// TestKeysTakeTurns fills the limit over all with one key's work and wants another key's single caller served after one of its queue.
func TestKeysTakeTurns(t *testing.T) {
	var l Limiter
	l.SetMax(1)
	first := request(t, &l, "busy", 5)
	var queue []*ticket
	for range 20 {
		queue = append(queue, request(t, &l, "busy", 5))
	}
	other := request(t, &l, "other", 5)
	l.end(first)
	l.end(queue[0])
	if other.place != nil {
		t.Error("a key with one caller waits behind the whole queue of another")
	}
}

func TestLimitsChange(t *testing.T) {
	var l Limiter
	a, b, c := request(t, &l, "k", 1), request(t, &l, "k", 1), request(t, &l, "k", 3)
	if b.place != nil || c.place != nil {
		t.Error("a higher limit lets nobody in")
	}
	l.SetMax(2)
	d := request(t, &l, "j", 3)
	l.end(a)
	if d.place == nil {
		t.Error("2 run, as many as may, and a third began")
	}
	l.SetMax(0)
	if d.place != nil {
		t.Error("without a limit over all, a caller waits for it")
	}
	for _, x := range []*ticket{b, c, d, d} {
		l.end(x)
	}
	if r, w := l.Stats(); r+w != 0 {
		t.Errorf("%d run, %d wait", r, w)
	}
}

func request(t *testing.T, l *Limiter, key string, limit int) *ticket {
	t.Helper()
	x, err := l.request(key, limit)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// oracle is the limiter as one would write it without a thought for speed: everybody in one list.
type oracle struct {
	max     int
	limits  map[string]int
	callers []*caller
	since   map[string]int // when a key became eligible, or was served last while it stayed so
	clock   int
}

type caller struct {
	key     string
	running bool
	ticket  *ticket
}

func (o *oracle) count(key string, running bool) (n int) {
	for _, c := range o.callers {
		if c.running == running && (key == "" || c.key == key) {
			n++
		}
	}
	return n
}

func (o *oracle) settle() {
	for {
		next := ""
		for key, limit := range o.limits {
			o.clock++
			switch eligible := o.count(key, false) > 0 && o.count(key, true) < limit; {
			case !eligible:
				delete(o.since, key)
			case o.since[key] == 0:
				o.since[key] = o.clock
			}
			if o.since[key] > 0 && (next == "" || o.since[key] < o.since[next]) {
				next = key
			}
		}
		if next == "" || o.max > 0 && o.count("", true) >= o.max {
			return
		}
		i := slices.IndexFunc(o.callers, func(c *caller) bool { return c.key == next && !c.running })
		o.callers[i].running = true
		delete(o.since, next)
	}
}

// TestAgainstOracle compares who runs after every one of very many random steps.
func TestAgainstOracle(t *testing.T) {
	begin := time.Now()
	steps := operations(50_000, 1_000_000)
	rnd := rand.New(rand.NewPCG(7, 7))
	var l Limiter
	o := oracle{limits: map[string]int{}, since: map[string]int{}}
	for step := range steps {
		switch n := rnd.IntN(100); {
		case n < 50 && len(o.callers) < 40:
			key := string(rune('a' + rnd.IntN(5)))
			limit := o.limits[key]
			if limit == 0 || rnd.IntN(20) == 0 {
				limit = 1 + rnd.IntN(6)
			}
			o.limits[key] = limit
			o.settle()
			o.callers = append(o.callers, &caller{key: key})
			o.settle()
			o.callers[len(o.callers)-1].ticket = request(t, &l, key, limit)
		case n < 97 && len(o.callers) > 0:
			i := rnd.IntN(len(o.callers))
			l.end(o.callers[i].ticket)
			o.callers = slices.Delete(o.callers, i, i+1)
			o.settle()
		default:
			o.max = rnd.IntN(12)
			l.SetMax(o.max)
			o.settle()
		}
		for _, c := range o.callers {
			if running := c.ticket.place == nil; running != c.running {
				t.Fatalf("step %d: a caller of %s runs: %v, want %v", step, c.key, running, c.running)
			}
		}
		if r, w := l.Stats(); r != o.count("", true) || w != o.count("", false) {
			t.Fatalf("step %d: %d run, %d wait; want %d, %d", step, r, w, o.count("", true), o.count("", false))
		}
	}
	keep(t, begin, "%d operations", steps)
}

// TestRandomUse counts by itself how many run for each key, and never wants more than the limit.
func TestRandomUse(t *testing.T) {
	const users = 16
	begin := time.Now()
	each := operations(2000, 1_000_000/users)
	var l Limiter
	var admitted atomic.Int64
	limits := map[string]int{"a": 1, "b": 3, "c": 8}
	running := map[string]*atomic.Int64{"a": {}, "b": {}, "c": {}}
	var wg sync.WaitGroup
	for seed := range uint64(users) {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(seed, 2))
			for range each {
				key := string(rune('a' + rnd.IntN(3)))
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rnd.IntN(50))*time.Microsecond)
				leave, err := l.Enter(ctx, key, limits[key])
				if err == nil {
					admitted.Add(1)
					if n := running[key].Add(1); n > int64(limits[key]) {
						t.Errorf("%d run for %s", n, key)
					}
					running[key].Add(-1)
					leave()
				}
				cancel()
			}
		})
	}
	wg.Wait()
	keep(t, begin, "%d operations: %d admitted", users*each, admitted.Load())
	if r, w := l.Stats(); r+w != 0 || l.turns.Len() != 0 {
		t.Errorf("%d run, %d wait, %d gates have a turn", r, w, l.turns.Len())
	}
}

func BenchmarkEnter(b *testing.B) {
	var l Limiter
	l.SetMax(100)
	b.ReportAllocs()
	for b.Loop() {
		leave, err := l.Enter(b.Context(), "profile web", 10)
		if err != nil {
			b.Fatal(err)
		}
		leave()
	}
}
