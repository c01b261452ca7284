package netem

import (
	"container/heap"
	"context"
	"sync"
	"time"
)

// Timer wakes any number of goroutines at points in time, and is late by little more than the machine takes to wake a thread. On Linux one
// goroutine waits on a timer of the kernel for all of them; elsewhere, and where the kernel has no timer left, it waits as Go does, up to a
// millisecond late. So does a nil Timer, which is what works in a testing/synctest bubble. The zero value is ready for use, by many at
// once; the one who made it calls Close.
type Timer struct {
	mu     sync.Mutex
	waits  waits
	alarm  *alarm // nil before the first Wait, and where there is none
	failed bool   // there is none, or it is closed
	done   chan struct{}
}

// Wait returns nil at until, at once where that has passed, or earlier with the error of ctx when that ends.
func (t *Timer) Wait(ctx context.Context, until time.Time) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if time.Until(until) <= 0 {
		return nil
	}
	w, ok := t.add(until)
	if !ok {
		return waitGo(ctx, until)
	}
	select {
	case <-w.rang:
		if time.Until(until) > 0 { // the timer was closed
			return waitGo(ctx, until)
		}
		return nil
	case <-ctx.Done():
		t.remove(w)
		return ctx.Err()
	}
}

func waitGo(ctx context.Context, until time.Time) error {
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// add enters a wait; ok is false where there is no alarm to wake it.
func (t *Timer) add(until time.Time) (w *wait, ok bool) {
	if t == nil {
		return nil, false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.alarm == nil && !t.failed {
		t.start()
	}
	if t.failed {
		return nil, false
	}
	w = &wait{until: until, rang: make(chan struct{})}
	heap.Push(&t.waits, w)
	if w.at == 0 {
		t.alarm.set(until)
	}
	return w, true
}

func (t *Timer) start() {
	a, err := newAlarm()
	if err != nil {
		t.failed = true
		return
	}
	t.alarm, t.done = a, make(chan struct{})
	go t.run(a)
}

// run wakes those whose time has come until the alarm is closed.
func (t *Timer) run(a *alarm) {
	defer close(t.done)
	for a.ring() {
		t.mu.Lock()
		for now := time.Now(); len(t.waits) > 0 && !t.waits[0].until.After(now); {
			close(heap.Pop(&t.waits).(*wait).rang)
		}
		if len(t.waits) > 0 && !t.failed {
			a.set(t.waits[0].until)
		}
		t.mu.Unlock()
	}
}

func (t *Timer) remove(w *wait) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if w.at >= 0 {
		heap.Remove(&t.waits, w.at)
	}
}

// Close ends the goroutine behind the timer. Those who wait go on to, as Go's timers have it.
func (t *Timer) Close() {
	if t == nil {
		return
	}
	t.mu.Lock()
	a := t.alarm
	if !t.failed && a != nil {
		a.close()
	}
	t.failed = true
	for _, w := range t.waits {
		w.at = -1
		close(w.rang)
	}
	t.waits = nil
	t.mu.Unlock()
	if a != nil {
		<-t.done
	}
}

// wait is one goroutine that waits.
type wait struct {
	until time.Time
	rang  chan struct{} // closed at until, and when the timer is closed
	at    int           // its place in waits, -1 once it is out
}

// waits is a heap with the next to wake in front.
type waits []*wait

func (w waits) Len() int           { return len(w) }
func (w waits) Less(i, j int) bool { return w[i].until.Before(w[j].until) }
func (w waits) Swap(i, j int)      { w[i], w[j] = w[j], w[i]; w[i].at, w[j].at = i, j }

// Push is heap.Interface.
func (w *waits) Push(x any) {
	x.(*wait).at = len(*w)
	*w = append(*w, x.(*wait))
}

// Pop is heap.Interface.
func (w *waits) Pop() any {
	last := len(*w) - 1
	x := (*w)[last]
	(*w)[last] = nil
	*w = (*w)[:last]
	x.at = -1
	return x
}
