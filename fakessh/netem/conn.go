package netem

import (
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// linger is how long Close waits for what is on its way out.
const linger = 5 * time.Second

// Conn is a connection that a [Network] shapes. What is read has arrived late and what is written goes out late: Write returns before it
// does, so that an error comes with a later one. Safe for concurrent use, as a net.Conn is.
//
// Until the first shape sets in, Read and Write are those of the connection beneath. From then on two goroutines carry the bytes, which
// Close ends.
type Conn struct {
	net.Conn
	network *Network
	in, out *queue
	shaped  atomic.Bool  // a shape has set in, for good
	limited atomic.Bool  // there is a cut after so many bytes
	left    atomic.Int64 // of them
	silent  atomic.Bool  // that cut is a silent one

	reading, writing sync.Mutex // one Read, one Write at a time

	mu     sync.Mutex
	rand   *rand.Rand  // of cuts
	cutter *time.Timer // of a cut by time; nil for none
	closed bool
	inUp   bool           // pumpIn runs
	ins    sync.WaitGroup // of it
	outUp  bool
	outs   sync.WaitGroup
}

func newConn(n *Network, c net.Conn, seed, stream uint64) *Conn {
	return &Conn{
		Conn: c, network: n, rand: rand.New(rand.NewPCG(seed, stream+2)),
		in: newQueue(n.Timer, newLane(seed, stream)), out: newQueue(n.Timer, newLane(seed, stream+1)),
	}
}

// reshape makes a shape hold from now on.
func (c *Conn) reshape(s Shape, epoch time.Time) {
	c.in.reshape(s, epoch)
	c.out.reshape(s, epoch)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.limited.Store(false)
	if c.cutter != nil {
		c.cutter.Stop()
		c.cutter = nil
	}
	if s.Cut != (Cut{}) && !c.closed {
		c.setCut(s.Cut)
	}
	if s != (Shape{}) {
		c.shaped.Store(true)
	}
}

func (c *Conn) setCut(cut Cut) {
	after := cut.After.Draw(c.rand)
	if cut.Share > 0 && c.rand.Float64() >= cut.Share {
		return
	}
	if cut.AfterBytes > 0 {
		c.left.Store(cut.AfterBytes)
		c.silent.Store(cut.Silent)
		c.limited.Store(true)
	}
	if cut.After != (Dist{}) {
		c.cutter = time.AfterFunc(after, func() { c.end(cut.Silent) })
	}
}

// pass takes n bytes from those that are left until the cut; last means that none is.
func (c *Conn) pass(n int) (allowed int, last bool) {
	if !c.limited.Load() {
		return n, false
	}
	left := c.left.Add(-int64(n))
	return int(max(int64(n)+min(left, 0), 0)), left <= 0
}

// end is the cut.
func (c *Conn) end(silent bool) {
	if !silent {
		c.Abort()
		return
	}
	c.in.silence()
	c.out.silence()
}

// Read is io.Reader.
func (c *Conn) Read(p []byte) (int, error) {
	c.reading.Lock()
	defer c.reading.Unlock()
	if !c.shaped.Load() {
		n, err := c.Conn.Read(p)
		if err != nil || !c.shaped.Load() {
			return n, err
		}
		if _, err := c.in.push(p[:n]); err != nil { // the shape that has set in meanwhile holds for these
			return 0, err
		}
	}
	c.startIn()
	for {
		n, err := c.in.pop(p)
		if err != nil {
			return 0, err
		}
		allowed, last := c.pass(n)
		if last {
			c.end(c.silent.Load())
		}
		if allowed > 0 || len(p) == 0 {
			return allowed, nil
		}
	}
}

// Write is io.Writer.
func (c *Conn) Write(p []byte) (int, error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	if !c.shaped.Load() {
		return c.Conn.Write(p)
	}
	c.startOut()
	return c.out.push(p)
}

func (c *Conn) startIn() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.inUp && !c.closed {
		c.inUp = true
		_ = c.Conn.SetReadDeadline(time.Time{}) // the queue keeps to it
		c.ins.Go(c.pumpIn)
	}
}

func (c *Conn) startOut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.outUp && !c.closed {
		c.outUp = true
		_ = c.Conn.SetWriteDeadline(time.Time{})
		c.outs.Go(c.pumpOut)
	}
}

// pumpIn moves what comes in to the queue, where it waits for its time.
func (c *Conn) pumpIn() {
	buf := make([]byte, 32<<10)
	for {
		n, err := c.Conn.Read(buf)
		if _, failed := c.in.push(buf[:n]); failed != nil {
			return
		}
		if err != nil {
			c.in.finish(err)
			return
		}
	}
}

// pumpOut sends what is due until the queue has ended.
func (c *Conn) pumpOut() {
	buf := make([]byte, maxPiece)
	for {
		n, err := c.out.pop(buf)
		if err != nil {
			return
		}
		allowed, last := c.pass(n)
		if _, err := c.Conn.Write(buf[:allowed]); err != nil {
			c.out.fail(err)
			return
		}
		if last {
			c.end(c.silent.Load())
		}
	}
}

// Abort drops what is on its way and resets the connection. It does not wait; Close still does.
func (c *Conn) Abort() {
	c.out.fail(net.ErrClosed)
	c.in.fail(net.ErrClosed)
	if l, ok := c.Conn.(interface{ SetLinger(int) error }); ok {
		_ = l.SetLinger(0)
	}
	c.Conn.Close()
}

// Close sends what has been written, for five seconds at most, closes the connection and waits until nothing of it is left.
func (c *Conn) Close() error {
	c.mu.Lock()
	again := c.closed
	c.closed = true
	if c.cutter != nil {
		c.cutter.Stop()
	}
	c.mu.Unlock()
	if again {
		return net.ErrClosed
	}
	c.network.forget(c)
	c.in.fail(net.ErrClosed)
	if !c.out.finish(io.EOF) {
		c.out.fail(net.ErrClosed)
	}
	late := time.AfterFunc(linger, c.Abort)
	c.outs.Wait()
	late.Stop()
	c.out.fail(net.ErrClosed)
	err := c.Conn.Close()
	c.ins.Wait()
	return err
}

// SetDeadline is SetReadDeadline and SetWriteDeadline.
func (c *Conn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

// SetReadDeadline is that of net.Conn.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.inUp {
		if err := c.Conn.SetReadDeadline(t); err != nil {
			return err
		}
	}
	return c.in.setDeadline(&c.in.reads, t)
}

// SetWriteDeadline is that of net.Conn, for Write alone: what it has taken is sent whenever it is due.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.outUp {
		if err := c.Conn.SetWriteDeadline(t); err != nil {
			return err
		}
	}
	return c.out.setDeadline(&c.out.writes, t)
}
