package gateway

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// cut ends the connection of a request as a crash does, after some of the answer.
func cut(answer string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		rw.WriteString(answer)
		rw.Flush()
		c.Close()
	}
}

func TestServerLostMidCall(t *testing.T) {
	for name, answer := range map[string]string{
		"before the answer":   "",
		"in the head":         "HTTP/1.1 200 OK\r\nContent-",
		"in the body":         "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"jsonrpc\"",
		"in a chunk":          "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n20\r\n{\"jsonrpc\"",
		"between chunks":      "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
		"after a 100":         "HTTP/1.1 100 Continue\r\n\r\n",
		"with what is no MCP": "nonsense\r\n\r\n",
	} {
		for wire, header := range map[string][]string{"older": nil, "newer": modern} {
			t.Run(name+", "+wire, func(t *testing.T) {
				a, b := newFake(t), newFake(t)
				a.answer(cut(answer))
				b.answer(cut(answer))
				f := newFront(t, nil, a, b)
				if wire == "older" {
					header = []string{"Mcp-Session-Id", f.session()}
				}
				got := f.post(strings.Replace(call, `"id":7`, `"id":"x-9"`, 1), header...)
				if got.status != 200 || got.header.Get("Content-Type") != "application/json" || got.header.Get("Openaccess-Gateway") != "outcome-unknown" {
					t.Errorf("got %+v", got)
				}
				unknownResult(t, got.body, `"x-9"`)
				if strings.Contains(got.body, `"resultType":"complete"`) != (wire == "newer") {
					t.Errorf("the newer wire wants a resultType: %s", got.body)
				}
				if n := a.calls.Load() + b.calls.Load(); n != 1 {
					t.Errorf("the call ran %d times", n)
				}
				if s := f.Status(); s.Unknown != 1 {
					t.Errorf("status %+v", s)
				}
			})
		}
	}
}

const streamHead = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"

func chunk(s string) string { return fmt.Sprintf("%x\r\n%s\r\n", len(s), s) }

const progress = "event: message\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{\"progressToken\":7}}\n\n"

func TestServerLostMidStream(t *testing.T) {
	for name, answer := range map[string]string{
		"after the head":       streamHead,
		"after an event":       streamHead + chunk(progress),
		"in an event":          streamHead + chunk(progress) + chunk("event: message\ndata: {\"jsonrpc\":\"2.0\",\"id\":7,\"resu"),
		"ended in good order":  streamHead + chunk(progress) + "0\r\n\r\n",
		"ended before a blank": streamHead + chunk("data: {\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{}}\n") + "0\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			a, b := newFake(t), newFake(t)
			a.answer(cut(answer))
			b.answer(cut(answer))
			f := newFront(t, nil, a, b)
			got := f.post(call, modern...)
			events := strings.Split(strings.TrimSuffix(strings.TrimPrefix(got.body, progress), "\n\n"), "\n")
			if len(events) != 2 || events[0] != "event: message" || !strings.HasPrefix(events[1], "data: ") {
				t.Fatalf("got %q", got.body)
			}
			unknownResult(t, strings.TrimPrefix(events[1], "data: "), "7")
			if strings.Contains(got.body, progress) != strings.Contains(answer, "progress") {
				t.Errorf("the progress before was not passed on: %q", got.body)
			}
			if n := a.calls.Load() + b.calls.Load(); n != 1 {
				t.Errorf("the call ran %d times", n)
			}
		})
	}
}

// TestStreamThatMayBeLeft has streams that are whole as they are.
func TestStreamThatMayBeLeft(t *testing.T) {
	response := "event: message\ndata: {\"jsonrpc\":\"2.0\",\"id\":7,\ndata: \"result\":{\"method\":1}}\n\n"
	for name, tc := range map[string]struct{ answer, want string }{
		"answered and ended":  {streamHead + chunk(progress) + chunk(response) + "0\r\n\r\n", progress + response},
		"answered and lost":   {streamHead + chunk(response), response},
		"an error, and ended": {streamHead + chunk("data: {\"error\":{},\"id\":7}\r\n\r\n") + "0\r\n\r\n", "data: {\"error\":{},\"id\":7}\r\n\r\n"},
		"to be resumed":       {streamHead + chunk("id: 4\ndata:\n\n") + "0\r\n\r\n", "id: 4\ndata:\n\n"},
	} {
		t.Run(name, func(t *testing.T) {
			a := newFake(t)
			a.answer(cut(tc.answer))
			f := newFront(t, nil, a)
			if got := f.post(call, modern...); got.body != tc.want || f.Status().Unknown != 0 {
				t.Errorf("got %q, want %q", got.body, tc.want)
			}
		})
	}
}

func TestRepeatsWhatChangesNothing(t *testing.T) {
	a, b := newFake(t), newFake(t)
	a.answer(cut(""))
	f := newFront(t, slowProbes, a, b)
	got := f.post(list, modern...)
	if got.status != 200 || !strings.Contains(got.body, `"from":"`+b.addr) || a.calls.Load() != 1 {
		t.Errorf("got %+v after %d calls", got, a.calls.Load())
	}
	b.answer(cut(""))
	got = f.post(list, modern...)
	if got.status != 200 || !strings.Contains(got.body, `"id":7`) || !strings.Contains(got.body, `-32603`) || a.calls.Load()+b.calls.Load() != 4 {
		t.Errorf("lost twice: %+v after %d calls", got, a.calls.Load()+b.calls.Load())
	}
}

func TestRepeatsAtTheSessionsServerOnly(t *testing.T) {
	a, b := newFake(t), newFake(t)
	f := newFront(t, slowProbes, a, b)
	id := f.session()
	a.answer(func(w http.ResponseWriter, r *http.Request) {
		a.kill()
		cut("")(w, r)
	})
	if got := f.post(list, "Mcp-Session-Id", id); got.status != 404 || b.calls.Load() != 0 {
		t.Errorf("a list that was lost with its session: %+v", got)
	}
}

func TestOtherMessagesThatAreLost(t *testing.T) {
	a, b := newFake(t), newFake(t)
	a.answer(cut(""))
	b.answer(cut(""))
	f := newFront(t, slowProbes, a, b)
	id := f.session()
	for i, tc := range []struct {
		method, body string
		status       int
		text         string
	}{
		{http.MethodPost, `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":3}}`, 502, "lost"},
		{http.MethodPost, `{"jsonrpc":"2.0","id":9,"method":"logging/setLevel","params":{"level":"debug"}}`, 200, `"code":-32603`},
		{http.MethodPost, `{"jsonrpc":"2.0","id":9,"method":"logging/setLevel","params":[1]}`, 200, `"id":9`},
		{http.MethodPost, `{"jsonrpc":"2.0","id":9,"result":{}}`, 502, "lost"},
		{http.MethodPost, `nonsense`, 502, "lost"},
		{http.MethodDelete, "", 404, "session"},
	} {
		got := f.do(tc.method, tc.body, "Mcp-Session-Id", id)
		if got.status != tc.status || !strings.Contains(got.body, tc.text) {
			t.Errorf("%s %s: %+v", tc.method, tc.body, got)
		}
		if n := a.calls.Load() + b.calls.Load(); n != int64(i+1) {
			t.Fatalf("%s %s: sent %d times", tc.method, tc.body, n-int64(i))
		}
	}
}
