package driver

import (
	"cmp"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/mark3labs/mcp-go/mcp"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
)

// Codes for failures that a server reports outside of its envelope.
const (
	CodeProtocol = "JSONRPC_ERROR" // the server answered with a JSON-RPC error, such as for an unknown tool
	CodeTool     = "TOOL_ERROR"    // the tool failed and gave no error_code
)

// message is a JSON-RPC message from the server.
type message struct {
	id     int64 // of a response; −1 when it has none or one that is not ours
	rawID  []byte
	method string        // of a request or notification, "" for a response
	result []byte        // of a response
	reply  loadgen.Reply // result as that of a tool
	token  int64         // of a progress notification; −1 when it has none or one that is not ours
}

// parseMessage reads one message. result and rawID share b's memory.
func parseMessage(b []byte) (m message, err error) {
	m.id, m.token = -1, -1
	var params []byte
	s := scanner{b: b}
	err = s.object(func(key []byte) error {
		var err error
		switch string(key) {
		case "id":
			if m.rawID, err = s.skip(); err == nil {
				if id, err := strconv.ParseInt(string(m.rawID), 10, 64); err == nil {
					m.id = id
				}
			}
		case "method":
			m.method, err = s.str()
		case "params":
			params, err = s.skip()
		case "error":
			m.reply, err = s.rpcError()
		case "result":
			start := s.i
			m.reply, err = s.toolResult()
			m.result = s.b[start:s.i]
		default:
			_, err = s.skip()
		}
		return err
	})
	if err == nil && s.next() != 0 {
		err = fmt.Errorf("%w: more than one value", errJSON)
	}
	if err == nil && m.method == string(mcp.MethodNotificationProgress) {
		m.token, err = progressToken(params)
	}
	return m, err
}

// progressToken finds the token in a progress notification's parameters.
func progressToken(params []byte) (token int64, err error) {
	s := scanner{b: params}
	token = -1
	if s.next() != '{' {
		return token, nil
	}
	err = s.object(func(key []byte) error {
		raw, err := s.skip()
		if string(key) == "progressToken" {
			if n, err := strconv.ParseInt(string(raw), 10, 64); err == nil {
				token = n
			}
		}
		return err
	})
	return token, err
}

func (s *scanner) rpcError() (r loadgen.Reply, err error) {
	if s.next() != '{' { // null
		_, err = s.skip()
		return r, err
	}
	var code float64
	err = s.object(func(key []byte) error {
		var err error
		switch string(key) {
		case "code":
			code, err = s.number()
		case "message":
			r.Error, err = s.str()
		default:
			_, err = s.skip()
		}
		return err
	})
	r.Code, r.Error = CodeProtocol, rpcMessage(r.Error, int(code))
	return r, err
}

func rpcMessage(msg string, code int) string { return fmt.Sprintf("%s (JSON-RPC error %d)", msg, code) }

// toolResult decodes the envelope in structuredContent. The text content is read only where there is none, and where a failure says no more.
func (s *scanner) toolResult() (loadgen.Reply, error) {
	var r loadgen.Reply
	var content []byte
	failed, structured := false, false
	if s.next() != '{' {
		_, err := s.skip()
		return loadgen.Reply{Code: CodeProtocol, Error: "the result is no object"}, err
	}
	err := s.object(func(key []byte) error {
		var err error
		switch string(key) {
		case "structuredContent":
			structured = true
			r, err = s.envelope()
		case "isError":
			failed, err = s.boolean()
		case "content":
			content, err = s.skip()
		default:
			_, err = s.skip()
		}
		return err
	})
	if err != nil || structured && !(failed && r.Code == "") {
		return r, err
	}
	text := firstText(content)
	if !structured {
		r = textReply(text)
	}
	if failed && r.Code == "" {
		r = loadgen.Reply{Code: CodeTool, Error: cmp.Or(r.Error, text), Timing: r.Timing}
	}
	return r, nil
}

// textReply reads the result of a tool that gives text alone: a JSON object is taken as structured content would be, any other text is the
// field "text".
func textReply(text string) loadgen.Reply {
	s := scanner{b: []byte(text)}
	if s.next() == '{' {
		if r, err := s.envelope(); err == nil && s.next() == 0 {
			return r
		}
	}
	if text == "" {
		return loadgen.Reply{}
	}
	return loadgen.Reply{Data: map[string]any{"text": text}}
}

// envelope decodes {success, data, error, metadata}. The structured content of a server without the envelope is Data as a whole.
func (s *scanner) envelope() (r loadgen.Reply, err error) {
	if s.next() != '{' {
		_, err = s.skip()
		return r, err
	}
	start, enveloped, success := s.i, false, false
	err = s.object(func(key []byte) error {
		var err error
		switch string(key) {
		case "success":
			enveloped = true
			success, err = s.boolean()
		case "data":
			var v any
			v, err = s.value()
			r.Data, _ = v.(map[string]any)
		case "error":
			r.Error, err = s.text()
		case "metadata":
			err = s.metadata(&r)
		default:
			_, err = s.skip()
		}
		return err
	})
	switch {
	case err != nil:
		return r, err
	case !enveloped:
		v, err := (&scanner{b: s.b, i: start}).value()
		data, _ := v.(map[string]any)
		return loadgen.Reply{Data: data}, err
	case success:
		r.Code, r.Error = "", ""
	case r.Code == "":
		r.Code = CodeTool
	}
	return r, nil
}

// text reads a string, and anything else as its JSON text; null is empty.
func (s *scanner) text() (string, error) {
	if s.next() == '"' {
		return s.str()
	}
	raw, err := s.skip()
	if string(raw) == "null" {
		return "", err
	}
	return string(raw), err
}

func (s *scanner) metadata(r *loadgen.Reply) error {
	if s.next() != '{' {
		_, err := s.skip()
		return err
	}
	return s.object(func(key []byte) error {
		var err error
		switch string(key) {
		case "error_code":
			r.Code, err = s.text()
		case "timing":
			err = s.timing(&r.Timing)
		default:
			_, err = s.skip()
		}
		return err
	})
}

func (s *scanner) timing(t *loadgen.Timing) error {
	if s.next() != '{' {
		_, err := s.skip()
		return err
	}
	return s.object(func(key []byte) error {
		var err error
		switch string(key) {
		case "queue":
			t.Queue, err = s.seconds()
		case "dial":
			t.Dial, err = s.seconds()
		case "channel":
			t.Channel, err = s.seconds()
		case "remote":
			t.Remote, err = s.seconds()
		case "reused":
			t.Reused, err = s.boolean()
		default:
			_, err = s.skip()
		}
		return err
	})
}

func (s *scanner) seconds() (time.Duration, error) {
	v, err := s.number()
	return time.Duration(math.Round(min(max(v, 0), 1e9) * float64(time.Second))), err
}

// firstText is the first text in a result's content.
func firstText(content []byte) (text string) {
	s := scanner{b: content}
	if s.next() != '[' {
		return ""
	}
	_ = s.sequence('[', ']', func() error {
		v, err := s.value()
		if m, ok := v.(map[string]any); ok && text == "" {
			text, _ = m["text"].(string)
		}
		return err
	})
	return text
}
