package gateway

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"

	"github.com/mark3labs/mcp-go/mcp"
)

// The error codes of an envelope that the gateway writes, as servers know them.
const (
	codeOutcomeUnknown   = "OUTCOME_UNKNOWN"
	codeConnectionFailed = "CONNECTION_FAILED"
)

// sessionNotFound is the JSON-RPC error code with which implementations say so.
const sessionNotFound = -32001

// repeatable are the methods that may run a second time when their server is lost: they change nothing, or, as initialize, only what was
// lost with it.
var repeatable = []mcp.MCPMethod{
	mcp.MethodInitialize, mcp.MethodPing, mcp.MethodServerDiscover, mcp.MethodToolsList, mcp.MethodPromptsList, mcp.MethodPromptsGet,
	mcp.MethodResourcesList, mcp.MethodResourcesTemplatesList, mcp.MethodResourcesRead, mcp.MethodCompletionComplete,
}

// message is what the gateway must know of a request that it answers itself.
type message struct {
	ID     json.RawMessage `json:"id"`
	Method mcp.MCPMethod   `json:"method"`
	Params struct {
		Name      string `json:"name"`
		Arguments struct {
			ProfileID any `json:"profile_id"`
			Caller    any `json:"caller"`
		} `json:"arguments"`
	} `json:"params"`
}

// message reads the request. What is no request has no id.
func (x *exchange) message() (m message) {
	if err := json.Unmarshal(x.body, &m); err != nil {
		_ = json.Unmarshal(x.body, &struct { // the parameters may be of any shape
			ID     *json.RawMessage `json:"id"`
			Method *mcp.MCPMethod   `json:"method"`
		}{&m.ID, &m.Method})
	}
	if string(m.ID) == "null" || m.Method == "" {
		m.ID = nil
	}
	return m
}

// expectsReply reports whether the answer must hold a response.
func (x *exchange) expectsReply() bool {
	return x.r.Method == http.MethodPost && !x.stream && x.message().ID != nil
}

// lost answers a request whose server was lost after it had been sent, unless it may be tried again. It reports whether that was the end.
func (x *exchange) lost(v *visit, why error) bool {
	if x.replied || x.torn {
		return true
	}
	m := x.message()
	if !x.began && !x.ended() && x.losses == 0 && (x.r.Method == http.MethodGet || slices.Contains(repeatable, m.Method)) {
		x.losses++
		x.g.retried.Add(1)
		if x.session == "" {
			x.tried = append(x.tried, v.backend)
		}
		return false
	}
	x.g.balancer.lost(v.backend)
	x.g.cfg.Logger.Warn("server lost with a request", "backend", v.url, "method", m.Method, "tool", m.Params.Name, "error", why)
	switch {
	case x.stream && x.began: // the client will listen anew
	case m.ID == nil && x.r.Method == http.MethodDelete:
		http.Error(x.w, "the session's server is lost, and the session with it", http.StatusNotFound)
	case m.ID == nil:
		x.mark(v.backend)
		http.Error(x.w, "the server was lost before it had answered", http.StatusBadGateway)
	case m.Method == mcp.MethodToolsCall:
		x.unknown(v.backend, m)
	default:
		x.mark(v.backend)
		x.answer(rpcError(m.ID, mcp.INTERNAL_ERROR, fmt.Sprintf("the server at %s was lost before it had answered", v.addr)), http.StatusOK)
	}
	return true
}

// unknown answers a call of which nobody knows whether it was done.
func (x *exchange) unknown(b *backend, m message) {
	x.g.unknown.Add(1)
	why := fmt.Sprintf("the server at %s was lost while it had this call", b.addr)
	if x.ended() {
		why = "the gateway had to end while this call was under way"
	}
	if !x.began {
		x.mark(b)
		x.w.Header().Set(headerGateway, "outcome-unknown")
	}
	x.answer(x.result(m, failure{Code: codeOutcomeUnknown, Error: why +
		"; whether it took effect is unknown: look at the host before you call again"}), http.StatusOK)
}

