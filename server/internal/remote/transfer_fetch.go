package remote

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/pkg/sftp"
)

// How a file is read: in pieces that every server gives in one reply, so many of them in flight at once. pkg/sftp writes in the same way.
const (
	pieceSize = 32 << 10
	inFlight  = 64
)

// piece is one read request. Whoever makes it closes done when data and err are there.
type piece struct {
	off  int64
	buf  []byte
	data []byte // what was read, in buf
	err  error
	done chan struct{}
}

var pieces = sync.Pool{New: func() any { return &piece{buf: make([]byte, pieceSize)} }}

// get reads the n bytes at off, or fewer and io.EOF.
func (p *piece) get(f *sftp.File, n int64) {
	read, err := f.ReadAt(p.buf[:min(n, pieceSize)], p.off)
	p.data, p.err = p.buf[:read], err
}

// unbounded is the end of a file whose size is not known.
const unbounded = 1 << 62

// fetch reads f from off to end, or to where f ends before, and writes it to w in order. When all is asked for it calls last, which may
// make one request more. Unlike pkg/sftp's WriteTo it neither asks for the size nor reads beyond it, and it waits for the bandwidth
// limit before it asks for data, not after.
func (c *carrier) fetch(f *sftp.File, off, end int64, w io.Writer, last func()) error {
	if end == unbounded {
		return c.fetchInTurn(f, off, w)
	}
	ctx, stop := context.WithCancel(c.ctx)
	var work sync.WaitGroup
	defer work.Wait()
	defer stop()
	requests, inOrder := make(chan *piece), make(chan *piece, inFlight)
	for range min(inFlight, (end-off+pieceSize-1)/pieceSize) {
		work.Go(func() {
			for p := range requests {
				p.get(f, end-p.off)
				close(p.done)
			}
		})
	}
	work.Go(func() {
		defer close(requests)
		defer close(inOrder)
		c.request(ctx, off, end, requests, inOrder)
		if last != nil && ctx.Err() == nil {
			last()
		}
	})
	return deliver(inOrder, w, c.ctx)
}

// request hands out requests for the bytes from off to end as the bandwidth allows, until ctx ends.
func (c *carrier) request(ctx context.Context, off, end int64, requests, inOrder chan<- *piece) {
	for ; off < end; off += pieceSize {
		if c.Limit.Wait(ctx, int(min(end-off, pieceSize))) != nil {
			return
		}
		p := pieces.Get().(*piece)
		p.off, p.done = off, make(chan struct{})
		select {
		case inOrder <- p:
		case <-ctx.Done():
			return
		}
		requests <- p
	}
}

// deliver writes the pieces to w as they come in.
func deliver(inOrder <-chan *piece, w io.Writer, ctx context.Context) error {
	for p := range inOrder {
		<-p.done
		if len(p.data) > 0 {
			if _, err := w.Write(p.data); err != nil {
				return err
			}
		}
		err := p.err
		pieces.Put(p)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return context.Cause(ctx)
}

// fetchInTurn reads a file of unknown size, one piece after another.
func (c *carrier) fetchInTurn(f *sftp.File, off int64, w io.Writer) error {
	p := pieces.Get().(*piece)
	defer pieces.Put(p)
	for p.off = off; ; p.off += int64(len(p.data)) {
		p.get(f, pieceSize)
		if err := c.Limit.Wait(c.ctx, len(p.data)); err != nil {
			return err
		}
		if _, err := w.Write(p.data); err != nil {
			return err
		}
		if errors.Is(p.err, io.EOF) {
			return nil
		}
		if p.err != nil {
			return p.err
		}
	}
}
