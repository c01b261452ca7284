package server

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
	mcpserver "github.com/mark3labs/mcp-go/server"
)

// Limits of the stdio transport.
const (
	maxMessage  = 16 << 20 // bytes of one message
	maxInFlight = 1024     // requests served at once; more are refused, so that reading, and with it cancelling, never stops
	afterDrain  = 5 * time.Second
	othersGrace = time.Second // for requests other than tool calls, of which some last as long as the client
)

// Stdio serves one client that writes newline-separated JSON-RPC messages to in and reads them from out. Nothing else is written to
// out. A Read of in that blocks when Run returns is left behind.
//
// mcp-go's own stdio server is not used: it runs 100 calls at once at most, loses the cancellation of a call that still waits in its queue,
// ends running calls as soon as the input ends, and keeps its session in a variable of the process.
func Stdio(in io.Reader, out io.Writer) Transport { return &stdio{in: in, out: out} }

type stdio struct {
	in  io.Reader
	out io.Writer
}

var stdioSessions atomic.Int64

func (t *stdio) serve(ctx context.Context, s *Server) error {
	session := mcpserver.NewInProcessSession(fmt.Sprintf("stdio-%d", stdioSessions.Add(1)), nil)
	calls, stopCalls := context.WithCancel(context.WithoutCancel(ctx))
	defer stopCalls()
	if err := s.mcp.RegisterSession(calls, session); err != nil {
		return err
	}
	defer s.mcp.UnregisterSession(calls, session.SessionID())
	c := &stdioConn{
		mcp: s.mcp, own: s.own, ctx: s.mcp.WithContext(calls, session), out: &lineWriter{w: bufio.NewWriterSize(t.out, 64<<10)},
		work: make(chan request), inFlight: map[string]context.CancelFunc{},
	}
	notifications := make(chan struct{})
	go func() {
		defer close(notifications)
		c.forward(session.ClientNotifications())
	}()
	in, stopReading := pollable(t.in)
	defer stopReading()
	ended := make(chan error, 1)
	go func() { ended <- c.read(in) }()
	var err error
	select {
	case err = <-ended:
	case <-ctx.Done():
	case <-c.out.broken():
		err = errors.New("the client no longer reads")
	}
	c.drain(s.current().DrainTimeout.Duration(), stopCalls)
	<-notifications
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return err
}

// stdioConn is one client.
type stdioConn struct {
	mcp  *mcpserver.MCPServer
	own  ownTools
	ctx  context.Context // of every call; ended last
	out  *lineWriter
	work chan request // to idle workers

	mu       sync.Mutex
	draining bool
	inFlight map[string]context.CancelFunc // by request id as written
	calls    sync.WaitGroup                // tool calls, which a drain waits for
	others   sync.WaitGroup                // other requests, which end at once or last as long as the client
}

type request struct {
	ctx  context.Context
	id   string
	line []byte
	kind *sync.WaitGroup // calls or others
}

// read hands messages on until the input ends.
func (c *stdioConn) read(in io.Reader) error {
	r := bufio.NewReaderSize(in, 64<<10)
	for {
		line, err := readLine(r)
		if len(line) > 0 && !c.receive(line) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// readLine returns the next line in memory of its own, without white space around it.
func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		if len(line) > maxMessage {
			return nil, fmt.Errorf("a message is longer than %d bytes", maxMessage)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return bytes.TrimSpace(line), err
		}
	}
}

// receive starts what a message asks for; it never waits. It reports false once the connection drains.
func (c *stdioConn) receive(line []byte) bool {
	var head struct {
		ID     json.RawMessage `json:"id"`
		Method string          `json:"method"`
		Params struct {
			RequestID json.RawMessage `json:"requestId"`
		} `json:"params"`
	}
	if json.Unmarshal(line, &head) != nil || len(head.ID) == 0 || string(head.ID) == "null" {
		if head.Method == string(mcp.MethodNotificationCancelled) {
			c.cancel(string(head.Params.RequestID))
			return true
		}
		c.answer(c.ctx, line) // a notification, or a message whose defect mcp-go names
		return true
	}
	ctx, cancel := context.WithCancel(c.ctx)
	req := request{ctx: ctx, id: string(head.ID), line: line, kind: &c.others}
	if head.Method == string(mcp.MethodToolsCall) {
		req.kind = &c.calls
	}
	switch c.admit(req, cancel) {
	case admitted:
		select {
		case c.work <- req:
		default:
			go c.worker(req)
		}
		return true
	case overloaded:
		cancel()
		c.out.send(mcp.NewJSONRPCError(mcp.NewRequestId(head.ID), mcp.INTERNAL_ERROR,
			fmt.Sprintf("more than %d requests in flight; try again when some have ended", maxInFlight), nil))
		return true
	}
	cancel()
	return false
}

