package pool

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestWireWritesWithoutAReader has a peer that reads nothing until it was read from. If Write waited for it, each end would wait for the
// other.
func TestWireWritesWithoutAReader(t *testing.T) {
	near, far := net.Pipe()
	w := newWire(near)
	var want []byte
	for i := range 20 {
		piece := bytes.Repeat([]byte{byte(i)}, 32<<10)
		want = append(want, piece...)
		if n, err := w.Write(piece); n != len(piece) || err != nil {
			t.Fatal(n, err)
		}
	}
	roomy := make(chan struct{})
	go func() { defer close(roomy); w.room() }()
	go io.WriteString(far, "answer")
	buf := make([]byte, 6)
	if _, err := io.ReadFull(w, buf); err != nil || string(buf) != "answer" {
		t.Fatalf("%q, %v", buf, err)
	}
	select {
	case <-roomy:
		t.Error("there is room although nothing was read")
	default:
	}
	got := make([]byte, len(want))
	if _, err := io.ReadFull(far, got); err != nil || !bytes.Equal(got, want) {
		t.Errorf("something else arrived, %v", err)
	}
	<-roomy
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if _, err := w.Write([]byte("late")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a write after the close: %v", err)
	}
	w.Close() // harmless
}

// TestWireCloseSendsTheRest closes at once after a write.
func TestWireCloseSendsTheRest(t *testing.T) {
	for range 100 {
		near, far := net.Pipe()
		w := newWire(near)
		w.Write([]byte("last "))
		w.Write([]byte("words"))
		closed := make(chan error, 1)
		go func() { closed <- w.Close() }()
		if got, err := io.ReadAll(far); string(got) != "last words" || err != nil {
			t.Fatalf("%q, %v", got, err)
		}
		if err := <-closed; err != nil {
			t.Fatal(err)
		}
	}
}

// TestWireEndsWithItsPeer wants writers, those who wait for room included, to learn that the peer has gone, and closing to be quick where it
// does not read.
func TestWireEndsWithItsPeer(t *testing.T) {
	near, far := net.Pipe()
	w := newWire(near)
	w.Write(make([]byte, 2*wireRoom))
	roomy := make(chan struct{})
	go func() { defer close(roomy); w.room() }()
	far.Close()
	if _, err := w.Read(make([]byte, 1)); err == nil || !w.broken.Load() {
		t.Errorf("Read: %v", err)
	}
	<-roomy
	if _, err := w.Write([]byte("x")); err == nil {
		t.Error("a write to nobody succeeded")
	}
	w.Close()

	near, far = net.Pipe()
	defer far.Close()
	deaf := newWire(near)
	deaf.Write(make([]byte, 2*wireRoom))
	closed := make(chan struct{})
	go func() { defer close(closed); deaf.Close() }()
	select {
	case <-closed:
	case <-time.After(10 * time.Second):
		t.Error("closing waits for a peer that does not read")
	}
}

// TestWireUsesUpTheFirstFailure wants a packet that nobody waits for to have failed before the reader learns of the end.
func TestWireUsesUpTheFirstFailure(t *testing.T) {
	near, far := net.Pipe()
	w := newWire(near)
	defer w.Close()
	var failed error
	w.onBroken(func() { _, failed = w.Write([]byte("x")) })
	far.Close()
	if _, err := w.Read(make([]byte, 1)); err == nil || failed == nil {
		t.Errorf("Read: %v, and before it the write: %v", err, failed)
	}
	failed = nil
	w.onBroken(func() { _, failed = w.Write([]byte("x")) })
	if failed == nil {
		t.Error("no write although the end had come already")
	}
}

// TestWireRests wants a resting wire to have no sender, and the next write to bring one back.
func TestWireRests(t *testing.T) {
	near, far := net.Pipe()
	w := newWire(near)
	defer far.Close()
	defer w.Close()
	senders := func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.sending
	}
	if senders() {
		t.Error("a sender before anything was written")
	}
	got := make([]byte, 3)
	for _, text := range []string{"one", "two"} {
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(far, got); err != nil || string(got) != text {
			t.Fatalf("%q, %v", got, err)
		}
		w.rest()
		for deadline := time.Now().Add(10 * time.Second); senders(); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("the sender does not rest")
			}
		}
	}
}

// TestWireTellsItsEndOnce wants the end told by a failed read and by Close, once, and also to who asks after it.
func TestWireTellsItsEndOnce(t *testing.T) {
	for name, end := range map[string]func(w *wire, far net.Conn){
		"closed here":  func(w *wire, _ net.Conn) { w.Close() },
		"closed there": func(w *wire, far net.Conn) { far.Close(); _, _ = w.Read(make([]byte, 1)) },
	} {
		for _, late := range []bool{false, true} {
			near, far := net.Pipe()
			w, told := newWire(near), 0
			if !late {
				w.onEnd(func() { told++ })
			}
			end(w, far)
			if late {
				w.onEnd(func() { told++ })
			}
			w.Close()
			if told != 1 {
				t.Errorf("%s, asked for late %v: told %d times", name, late, told)
			}
			far.Close()
		}
	}
}

// TestWireHoldsLeisurelyPackets has a small packet that nobody waits for leave with the next one, or alone after a moment.
func TestWireHoldsLeisurelyPackets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		w := newWire(near)
		arrived := make(chan string, 10)
		go func() {
			buf := make([]byte, 1<<10)
			for {
				n, err := far.Read(buf)
				if err != nil {
					close(arrived)
					return
				}
				arrived <- string(buf[:n])
			}
		}()
		leisurely := func(s string) {
			_ = w.leisurely(func() error { _, err := w.Write([]byte(s)); return err })
			synctest.Wait()
		}
		next := func() string {
			synctest.Wait()
			select {
			case s := <-arrived:
				return s
			default:
				return ""
			}
		}
		leisurely("close ")
		leisurely("close ")
		if got := next(); got != "" {
			t.Errorf("%q left at once", got)
		}
		w.Write([]byte("open"))
		if got := next(); got != "close close open" {
			t.Errorf("%q left, want all together", got)
		}
		leisurely("alone")
		if time.Sleep(wireLinger - 1); next() != "" {
			t.Error("it left too early")
		}
		if time.Sleep(time.Nanosecond); next() != "alone" {
			t.Error("it did not leave in time")
		}
		leisurely(strings.Repeat("x", wireTiny+1))
		if next() == "" {
			t.Error("a large packet was held back")
		}
		w.Write([]byte("plain"))
		if next() != "plain" {
			t.Error("a packet that somebody waits for was held back")
		}
		leisurely("last")
		w.Close()
		if got := next(); got != "last" {
			t.Errorf("%q left at the close", got)
		}
		far.Close()
	})
}
