package driver

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mark3labs/mcp-go/server"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
)

func TestHTTPS(t *testing.T) {
	handler := server.NewStreamableHTTPServer(fixtureServer("", nil), server.WithStateful(true))
	web := httptest.NewTLSServer(handler)
	defer web.Close()
	roots := x509.NewCertPool()
	roots.AddCert(web.Certificate())
	for _, protocol := range []string{ProtocolStateful, ProtocolStateless} {
		d, err := HTTP(t.Context(), HTTPConfig{Client: Client{Protocol: protocol}, URL: web.URL + "/mcp", RootCAs: roots})
		if err != nil {
			t.Fatal(err)
		}
		s := session(t, d)
		if r := call(t, s, loadgen.Call{Tool: "big", Args: map[string]any{"n": 300000}}); r.Data["stdout"] != bigText(300000) {
			t.Errorf("%s: %.100v", protocol, r)
		}
		ctx, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer stop()
		if _, err := s.Call(ctx, loadgen.Call{Tool: "block"}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", protocol, err)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := HTTP(t.Context(), HTTPConfig{URL: web.URL + "/mcp"}); !errors.Is(err, ErrServerStart) || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("an unknown authority gave %v", err)
	}
}

// answers plays a stateless server: discovery works, and a call is answered as its tool's name says.
func answers(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	m, err := parseMessage(body)
	if err != nil || r.Header.Get("Mcp-Protocol-Version") != ProtocolStateless || r.Header.Get("Mcp-Method") != m.method {
		http.Error(w, "headers do not fit", http.StatusBadRequest)
		return
	}
	ok := fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":{"structuredContent":{"v":1}}}`, m.rawID)
	stream := func(text string) {
		w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
		io.WriteString(w, text)
	}
	switch name := r.Header.Get("Mcp-Name"); {
	case m.method == "server/discover":
		fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":{"supportedVersions":[%q]}}`, m.rawID, ProtocolStateless)
	case name == "rpc":
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprintf(w, `{"jsonrpc":"2.0","id":null,"error":{"code":-32020,"message":"header mismatch"}}`)
	case name == "status":
		http.Error(w, "try later", http.StatusServiceUnavailable)
	case name == "empty":
		w.WriteHeader(http.StatusAccepted)
	case name == "garbage":
		io.WriteString(w, "<html>")
	case name == "other":
		io.WriteString(w, `{"jsonrpc":"2.0","id":123456,"result":{}}`)
	case name == "stream":
		stream(": hello\r\nevent: message\r\nid: 7\r\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\"}\r\n\r\ndata:" +
			strings.Replace(ok, ",", ",\ndata: ", 1) + "\n\n")
	case name == "open-stream": // which does not end with the response
		stream("data: " + ok + "\n\n")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	case name == "cut-stream":
		stream("data: {}\n\ndata: " + ok)
	case name == "bad-event":
		stream("data: nope\n\n")
	case name == "=?base64?w6TDtg==?=": // äö
		io.WriteString(w, ok)
	default:
		w.Header().Set("Connection", "close")
		io.WriteString(w, ok)
	}
}

func TestHTTPAnswers(t *testing.T) {
	web := httptest.NewServer(http.HandlerFunc(answers))
	defer web.Close()
	d, err := HTTP(t.Context(), HTTPConfig{Client: Client{Protocol: ProtocolStateless}, URL: web.URL})
	if err != nil {
		t.Fatal(err)
	}
	s := session(t, d)
	for range 2 { // whatever came before leaves the session usable
		for tool, want := range map[string]string{
			"rpc": "", "stream": "", "open-stream": "", "close": "", "äö": "",
			"status": "503 Service Unavailable: try later", "empty": "without a response", "garbage": "no JSON-RPC message",
			"other": "no response to request", "cut-stream": "without a response", "bad-event": "no JSON-RPC message",
		} {
			r, err := s.Call(t.Context(), loadgen.Call{Tool: tool})
			switch {
			case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
				t.Errorf("%s: %v, want %s", tool, err, want)
			case tool == "rpc" && (err != nil || r.Code != CodeProtocol):
				t.Errorf("rpc: %+v, %v", r, err)
			case tool != "rpc" && want == "" && (err != nil || r.Data["v"] != 1.0):
				t.Errorf("%s: %+v, %v", tool, r, err)
			}
		}
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}

// TestHTTPIdleConnection has the server close a connection while it is idle.
func TestHTTPIdleConnection(t *testing.T) {
	var conns atomic.Int64
	web := httptest.NewUnstartedServer(http.HandlerFunc(answers))
	web.Config.IdleTimeout = 20 * time.Millisecond
	web.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateClosed {
			conns.Add(1)
		}
	}
	web.Start()
	defer web.Close()
	d, err := HTTP(t.Context(), HTTPConfig{Client: Client{Protocol: ProtocolStateless}, URL: web.URL})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	s := session(t, d)
	for conns.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(checkAfter)
	if _, err := s.Call(t.Context(), loadgen.Call{Tool: "stream"}); err != nil {
		t.Error(err)
	}
}

func TestHTTPConfigErrors(t *testing.T) {
	for name, tt := range map[string]struct {
		cfg  HTTPConfig
		want string
	}{
		"no host":   {HTTPConfig{URL: "http:///mcp"}, "names no host"},
		"scheme":    {HTTPConfig{URL: "ftp://h/mcp"}, "neither http nor https"},
		"no URL":    {HTTPConfig{URL: "http://[::1"}, "missing ']'"},
		"header":    {HTTPConfig{URL: "http://h/mcp", Headers: map[string]string{"a": "b\r\nc"}}, "cannot be sent"},
		"protocol":  {HTTPConfig{URL: "http://h/mcp", Client: Client{Protocol: "1"}}, `protocol "1" is not known`},
		"sessions":  {HTTPConfig{URL: "http://h/mcp", Client: Client{Sessions: "many"}}, `sessions "many" is not known`},
		"read rate": {HTTPConfig{URL: "http://h/mcp", Client: Client{ReadRate: -1}}, "negative"},
	} {
		if _, err := HTTP(t.Context(), tt.cfg); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %s", name, err, tt.want)
		}
	}
}