type admittance int

const (
	admitted admittance = iota
	overloaded
	closing
)

// admit enters a request, so that a cancellation that follows at once finds it.
func (c *stdioConn) admit(req request, cancel context.CancelFunc) admittance {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.draining:
		return closing
	case len(c.inFlight) >= maxInFlight:
		return overloaded
	}
	c.inFlight[req.id] = cancel
	req.kind.Add(1)
	return admitted
}

func (c *stdioConn) cancel(id string) {
	c.mu.Lock()
	cancel := c.inFlight[id]
	c.mu.Unlock()
	if cancel != nil {
		cancel()
	}
}

// workerIdle is how long a worker waits for its next request. Workers are kept because their stacks have grown to what a call needs.
const workerIdle = 10 * time.Second

// worker serves req, and then others until none comes for a while.
func (c *stdioConn) worker(req request) {
	idle := time.NewTimer(workerIdle)
	defer idle.Stop()
	for {
		c.serveRequest(req)
		idle.Reset(workerIdle)
		select {
		case req = <-c.work:
		case <-idle.C:
			return
		case <-c.ctx.Done():
			return
		}
	}
}

func (c *stdioConn) serveRequest(req request) {
	defer req.kind.Done()
	c.answer(req.ctx, req.line)
	c.mu.Lock()
	cancel := c.inFlight[req.id]
	delete(c.inFlight, req.id)
	c.mu.Unlock()
	if cancel != nil {
		cancel()
	}
}

// answer writes the answer to a message, mcp-go's unless it is a plain call, and unless the request was cancelled: then nobody waits for it.
func (c *stdioConn) answer(ctx context.Context, line []byte) {
	answer, ok := answerPlain(ctx, c.own, line)
	if !ok {
		if resp := c.mcp.HandleMessage(ctx, line); resp != nil {
			answer = encoded(resp)
		}
	}
	if answer != nil && ctx.Err() == nil {
		c.out.write(answer)
	}
}

// forward writes the server's own notifications until the calls end.
func (c *stdioConn) forward(notifications <-chan mcp.JSONRPCNotification) {
	for {
		select {
		case n := <-notifications:
			c.out.send(n)
		case <-c.ctx.Done():
			return
		}
	}
}

// drain refuses what is new, lets running calls end for at most d, then cancels everything and waits a little more.
func (c *stdioConn) drain(d time.Duration, stop context.CancelFunc) {
	c.mu.Lock()
	c.draining = true
	c.mu.Unlock()
	waitFor(&c.calls, d)
	waitFor(&c.others, min(d, othersGrace))
	stop()
	waitFor(&c.calls, afterDrain)
	waitFor(&c.others, afterDrain)
}

// waitFor waits for wg, for at most d.
func waitFor(wg *sync.WaitGroup, d time.Duration) {
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-done:
	case <-t.C:
	}
}

// lineWriter writes one JSON message a line. Under load several messages leave in one write: whoever writes last flushes.
type lineWriter struct {
	waiting atomic.Int64
	mu      sync.Mutex
	w       *bufio.Writer
	failed  chan struct{} // closed at the first error
	once    sync.Once
}

// broken is closed when the client can no longer be written to.
func (l *lineWriter) broken() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed == nil {
		l.failed = make(chan struct{})
	}
	return l.failed
}

func (l *lineWriter) send(message any) { l.write(encoded(message)) }

// write sends a message as it is.
func (l *lineWriter) write(data []byte) {
	l.waiting.Add(1)
	l.mu.Lock()
	defer l.mu.Unlock()
	_, _ = l.w.Write(data) // a bufio.Writer keeps its first error for Flush
	err := l.w.WriteByte('\n')
	if l.waiting.Add(-1) == 0 {
		err = l.w.Flush()
	}
	if err != nil {
		if l.failed == nil {
			l.failed = make(chan struct{})
		}
		l.once.Do(func() { close(l.failed) })
	}
}
