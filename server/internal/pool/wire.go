package pool

import (
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

const (
	wireRoom  = 256 << 10              // bytes on their way before room makes those wait who carry streams
	wireFlush = 200 * time.Millisecond // for what is on its way when the connection closes
	wireKeep  = 1 << 20                // a larger buffer is given back once it was sent

	wireLinger = 2 * time.Millisecond // for packets that nobody waits for to leave with the next
	wireTiny   = 64                   // bytes of the largest such packet
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
	held    bool        // pending waits for the next packet, or for linger
	linger  *time.Timer // nil until needed
	closing bool
	err     error
	ignored func() // writes a packet that nobody waits for

	unhurried atomic.Int32 // callers of leisurely

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
	first := len(w.pending) == 0
	w.pending, w.resting = append(w.pending, p...), false
	switch {
	case len(p) <= wireTiny && w.unhurried.Load() > 0:
		if first {
			w.hold()
		}
	case first || w.held:
		w.held = false
		w.work.Signal()
	}
	if !w.sending {
		w.sending = true
		go w.send()
	}
	return len(p), nil
}

// leisurely calls write, whose packet nobody waits for: it leaves with the next packet, or in a moment. So the end of one command and the begin of
// the next cost one write, and the host one look. Another goroutine's packet is not taken for it, unless it is as small and so of the same kind.
func (w *wire) leisurely(write func() error) error {
	w.unhurried.Add(1)
	defer w.unhurried.Add(-1)
	return write()
}

// hold keeps what is pending back; w.mu is held.
func (w *wire) hold() {
	w.held = true
	if w.linger != nil {
		w.linger.Reset(wireLinger)
		return
	}
	w.linger = time.AfterFunc(wireLinger, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.held = false
		w.work.Signal()
	})
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
		for (len(w.pending) == 0 || w.held) && w.err == nil && !w.closing && !w.resting {
			w.work.Wait()
		}
		if !w.closing && !w.resting && w.err == nil {
			w.mu.Unlock()
			runtime.Gosched() // what else runs adds to what is sent
			w.mu.Lock()
		}
		w.held = false
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
	if w.linger != nil {
		w.linger.Stop()
	}
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
