package remote

import (
	"context"
	"sync"
)

// queue is work that makes more work. The zero value is ready.
type queue struct {
	mu      sync.Mutex
	more    *sync.Cond // of mu, while run runs
	todo    []func()
	busy    int
	stopped bool
}

// push adds work; it may be called by work.
func (q *queue) push(fn func()) {
	q.mu.Lock()
	q.todo = append(q.todo, fn)
	if q.more != nil {
		q.more.Signal()
	}
	q.mu.Unlock()
}

// stop lets run return when the work under way has.
func (q *queue) stop() {
	q.mu.Lock()
	q.stopped = true
	if q.more != nil {
		q.more.Broadcast()
	}
	q.mu.Unlock()
}

// run does all work, width at a time, and returns when none is left, after stop, or when ctx has ended and the work under way has too.
func (q *queue) run(ctx context.Context, width int) {
	q.mu.Lock()
	q.more = sync.NewCond(&q.mu)
	q.mu.Unlock()
	defer context.AfterFunc(ctx, q.stop)()
	var wg sync.WaitGroup
	for range width {
		wg.Go(q.work)
	}
	wg.Wait()
}

func (q *queue) work() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		for len(q.todo) == 0 && q.busy > 0 && !q.stopped {
			q.more.Wait()
		}
		if len(q.todo) == 0 || q.stopped {
			q.more.Broadcast()
			return
		}
		last := len(q.todo) - 1 // depth first, which keeps the queue short
		fn := q.todo[last]
		q.todo = q.todo[:last]
		q.busy++
		q.mu.Unlock()
		fn()
		q.mu.Lock()
		q.busy--
	}
}