// orphan tells the client that its session is gone with its server, so that it begins a new one.
func (x *exchange) orphan() {
	x.g.orphaned.Add(1)
	x.answer(rpcError(x.message().ID, sessionNotFound, "session not found: its server is gone; initialize again"), http.StatusNotFound)
}

// turnAway answers a request that no server could be reached for. It surely did not start.
func (x *exchange) turnAway() {
	x.g.turnedAway.Add(1)
	const why = "no server could be reached, so nothing was done"
	x.w.Header().Set(headerGateway, "no-server-reached")
	x.w.Header().Set("Retry-After", "1")
	m := x.message()
	switch {
	case x.losses > 0 && m.ID != nil:
		x.answer(rpcError(m.ID, mcp.INTERNAL_ERROR, "the server was lost before it had answered, and no other could be reached"), http.StatusOK)
	case m.ID != nil && m.Method == mcp.MethodToolsCall:
		x.answer(x.result(m, failure{Code: codeConnectionFailed, Error: why + "; try again", RetryAfter: 1}), http.StatusOK)
	case m.ID != nil:
		x.answer(rpcError(m.ID, mcp.INTERNAL_ERROR, why), http.StatusOK)
	default:
		http.Error(x.w, why, http.StatusServiceUnavailable)
	}
}

// answer writes a message of the gateway's own: as an event where the answer has begun as a stream.
func (x *exchange) answer(message []byte, status int) {
	if x.began {
		fmt.Fprintf(x.w, "event: message\ndata: %s\n\n", message)
		_ = http.NewResponseController(x.w).Flush() // the client may be gone
		return
	}
	x.w.Header().Set("Content-Type", "application/json")
	x.w.WriteHeader(status)
	_, _ = x.w.Write(append(message, '\n'))
}

func rpcError(id json.RawMessage, code int, text string) []byte {
	if id == nil {
		id = json.RawMessage("null")
	}
	return marshal(map[string]any{"jsonrpc": mcp.JSONRPC_VERSION, "id": id, "error": map[string]any{"code": code, "message": text}})
}

// failure is what an envelope says of a call that the gateway could not get done.
type failure struct {
	Code, Error string
	RetryAfter  float64
}

// envelope has the shape of the one in which servers answer.
type envelope struct {
	Success  bool     `json:"success"`
	Error    string   `json:"error"`
	Metadata metadata `json:"metadata"`
}

type metadata struct {
	ProfileID  string  `json:"profile_id,omitempty"`
	Actor      string  `json:"actor"`
	Caller     string  `json:"caller,omitempty"`
	ErrorCode  string  `json:"error_code"`
	RetryAfter float64 `json:"retry_after_s,omitempty"`
	Timing     timings `json:"timing"`
}

// timings are zero: the gateway does not know where the time went.
type timings struct {
	Queue   float64 `json:"queue"`
	Dial    float64 `json:"dial"`
	Channel float64 `json:"channel"`
	Remote  float64 `json:"remote"`
	Reused  bool    `json:"reused"`
}

// result is the response to a tool call that failed.
func (x *exchange) result(m message, f failure) []byte {
	profile, _ := m.Params.Arguments.ProfileID.(string)
	caller, _ := m.Params.Arguments.Caller.(string)
	env := marshal(envelope{Error: f.Error, Metadata: metadata{
		ProfileID: profile, Actor: "http:local", Caller: caller, ErrorCode: f.Code, RetryAfter: f.RetryAfter,
	}})
	result := map[string]any{
		"content":           []any{map[string]any{"type": "text", "text": string(env)}},
		"structuredContent": json.RawMessage(env),
		"isError":           true,
	}
	if mcp.IsModernProtocol(x.r.Header.Get(mcp.HeaderProtocolVersion)) {
		result["resultType"] = mcp.ResultTypeComplete
	}
	return marshal(map[string]any{"jsonrpc": mcp.JSONRPC_VERSION, "id": m.ID, "result": result})
}

func marshal(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // of strings, numbers and JSON that was read as such
	}
	return b
}
