package fakessh

import (
	"sync"
	"time"
)

// maxWorkers bounds Workers.Count.
const maxWorkers = 10_000

// workers is Workers at work: a queue served in the order of arrival. It is
// reckoned in advance, since each worker ends at a time that is known when it
// begins; nobody waits here.
type workers struct {
	Workers
	mu   sync.Mutex
	rand *source
	free []time.Time // when each worker is free, a heap with the earliest in front
}

func newWorkers(w Workers, r *source) *workers {
	return &workers{Workers: w, rand: r, free: make([]time.Time, w.Count)}
}

// book takes the first free worker for work that arrives now and returns when
// it is done.
func (w *workers) book(now time.Time) time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	begin := w.free[0]
	if begin.Before(now) {
		begin = now
	}
	w.free[0] = begin.Add(w.rand.draw(w.Service))
	done := w.free[0]
	w.sink()
	return done
}

// sink moves the front to its place in the heap.
func (w *workers) sink() {
	for i := 0; ; {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(w.free); child++ {
			if w.free[child].Before(w.free[least]) {
				least = child
			}
		}
		if least == i {
			return
		}
		w.free[i], w.free[least] = w.free[least], w.free[i]
		i = least
	}
}

// bandwidth is what shares a number of bytes a second.
type bandwidth struct {
	mu   sync.Mutex
	rate int64 // bytes a second; 0 means no bound
	busy time.Time
}

// book takes the time of n bytes that arrive now and returns when they are
// through.
func (b *bandwidth) book(now time.Time, n int) time.Time {
	if b.rate == 0 {
		return now
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.busy.Before(now) {
		b.busy = now
	}
	b.busy = b.busy.Add(time.Duration(float64(n) / float64(b.rate) * float64(time.Second)))
	return b.busy
}
