package driver

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
)

// maxLine bounds one message from the server.
const maxLine = 256 << 20

// conn speaks newline-separated JSON-RPC over two streams. Calls run concurrently over it: one goroutine writes what they queue, so that a
// server that does not read cannot hold up a call whose context has ended, and one reads and hands out the replies.
//
// It stands in for mcp-go's client, which decodes each reply several times through reflection and costs the generator three times as much
// CPU; BenchmarkStdio in this package measures both.
type conn struct {
	in      io.Reader
	out     io.Writer
	explain func(error) error // adds what is known of the server's end
	wire    wire

	mu      sync.Mutex
	nextID  int64
	pending map[int64]waiter
	queue   []byte        // written next
	err     error         // why the connection ended; set once
	ready   chan struct{} // capacity 1: the queue has something, or nothing more comes
	last    bool          // nothing more is queued
	written chan struct{} // closed when the writer is gone
	ended   chan struct{} // closed with err set
	wg      sync.WaitGroup
}

// waiter is who waits for a response.
type waiter struct {
	reply    chan message // capacity 1; closed when the connection ends
	raw      bool         // wants message.result
	progress func()       // called under the lock, so never once the call has returned; may be nil
}

// errClosed is the end of a connection that its owner closed.
var errClosed = errors.New("the driver is closed")

func newConn(in io.Reader, out io.Writer, w wire, explain func(error) error) *conn {
	c := &conn{
		in: in, out: out, wire: w, explain: explain, pending: map[int64]waiter{}, ready: make(chan struct{}, 1),
		written: make(chan struct{}), ended: make(chan struct{}),
	}
	c.wg.Go(c.read)
	c.wg.Go(c.write)
	return c
}

// fail ends the connection for everyone. The first reason stays.
func (c *conn) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	c.err = err
	close(c.ended)
	for id, w := range c.pending {
		close(w.reply)
		delete(c.pending, id)
	}
}

// failure is why the connection ended, nil while it lives.
func (c *conn) failure() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// finish takes no more calls and waits until what is queued, a cancellation perhaps, is written, for at most finishTimeout.
func (c *conn) finish() {
	c.mu.Lock()
	c.last = true
	c.wakeWriter()
	c.mu.Unlock()
	timer := time.NewTimer(finishTimeout)
	defer timer.Stop()
	select {
	case <-c.written:
	case <-timer.C:
	}
}

const finishTimeout = time.Second

// wait returns once both goroutines are gone; the caller has made the streams fail.
func (c *conn) wait() { c.wg.Wait() }

// call runs a tool. When ctx ends first, the server is told to stop working on it.
func (c *conn) call(ctx context.Context, call loadgen.Call) (loadgen.Reply, error) {
	m, err := c.roundTrip(ctx, waiter{progress: call.Progress}, func(b []byte, id int64) ([]byte, error) {
		return c.wire.appendCall(b, id, call)
	})
	return m.reply, err
}

// roundTrip queues a request and waits for its response.
func (c *conn) roundTrip(ctx context.Context, w waiter, request func(b []byte, id int64) ([]byte, error)) (message, error) {
	if err := ctx.Err(); err != nil {
		return message{}, err
	}
	w.reply = make(chan message, 1)
	id, err := c.send(w, request)
	if err != nil {
		return message{}, err
	}
	select {
	case m, ok := <-w.reply:
		if !ok {
			return message{}, c.failure()
		}
		return m, nil
	case <-ctx.Done():
		c.abandon(id, ctx.Err())
		return message{}, ctx.Err()
	}
}

func (c *conn) send(w waiter, request func(b []byte, id int64) ([]byte, error)) (int64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return 0, c.err
	}
	if c.last {
		return 0, errClosed
	}
	c.nextID++
	id, was := c.nextID, len(c.queue)
	var err error
	if c.queue, err = request(c.queue, id); err != nil {
		c.queue = c.queue[:was]
		return 0, err
	}
	c.pending[id] = w
	c.wakeWriter()
	return id, nil
}

