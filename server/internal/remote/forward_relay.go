package remote

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
)

// duplex is a connection whose directions end one by one: a *net.TCPConn or a *pool.Stream.
type duplex interface {
	io.ReadWriteCloser
	CloseWrite() error
}

// relay carries bytes between the listening side and the target until both directions have ended or the tunnel cuts them. It closes both.
func (t *Tunnel) relay(near, far duplex) {
	cut := func() { abort(near); abort(far) }
	stop := context.AfterFunc(t.ctx, cut)
	defer stop()
	var back sync.WaitGroup
	back.Go(func() { t.pump(near, far, &t.out, cut) })
	t.pump(far, near, &t.in, cut)
	back.Wait()
	near.Close()
	far.Close()
}

// pump carries one direction and ends it as its sender did. A failure cuts both directions, so that nobody takes what arrived for all
// there was.
func (t *Tunnel) pump(dst, src duplex, count *atomic.Int64, cut func()) {
	err := copyCounted(dst, src, count)
	if err == nil {
		err = dst.CloseWrite()
	}
	if err != nil && !errors.Is(err, errClosed) {
		cut()
	}
}

// errClosed says that the receiver of a direction has closed in order: what it sent before still arrives the other way.
var errClosed = errors.New("closed by the receiver")

// buffers holds the memory between reading and writing; a quiet connection keeps two.
var buffers = sync.Pool{New: func() any { return new([32 << 10]byte) }}

// copyCounted copies src to its end, adding to count what was delivered.
func copyCounted(dst io.Writer, src io.Reader, count *atomic.Int64) error {
	buf := buffers.Get().(*[32 << 10]byte)
	defer buffers.Put(buf)
	for {
		n, err := src.Read(buf[:])
		if n > 0 {
			written, failed := dst.Write(buf[:n])
			count.Add(int64(written))
			if errors.Is(failed, io.EOF) { // a closed SSH channel
				return errClosed
			}
			if failed != nil {
				return failed
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// abort closes c so that its peer learns that something went wrong.
func abort(c io.Closer) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // a reset, not an orderly end
	}
	c.Close()
}
