package server

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/mark3labs/mcp-go/mcp"
	mcpserver "github.com/mark3labs/mcp-go/server"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/plainjson"
)

// plainCall is a tools/call with nothing but a name and arguments, as most clients send it.
type plainCall struct {
	id        json.RawMessage
	name      string
	arguments any
}

// maxPlainID is the length of ids that are left to mcp-go: longer numbers lose digits there.
const maxPlainID = 16

// parsePlainCall reads a message. ok is false for all that is not a plain call, which is mcp-go's to answer: it knows what else there may be.
func parsePlainCall(line []byte) (call plainCall, ok bool) {
	var version, method, params, name, arguments []byte
	if !json.Valid(line) || !fields(line, slot{"jsonrpc", &version}, slot{"id", (*[]byte)(&call.id)}, slot{"method", &method}, slot{"params", &params}) ||
		!fields(params, slot{"name", &name}, slot{"arguments", &arguments}) {
		return call, false
	}
	first := byte('n') // of the id: a string, or a number that mcp-go gives back as it is
	if len(call.id) > 0 && len(call.id) < maxPlainID {
		first = call.id[0]
	}
	if first != '"' && first != '-' && (first < '0' || first > '9') {
		return call, false
	}
	if string(version) != `"`+mcp.JSONRPC_VERSION+`"` || string(method) != `"`+string(mcp.MethodToolsCall)+`"` || len(name) < 3 || name[0] != '"' || bytes.IndexByte(name, '\\') >= 0 {
		return call, false
	}
	call.id, call.name = slices.Clone(call.id), string(name[1:len(name)-1]) // the line is the reader's
	return call, arguments == nil || json.Unmarshal(arguments, &call.arguments) == nil
}

// slot is a field that an object may have, and where its value goes.
type slot struct {
	name string
	at   *[]byte
}

// fields finds the fields of an object. It is false where there are others, and where one is there twice.
func fields(object []byte, known ...slot) bool {
	return plainjson.Fields(object, func(name, value []byte) bool {
		i := slices.IndexFunc(known, func(f slot) bool { return f.name == string(name) })
		if i < 0 || *known[i].at != nil {
			return false
		}
		*known[i].at = value
		return true
	})
}

// ownTools are a server's own tools, by name. They need nothing of what mcp-go puts into the context of a call without metadata; other tools may.
type ownTools map[string]mcpserver.ToolHandlerFunc

// toolsOf are the tools that s has now.
func toolsOf(s *mcpserver.MCPServer) ownTools {
	own := ownTools{}
	for name, tool := range s.ListTools() {
		own[name] = tool.Handler
	}
	return own
}

// answerPlain answers a plain call as mcp-go would, which reads every message five times and writes every result three times: together as much work as
// all that the server itself does for a short command. ok is false for messages that are left to mcp-go.
func answerPlain(ctx context.Context, own ownTools, line []byte) (answer []byte, ok bool) {
	call, ok := parsePlainCall(line)
	if !ok {
		return nil, false
	}
	return call.answer(ctx, own)
}

// answer calls the tool.
func (call *plainCall) answer(ctx context.Context, own ownTools) (answer []byte, ok bool) {
	name := undotted(call.name)
	tool := own[name]
	if tool == nil {
		return nil, false
	}
	var req mcp.CallToolRequest
	req.Method, req.Params.Name, req.Params.Arguments = string(mcp.MethodToolsCall), name, call.arguments
	r, err := recovered(ctx, tool, req)
	if err != nil {
		return encoded(mcp.JSONRPCError{JSONRPC: mcp.JSONRPC_VERSION, ID: rawID(call.id), Error: mcp.JSONRPCErrorDetails{Code: mcp.INTERNAL_ERROR, Message: err.Error()}}), true
	}
	if data, ok := plainAnswer(call.id, r); ok {
		return data, true
	}
	return encoded(mcp.NewJSONRPCResultResponse(rawID(call.id), r)), true
}

// encoded is a message as it is sent; an error in place of one that cannot be.
func encoded(message any) []byte {
	data, err := json.Marshal(message)
	if err != nil {
		data, _ = json.Marshal(mcp.NewJSONRPCError(mcp.NewRequestId(nil), mcp.INTERNAL_ERROR, err.Error(), nil))
	}
	return data
}

func rawID(raw json.RawMessage) (id mcp.RequestId) {
	_ = id.UnmarshalJSON(raw)
	return id
}

// recovered calls a tool and turns a panic, and no result, into an error, as mcp-go does.
func recovered(ctx context.Context, tool mcpserver.ToolHandlerFunc, req mcp.CallToolRequest) (r *mcp.CallToolResult, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic recovered in %s tool handler: %v", req.Params.Name, p)
		}
	}()
	if r, err = tool(ctx, req); r == nil && err == nil {
		err = fmt.Errorf("tool '%s' handler returned no result", req.Params.Name)
	}
	return r, err
}

// appendQuoted appends a text as a JSON string, without much ado where it is printable ASCII, as what result makes mostly is.
func appendQuoted(line []byte, text string) []byte {
	begin := len(line)
	line = append(line, '"')
	for i := range len(text) {
		switch c := text[i]; {
		case c < ' ' || c > '~':
			quoted, _ := json.Marshal(text) // a string never fails
			return append(line[:begin], quoted...)
		case c == '"' || c == '\\':
			line = append(line, '\\', c)
		default:
			line = append(line, c)
		}
	}
	return append(line, '"')
}

// plainAnswer is the message with a result whose one text is its structured content, as result makes it. ok is false for others.
func plainAnswer(id json.RawMessage, r *mcp.CallToolResult) (line []byte, ok bool) {
	if r == nil || len(r.Content) != 1 || len(r.RawStructuredContent) == 0 || r.Meta != nil || r.ResultType != "" {
		return nil, false
	}
	text, ok := r.Content[0].(mcp.TextContent)
	if !ok || text.Annotations != nil || text.Meta != nil {
		return nil, false
	}
	quotes := strings.Count(text.Text, `"`) + strings.Count(text.Text, `\`)
	line = make([]byte, 0, len(id)+len(text.Text)+quotes+len(r.RawStructuredContent)+128)
	line = append(append(append(line, `{"jsonrpc":"2.0","id":`...), id...), `,"result":{"content":[{"type":"text","text":`...)
	line = append(append(appendQuoted(line, text.Text), `}],"structuredContent":`...), r.RawStructuredContent...)
	if r.IsError {
		line = append(line, `,"isError":true`...)
	}
	return append(line, `}}`...), true
}
