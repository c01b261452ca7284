package fakessh

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"testing"
)

// TestBatchKeepsTheStream writes pieces of all sizes, more than may be held
// back, to a slow reader, and closes at once.
func TestBatchKeepsTheStream(t *testing.T) {
	near, far := net.Pipe()
	var got bytes.Buffer
	read := make(chan error)
	go func() { _, err := io.CopyBuffer(&got, struct{ io.Reader }{far}, make([]byte, 100)); read <- err }()

	b := newBatchConn(near)
	r := rand.New(rand.NewPCG(1, 1))
	var want []byte
	for len(want) < 3*batchLimit {
		piece := Pattern(1 + r.IntN(40_000))
		if n, err := b.Write(piece); n != len(piece) || err != nil {
			t.Fatal(n, err)
		}
		want = append(want, piece...)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if err := <-read; err != nil || !bytes.Equal(got.Bytes(), want) {
		t.Errorf("%d of %d bytes arrive, %v", got.Len(), len(want), err)
	}
	if _, err := b.Write([]byte("late")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a write after the close gives %v", err)
	}
	b.Close() // harmless
}

// TestBatchCloseSendsTheRest closes with one piece on its way and one held back.
func TestBatchCloseSendsTheRest(t *testing.T) {
	for range 200 {
		near, far := net.Pipe()
		b := newBatchConn(near)
		b.Write([]byte("on its way, "))
		b.Write([]byte("held back"))
		closed := make(chan error)
		go func() { closed <- b.Close() }()
		got, err := io.ReadAll(far)
		if string(got) != "on its way, held back" || err != nil {
			t.Fatalf("%q arrives, %v", got, err)
		}
		if err := <-closed; err != nil {
			t.Fatal(err)
		}
	}
}

// TestBatchReportsLoss wants writers to learn of a lost peer, those who wait for
// room included.
func TestBatchReportsLoss(t *testing.T) {
	near, far := net.Pipe()
	b := newBatchConn(near)
	failed := make(chan error)
	go func() {
		for {
			if _, err := b.Write(Pattern(10_000)); err != nil {
				failed <- err
				return
			}
		}
	}()
	io.ReadFull(far, make([]byte, 10))
	far.Close()
	if err := <-failed; !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("the writer learns of %v", err)
	}
	b.Close()
}