// TestSlowReader sees the server held up, which buffers alone would not do.
func TestSlowReader(t *testing.T) {
	var done atomic.Bool
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Mcp-Name") == "" {
			answers(w, r)
			return
		}
		for range 64 {
			if _, err := w.Write(make([]byte, 1<<20)); err != nil {
				return
			}
		}
		done.Store(true)
	}))
	defer web.Close()
	d, err := HTTP(t.Context(), HTTPConfig{Client: Client{Protocol: ProtocolStateless, ReadRate: 100_000}, URL: web.URL})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer stop()
	if _, err := session(t, d).Call(ctx, loadgen.Call{Tool: "x"}); !errors.Is(err, context.DeadlineExceeded) || done.Load() {
		t.Errorf("%v, all written: %v", err, done.Load())
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	n, err := throttled(strings.NewReader("0123456789"), 40).Read(make([]byte, 10))
	if n != 2 || err != nil {
		t.Errorf("read %d bytes at once, %v", n, err)
	}
}

func FuzzEvents(f *testing.F) {
	f.Add("data: a\ndata:b\n\n: c\r\nid: 1\r\ndata\r\n\r\ndata: d\r\n\r\n")
	f.Add(strings.Repeat("data: x", 2000) + "\n\n")
	f.Fuzz(func(t *testing.T, text string) {
		e := newEvents(strings.NewReader(text))
		total := 0
		for {
			b, err := e.next()
			if err != nil {
				if !errors.Is(err, io.EOF) {
					t.Fatal(err)
				}
				return
			}
			if total += len(b); total > len(text) {
				t.Fatalf("%q gave %d bytes", text, total)
			}
		}
	})
}

func TestEvents(t *testing.T) {
	e := newEvents(strings.NewReader("data: a\ndata:b\n\n: c\r\nid: 1\r\n\r\ndata: " + strings.Repeat("x", 10000) + "\r\n\r\ndata: cut"))
	for _, want := range []string{"a\nb", strings.Repeat("x", 10000)} {
		if b, err := e.next(); err != nil || string(b) != want {
			t.Errorf("%q, %v, want %q", b, err, want)
		}
	}
	if b, err := e.next(); !errors.Is(err, io.EOF) {
		t.Errorf("%q, %v", b, err)
	}
}
