package gateway

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/mark3labs/mcp-go/mcp"
)

// Headers that the gateway adds to answers.
const (
	headerBackend = "Openaccess-Backend" // host:port of the server that answered, or was lost
	headerGateway = "Openaccess-Gateway" // what the gateway did beyond passing on
)

// exchange is one request of a client on its way to a server, or to several in turn.
type exchange struct {
	g       *Gateway
	w       http.ResponseWriter
	r       *http.Request
	ctx     context.Context
	body    []byte
	session string // as its server knows it; empty for none
	tag     string // of that server
	stream  bool   // it lasts as long as the client listens

	tried    []*backend // that did not get it, or lost it
	losses   int
	began    bool // the head of the answer has gone to the client
	replied  bool // and so has the response in it
	torn     bool // an answer was cut off in the client's middle of it
	resumes  bool // the events have ids, so that the client may ask for the rest
	degraded bool
}

func (g *Gateway) serveMCP(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case http.MethodPost, http.MethodGet, http.MethodDelete:
	default:
		w.Header().Set("Allow", "POST, GET, DELETE")
		http.Error(w, "MCP is spoken with POST, GET and DELETE", http.StatusMethodNotAllowed)
		return
	}
	x := &exchange{g: g, w: w, r: r, ctx: r.Context()}
	if !x.read() {
		return
	}
	if x.stream {
		ctx, cancel := context.WithCancel(x.ctx)
		defer cancel()
		defer context.AfterFunc(g.streams, cancel)()
		x.ctx = ctx
	}
	x.run()
	if x.stream && !x.began && g.draining.Load() {
		http.Error(w, "the gateway is draining", http.StatusServiceUnavailable)
	}
	if x.torn {
		panic(http.ErrAbortHandler) // so that the client sees that it is not whole
	}
}

// read takes the request whole, so that it can be sent again where that is safe, and answered where its server is lost.
func (x *exchange) read() bool {
	r := x.r
	if !mcp.IsModernProtocol(r.Header.Get(mcp.HeaderProtocolVersion)) { // from then on there are no sessions
		x.tag, x.session = untag(r.Header.Get(mcp.HeaderSessionID))
	}
	x.stream = r.Method == http.MethodGet || r.Header.Get(mcp.HeaderMethod) == string(mcp.MethodSubscriptionsListen)
	if r.Method != http.MethodPost {
		return true
	}
	if r.ContentLength > maxMessage {
		x.tooLarge()
		return false
	}
	var b []byte
	if r.ContentLength > 0 {
		b = make([]byte, 0, r.ContentLength+1) // with room to find its end
	}
	var more bool
	var err error
	if x.body, more, err = readAll(b, r.Body, maxMessage+1); err != nil {
		http.Error(x.w, "the request did not come whole", http.StatusBadRequest)
		return false
	}
	if more {
		x.tooLarge()
	}
	return !more
}

func (x *exchange) tooLarge() {
	http.Error(x.w, "a message is longer than "+strconv.Itoa(maxMessage)+" bytes", http.StatusRequestEntityTooLarge)
}

// run tries servers until one has answered, or the request may not be tried any more.
func (x *exchange) run() {
	for {
		v := x.choose()
		if v == nil {
			return
		}
		x.degraded = v.degraded
		how, err := x.forward(v)
		v.leave(how)
		if how == void && !x.ended() || how == answered {
			return
		}
		if how == refused || how == unreached || how == declined {
			x.tried = append(x.tried, v.backend)
			continue
		}
		if err == nil || x.lost(v, err) {
			return
		}
	}
}

// ended reports whether it is the gateway that gives the request up.
func (x *exchange) ended() bool { return errors.Is(context.Cause(x.ctx), errDraining) }

// choose enters a server. It returns nil when there is none, and has said so.
func (x *exchange) choose() *visit {
	b := &x.g.balancer
	if x.session != "" {
		owner, reachable := b.owner(x.tag)
		if !reachable || slices.Contains(x.tried, owner) {
			x.orphan()
			return nil
		}
		return b.stay(owner, x.stream)
	}
	v := b.pick(x.tried, x.stream)
	if v == nil {
		x.turnAway()
	} else if len(x.tried) > 0 {
		x.g.retried.Add(1)
	}
	return v
}

// forward sends the request to v's server and passes the answer on. The error is non-nil when the answer did not come whole.
func (x *exchange) forward(v *visit) (verdict, error) {
	l, stop, err := v.links.send(x.ctx, v.anew, func(b []byte) []byte { return x.append(b, v.backend) })
	if err == nil {
		var resp *http.Response
		if resp, err = l.head(x.r.Method); err == nil {
			err = x.relay(v, resp)
		}
		if stop() && err == nil && !resp.Close && !v.anew {
			v.links.put(l)
		} else {
			l.conn.Close()
		}
		if err == nil {
			return judge(resp.StatusCode), nil
		}
	}
	_, never := errors.AsType[unsent](err)
	switch {
	case x.ctx.Err() != nil, errors.Is(err, errClient):
		return void, err
	case errors.Is(err, errDeclined):
		return declined, err
	case never && refusedBy(err):
		return refused, err
	case never:
		return unreached, err
	}
	return broken, err
}

func judge(status int) verdict {
	if status >= 500 {
		return broken
	}
	return answered
}

// hop names the headers that concern one connection only, and those that the gateway writes itself.
var hop = map[string]bool{
	"Connection": true, "Keep-Alive": true, "Proxy-Authenticate": true, "Proxy-Authorization": true, "Proxy-Connection": true, "Te": true,
	"Trailer": true, "Transfer-Encoding": true, "Upgrade": true, "Expect": true, "Content-Length": true, "Host": true,
	mcp.HeaderSessionID: true,
}

// append appends the request as it goes to b.
func (x *exchange) append(dst []byte, b *backend) []byte {
	r := x.r
	dst = append(append(append(dst, r.Method...), ' '), b.path...)
	if r.URL.RawQuery != "" {
		dst = append(append(dst, '?'), r.URL.RawQuery...)
	}
	dst = append(append(dst, " HTTP/1.1\r\nHost: "...), b.addr...)
	dst = append(dst, "\r\n"...)
	listed := r.Header["Connection"]
	for name, values := range r.Header {
		if hop[name] || listed != nil && names(listed, name) {
			continue
		}
		for _, v := range values {
			if name == "Origin" && x.g.cfg.admitted(v) {
				continue
			}
			dst = appendHeader(dst, name, v)
		}
	}
	if x.session != "" {
		dst = appendHeader(dst, mcp.HeaderSessionID, x.session)
	}
	if r.Method == http.MethodPost {
		dst = append(strconv.AppendInt(append(dst, "Content-Length: "...), int64(len(x.body)), 10), "\r\n"...)
	}
	return append(append(dst, "\r\n"...), x.body...)
}

// appendHeader appends a line of a header. The HTTP server has refused values with line breaks.
func appendHeader(dst []byte, name, value string) []byte {
	return append(append(append(append(dst, name...), ": "...), value...), "\r\n"...)
}

// names reports whether a Connection header names a header.
func names(connection []string, header string) bool {
	for _, v := range connection {
		for name := range strings.SplitSeq(v, ",") {
			if strings.EqualFold(strings.TrimSpace(name), header) {
				return true
			}
		}
	}
	return false
}