// abandon forgets a call and tells the server so, except of the handshake, which the protocol does not let one cancel.
func (c *conn) abandon(id int64, why error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	w, waiting := c.pending[id]
	delete(c.pending, id)
	if waiting && !w.raw {
		c.queue = appendCancel(c.queue, id, why.Error())
		c.wakeWriter()
	}
}

// post queues a message that has no response.
func (c *conn) post(line []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.queue = append(c.queue, line...)
	c.wakeWriter()
}

func (c *conn) wakeWriter() {
	select {
	case c.ready <- struct{}{}:
	default:
	}
}

// write writes the queue whenever it holds something, all of it at once.
func (c *conn) write() {
	defer close(c.written)
	var spare []byte
	for {
		select {
		case <-c.ready:
		case <-c.ended:
			return
		}
		c.mu.Lock()
		batch, last := c.queue, c.last
		c.queue = spare[:0]
		c.mu.Unlock()
		if len(batch) > 0 {
			if _, err := c.out.Write(batch); err != nil {
				c.fail(c.explain(fmt.Errorf("write to the server: %w", err)))
				return
			}
		}
		if last {
			return
		}
		if spare = batch; cap(spare) > 1<<20 {
			spare = nil
		}
	}
}

// read hands out replies until the stream ends.
func (c *conn) read() {
	r := bufio.NewReaderSize(c.in, 64<<10)
	var long []byte
	for {
		line, err := r.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) || len(long) > 0 {
			long = append(long, line...)
			line = long
		}
		if errors.Is(err, bufio.ErrBufferFull) && len(long) <= maxLine {
			continue
		}
		if err != nil {
			c.fail(c.explain(readError(err, line)))
			return
		}
		if err := c.dispatch(line); err != nil {
			c.fail(err)
			return
		}
		if long = long[:0]; cap(long) > 4<<20 {
			long = nil
		}
	}
}

func readError(err error, rest []byte) error {
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return fmt.Errorf("the server sent a message of more than %d MiB", maxLine>>20)
	case errors.Is(err, io.EOF) && len(rest) > 0:
		return fmt.Errorf("the server ended in the middle of a message: %w", io.ErrUnexpectedEOF)
	case errors.Is(err, io.EOF):
		return fmt.Errorf("the server closed its output: %w", io.EOF)
	}
	return fmt.Errorf("read from the server: %w", err)
}

// dispatch takes one line: a response, a request to answer or a notification to pass over.
func (c *conn) dispatch(line []byte) error {
	if line = bytes.TrimSpace(line); len(line) == 0 {
		return nil
	}
	m, err := parseMessage(line)
	if err != nil {
		return fmt.Errorf("the server wrote %.80q, which is no JSON-RPC message: %w", line, err)
	}
	if m.method != "" {
		c.serve(m)
		return nil
	}
	c.mu.Lock()
	w := c.pending[m.id]
	delete(c.pending, m.id)
	c.mu.Unlock()
	if w.reply == nil {
		return nil // the call was abandoned
	}
	if m.rawID = nil; w.raw {
		m.result = bytes.Clone(m.result)
	} else {
		m.result = nil
	}
	w.reply <- m
	return nil
}

// serve takes what the server itself begins: progress of a call, or a request to answer.
func (c *conn) serve(m message) {
	if m.rawID != nil {
		c.post(appendAnswer(nil, m))
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if w := c.pending[m.token]; w.progress != nil {
		w.progress()
	}
}

// hello sends the first request, and ends the handshake where there is one.
func (c *conn) hello(ctx context.Context) (greeting, error) {
	m, err := c.roundTrip(ctx, waiter{raw: true}, func(b []byte, id int64) ([]byte, error) { return c.wire.appendHello(b, id), nil })
	if err != nil {
		return greeting{}, err
	}
	g, err := c.wire.greeting(m)
	if err == nil && !c.wire.stateless() {
		c.post([]byte(initialized))
	}
	return g, err
}
