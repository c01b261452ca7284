package server

import (
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/mark3labs/mcp-go/mcp"
	mcpserver "github.com/mark3labs/mcp-go/server"
)

// echoing is a server of tools that need nothing: echo answers its arguments, and others end otherwise.
func echoing() *mcpserver.MCPServer {
	s := mcpserver.NewMCPServer("test", "1", mcpserver.WithToolCapabilities(false), mcpserver.WithRecovery(), mcpserver.WithHooks((&Server{}).hooks()))
	add := func(name string, handler mcpserver.ToolHandlerFunc) { s.AddTool(mcp.NewTool(name), handler) }
	add("echo", func(_ context.Context, req mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return result(map[string]any{"name": req.Params.Name, "arguments": req.Params.Arguments}, false)
	})
	add("a_failure", func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return result("<no> & \u2028", true)
	})
	add("error", func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return nil, errors.New("went wrong")
	})
	add("panic", func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) { panic("a mistake") })
	add("text", func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return mcp.NewToolResultText("only"), nil
	})
	add("nothing", func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) { return nil, nil })
	return s
}

// alike answers a message both ways and reports whether it is a plain call.
func alike(t *testing.T, s *mcpserver.MCPServer, line string) bool {
	t.Helper()
	ours, plain := answerPlain(t.Context(), toolsOf(s), []byte(line))
	if !plain {
		return false
	}
	theirs, err := json.Marshal(s.HandleMessage(t.Context(), json.RawMessage(line)))
	if err != nil {
		t.Fatal(err)
	}
	var got, want map[string]any
	if err := json.Unmarshal(ours, &got); err != nil {
		t.Fatalf("%s\nis answered %s: %v", line, ours, err)
	}
	if err := json.Unmarshal(theirs, &want); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s\nis answered %s\nby mcp-go    %s", line, ours, theirs)
	}
	return true
}

// TestPlainCallsAreAnsweredAlike holds answers to plain calls against mcp-go's.
func TestPlainCallsAreAnsweredAlike(t *testing.T) {
	s := echoing()
	for _, params := range []string{
		`{"name":"echo","arguments":{"a":1,"b":["x",null,{"c":true}],"d":"<é\u2028\"\\>"}}`, `{"name":"echo"}`, `{"name":"echo","arguments":null}`, `{"name":"echo","arguments":[1]}`,
		`{"arguments":{"n":12345678901234567890},"name":"echo"}`, `{"name":"a.failure"}`, `{"name":"a_failure","arguments":{}}`, `{"name":"error"}`, `{"name":"panic"}`, `{"name":"text"}`,
		`{"name":"nothing"}`,
	} {
		for _, id := range []string{`1`, `-7`, `"x<y"`, `1.0`} {
			line := `{"jsonrpc":"2.0","id":` + id + `,"method":"tools/call","params":` + params + `}`
			if !alike(t, s, line) {
				t.Errorf("not plain: %s", line)
			}
		}
	}
}

// TestOtherMessagesAreLeft wants everything that is not a plain call to be mcp-go's.
func TestOtherMessagesAreLeft(t *testing.T) {
	s := echoing()
	const plain = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo"}}`
	if !alike(t, s, plain) {
		t.Fatal("a plain call is not taken for one")
	}
	for _, change := range [][2]string{
		{`"2.0"`, `"1.0"`}, {`"id":1,`, ``}, {`"id":1`, `"id":null`}, {`"id":1`, `"id":{}`}, {`"id":1`, `"id":[1]`}, {`"id":1`, `"id":true`}, {`tools/call`, `tools/list`}, {`"echo"`, `"unknown"`},
		{`"echo"`, `""`}, {`"echo"`, `5`}, {`"name":"echo"`, `"name":"echo","_meta":{"progressToken":1}`}, {`"name":"echo"`, `"name":"echo","task":{}`}, {`"id":1`, `"id":1,"result":{}`},
		{`}}`, `}} {}`}, {`}}`, `}}x`}, {`}}`, `}`}, {`"params":{"name":"echo"}`, `"params":[]`}, {plain, `[` + plain + `]`}, {plain, ``},
	} {
		line := strings.Replace(plain, change[0], change[1], 1)
		if alike(t, s, line) {
			t.Errorf("taken for a plain call: %s", line)
		}
	}
}

// FuzzPlainCall looks for messages that are answered otherwise than by mcp-go.
func FuzzPlainCall(f *testing.F) {
	s := echoing()
	for _, params := range []string{`{"name":"echo"}`, `{"name":"echo","arguments":{"a":[1,"\ud800",{}]}}`, `{"name":"a.failure","Name":"echo"}`, `{"name":"panic","name":"text"}`} {
		f.Add(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":` + params + `}`)
		f.Add(`{"jsonrpc":"2.0","id":"\u0000","METHOD":"tools/call","params":` + params + `, "params":{}}`)
	}
	f.Fuzz(func(t *testing.T, line string) { alike(t, s, line) })
}
