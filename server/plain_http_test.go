package server

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"github.com/mark3labs/mcp-go/mcp"
	mcpserver "github.com/mark3labs/mcp-go/server"
)

// httpPair serves one MCP server twice: as every Server does, and by mcp-go alone.
type httpPair struct {
	ours, theirs http.Handler
	session      string
	left         int // requests that ours left to mcp-go
}

func newHTTPPair(t *testing.T, s *mcpserver.MCPServer) *httpPair {
	t.Helper()
	h := mcpserver.NewStreamableHTTPServer(s)
	t.Cleanup(func() { _ = h.Shutdown(context.Background()) })
	p := &httpPair{theirs: sessionless{h}}
	p.ours = &plainHTTP{own: toolsOf(s), next: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.left++
		p.theirs.ServeHTTP(w, r)
	})}
	w := p.post(t.Context(), p.theirs, nil, `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`)
	if p.session = w.Header().Get(mcp.HeaderSessionID); p.session == "" {
		t.Fatalf("no session: %d %s", w.Code, w.Body)
	}
	return p
}

func (p *httpPair) post(ctx context.Context, h http.Handler, header map[string]string, body string) *httptest.ResponseRecorder {
	req := httptest.NewRequestWithContext(ctx, http.MethodPost, "http://127.0.0.1/mcp", strings.NewReader(body))
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	req.Header.Set(mcp.HeaderSessionID, p.session)
	for k, v := range header {
		req.Header.Set(k, v)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, req)
	return w
}

func plainEcho(id string) string {
	return `{"jsonrpc":"2.0","id":` + id + `,"method":"tools/call","params":{"name":"echo","arguments":{"a":"<é>"}}}`
}

// TestPlainCallsOverHTTPAreAnsweredAlike holds status, type and answer against mcp-go's, also of what is left to it.
func TestPlainCallsOverHTTPAreAnsweredAlike(t *testing.T) {
	p := newHTTPPair(t, echoing())
	for _, c := range []struct {
		name   string
		header map[string]string
		body   string
		plain  bool
	}{
		{"a call", nil, plainEcho("1"), true},
		{"with a version", map[string]string{mcp.HeaderProtocolVersion: "2025-06-18"}, plainEcho("1"), true},
		{"that fails", nil, strings.Replace(plainEcho("1"), "echo", "error", 1), true},
		{"that panics", nil, strings.Replace(plainEcho("1"), "echo", "panic", 1), true},
		{"an unknown tool", nil, strings.Replace(plainEcho("1"), "echo", "unknown", 1), false},
		{"with metadata", nil, strings.Replace(plainEcho("1"), `"name"`, `"_meta":{},"name"`, 1), false},
		{"an unknown version", map[string]string{mcp.HeaderProtocolVersion: "1999-01-01"}, plainEcho("1"), false},
		{"a version without sessions", map[string]string{mcp.HeaderProtocolVersion: "2026-07-28"}, plainEcho("1"), false},
		{"no session", map[string]string{mcp.HeaderSessionID: ""}, plainEcho("1"), false},
		{"a bad session", map[string]string{mcp.HeaderSessionID: "mcp-session-x"}, plainEcho("1"), false},
		{"another type", map[string]string{"Content-Type": "text/plain"}, plainEcho("1"), false},
		{"no JSON", nil, "{", false},
		{"nothing", nil, "", false},
		{"a list", nil, `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := p.left
			got, want := p.post(t.Context(), p.ours, c.header, c.body), p.post(t.Context(), p.theirs, c.header, c.body)
			if plain := p.left == before; plain != c.plain {
				t.Errorf("plain: %v", plain)
			}
			if got.Code != want.Code || !reflect.DeepEqual(got.Header(), want.Header()) {
				t.Errorf("%d %v, by mcp-go %d %v", got.Code, got.Header(), want.Code, want.Header())
			}
			var a, b any
			if json.Unmarshal(got.Body.Bytes(), &a) != nil {
				a, b = got.Body.String(), want.Body.String()
			} else if err := json.Unmarshal(want.Body.Bytes(), &b); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(a, b) {
				t.Errorf("%s\nby mcp-go %s", got.Body, want.Body)
			}
		})
	}
}

// TestCancelOverHTTP cancels a plain call, and one that mcp-go answers, by a notification of the same session; one of another session does nothing.
func TestCancelOverHTTP(t *testing.T) {
	for _, meta := range []string{"", `"_meta":{},`} {
		s := echoing()
		began, ended := make(chan struct{}), make(chan struct{})
		s.AddTool(mcp.NewTool("wait"), func(ctx context.Context, _ mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			close(began)
			<-ctx.Done()
			close(ended)
			return nil, ctx.Err()
		})
		p := newHTTPPair(t, s)
		answered := make(chan struct{})
		go func() {
			defer close(answered)
			p.post(t.Context(), p.ours, nil, fmt.Sprintf(`{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{%s"name":"wait"}}`, meta))
		}()
		<-began
		const cancel = `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7}}`
		p.post(t.Context(), p.ours, map[string]string{mcp.HeaderSessionID: "mcp-session-00000000-0000-0000-0000-000000000000"}, cancel)
		select {
		case <-ended:
			t.Error("a call was cancelled from another session")
		default:
		}
		p.post(t.Context(), p.ours, nil, cancel)
		<-ended
		<-answered
	}
}

// TestBodyThatCannotBeRead is answered as by mcp-go.
func TestBodyThatCannotBeRead(t *testing.T) {
	p := newHTTPPair(t, echoing())
	answer := func(h http.Handler) *httptest.ResponseRecorder {
		req := httptest.NewRequest(http.MethodPost, "http://127.0.0.1/mcp", http.MaxBytesReader(httptest.NewRecorder(), io.NopCloser(strings.NewReader(plainEcho("1"))), 5))
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set(mcp.HeaderSessionID, p.session)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, req)
		return w
	}
	if got, want := answer(p.ours), answer(p.theirs); got.Code != want.Code || got.Body.String() != want.Body.String() || !strings.Contains(got.Body.String(), "too large") {
		t.Errorf("%d %s, by mcp-go %d %s", got.Code, got.Body, want.Code, want.Body)
	}
}
