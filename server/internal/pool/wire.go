package pool

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	wireRoom  = 256 << 10              // bytes on their way before room makes those wait who carry streams
	wireFlush = 200 * time.Millisecond // for what is on its way when the connection closes
	wireKeep  = 1 << 20                // a larger buffer is given back once it was sent
)

// wire is the transport below an SSH connection. It mends two things that x/crypto leaves open.
//
// Write never waits for the peer. x/crypto answers some messages from the goroutine that reads, and a host made with the same library
// does, too: when each end waits until the other reads, neither does. What is held back is bounded by the windows that the host has
// granted, and by room.
//
// The first read error fails all writes. x/crypto, once its reader has failed, can still take a request to open a channel and then wait
// for the answer for ever; here the write of that request fails. Since x/crypto keeps the first such failure to itself, Read has it
// write something of no account before it learns of the error.
type wire struct {
	net.Conn
	broken atomic.Bool   // set before any channel learns of the end
	reads  atomic.Uint64 // that have returned

	mu      sync.Mutex
	work    sync.Cond // pending is not empty, or closing, or resting
	sent    sync.Cond // pending was taken, or nothing more is, or the sender has ended
	pending []byte
	sending bool // there is a sender, from the first Write to the end or to a rest
	resting bool
	closing bool
	err     error
	ignored func() // writes a packet that nobody waits for

	end   sync.Once
	ended func() // called once when the connection has ended; nil for nothing
}

// newWire wraps c.
func newWire(c net.Conn) *wire {
	w := &wire{Conn: c}
	w.work.L, w.sent.L = &w.mu, &w.mu
	return w
}

// Read implements io.Reader.
func (w *wire) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	w.reads.Add(1)
	if err != nil {
		w.broken.Store(true)
		w.fail(err)
		w.Conn.Close()
		w.useUpFailure()
		w.tell()
	}
	return n, err
}

// onEnd sets what is called, once, when the connection has ended, which may be the case already. It must not wait.
func (w *wire) onEnd(ended func()) {
	w.mu.Lock()
	w.ended = ended
	over := w.closing || w.err != nil
	w.mu.Unlock()
	if over {
		w.tell()
	}
}

// tell says once that the connection has ended.
func (w *wire) tell() {
	w.mu.Lock()
	ended := w.ended
	w.mu.Unlock()
	if ended != nil {
		w.end.Do(ended)
	}
}

// onBroken sets what writes a packet that nobody waits for.
func (w *wire) onBroken(write func()) {
	w.mu.Lock()
	w.ignored = write
	w.mu.Unlock()
	if w.broken.Load() {
		write()
	}
}

// useUpFailure has the first write that fails be one that nobody waits for. During a key exchange that write may wait for the reader, hence
// the bound.
func (w *wire) useUpFailure() {
	w.mu.Lock()
	write := w.ignored
	w.mu.Unlock()
	if write == nil {
		return
	}
	done := make(chan struct{})
	go func() { defer close(done); write() }()
	late := time.NewTimer(wireFlush)
	defer late.Stop()
	select {
	case <-done:
	case <-late.C:
	}
}

// Write implements io.Writer. It returns before p is sent, so an error comes with a later Write.
func (w *wire) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return 0, w.err
	}
	if w.closing {
		return 0, net.ErrClosed
	}
	w.pending, w.resting = append(w.pending, p...), false
	switch {
	case !w.sending:
		w.sending = true
		go w.send()
	case len(w.pending) == len(p):
		w.work.Signal()
	}
	return len(p), nil
}

// rest gives up the sender and its memory until the next Write, for a connection that nobody uses.
func (w *wire) rest() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.resting = true
	w.work.Signal()
}

// room waits until little is on its way, or nothing more will be sent. Whoever has much to write calls it before each write.
func (w *wire) room() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.pending) >= wireRoom && w.err == nil && !w.closing {
		w.sent.Wait()
	}
}

// send writes what is pending, many packets at once under load, until the connection closes, fails or rests.
func (w *wire) send() {
	var spare []byte
	for {
		w.mu.Lock()
		for len(w.pending) == 0 && w.err == nil && !w.closing && !w.resting {
			w.work.Wait()
		}
		batch := w.pending
		w.pending = spare[:0]
		w.sent.Broadcast()
		if w.err != nil || len(batch) == 0 {
			w.sending, w.pending = false, nil
			w.mu.Unlock()
			return
		}
		w.mu.Unlock()
		if _, err := w.Conn.Write(batch); err != nil {
			w.fail(err) // which ends the next round
		}
		if spare = batch; cap(spare) > wireKeep {
			spare = nil
		}
	}
}

func (w *wire) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = err
	}
	w.work.Signal()
	w.sent.Broadcast()
}

// Close sends what is pending, for a moment at most, and closes the connection.
func (w *wire) Close() error {
	w.mu.Lock()
	w.closing = true
	w.work.Signal()
	w.sent.Broadcast()
	late := time.AfterFunc(wireFlush, func() { w.Conn.Close() })
	for w.sending {
		w.sent.Wait()
	}
	w.mu.Unlock()
	late.Stop()
	defer w.tell()
	return w.Conn.Close()
}
