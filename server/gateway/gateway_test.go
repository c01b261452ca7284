package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/access"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a server: it makes sessions as older ones do, and answers every other message with handle.
type fake struct {
	t      *testing.T
	srv    *http.Server
	addr   string
	calls  atomic.Int64 // messages that reached handle
	ready  atomic.Int64 // status of /readyz; 0 is 404
	handle atomic.Pointer[http.HandlerFunc]

	mu   sync.Mutex
	seen []*http.Request // with their bodies read
	body []string
}

func newFake(t *testing.T) *fake {
	f := &fake{t: t}
	f.ready.Store(200)
	f.answer(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"jsonrpc":"2.0","id":7,"result":{"from":"`+f.addr+`"}}`)
	})
	f.listen("127.0.0.1:0")
	t.Cleanup(f.kill)
	return f
}

func (f *fake) answer(h http.HandlerFunc) { f.handle.Store(&h) }

func (f *fake) listen(addr string) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		f.t.Fatal(err)
	}
	f.addr = l.Addr().String()
	f.srv = &http.Server{Handler: http.HandlerFunc(f.serve), ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}
	go f.srv.Serve(l)
}

// kill cuts every connection and listens no more.
func (f *fake) kill() { f.srv.Close() }

func (f *fake) serve(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/readyz" {
		if s := int(f.ready.Load()); s != 0 {
			w.WriteHeader(s)
			return
		}
		http.NotFound(w, r)
		return
	}
	body, _ := io.ReadAll(r.Body)
	f.mu.Lock()
	f.seen, f.body = append(f.seen, r), append(f.body, string(body))
	f.mu.Unlock()
	if bytes.Contains(body, []byte(`"initialize"`)) && f.ready.Load() != 1 {
		w.Header().Set("Mcp-Session-Id", "session-at-"+f.addr)
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"jsonrpc":"2.0","id":1,"result":{}}`)
		return
	}
	f.calls.Add(1)
	(*f.handle.Load())(w, r)
}

// last is the last message that came, with its body.
func (f *fake) last() (*http.Request, string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.seen[len(f.seen)-1], f.body[len(f.body)-1]
}

// front is a gateway under test.
type front struct {
	*Gateway
	t    *testing.T
	url  string
	log  *syncBuffer
	http *http.Client
}

// syncBuffer collects logs.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// newFront starts a gateway over fakes, with quick probes unless change says otherwise.
func newFront(t *testing.T, change func(*Config), fakes ...*fake) *front {
	t.Helper()
	f := &front{t: t, log: &syncBuffer{}, http: &http.Client{Transport: &http.Transport{}}}
	cfg := Config{ProbeInterval: 0.01, ProbeTimeout: 5, Strategy: RoundRobin, Logger: slog.New(slog.NewTextHandler(f.log, nil))}
	for _, b := range fakes {
		cfg.Backends = append(cfg.Backends, Backend{URL: "http://" + b.addr})
	}
	if change != nil {
		change(&cfg)
	}
	g, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	f.Gateway = g
	g.start(context.Background())
	srv := httptest.NewServer(g.handler(unguarded))
	f.url = srv.URL + "/mcp"
	t.Cleanup(func() {
		f.http.CloseIdleConnections()
		srv.CloseClientConnections()
		srv.Close()
		g.stop()
	})
	return f
}

// slowProbes leaves what is known of the servers to the calls.
func slowProbes(c *Config) { c.ProbeInterval = 3600 }

type reply struct {
	status int
	header http.Header
	body   string
}

// do sends a request with headers given as name and value in turn.
func (f *front) do(method, body string, header ...string) reply {
	f.t.Helper()
	resp, err := f.http.Do(f.request(f.t.Context(), method, body, header...))
	if err != nil {
		f.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	return reply{resp.StatusCode, resp.Header, string(b)}
}

func (f *front) request(ctx context.Context, method, body string, header ...string) *http.Request {
	f.t.Helper()
	var r io.Reader
	if body != "" {
		r = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, f.url, r)
	if err != nil {
		f.t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
		if header[i] == "Host" {
			req.Host = header[i+1]
		}
	}
	return req
}

func (f *front) post(body string, header ...string) reply {
	f.t.Helper()
	return f.do(http.MethodPost, body, header...)
}

// session begins a session of the older wire.
func (f *front) session() (id string) {
	f.t.Helper()
	got := f.post(initialize)
	if id = got.header.Get("Mcp-Session-Id"); got.status != 200 || id == "" {
		f.t.Fatalf("initialize: %+v", got)
	}
	return id
}

const (
	initialize = `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`
	call       = `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"ssh_exec","arguments":{"profile_id":"web-01","command":"reboot","caller":"me"}}}`
	list       = `{"jsonrpc":"2.0","id":7,"method":"tools/list"}`
)

// modern are the headers of the newer wire.
var modern = []string{"Mcp-Protocol-Version", "2026-07-28", "Mcp-Method", "tools/call", "Mcp-Name", "ssh_exec"}

func waitUntil(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("still waiting until %s", what)
		}
	}
}

func (f *front) awaitState(b *fake, want State) {
	f.t.Helper()
	waitUntil(f.t, b.addr+" is "+string(want), func() bool { return f.of(b).State == want })
}

// of is the status of one server.
func (f *front) of(b *fake) BackendStatus {
	for _, s := range f.Status().Backends {
		if strings.Contains(s.URL, b.addr) {
			return s
		}
	}
	f.t.Fatalf("%s has no status", b.addr)
	return BackendStatus{}
}

// unknown checks a result that says the outcome is unknown, for the call with this id.
func unknownResult(t *testing.T, message, id string) {
	t.Helper()
	var m struct {
		JSONRPC string          `json:"jsonrpc"`
		ID      json.RawMessage `json:"id"`
		Result  struct {
			IsError    bool                    `json:"isError"`
			Content    []struct{ Text string } `json:"content"`
			Structured struct {
				Success  *bool  `json:"success"`
				Error    string `json:"error"`
				Metadata struct {
					Code    string          `json:"error_code"`
					Profile string          `json:"profile_id"`
					Actor   string          `json:"actor"`
					Caller  string          `json:"caller"`
					Timing  json.RawMessage `json:"timing"`
				} `json:"metadata"`
			} `json:"structuredContent"`
		} `json:"result"`
	}
	if err := json.Unmarshal([]byte(message), &m); err != nil {
		t.Fatalf("%v: %s", err, message)
	}
	meta := m.Result.Structured.Metadata
	if m.JSONRPC != "2.0" || string(m.ID) != id || !m.Result.IsError || m.Result.Structured.Success == nil || *m.Result.Structured.Success ||
		meta.Code != "OUTCOME_UNKNOWN" || meta.Profile != "web-01" || meta.Caller != "me" || meta.Actor == "" || meta.Timing == nil ||
		len(m.Result.Content) != 1 || !strings.Contains(m.Result.Content[0].Text, "OUTCOME_UNKNOWN") {
		t.Errorf("got %s", message)
	}
}

// unguarded lets this machine's processes in.
var unguarded, _ = access.Open(access.Config{})
