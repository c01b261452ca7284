package netem

import (
	"context"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// queueLimit is how many bytes one direction holds before its sender has to wait.
const queueLimit = 4 << 20

// queue is one direction of a connection: bytes on their way, each with the time when it may be read. Safe for concurrent use.
type queue struct {
	timer   *Timer
	pushing sync.Mutex // one push at a time

	mu     sync.Mutex
	change sync.Cond // anything below has changed
	lane   lane
	chunks []chunk
	size   int
	end    error // no more will be pushed; what pop gives after the last chunk
	err    error // nothing goes on, in either direction
	silent bool  // what is pushed vanishes, and nothing can be popped
	reads  deadline
	writes deadline
	asleep context.CancelFunc // ends the waits for a point in time, which are begun anew; nil for none
	nap    context.Context    // what asleep ends
}

// chunk is a piece with the time when it arrives.
type chunk struct {
	data []byte
	at   time.Time
}

func newQueue(timer *Timer, l lane) *queue {
	q := &queue{timer: timer, lane: l}
	q.change.L = &q.mu
	return q
}

// push sends p. It waits while the queue is full or too far ahead of the bandwidth.
func (q *queue) push(p []byte) (n int, err error) {
	q.pushing.Lock()
	defer q.pushing.Unlock()
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		if err := q.mayPush(); err != nil {
			return n, err
		}
		if len(p) == 0 || q.silent {
			return n + len(p), nil
		}
		now := time.Now()
		switch ready := q.lane.ready(); {
		case ready.After(now):
			q.sleep(ready)
			continue
		case q.size >= queueLimit:
			q.change.Wait()
			continue
		}
		part := min(len(p), q.lane.piece(), queueLimit-q.size)
		c := chunk{append([]byte(nil), p[:part]...), q.lane.arrival(now, part)}
		q.lane.damage(c.data)
		q.chunks, q.size = append(q.chunks, c), q.size+part
		q.change.Broadcast()
		n, p = n+part, p[part:]
	}
}

func (q *queue) mayPush() error {
	switch {
	case q.err != nil:
		return q.err
	case q.end != nil:
		return io.ErrClosedPipe
	case q.writes.passed():
		return os.ErrDeadlineExceeded
	}
	return nil
}

// pop takes what has arrived, as much as fits into p. It waits until something has.
func (q *queue) pop(p []byte) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		switch {
		case q.err != nil:
			return 0, q.err
		case q.reads.passed():
			return 0, os.ErrDeadlineExceeded
		case len(q.chunks) == 0 && q.end != nil:
			return 0, q.end
		case len(p) == 0:
			return 0, nil
		case len(q.chunks) == 0:
			q.change.Wait()
			continue
		}
		now := time.Now()
		if at := q.chunks[0].at; at.After(now) {
			q.sleep(at)
			continue
		}
		return q.take(p, now), nil
	}
}

// take moves what has arrived by now into p.
func (q *queue) take(p []byte, now time.Time) int {
	n := 0
	for n < len(p) && len(q.chunks) > 0 && !q.chunks[0].at.After(now) {
		c := &q.chunks[0]
		part := copy(p[n:], c.data)
		n += part
		if c.data = c.data[part:]; len(c.data) == 0 {
			*c = chunk{}
			q.chunks = q.chunks[1:]
		}
	}
	q.size -= n
	q.change.Broadcast()
	return n
}

// sleep waits until t without the lock, less when wake is called. A deadline is a reason to wake.
func (q *queue) sleep(t time.Time) {
	if q.nap == nil {
		q.nap, q.asleep = context.WithCancel(context.Background())
	}
	nap := q.nap
	q.mu.Unlock()
	_ = q.timer.Wait(nap, t) // the caller looks what has changed
	q.mu.Lock()
}

// wake makes everyone who waits look again. The caller holds the lock.
func (q *queue) wake() {
	if q.asleep != nil {
		q.asleep()
		q.nap, q.asleep = nil, nil
	}
	q.change.Broadcast()
}

// finish says that no more will be pushed. What is there may still be read, and then comes err. It does nothing, and returns false, where
// silence keeps it from the reader.
func (q *queue) finish(err error) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.silent {
		return false
	}
	if q.end == nil {
		q.end = err
	}
	q.writes.stop()
	q.wake()
	return true
}

// silence drops what is there and what is still to come, without a word to either side.
func (q *queue) silence() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.silent = true
	q.chunks, q.size = nil, 0
	q.wake()
}

// fail drops everything and gives err to whoever pushes or pops. The first error stays.
func (q *queue) fail(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.err == nil {
		q.err = err
	}
	q.chunks, q.size = nil, 0
	q.reads.stop()
	q.writes.stop()
	q.wake()
}

// reshape changes what happens to bytes that are pushed from now on.
func (q *queue) reshape(s Shape, epoch time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.lane.set(s, epoch)
	q.wake()
}

// setDeadline sets one of the queue's deadlines; a zero t removes it.
func (q *queue) setDeadline(d *deadline, t time.Time) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.err != nil {
		return net.ErrClosed
	}
	d.set(t, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.wake()
	})
	q.wake()
	return nil
}

// deadline is a point in time after which waiting is over.
type deadline struct {
	at    time.Time
	timer *time.Timer
}

func (d *deadline) set(t time.Time, wake func()) {
	d.stop()
	if d.at = t; !t.IsZero() {
		d.timer = time.AfterFunc(time.Until(t), wake)
	}
}

func (d *deadline) stop() {
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
}

func (d *deadline) passed() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }
