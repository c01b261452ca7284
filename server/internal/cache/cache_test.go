package cache

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// model is the cache as one would write it without a thought for speed: a list, the least recently used first.
type model struct {
	cfg     Config
	now     time.Time
	entries []modelEntry
	stats   Stats
}

type modelEntry struct {
	key, value int
	size       int64
	stored     time.Time
}

func groupOf(key int) string { return "group " + strconv.Itoa(key%5) }

func (m *model) bytes() (n int64) {
	for _, e := range m.entries {
		n += e.size
	}
	return n
}

func (m *model) do(key int, made Loaded[int], err error) (value int, hit bool, age time.Duration) {
	if i := slices.IndexFunc(m.entries, func(e modelEntry) bool { return e.key == key }); i >= 0 {
		e := m.entries[i]
		m.entries = slices.Delete(m.entries, i, i+1)
		if age = m.now.Sub(e.stored); age < m.cfg.TTL {
			m.entries = append(m.entries, e)
			m.stats.Hits++
			return e.value, true, age
		}
		m.stats.Expired++
	}
	m.stats.Misses++
	if err == nil && made.Keep && made.Size <= m.cfg.MaxBytes {
		m.entries = append(m.entries, modelEntry{key, made.Value, made.Size, m.now})
		m.trim(m.cfg.MaxBytes)
	}
	return made.Value, false, 0
}

func (m *model) trim(bytes int64) {
	for len(m.entries) > 0 && (len(m.entries) > m.cfg.MaxEntries || m.bytes() > bytes) {
		m.entries = m.entries[1:]
		m.stats.Evicted++
	}
}

func (m *model) remove(which func(modelEntry) bool) (n int64) {
	before := len(m.entries)
	m.entries = slices.DeleteFunc(m.entries, which)
	return int64(before - len(m.entries))
}

// TestAgainstModel compares result and counts after each of very many random steps.
func TestAgainstModel(t *testing.T) {
	begin := time.Now()
	steps := operations(200_000, 1_000_000)
	rnd := rand.New(rand.NewPCG(3, 5))
	cfg := Config{MaxEntries: 20, MaxBytes: 400, TTL: 100}
	m := &model{cfg: cfg, now: time.Unix(1, 0)}
	c := New[int, int](cfg)
	c.now = func() time.Time { return m.now }
	failed := errors.New("failed")
	for step := range steps {
		switch n := rnd.IntN(1000); {
		case n < 900:
			key := rnd.IntN(40)
			made := Loaded[int]{Value: step, Size: int64(rnd.IntN(60)), Keep: rnd.IntN(10) > 0}
			if rnd.IntN(100) == 0 {
				made.Size = 500
			}
			var err error
			if rnd.IntN(10) == 0 {
				err = failed
			}
			value, hit, age := m.do(key, made, err)
			got, gotErr := c.Do(t.Context(), groupOf(key), key, func(context.Context) (Loaded[int], error) { return made, err })
			if got.Value != value || got.Hit != hit || got.Age != age || !hit && gotErr != err {
				t.Fatalf("step %d, key %d: got %+v, %v; want %d, hit %v, age %v", step, key, got, gotErr, value, hit, age)
			}
		case n < 960:
			m.now = m.now.Add(time.Duration(rnd.IntN(20)))
		case n < 970:
			key := rnd.IntN(40)
			c.Forget(groupOf(key), key)
			m.stats.Invalidated += m.remove(func(e modelEntry) bool { return e.key == key })
		case n < 985:
			g := groupOf(rnd.IntN(5))
			c.Invalidate(g)
			m.stats.Invalidated += m.remove(func(e modelEntry) bool { return groupOf(e.key) == g })
		case n < 990:
			c.Purge()
			m.stats.Expired += m.remove(func(e modelEntry) bool { return m.now.Sub(e.stored) >= m.cfg.TTL })
		case n < 995:
			c.Shrink()
			m.trim(m.bytes() / 2)
		default:
			m.cfg = Config{1 + rnd.IntN(30), int64(1 + rnd.IntN(600)), time.Duration(1 + rnd.IntN(200))}
			c.Configure(m.cfg)
			m.trim(m.cfg.MaxBytes)
		}
		want := m.stats
		want.Entries, want.Bytes = len(m.entries), m.bytes()
		if got := c.Stats(); got != want {
			t.Fatalf("step %d: got %+v, want %+v", step, got, want)
		}
	}
	keep(t, begin, "%d operations: %+v", steps, c.Stats())
	for key := range 5 {
		c.Invalidate(groupOf(key))
	}
	if len(c.groups) != 0 || c.bytes != 0 {
		t.Errorf("%d groups and %d bytes are left of nothing", len(c.groups), c.bytes)
	}
}

