package fakessh

import (
	"net"
	"sync"
	"time"
)

const (
	batchLimit = 256 << 10       // bytes held back before Write blocks
	flushGrace = 1 * time.Second // for what is held back when the connection closes
)

// batchConn collects what is written while an earlier write is under way and
// sends it in one piece. The SSH library makes a write for every packet, of which
// a short command takes four; a system call for each would be the largest cost of
// a busy host.
//
// Write returns before the bytes are sent, so an error comes with a later write.
// Close sends what is held back first.
type batchConn struct {
	net.Conn

	mu      sync.Mutex
	work    sync.Cond // pending is not empty, or closing
	room    sync.Cond // pending was taken, or err is set
	pending []byte
	closing bool
	err     error
	done    chan struct{} // closed when the sender has ended
}

// newBatchConn wraps a connection and starts its sender, which Close ends.
func newBatchConn(c net.Conn) *batchConn {
	b := &batchConn{Conn: c, done: make(chan struct{})}
	b.work.L, b.room.L = &b.mu, &b.mu
	go b.send()
	return b
}

// Write is io.Writer.
func (b *batchConn) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.pending) >= batchLimit && b.err == nil && !b.closing {
		b.room.Wait()
	}
	if b.err != nil {
		return 0, b.err
	}
	if b.closing {
		return 0, net.ErrClosed
	}
	if b.pending = append(b.pending, p...); len(b.pending) == len(p) {
		b.work.Signal()
	}
	return len(p), nil
}

// send writes what is pending until the connection closes or fails.
func (b *batchConn) send() {
	defer close(b.done)
	var spare []byte
	for {
		b.mu.Lock()
		for len(b.pending) == 0 && !b.closing {
			b.work.Wait()
		}
		batch := b.pending
		b.pending = spare[:0]
		b.room.Broadcast()
		b.mu.Unlock()
		if len(batch) == 0 {
			return
		}
		if _, err := b.Conn.Write(batch); err != nil {
			b.fail(err)
			return
		}
		spare = batch
	}
}

func (b *batchConn) fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.err = err
	b.room.Broadcast()
}

// Close sends what is pending, for a second at most, and closes the connection.
func (b *batchConn) Close() error {
	b.mu.Lock()
	b.closing = true
	b.work.Signal()
	b.room.Broadcast()
	b.mu.Unlock()
	b.Conn.SetWriteDeadline(time.Now().Add(flushGrace))
	<-b.done
	return b.Conn.Close()
}
