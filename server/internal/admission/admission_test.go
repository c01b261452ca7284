package admission

import (
	"context"
	"errors"
	"math/rand/v2"
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
		if running, waiting := l.Stats(); running+waiting != 0 || len(l.gates) != 0 {
			t.Errorf("%d run, %d wait, %d keys kept", running, waiting, len(l.gates))
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
	if len(l.gates) != 0 {
		t.Error("a key was kept")
	}
}

// TestRandomUse counts by itself how many run for each key, and never wants more than the limit.
func TestRandomUse(t *testing.T) {
	var l Limiter
	limits := map[string]int{"a": 1, "b": 3, "c": 8}
	running := map[string]*atomic.Int64{"a": {}, "b": {}, "c": {}}
	var wg sync.WaitGroup
	for seed := range uint64(16) {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(seed, 2))
			for range 2000 {
				key := string(rune('a' + rnd.IntN(3)))
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rnd.IntN(50))*time.Microsecond)
				leave, err := l.Enter(ctx, key, limits[key])
				if err == nil {
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
	if r, w := l.Stats(); r+w != 0 || len(l.gates) != 0 {
		t.Errorf("%d run, %d wait, %d keys kept", r, w, len(l.gates))
	}
}
