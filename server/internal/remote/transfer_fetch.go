package remote

import (
	"context"
	"errors"
	"io"
	"io/fs"
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

// fetch reads f from off to end, or to where f ends before, and writes it to w in order. It returns what f is at the end, asked beside
// the last reads, or nil where that failed after all of them had succeeded.
//
// Unlike pkg/sftp's WriteTo it neither asks for the size nor reads beyond it, and waits for the bandwidth limit before it asks for
// data, not after. And it believes no end of file before end unless the session still answers: pkg/sftp reports a session that broke
// while a request was written as io.EOF too.
func (c *carrier) fetch(f *sftp.File, off, end int64, w io.Writer) (fs.FileInfo, error) {
	if end == unbounded {
		if err := c.fetchInTurn(f, off, w); err != nil {
			return nil, err
		}
		return f.Stat()
	}
	var after fs.FileInfo
	short, err := c.fetchAtOnce(f, off, end, w, func() { after, _ = f.Stat() })
	if err == nil && short {
		return f.Stat()
	}
	return after, err
}

// fetchAtOnce has many reads in flight. It reports whether f ended before end. When all is asked for it calls last.
func (c *carrier) fetchAtOnce(f *sftp.File, off, end int64, w io.Writer, last func()) (short bool, err error) {
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
		if ctx.Err() == nil {
			last()
		}
	})
	return deliver(c.ctx, inOrder, w)
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

// deliver writes the pieces to w as they come in, and reports whether the file ended before the last of them.
func deliver(ctx context.Context, inOrder <-chan *piece, w io.Writer) (short bool, err error) {
	for p := range inOrder {
		<-p.done
		if len(p.data) > 0 {
			if _, err := w.Write(p.data); err != nil {
				return false, err
			}
		}
		err := p.err
		pieces.Put(p)
		if errors.Is(err, io.EOF) {
			return true, nil
		}
		if err != nil {
			return false, err
		}
	}
	return false, context.Cause(ctx)
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
