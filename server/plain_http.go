package server

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"sync"

	"github.com/mark3labs/mcp-go/mcp"
	mcpserver "github.com/mark3labs/mcp-go/server"
)

// plainHTTP answers plain calls over HTTP, and leaves everything else to next, which is mcp-go's.
type plainHTTP struct {
	own  ownTools
	next http.Handler

	mu      sync.Mutex
	running map[callKey]context.CancelFunc
}

// callKey tells calls apart.
type callKey struct{ session, id string }

func (h *plainHTTP) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !legacyPost(r) {
		h.next.ServeHTTP(w, r)
		return
	}
	body, err := bodyOf(r)
	if err == nil {
		if call, ok := parsePlainCall(body); ok && h.answer(w, r, &call) {
			return
		}
		h.cancel(r.Header.Get(mcp.HeaderSessionID), body)
	}
	r.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(body), failing{err}), r.Body}
	h.next.ServeHTTP(w, r)
}

// usual is the length of a body that is taken at its word.
const usual = 64 << 10

// bodyOf reads the body of a request, as far as it comes.
func bodyOf(r *http.Request) ([]byte, error) {
	if r.ContentLength <= 0 || r.ContentLength > usual {
		return io.ReadAll(r.Body)
	}
	body := make([]byte, r.ContentLength)
	n, err := io.ReadFull(r.Body, body)
	return body[:n], err
}

// failing is a reader that ends with an error; nil is io.EOF.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) {
	if f.err == nil {
		return 0, io.EOF
	}
	return 0, f.err
}

// legacyPost reports whether a request is a message of a session, of the protocol's versions that have some, whose form mcp-go would admit.
func legacyPost(r *http.Request) bool {
	version := r.Header.Get(mcp.HeaderProtocolVersion)
	if r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" || version != "" && !mcp.IsValidProtocolVersion(version) || mcp.IsModernProtocol(version) {
		return false
	}
	var form mcpserver.StatelessGeneratingSessionIdManager
	over, err := form.Validate(r.Header.Get(mcp.HeaderSessionID))
	return err == nil && !over
}

// answer calls a tool. It reports false for one that there is not.
func (h *plainHTTP) answer(w http.ResponseWriter, r *http.Request, call *plainCall) bool {
	ctx, cancel := context.WithCancel(httpContext(r.Context(), r))
	defer cancel()
	key := callKey{r.Header.Get(mcp.HeaderSessionID), string(call.id)}
	h.begin(key, cancel)
	defer h.end(key)
	answer, ok := call.answer(ctx, h.own)
	if !ok {
		return false
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(answer, '\n'))
	return true
}

func (h *plainHTTP) begin(key callKey, cancel context.CancelFunc) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.running == nil {
		h.running = map[callKey]context.CancelFunc{}
	}
	h.running[key] = cancel
}

func (h *plainHTTP) end(key callKey) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.running, key)
}

// cancel ends the call that a message says is cancelled. Others are mcp-go's, which hears of it as well.
func (h *plainHTTP) cancel(session string, message []byte) {
	const method = string(mcp.MethodNotificationCancelled)
	if !bytes.Contains(message, []byte("cancelled")) {
		return
	}
	var m struct {
		Method string `json:"method"`
		Params struct {
			RequestID json.RawMessage `json:"requestId"`
		} `json:"params"`
	}
	if json.Unmarshal(message, &m) != nil || m.Method != method {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if cancel := h.running[callKey{session, string(m.Params.RequestID)}]; cancel != nil {
		cancel()
	}
}
