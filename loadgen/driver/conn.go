package driver

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/mark3labs/mcp-go/mcp"

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

	mu      sync.Mutex
	nextID  int64
	pending map[int64]waiter
	queue   []byte        // written next
	err     error         // why the connection ended; set once
	ready   chan struct{} // capacity 1: the queue has something
	ended   chan struct{} // closed with err set
	wg      sync.WaitGroup
}

// waiter is who waits for a response.
type waiter struct {
	reply chan message // capacity 1; closed when the connection ends
	raw   bool         // wants message.result
}

// errClosed is the end of a connection that its owner closed.
var errClosed = errors.New("the driver is closed")

func newConn(in io.Reader, out io.Writer, explain func(error) error) *conn {
	c := &conn{
		in: in, out: out, explain: explain, pending: map[int64]waiter{}, ready: make(chan struct{}, 1), ended: make(chan struct{}),
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

// wait returns once both goroutines are gone; the caller has made the streams fail.
func (c *conn) wait() { c.wg.Wait() }

// call runs a tool. When ctx ends first, the server is told to stop working on it.
func (c *conn) call(ctx context.Context, call loadgen.Call) (loadgen.Reply, error) {
	m, err := c.roundTrip(ctx, false, func(b []byte, id int64) ([]byte, error) { return appendCall(b, id, call) })
	return m.reply, err
}

// roundTrip queues a request and waits for its response.
func (c *conn) roundTrip(ctx context.Context, raw bool, request func(b []byte, id int64) ([]byte, error)) (message, error) {
	if err := ctx.Err(); err != nil {
		return message{}, err
	}
	id, ch, err := c.send(raw, request)
	if err != nil {
		return message{}, err
	}
	select {
	case m, ok := <-ch:
		if !ok {
			return message{}, c.failure()
		}
		return m, nil
	case <-ctx.Done():
		c.abandon(id, ctx.Err())
		return message{}, ctx.Err()
	}
}

func (c *conn) send(raw bool, request func(b []byte, id int64) ([]byte, error)) (int64, chan message, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return 0, nil, c.err
	}
	c.nextID++
	id, was := c.nextID, len(c.queue)
	var err error
	if c.queue, err = request(c.queue, id); err != nil {
		c.queue = c.queue[:was]
		return 0, nil, err
	}
	ch := make(chan message, 1)
	c.pending[id] = waiter{ch, raw}
	c.wakeWriter()
	return id, ch, nil
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
	var spare []byte
	for {
		select {
		case <-c.ready:
		case <-c.ended:
			return
		}
		c.mu.Lock()
		batch := c.queue
		c.queue = spare[:0]
		c.mu.Unlock()
		if _, err := c.out.Write(batch); err != nil {
			c.fail(c.explain(fmt.Errorf("write to the server: %w", err)))
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

// serve answers a request of the server: ping, and nothing else.
func (c *conn) serve(m message) {
	switch {
	case m.rawID == nil:
	case m.method == string(mcp.MethodPing):
		c.post(fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%s,"result":{}}`+"\n", m.rawID))
	default:
		c.post(fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%s,"error":{"code":%d,"message":"method not found"}}`+"\n", m.rawID, mcp.METHOD_NOT_FOUND))
	}
}

// initialize shakes hands by the rules of protocol versions up to 2025-11-25.
func (c *conn) initialize(ctx context.Context, protocol string) (*mcp.InitializeResult, error) {
	params, err := json.Marshal(initializeParams(protocol))
	if err != nil {
		return nil, err
	}
	m, err := c.roundTrip(ctx, true, func(b []byte, id int64) ([]byte, error) {
		return fmt.Appendf(b, `{"jsonrpc":"2.0","id":%d,"method":"initialize","params":%s}`+"\n", id, params), nil
	})
	if err != nil {
		return nil, err
	}
	if m.reply.Code != "" {
		return nil, errors.New(m.reply.Error)
	}
	var res mcp.InitializeResult
	if err := json.Unmarshal(m.result, &res); err != nil {
		return nil, fmt.Errorf("the server's answer to initialize: %w", err)
	}
	if !mcp.IsValidProtocolVersion(res.ProtocolVersion) {
		return nil, fmt.Errorf("the server speaks protocol version %q, which is unknown here", res.ProtocolVersion)
	}
	c.post([]byte(`{"jsonrpc":"2.0","method":"notifications/initialized"}` + "\n"))
	return &res, nil
}
