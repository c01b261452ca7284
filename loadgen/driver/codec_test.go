package driver

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
)

func TestParseMessage(t *testing.T) {
	for _, tt := range []struct {
		name string
		line string
		want loadgen.Reply
	}{
		{"success", `{"jsonrpc":"2.0","id":5,"result":{"content":[{"type":"text","text":"{\"a\":\"}\\\"]\"}"}],` +
			`"structuredContent":{"success":true,"data":{"stdout":"x\u00e9\ud83d\ude00\n"},"metadata":{"error_code":"","timing":{"queue":0.5,"reused":true}}}}}`,
			loadgen.Reply{Data: map[string]any{"stdout": "xé😀\n"}, Timing: loadgen.Timing{Queue: 500 * time.Millisecond, Reused: true}}},
		{"backslash at the end", `{"id":5,"result":{"structuredContent":{"success":true,"data":{"dir":"c:\\","quote":"\\\""}}}}`,
			loadgen.Reply{Data: map[string]any{"dir": `c:\`, "quote": `\"`}}},
		{"any order", ` { "result" : { "isError" : false , "structuredContent" : { "metadata" : null , "data" : { } , "success" : true } } , "id" : 5 } `,
			loadgen.Reply{Data: map[string]any{}}},
		{"failure", `{"id":5,"result":{"isError":true,"structuredContent":{"success":false,"error":"no","metadata":{"error_code":"TIMEOUT"}}}}`,
			loadgen.Reply{Code: "TIMEOUT", Error: "no"}},
		{"failure without code", `{"id":5,"result":{"structuredContent":{"success":false,"error":{"why":1}}}}`,
			loadgen.Reply{Code: CodeTool, Error: `{"why":1}`}},
		{"failure as text", `{"id":5,"result":{"isError":true,"content":[{"type":"image"},{"type":"text","text":"it broke"}]}}`,
			loadgen.Reply{Code: CodeTool, Error: "it broke"}},
		{"other server", `{"id":5,"result":{"content":[],"structuredContent":{"temperature":21.5,"ok":true}}}`,
			loadgen.Reply{Data: map[string]any{"temperature": 21.5, "ok": true}}},
		{"text only", `{"id":5,"result":{"content":[{"type":"text","text":"hi"}]}}`, loadgen.Reply{Data: map[string]any{"text": "hi"}}},
		{"object as text", `{"id":5,"result":{"content":[{"type":"text","text":"{\"success\":true,\"data\":{\"a\":1}}"}]}}`, loadgen.Reply{Data: map[string]any{"a": 1.0}}},
		{"rpc error", `{"id":5,"error":{"code":-32602,"message":"unknown tool","data":{}}}`,
			loadgen.Reply{Code: CodeProtocol, Error: "unknown tool (JSON-RPC error -32602)"}},
		{"null error", `{"id":5,"error":null,"result":{}}`, loadgen.Reply{}},
		{"no object", `{"id":5,"result":[1]}`, loadgen.Reply{Code: CodeProtocol, Error: "the result is no object"}},
		{"absurd timing", `{"id":5,"result":{"structuredContent":{"success":true,"metadata":{"timing":{"queue":-1,"dial":1e300}}}}}`,
			loadgen.Reply{Timing: loadgen.Timing{Dial: 1e9 * time.Second}}},
	} {
		m, err := parseMessage([]byte(tt.line))
		if err != nil || m.id != 5 || !reflect.DeepEqual(m.reply, tt.want) {
			t.Errorf("%s: id %d %+v, %v, want %+v", tt.name, m.id, m.reply, err, tt.want)
		}
	}
	m, err := parseMessage([]byte(`{"jsonrpc":"2.0","id":"abc","method":"ping","params":{}}`))
	if err != nil || m.method != "ping" || string(m.rawID) != `"abc"` || m.id != -1 {
		t.Errorf("request: %+v, %v", m, err)
	}
}

func TestParseMessageErrors(t *testing.T) {
	for _, line := range []string{
		``, `x`, `[]`, `{`, `{"id"}`, `{"id":}`, `{"id":1`, `{"id":1,}`, `{"id":1} x`, `{"result":{"isError":"yes"}}`, `{"method":"\x"}`, `{"method":"\u12"}`,
		`{"method":"\uzzzz"}`, `{"method":"abc`, `{"a":` + strings.Repeat("[", 1000), `{"result":{"structuredContent":{"success":1}}}`,
		`{"result":{"structuredContent":{"metadata":{"timing":{"queue":"fast"}}}}}`, `{"result":{"structuredContent":{"data":nope}}}`,
	} {
		if _, err := parseMessage([]byte(line)); !errors.Is(err, errJSON) {
			t.Errorf("%.60q: %v", line, err)
		}
	}
}

// FuzzValue compares the scanner with encoding/json on everything that encoding/json accepts.
func FuzzValue(f *testing.F) {
	for _, s := range []string{
		`{"a":[1,2.5,-3e2,true,false,null,"x\u00e9\ud83d\ude00\ud800\n\\\"/\/"],"b":{},"c":[]}`, ` "\ud83d" `, `["\\","\\\\"]`, `0`, `-0.0`, `{"a":1,"a":2}`, `{"\u0061":1}`, `[[[]]]`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s := scanner{b: b}
		got, err := s.value()
		var want any
		if json.Unmarshal(b, &want) != nil || !utf8.Valid(b) {
			return
		}
		if err != nil {
			if !strings.Contains(err.Error(), "deep") {
				t.Fatalf("%q: %v", b, err)
			}
			return
		}
		if !reflect.DeepEqual(got, want) || s.next() != 0 {
			t.Fatalf("%q: %#v, want %#v", b, got, want)
		}
		skipper := scanner{b: b}
		if raw, err := skipper.skip(); err != nil || string(raw) != string(bytes.Trim(b, " \t\r\n")) {
			t.Fatalf("%q: skipped %q, %v", b, raw, err)
		}
	})
}

func FuzzParseMessage(f *testing.F) {
	f.Add(replyLine(f))
	f.Add([]byte(`{"id":5,"error":{"code":-32602,"message":"unknown tool"}}`))
	f.Add([]byte(`{"id":5,"result":{"isError":true,"content":[{"type":"text","text":"it broke"}]}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parseMessage(b)
		if err == nil && m.reply.Timing.Queue < 0 {
			t.Fatalf("%q: negative timing", b)
		}
	})
}

func FuzzURLIn(f *testing.F) {
	f.Add(`level=INFO msg=listening url=http://127.0.0.1:8080/mcp`)
	f.Add(`{"url":"http://127.0.0.1:9/mcp"}`)
	f.Fuzz(func(t *testing.T, line string) {
		if u, ok := urlIn(line); ok && (!strings.HasPrefix(u, "http") || strings.ContainsAny(u, "\" \t") || !strings.Contains(line, u)) {
			t.Fatalf("urlIn(%q) = %q", line, u)
		}
	})
}

func TestAppendCall(t *testing.T) {
	args := map[string]any{
		"s": "a\"\\\n\x00é\xff", "i": 1, "i64": int64(-2), "u": uint64(3), "f": 1.5, "whole": 1e15, "huge": 1e30, "b": false, "nil": nil,
		"l": []any{1, "x", []any{}}, "m": map[string]any{"k": map[string]any{}}, "typed": []string{"y"}, "u8": uint8(4),
	}
	line, err := newWire(ProtocolStateful).appendCall(nil, 42, loadgen.Call{Tool: "ssh_exec", Args: args})
	if err != nil {
		t.Fatal(err)
	}
	var got, want any
	if err := json.Unmarshal(line, &got); err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	data, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": 42, "method": "tools/call", "params": map[string]any{"name": "ssh_exec", "arguments": args}})
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &want); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) || bytes.Count(line, []byte("\n")) != 1 {
		t.Errorf("%s\nwant %s", line, data)
	}
	if _, err := newWire(ProtocolStateful).appendCall(nil, 1, loadgen.Call{Args: map[string]any{"nan": math.NaN()}}); err == nil {
		t.Error("NaN was encoded")
	}
	if line := appendCancel(nil, 7, `it's "over"`); !json.Valid(line) {
		t.Errorf("%s", line)
	}
}

// TestConn plays a server by hand.
func TestConn(t *testing.T) {
	in, serverOut := io.Pipe()
	serverIn, out := io.Pipe()
	c := newConn(in, out, newWire(ProtocolStateful), func(err error) error { return err })
	fromClient := make(chan map[string]any, 10)
	go func() {
		dec := json.NewDecoder(serverIn)
		for {
			var m map[string]any
			if dec.Decode(&m) != nil {
				close(fromClient)
				return
			}
			fromClient <- m
		}
	}()
	say := func(format string, args ...any) { fmt.Fprintf(serverOut, format+"\n", args...) }

	say(`{"jsonrpc":"2.0","id":"p1","method":"ping"}`)
	if m := <-fromClient; m["id"] != "p1" || m["result"] == nil {
		t.Errorf("ping was answered %v", m)
	}
	say(`{"jsonrpc":"2.0","id":9,"method":"sampling/createMessage"}`)
	if m := <-fromClient; m["error"] == nil {
		t.Errorf("an unknown request was answered %v", m)
	}
	say(`{"jsonrpc":"2.0","method":"notifications/message"}` + "\n\n" + `{"jsonrpc":"2.0","id":999,"result":{}}`)

	if _, err := c.call(t.Context(), loadgen.Call{Args: map[string]any{"bad": math.Inf(1)}}); err == nil {
		t.Error("an argument that cannot be encoded gave no error")
	}
	replies := make(chan error, 2)
	go func() {
		r, err := c.call(t.Context(), loadgen.Call{Tool: "x"})
		if err == nil && r.Data["v"] != 1.0 {
			err = fmt.Errorf("reply %+v", r)
		}
		replies <- err
	}()
	m := <-fromClient
	say(`{"id":%v,"result":{"structuredContent":{"v":1}}}`, m["id"])
	if err := <-replies; err != nil {
		t.Error(err)
	}
	go func() {
		_, err := c.call(t.Context(), loadgen.Call{Tool: "x"})
		replies <- err
	}()
	<-fromClient
	fmt.Fprint(serverOut, `{"id":`)
	serverOut.Close()
	if err := <-replies; !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a half message at the end gave %v", err)
	}
	if _, err := c.call(t.Context(), loadgen.Call{}); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a call afterwards gave %v", err)
	}
	out.Close()
	c.wait()
	for range fromClient {
		t.Error("the client wrote more")
	}
}

func TestTail(t *testing.T) {
	var lines []string
	var also bytes.Buffer
	tl := &tail{also: &also, line: func(s string) { lines = append(lines, s) }}
	for i := range 10 {
		fmt.Fprintf(tl, "line %d\nha", i)
	}
	if got := tl.last(); !strings.HasSuffix(got, "\thaline 9\n\tha") || strings.Contains(got, "line 5") {
		t.Errorf("last words %q", got)
	}
	if len(lines) != 10 || lines[1] != "haline 1" || also.Len() == 0 {
		t.Errorf("lines %q", lines)
	}
	_, _ = tl.Write(bytes.Repeat([]byte("x"), 100<<10))
	if len(tl.kept) != tailBytes || len(tl.part) > tailBytes {
		t.Errorf("kept %d and %d bytes", len(tl.kept), len(tl.part))
	}
}
