package netem

import (
	"context"
	"io"
	"net"
	"sync"
	"time"
)

// Memory is a network of one listener, in memory. Make one with [Listen]; it is safe for concurrent use.
type Memory struct {
	dialed chan net.Conn
	closed chan struct{}
	once   sync.Once
}

// Listen returns a listener that [Memory.Dial] reaches. The caller closes it.
func Listen() *Memory { return &Memory{dialed: make(chan net.Conn), closed: make(chan struct{})} }

// memoryAddr is what both ends of connections in memory call themselves.
var memoryAddr = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 22}

// Addr returns a TCP address, for those who want one; nothing listens there.
func (m *Memory) Addr() net.Addr { return memoryAddr }

// Accept waits for a connection. After Close it fails with [net.ErrClosed].
func (m *Memory) Accept() (net.Conn, error) {
	select {
	case c := <-m.dialed:
		return c, nil
	case <-m.closed:
		return nil, net.ErrClosed
	}
}

// Dial connects. It waits until the connection is accepted, and fails with [net.ErrClosed] once the listener is closed, or with the error
// of the context.
func (m *Memory) Dial(ctx context.Context) (net.Conn, error) {
	near, far := Pipe()
	select {
	case m.dialed <- far:
		return near, nil
	case <-m.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Close ends Accept and Dial; connections stay. A second one does nothing.
func (m *Memory) Close() error {
	m.once.Do(func() { close(m.closed) })
	return nil
}

// Pipe returns the two ends of a connection in memory. Unlike those of [net.Pipe] they are buffered, so that both may write first; 4 MiB fit
// in each direction. After the Close of one end the other reads what was written before, then io.EOF, and can write no more. Both have CloseWrite.
func Pipe() (net.Conn, net.Conn) {
	ab, ba := newQueue(nil, newLane(0, 0)), newQueue(nil, newLane(0, 1))
	return &memoryConn{in: ba, out: ab}, &memoryConn{in: ab, out: ba}
}

// memoryConn is one end of a connection in memory.
type memoryConn struct{ in, out *queue }

func (c *memoryConn) Read(p []byte) (int, error)  { return c.in.pop(p) }
func (c *memoryConn) Write(p []byte) (int, error) { return c.out.push(p) }

// CloseWrite says that no more follows.
func (c *memoryConn) CloseWrite() error {
	c.out.finish(io.EOF)
	return nil
}

func (c *memoryConn) Close() error {
	c.out.finish(io.EOF)
	c.in.fail(io.ErrClosedPipe)
	return nil
}

func (c *memoryConn) LocalAddr() net.Addr  { return memoryAddr }
func (c *memoryConn) RemoteAddr() net.Addr { return memoryAddr }

func (c *memoryConn) SetDeadline(t time.Time) error {
	_ = c.SetWriteDeadline(t)
	return c.SetReadDeadline(t)
}

func (c *memoryConn) SetReadDeadline(t time.Time) error  { return c.in.setDeadline(&c.in.reads, t) }
func (c *memoryConn) SetWriteDeadline(t time.Time) error { return c.out.setDeadline(&c.out.writes, t) }
