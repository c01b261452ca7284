//go:build (proof || realssh) && linux

package main

import (
	"net"
	"strconv"
	"sync"
	"testing"
	"time"
)

// What a wire does to the bytes of its connections.
const (
	passes = iota
	stalls // it lets nothing through any more, and keeps the connection open
	cuts   // it resets the connection
	slows  // it lets a mebibyte a second through, in chunks
)

// Directions of a wire.
const (
	up   = iota // to the host
	down        // from it
)

// wire is a TCP proxy in front of a host on which things go wrong at a chosen moment. Connections that were hit by a stall stay so until the wire
// is closed, as those of a host behind a broken route do; connections made after heal are sound.
type wire struct {
	to, addr string

	mu      sync.Mutex
	l       net.Listener // nil refuses
	conns   map[net.Conn]bool
	act     int
	armed   bool
	trigger int   // direction whose bytes set off pending, where it is armed
	after   int64 // so many bytes from now
	pending int
	then    func() // called when pending begins; nil is nothing
	closed  chan struct{}
	wg      sync.WaitGroup
}

func newWire(t *testing.T, to string) *wire {
	w := &wire{to: to, addr: steadyAddr(t), conns: map[net.Conn]bool{}, closed: make(chan struct{})}
	w.listen(t)
	t.Cleanup(w.close)
	return w
}

// listen takes connections, also again after refuse, at the same address.
func (w *wire) listen(t *testing.T) {
	t.Helper()
	l := listenAgain(t, w.addr)
	w.mu.Lock()
	w.l = l
	w.mu.Unlock()
	w.wg.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			w.wg.Go(func() { w.serve(near) })
		}
	})
}

// listenAgain listens on an address that was free before, and soon is again.
func listenAgain(t *testing.T, addr string) net.Listener {
	t.Helper()
	for deadline := time.Now().Add(soon); ; time.Sleep(20 * time.Millisecond) {
		l, err := net.Listen("tcp", addr)
		if err == nil {
			return l
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// refuse has connections refused until listen.
func (w *wire) refuse() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.l.Close()
	w.l = nil
}

// now has all connections, and those to come, meet what.
func (w *wire) now(what int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.begin(what)
}

// arm has what begin as soon as so many more bytes have come from that side; these and the later ones meet it. then is called first, unless it is nil.
func (w *wire) arm(direction int, after int64, what int, then func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.armed, w.trigger, w.after, w.pending, w.then = true, direction, after, what, then
}

func (w *wire) begin(what int) {
	w.act, w.armed = what, false
	if what == cuts {
		w.reset()
	}
}

// heal lets new connections through. Those that the fault has met stay stalled.
func (w *wire) heal(t *testing.T) {
	w.mu.Lock()
	w.act, w.armed = passes, false
	refuses := w.l == nil
	w.mu.Unlock()
	if refuses {
		w.listen(t)
	}
}

// reset ends all connections with a TCP reset.
func (w *wire) reset() {
	for c := range w.conns {
		_ = c.(*net.TCPConn).SetLinger(0)
		c.Close()
	}
	clear(w.conns)
}

func (w *wire) close() {
	w.mu.Lock()
	if w.l != nil {
		w.l.Close()
	}
	close(w.closed)
	w.reset()
	w.mu.Unlock()
	w.wg.Wait()
}

func (w *wire) serve(near net.Conn) {
	far, err := net.Dial("tcp", w.to)
	if err != nil {
		_ = near.(*net.TCPConn).SetLinger(0)
		near.Close()
		return
	}
	w.mu.Lock()
	w.conns[near], w.conns[far] = true, true
	if w.act == cuts {
		w.reset()
	}
	w.mu.Unlock()
	var pumps sync.WaitGroup
	pumps.Go(func() { w.pump(far, near, up) })
	pumps.Go(func() { w.pump(near, far, down) })
	pumps.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.conns, near)
	delete(w.conns, far)
}

func (w *wire) pump(to, from net.Conn, direction int) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		switch w.meet(direction, int64(n)) {
		case stalls:
			select { // whoever waits for these bytes may close its end, which the other pump sees
			case <-w.closed:
				return
			case <-w.gone(from):
				return
			}
		case cuts:
			return
		case slows:
			time.Sleep(time.Duration(n) * time.Second >> 20)
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

// gone is closed once from has nothing more to say; what it says is lost.
func (w *wire) gone(from net.Conn) <-chan struct{} {
	done := make(chan struct{})
	w.wg.Go(func() {
		defer close(done)
		buf := make([]byte, 4<<10)
		for {
			if _, err := from.Read(buf); err != nil {
				return
			}
		}
	})
	return done
}

// meet says what n bytes meet.
func (w *wire) meet(direction int, n int64) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.armed && direction == w.trigger {
		if w.after -= n; w.after <= 0 {
			w.armed = false
			if w.then != nil {
				then := w.then
				w.mu.Unlock()
				then()
				w.mu.Lock()
			}
			w.begin(w.pending)
		}
	}
	return w.act
}

// port is where the wire listens.
func (w *wire) port() int {
	_, port, _ := net.SplitHostPort(w.addr)
	n, _ := strconv.Atoi(port)
	return n
}
