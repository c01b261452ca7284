package server

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestPollable(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	in, done := pollable(r)
	if in == io.Reader(r) {
		t.Fatal("a pipe is read as it was")
	}
	if _, err := w.WriteString("one line\n"); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 64)
	if n, err := in.Read(buf); err != nil || string(buf[:n]) != "one line\n" {
		t.Errorf("read %q, %v", buf[:n], err)
	}
	read := make(chan error, 1)
	go func() {
		_, err := in.Read(make([]byte, 1))
		read <- err
	}()
	time.Sleep(10 * time.Millisecond) // for the read to wait; it ends in the same way if it comes later
	done()
	if err := <-read; !errors.Is(err, os.ErrClosed) {
		t.Errorf("a read that waited ended with %v", err)
	}
	if _, err := w.WriteString("x"); err != nil {
		t.Errorf("the pipe itself is closed: %v", err)
	}
	w.Close()
	if rest, err := io.ReadAll(r); string(rest) != "x" || err != nil {
		t.Errorf("the pipe itself gives %q, %v", rest, err)
	}
}

func TestPollableEnd(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	in, done := pollable(r)
	defer done()
	w.Close()
	if rest, err := io.ReadAll(in); len(rest) != 0 || err != nil {
		t.Errorf("after the other end was closed: %q, %v", rest, err)
	}
}

func TestPollableLeavesOthers(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, in := range []io.Reader{file, strings.NewReader("")} {
		if got, done := pollable(in); got != in {
			t.Errorf("%T was replaced", in)
		} else {
			done()
		}
	}
}
