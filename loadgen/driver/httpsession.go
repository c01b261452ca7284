package driver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/mark3labs/mcp-go/mcp"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
)

// httpSession is one MCP client: a session where the protocol has them, and connections of its own.
type httpSession struct {
	d      *httpDriver
	wire   wire
	links  *links
	header string // lines that name the protocol version and the session
	id     string // of the session; empty for none

	mu     sync.Mutex
	closed bool
	wg     sync.WaitGroup // messages on their way that no call waits for
}

func (d *httpDriver) newSession() *httpSession {
	s := &httpSession{d: d, wire: newWire(d.cfg.Protocol), links: newLinks(d.endpoint)}
	if s.wire.stateless() {
		s.header = headerLine(mcp.HeaderProtocolVersion, s.wire.version)
	}
	return s
}

func headerLine(name, value string) string { return name + ": " + value + "\r\n" }

// hello sends the first request, and ends the handshake where there is one.
func (s *httpSession) hello(ctx context.Context) (g greeting, err error) {
	id := s.d.nextID.Add(1)
	err = s.post(ctx, s.wire.helloMethod(), "", s.wire.appendHello(nil, id), func(resp *http.Response, l *link) error {
		m, err := s.read(resp, l, id, nil)
		if err != nil {
			return err
		}
		if g, err = s.wire.greeting(m); err != nil || s.wire.stateless() {
			return err
		}
		s.header = headerLine(mcp.HeaderProtocolVersion, g.version)
		if s.id = resp.Header.Get(mcp.HeaderSessionID); strings.ContainsAny(s.id, "\r\n") {
			return errors.New("the server's session id has a line break")
		}
		if s.id != "" {
			s.header += headerLine(mcp.HeaderSessionID, s.id)
		}
		return nil
	})
	if err != nil || s.wire.stateless() {
		return g, err
	}
	return g, s.tell(ctx, []byte(initialized))
}

// post sends a message and has read take the answer. name is the tool's, where the message calls one.
func (s *httpSession) post(ctx context.Context, method, name string, body []byte, read func(*http.Response, *link) error) error {
	r := request{method: http.MethodPost, header: s.header, body: body}
	if s.wire.stateless() {
		r.header += headerLine(mcp.HeaderMethod, method)
		if name != "" {
			value, _ := mcp.EncodeHeaderValue(name) // which knows all strings
			r.header += headerLine(mcp.HeaderName, value)
		}
	}
	return s.links.do(ctx, r, read)
}

// tell sends a message that has no response.
func (s *httpSession) tell(ctx context.Context, body []byte) error {
	return s.links.do(ctx, request{method: http.MethodPost, header: s.header, body: body}, func(resp *http.Response, l *link) error {
		if resp.StatusCode/100 == 2 {
			return nil
		}
		b, _ := l.all(io.LimitReader(resp.Body, maxUnread)) // the status says enough
		return statusError(resp, b)
	})
}

func statusError(resp *http.Response, body []byte) error {
	return fmt.Errorf("the server answered %s: %.200s", resp.Status, bytes.TrimSpace(body))
}

func (s *httpSession) Call(ctx context.Context, c loadgen.Call) (loadgen.Reply, error) {
	id := s.d.nextID.Add(1)
	body, err := s.wire.appendCall(make([]byte, 0, 512), id, c)
	if err != nil {
		return loadgen.Reply{}, err
	}
	var m message
	err = s.post(ctx, string(mcp.MethodToolsCall), c.Tool, body, func(resp *http.Response, l *link) error {
		var err error
		m, err = s.read(resp, l, id, c.Progress)
		return err
	})
	switch {
	case err == nil:
		return m.reply, nil
	case ctx.Err() != nil:
		s.cancel(id, ctx.Err())
		return loadgen.Reply{}, ctx.Err()
	}
	return loadgen.Reply{}, s.d.blame(err)
}

// errNoResponse is an answer without what was asked for.
var errNoResponse = errors.New("the server ended its answer without a response")

// read takes the response to request id from an answer. Its result is valid until the link's next exchange.
func (s *httpSession) read(resp *http.Response, l *link, id int64, progress func()) (message, error) {
	if isStream(resp) {
		return s.readStream(newEvents(resp.Body), id, progress)
	}
	b, err := l.all(resp.Body)
	if err != nil {
		return message{}, err
	}
	m, err := parseMessage(b)
	switch {
	case err == nil && m.method == "" && (m.id == id || m.id < 0 && m.reply.Code == CodeProtocol):
		return m, nil
	case resp.StatusCode/100 != 2:
		return message{}, statusError(resp, b)
	case len(bytes.TrimSpace(b)) == 0:
		return message{}, errNoResponse
	case err != nil:
		return message{}, fmt.Errorf("the server answered %.80q, which is no JSON-RPC message: %w", b, err)
	}
	return message{}, fmt.Errorf("the server answered with %.80q, which is no response to request %d", b, id)
}

func (s *httpSession) readStream(e *events, id int64, progress func()) (message, error) {
	for {
		b, err := e.next()
		if errors.Is(err, io.EOF) {
			return message{}, errNoResponse
		}
		if err != nil {
			return message{}, err
		}
		m, err := parseMessage(b)
		switch {
		case err != nil:
			return message{}, fmt.Errorf("the server sent the event %.80q, which is no JSON-RPC message: %w", b, err)
		case m.method == "" && m.id == id:
			return m, nil
		case m.method != "" && m.rawID != nil:
			s.tellLater(appendAnswer(nil, m))
		case m.token == id && progress != nil:
			progress()
		}
	}
}

// tellTimeout bounds the sending of a message that no call waits for.
const tellTimeout = 2 * time.Second

// tellLater sends a message while the caller goes on. Close waits for it.
func (s *httpSession) tellLater(body []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.wg.Go(func() {
		ctx, stop := context.WithTimeout(context.Background(), tellTimeout)
		defer stop()
		_ = s.tell(ctx, body) // nobody is there to hear of it
	})
}

// cancel tells the server that nobody waits for a call any more. Without sessions the broken connection says so; with them it does not.
func (s *httpSession) cancel(id int64, why error) {
	if !s.wire.stateless() {
		s.tellLater(appendCancel(nil, id, why.Error()))
	}
}

// Close says goodbye to the server, which ends calls under way, and closes the connections.
func (s *httpSession) Close() error {
	if !s.end() {
		return nil
	}
	s.wg.Wait()
	if s.id != "" {
		ctx, stop := context.WithTimeout(context.Background(), tellTimeout)
		defer stop()
		ignore := func(*http.Response, *link) error { return nil } // a server may keep no sessions, or have ended
		_ = s.links.do(ctx, request{method: http.MethodDelete, header: s.header}, ignore)
	}
	s.links.close()
	return nil
}

// Abandon closes the connections without a goodbye. Calls under way fail.
func (s *httpSession) Abandon() error {
	if s.end() {
		s.links.close()
		s.wg.Wait()
	}
	return nil
}

// end reports whether the session was open until now.
func (s *httpSession) end() bool {
	s.mu.Lock()
	was := s.closed
	s.closed = true
	s.mu.Unlock()
	if was {
		return false
	}
	s.d.mu.Lock()
	defer s.d.mu.Unlock()
	delete(s.d.sessions, s)
	return true
}