// TestNothingStale has many readers and writers at once: nobody may read what was made before a write that had ended when he began.
func TestNothingStale(t *testing.T) {
	const groups, workers = 3, 16
	begin := time.Now()
	steps := operations(5_000, 1_000_000/workers)
	c := New[int, int64](Config{MaxEntries: 8, MaxBytes: 1000, TTL: time.Hour})
	var versions, written [groups]atomic.Int64 // begun and ended
	var wg sync.WaitGroup
	for seed := range uint64(workers) {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(seed, 9))
			for range steps {
				g := rnd.IntN(groups)
				key := g + groups*rnd.IntN(4)
				if rnd.IntN(8) == 0 {
					v := versions[g].Add(1)
					c.Invalidate(strconv.Itoa(g))
					for old := written[g].Load(); old < v && !written[g].CompareAndSwap(old, v); old = written[g].Load() {
					}
					continue
				}
				ctx, cancel := context.WithCancel(t.Context())
				if rnd.IntN(6) == 0 {
					time.AfterFunc(time.Duration(rnd.IntN(30))*time.Microsecond, cancel)
				}
				before := written[g].Load()
				got, err := c.Do(ctx, strconv.Itoa(g), key, func(ctx context.Context) (Loaded[int64], error) {
					v := versions[g].Load()
					if rnd.IntN(4) == 0 {
						time.Sleep(time.Duration(rnd.IntN(50)) * time.Microsecond)
					}
					return Loaded[int64]{v, 10, true}, ctx.Err()
				})
				if err == nil && got.Value < before {
					t.Errorf("read version %d after %d was written", got.Value, before)
				}
				if err != nil && ctx.Err() == nil {
					t.Errorf("a caller that stayed got %v", err)
				}
				cancel()
			}
		})
	}
	wg.Wait()
	s := c.Stats()
	if s.Hits == 0 || s.Misses == 0 || s.Shared == 0 || s.Invalidated == 0 {
		t.Errorf("the test tried too little: %+v", s)
	}
	keep(t, begin, "%d operations: %+v", workers*steps, s)
	for _, g := range c.groups {
		if len(g.flights) > 0 {
			t.Errorf("%d flights are left", len(g.flights))
		}
	}
}

// TestOneLoadForMany has callers come while the first one's load runs, and the first one leave.
func TestOneLoadForMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New[string, string](Config{1, 100, time.Minute})
		loads := 0
		load := func(ctx context.Context) (Loaded[string], error) {
			loads++
			select {
			case <-time.After(time.Second):
				return Loaded[string]{"made", 1, true}, nil
			case <-ctx.Done():
				return Loaded[string]{}, context.Cause(ctx)
			}
		}
		first, leave := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		ask := func(ctx context.Context) {
			wg.Go(func() {
				if got, err := c.Do(ctx, "g", "k", load); err != nil || got.Value != "made" || got.Hit {
					t.Errorf("got %+v, %v", got, err)
				}
			})
			synctest.Wait()
		}
		ask(first)
		ask(t.Context())
		ask(t.Context())
		leave()
		wg.Wait()
		time.Sleep(5 * time.Second)
		got, err := c.Do(t.Context(), "g", "k", load)
		if loads != 1 || err != nil || !got.Hit || got.Age != 5*time.Second {
			t.Errorf("%d loads, then %+v, %v", loads, got, err)
		}
		if s := c.Stats(); s.Misses != 1 || s.Shared != 2 || s.Hits != 1 {
			t.Errorf("counted %+v", s)
		}
	})
}

// TestLastCallerEndsTheLoad wants the load's context to end with the last caller's, and a later caller not to join it.
func TestLastCallerEndsTheLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New[string, int](Config{1, 100, time.Minute})
		why := errors.New("gone")
		ended := false
		slow := func(ctx context.Context) (Loaded[int], error) {
			<-ctx.Done()
			ended = true
			time.Sleep(time.Second) // it takes a while to stop
			return Loaded[int]{}, context.Cause(ctx)
		}
		var wg sync.WaitGroup
		leave := []context.CancelCauseFunc{}
		for range 2 {
			ctx, cancel := context.WithCancelCause(t.Context())
			leave = append(leave, cancel)
			wg.Go(func() {
				if _, err := c.Do(ctx, "g", "k", slow); err != why {
					t.Errorf("got %v", err)
				}
			})
			synctest.Wait()
		}
		leave[0](why)
		synctest.Wait()
		if ended {
			t.Error("the load ended under a caller that waits")
		}
		leave[1](why)
		synctest.Wait()
		if !ended {
			t.Error("the load goes on for nobody")
		}
		got, err := c.Do(t.Context(), "g", "k", func(context.Context) (Loaded[int], error) { return Loaded[int]{7, 1, true}, nil })
		if err != nil || got.Value != 7 {
			t.Errorf("a later caller got %+v, %v", got, err)
		}
		wg.Wait()
	})
}

func TestPanicReachesFollowers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New[string, int](Config{1, 100, time.Minute})
		go func() {
			defer func() { _ = recover() }()
			_, _ = c.Do(t.Context(), "g", "k", func(context.Context) (Loaded[int], error) { time.Sleep(time.Second); panic("oops") })
		}()
		synctest.Wait()
		if _, err := c.Do(t.Context(), "g", "k", nil); !errors.Is(err, errPanicked) {
			t.Errorf("got %v", err)
		}
	})
}

func BenchmarkHit(b *testing.B) {
	c := New[string, string](Config{1000, 1 << 20, time.Hour})
	for i := range 1000 {
		_, _ = c.Do(b.Context(), "g", fmt.Sprint(i), func(context.Context) (Loaded[string], error) { return Loaded[string]{"v", 1, true}, nil })
	}
	b.ReportAllocs()
	for b.Loop() {
		if got, _ := c.Do(b.Context(), "g", "500", nil); !got.Hit {
			b.Fatal("missed")
		}
	}
}

// BenchmarkMiss is what a result that is not kept costs beside its load.
func BenchmarkMiss(b *testing.B) {
	c := New[string, string](Config{1000, 1 << 20, time.Hour})
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	b.ReportAllocs()
	for b.Loop() {
		_, _ = c.Do(ctx, "g", "k", func(context.Context) (Loaded[string], error) { return Loaded[string]{}, nil })
	}
}
