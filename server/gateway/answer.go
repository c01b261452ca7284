package gateway

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/mark3labs/mcp-go/mcp"
)

// maxHeld is how many bytes of an answer, or of an event, are held back until it is known to be whole. What is longer is passed on as it
// comes, and the client sees it cut off when its server is lost.
const maxHeld = 64 << 20

// errClient is the error of writing to the client.
var errClient = errors.New("the client is gone")

// errDeclined is the answer of a server that is stopping and has not begun the request.
var errDeclined = errors.New("the server is stopping")

// declination is how a server ends the text of such an answer, whose status is 503.
const declination = "nothing was done"

// errSilent is an answer that ended without what was asked for.
var errSilent = errors.New("the answer ended without a response")

// relay passes an answer on. When its error is not errClient, the answer did not come whole, and unless began is set the client has seen
// nothing of it.
func (x *exchange) relay(v *visit, resp *http.Response) error {
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		return x.relayEvents(v, resp)
	}
	held := buffers.Get().(*[]byte)
	defer func() {
		if cap(*held) <= maxKept {
			buffers.Put(held)
		}
	}()
	b, more, err := readAll((*held)[:0], resp.Body, x.g.held)
	*held = b
	if err != nil {
		return err
	}
	if resp.StatusCode == http.StatusServiceUnavailable && strings.HasSuffix(strings.TrimSpace(string(b)), declination) {
		return errDeclined
	}
	if !more {
		x.w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	}
	x.begin(v, resp)
	if _, err := x.w.Write(b); err != nil {
		return errClient
	}
	if more {
		return x.copy(resp.Body)
	}
	return nil
}

// copy passes on the rest of an answer that is too long to hold back.
func (x *exchange) copy(r io.Reader) error {
	w := clientWriter{x.w}
	_, err := io.Copy(w, r)
	if err != nil && !errors.Is(err, errClient) {
		x.torn = true
	}
	return err
}

type clientWriter struct{ w io.Writer }

func (c clientWriter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	if err != nil {
		err = errClient
	}
	return n, err
}

var buffers = sync.Pool{New: func() any { return new([]byte) }}

// begin passes on the head of an answer.
func (x *exchange) begin(v *visit, resp *http.Response) {
	h := x.w.Header()
	listed := resp.Header["Connection"]
	for name, values := range resp.Header {
		if !hop[name] && !(listed != nil && names(listed, name)) {
			h[name] = values
		}
	}
	if id := resp.Header.Get(mcp.HeaderSessionID); id != "" {
		h.Set(mcp.HeaderSessionID, v.tagged(id))
		x.g.balancer.opened(v.backend)
	}
	x.mark(v.backend)
	x.began = true
	x.w.WriteHeader(resp.StatusCode)
}

// mark says who answers, and that nobody was ready where that is so.
func (x *exchange) mark(b *backend) {
	h := x.w.Header()
	h[headerBackend] = []string{b.addr}
	if x.degraded {
		h.Set(headerGateway, "no-server-ready")
	}
}

// relayEvents passes on events, each as soon as it is whole: a client cannot use less, and what the gateway must add when the server is lost
// stands between events.
func (x *exchange) relayEvents(v *visit, resp *http.Response) error {
	x.begin(v, resp)
	flush := http.NewResponseController(x.w).Flush
	if flush() != nil {
		return errClient
	}
	in := readers.Get().(*bufio.Reader)
	in.Reset(resp.Body)
	defer func() {
		in.Reset(nil)
		readers.Put(in)
	}()
	e := eventReader{in: in, most: x.g.held}
	for {
		event, err := e.next()
		if err == nil || errors.Is(err, errLong) {
			if _, err := x.w.Write(event); err != nil || flush() != nil {
				return errClient
			}
		}
		switch {
		case err == nil:
			x.replied = x.replied || isResponse(event)
			x.resumes = x.resumes || hasID(event)
		case errors.Is(err, errLong):
			return x.copy(in)
		case err == io.EOF && !x.replied && !x.resumes && x.expectsReply():
			return errSilent
		case err == io.EOF:
			return nil
		default:
			return err
		}
	}
}

var readers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, 8<<10) }}

// eventReader splits an event stream into events.
type eventReader struct {
	in    *bufio.Reader
	most  int // bytes of an event
	event []byte
}

// errLong is an event of which next returns the beginning only.
var errLong = errors.New("an event is too long to hold back")

// next returns an event with the empty line that ends it, valid until the call after. Its error is io.EOF at the end of the stream; half an
// event before it is dropped, as a client would.
func (e *eventReader) next() ([]byte, error) {
	e.event = e.event[:0]
	start := 0 // of the line
	for {
		part, err := e.in.ReadSlice('\n')
		e.event = append(e.event, part...)
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			if len(e.event) > e.most {
				return e.event, errLong
			}
			continue
		case err != nil:
			return nil, err
		case len(bytes.TrimRight(e.event[start:], "\r\n")) == 0:
			return e.event, nil
		case len(e.event) > e.most:
			return e.event, errLong
		}
		start = len(e.event)
	}
}

// isResponse reports whether an event carries a JSON-RPC response, rather than a notification or a request. On the stream that answers a
// request, it is the response to it.
func isResponse(event []byte) bool {
	d := json.NewDecoder(&dataReader{rest: event})
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return false
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return false
		}
		switch key {
		case "method":
			return false
		case "result", "error":
			return true
		}
		var skipped json.RawMessage
		if d.Decode(&skipped) != nil {
			return false
		}
	}
	return false
}

// dataReader reads the data of an event.
type dataReader struct{ rest, line []byte }

func (r *dataReader) Read(p []byte) (int, error) {
	for len(r.line) == 0 {
		if len(r.rest) == 0 {
			return 0, io.EOF
		}
		line, rest, _ := bytes.Cut(r.rest, []byte("\n"))
		r.rest = rest
		if data, ok := bytes.CutPrefix(line, []byte("data:")); ok {
			r.line = data
		}
	}
	n := copy(p, r.line)
	r.line = r.line[n:]
	return n, nil
}

// hasID reports whether an event has an id, by which the client may ask for what follows it.
func hasID(event []byte) bool {
	return bytes.HasPrefix(event, []byte("id:")) || bytes.Contains(event, []byte("\nid:"))
}
