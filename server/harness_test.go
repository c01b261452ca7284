package server

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fixture is a fake host, a server whose profile "fake" names it, and the folder of its files.
type fixture struct {
	host   *fakessh.Host
	server *Server
	dir    string
}

// start makes a fixture. edit may change the profile's files before the server reads them.
func start(t testing.TB, opts fakessh.Options, edit func(f *fixture)) *fixture {
	t.Helper()
	f := &fixture{host: fakessh.Start(opts), dir: t.TempDir()}
	t.Cleanup(func() {
		if err := f.host.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := f.host.WriteProfile(f.dir, "fake", f.dir); err != nil {
		t.Fatal(err)
	}
	if edit != nil {
		edit(f)
	}
	var err error
	if f.server, err = New(Config{Profiles: filepath.Join(f.dir, "profiles"), Secrets: filepath.Join(f.dir, "secrets")}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.server.Close)
	return f
}

// profile writes the profile id, made of "fake" with some fields changed.
func (f *fixture) profile(t testing.TB, id string, change func(p map[string]any)) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(f.dir, "profiles/fake.json"))
	if err != nil {
		t.Fatal(err)
	}
	var p map[string]any
	if err := json.Unmarshal(data, &p); err != nil {
		t.Fatal(err)
	}
	p["id"] = id
	change(p)
	if data, err = json.Marshal(p); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(f.dir, "profiles", id+".json"), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// client is a raw line client of the stdio transport.
type client struct {
	t    *testing.T
	in   *io.PipeWriter
	done chan error // Run's result

	mu      sync.Mutex
	nextID  int
	pending map[int]chan message
}

type message struct {
	ID     int             `json:"id"`
	Result json.RawMessage `json:"result"`
	Error  *struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
}

// connect runs the server over two pipes and shakes hands.
func (f *fixture) connect(ctx context.Context, t *testing.T) *client {
	t.Helper()
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	c := &client{t: t, in: inW, done: make(chan error, 1), pending: map[int]chan message{}}
	go func() {
		err := f.server.Run(ctx, Stdio(inR, outW))
		inR.Close()
		outW.Close()
		c.done <- err
	}()
	go c.read(outR)
	t.Cleanup(func() { inW.Close() })
	c.request("initialize", map[string]any{
		"protocolVersion": "2025-11-25", "capabilities": map[string]any{}, "clientInfo": map[string]any{"name": "test", "version": "1"},
	})
	c.notify("notifications/initialized", nil)
	return c
}

func (c *client) read(out io.Reader) {
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			break
		}
		var m message
		if err := json.Unmarshal(line, &m); err != nil {
			c.t.Errorf("not JSON on standard output: %q", line)
			continue
		}
		c.mu.Lock()
		if ch := c.pending[m.ID]; ch != nil {
			ch <- m
			delete(c.pending, m.ID)
		}
		c.mu.Unlock()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, ch := range c.pending {
		close(ch)
	}
	c.pending = nil
}

func (c *client) write(v any) {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	if _, err := c.in.Write(append(data, '\n')); err != nil {
		c.t.Logf("write: %v", err)
	}
}

func (c *client) notify(method string, params any) {
	c.write(map[string]any{"jsonrpc": "2.0", "method": method, "params": params})
}

// send starts a request.
func (c *client) send(method string, params any) (id int, answer <-chan message) {
	ch := make(chan message, 1)
	c.mu.Lock()
	c.nextID++
	id = c.nextID
	if c.pending == nil {
		close(ch)
	} else {
		c.pending[id] = ch
	}
	c.mu.Unlock()
	c.write(map[string]any{"jsonrpc": "2.0", "id": id, "method": method, "params": params})
	return id, ch
}

func (c *client) request(method string, params any) message {
	c.t.Helper()
	_, ch := c.send(method, params)
	return c.await(ch)
}

func (c *client) await(ch <-chan message) message {
	c.t.Helper()
	select {
	case m, ok := <-ch:
		if !ok {
			c.t.Error("the server ended before it answered")
		}
		return m
	case <-time.After(30 * time.Second):
		c.t.Error("no answer within 30 s")
		return message{}
	}
}

// args is what a test gives a tool.
type args map[string]any

// call calls a tool and decodes its envelope.
func (c *client) call(tool string, a args) envelope {
	c.t.Helper()
	return c.envelope(c.request("tools/call", map[string]any{"name": tool, "arguments": a}))
}

// envelope is a decoded Envelope of any tool.
type envelope struct {
	Success  bool           `json:"success"`
	Data     map[string]any `json:"data"`
	Error    string         `json:"error"`
	Metadata Metadata       `json:"metadata"`
}

func (c *client) envelope(m message) envelope {
	c.t.Helper()
	if m.Error != nil {
		c.t.Fatalf("protocol error %+v", *m.Error)
	}
	var r struct {
		Content []struct{ Type, Text string } `json:"content"`
		Data    json.RawMessage               `json:"structuredContent"`
		IsError bool                          `json:"isError"`
	}
	var e envelope
	if err := json.Unmarshal(m.Result, &r); err != nil {
		c.t.Fatalf("%s: %v", m.Result, err)
	}
	if err := json.Unmarshal(r.Data, &e); err != nil {
		c.t.Fatalf("%s: %v", m.Result, err)
	}
	if len(r.Content) != 1 || r.Content[0].Text != string(r.Data) || r.IsError == e.Success {
		c.t.Errorf("content and structured content disagree: %s", m.Result)
	}
	return e
}

func (e envelope) wantCode(t *testing.T, code Code, words ...string) {
	t.Helper()
	if e.Success || e.Metadata.ErrorCode != code {
		t.Errorf("got %+v, want error code %s", e, code)
	}
	for _, w := range words {
		if !strings.Contains(e.Error, w) {
			t.Errorf("the error %q does not mention %q", e.Error, w)
		}
	}
}

// end closes the client's side and waits for the server's orderly end.
func (c *client) end() {
	c.t.Helper()
	c.in.Close()
	select {
	case err := <-c.done:
		if err != nil {
			c.t.Errorf("Run: %v", err)
		}
	case <-time.After(30 * time.Second):
		c.t.Fatal("Run did not return within 30 s of the end of input")
	}
}

func waitUntil(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not within 10 s: " + what)
		}
	}
}

func mustWrite(t *testing.T, file, data string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
}
