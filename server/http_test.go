package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	mcpserver "github.com/mark3labs/mcp-go/server"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
)

// web starts a fixture's handler.
func web(t *testing.T, f *fixture) *httptest.Server {
	t.Helper()
	srv := httptest.NewServer(f.server.Handler())
	t.Cleanup(srv.Close)
	return srv
}

type reply struct {
	status int
	header http.Header
	body   string
}

func post(t *testing.T, url, body string, header map[string]string) reply {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	for k, v := range header {
		req.Header.Set(k, v)
		if k == "Host" {
			req.Host = v
		}
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{resp.StatusCode, resp.Header, string(data)}
}

const initialize = `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`

func TestHTTPOfBothGenerations(t *testing.T) {
	f := start(t, fakessh.Options{}, nil)
	srv := web(t, f)
	defer http.DefaultClient.CloseIdleConnections()
	const params = `"name":"ssh_exec","arguments":{"profile_id":"fake","command":"echo hi"}`

	first := post(t, srv.URL+"/mcp", initialize, nil)
	session := first.header.Get("Mcp-Session-Id")
	if first.status != 200 || session == "" || !strings.Contains(first.body, `"protocolVersion":"2025-11-25"`) {
		t.Fatalf("initialize: %+v", first)
	}
	got := post(t, srv.URL+"/mcp", `{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{`+params+`}}`, map[string]string{"Mcp-Session-Id": session})
	if got.status != 200 || !strings.Contains(got.body, `"stdout":"hi\n"`) || !strings.Contains(got.body, `"actor":"http:local"`) {
		t.Errorf("2025-11-25: %+v", got)
	}

	end, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, srv.URL+"/mcp", nil)
	if err != nil {
		t.Fatal(err)
	}
	end.Header.Set("Mcp-Session-Id", session)
	if resp, err := http.DefaultClient.Do(end); err != nil || resp.StatusCode != http.StatusMethodNotAllowed || resp.Header.Get("Allow") == "" {
		t.Errorf("DELETE of a session: %v %v", resp, err)
	} else {
		resp.Body.Close()
	}

	const meta = `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}`
	modern := map[string]string{"Mcp-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call", "Mcp-Name": "ssh_exec"}
	got = post(t, srv.URL+"/mcp", `{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{`+params+`,`+meta+`}}`, modern)
	if got.status != 200 || !strings.Contains(got.body, `"stdout":"hi\n"`) || got.header.Get("Mcp-Session-Id") != "" || !strings.Contains(got.body, `"resultType":"complete"`) {
		t.Errorf("2026-07-28: %+v", got)
	}
	if n := f.server.pool.Stats().Dials; n != 1 {
		t.Errorf("two clients made %d connections", n)
	}
}

func TestModernProtocolOverStdio(t *testing.T) {
	f := start(t, fakessh.Options{}, nil)
	c := f.connect(t.Context(), t)
	defer c.end()
	meta := map[string]any{"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": map[string]any{}}
	m := c.request("server/discover", map[string]any{"_meta": meta})
	if !strings.Contains(string(m.Result), `"2026-07-28"`) || !strings.Contains(string(m.Result), `"2025-11-25"`) {
		t.Errorf("server/discover: %s %+v", m.Result, m.Error)
	}
	m = c.request("tools/call", map[string]any{"name": "ssh_exec", "arguments": args{"profile_id": "fake", "command": "echo hi"}, "_meta": meta})
	if e := c.envelope(m); e.Data["stdout"] != "hi\n" {
		t.Errorf("got %+v", e)
	}
}

func TestHTTPKeepsWebPagesOut(t *testing.T) {
	f := start(t, fakessh.Options{}, nil)
	srv := web(t, f)
	defer http.DefaultClient.CloseIdleConnections()
	for _, tc := range []struct {
		path   string
		header map[string]string
		status int
	}{
		{"/mcp", nil, 200},
		{"/mcp", map[string]string{"Origin": "http://localhost:6274"}, 200},
		{"/mcp", map[string]string{"Origin": "http://[::1]:1"}, 200},
		{"/mcp", map[string]string{"Origin": "https://evil.example"}, 403},
		{"/mcp", map[string]string{"Origin": "http://localhost.evil.example"}, 403},
		{"/mcp", map[string]string{"Origin": "null"}, 403},
		{"/mcp", map[string]string{"Host": "evil.example"}, 403},
		{"/mcp", map[string]string{"Host": "127.0.0.1.evil.example:80"}, 403},
		{"/mcp", map[string]string{"Host": "localhost:1"}, 200},
		{"/", nil, 404},
		{"/mcp/x", nil, 404},
	} {
		if got := post(t, srv.URL+tc.path, initialize, tc.header); got.status != tc.status {
			t.Errorf("%s %v: status %d, want %d: %s", tc.path, tc.header, got.status, tc.status, got.body)
		}
	}
}

func TestHTTPBoundsTheBody(t *testing.T) {
	f := start(t, fakessh.Options{}, nil)
	srv := web(t, f)
	defer http.DefaultClient.CloseIdleConnections()
	huge := `{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":"` + strings.Repeat("x", maxMessage) + `"}}`
	if got := post(t, srv.URL+"/mcp", huge, nil); got.status < 400 {
		t.Errorf("status %d", got.status)
	}
}

func TestHTTPClientThatLeavesStopsItsCommand(t *testing.T) {
	f := start(t, fakessh.Options{}, nil)
	srv := web(t, f)
	defer http.DefaultClient.CloseIdleConnections()
	ctx, leave := context.WithCancel(t.Context())
	body := `{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"ssh_exec","arguments":{"profile_id":"fake","command":"sleep 60"}}}`
	req, _ := http.NewRequestWithContext(ctx, http.MethodPost, srv.URL+"/mcp", strings.NewReader(body))
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Mcp-Session-Id", post(t, srv.URL+"/mcp", initialize, nil).header.Get("Mcp-Session-Id"))
	done := make(chan struct{})
	go func() {
		defer close(done)
		if resp, err := http.DefaultClient.Do(req); err == nil {
			resp.Body.Close()
		}
	}()
	waitUntil(t, "the command runs", func() bool { return f.host.Stats().Running == 1 })
	leave()
	<-done
	waitUntil(t, "the command has ended", func() bool { return f.host.Stats().Running == 0 })
}

func TestHTTPListensOnLoopbackOnly(t *testing.T) {
	f := start(t, fakessh.Options{}, nil)
	for _, addr := range []string{"0.0.0.0:0", ":0", "192.0.2.1:80", "example.com:80", "nonsense", "[::]:0"} {
		if err := f.server.Run(t.Context(), HTTP(addr)); err == nil {
			t.Errorf("%s was served", addr)
		}
	}
}

func TestHTTPDrains(t *testing.T) {
	f := start(t, fakessh.Options{}, nil)
	var log syncBuffer
	f.server.cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- f.server.Run(ctx, HTTP("127.0.0.1:0")) }()
	urlOf := regexp.MustCompile(`url=(\S+)`)
	waitUntil(t, "the address is logged", func() bool { return urlOf.MatchString(log.String()) })
	url := urlOf.FindStringSubmatch(log.String())[1]
	session := post(t, url, initialize, nil).header.Get("Mcp-Session-Id")
	answer := make(chan reply, 1)
	go func() {
		answer <- post(t, url, `{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"ssh_exec","arguments":{"profile_id":"fake","command":"sleep 0.2"}}}`,
			map[string]string{"Mcp-Session-Id": session})
	}()
	waitUntil(t, "the command runs", func() bool { return f.host.Stats().Running == 1 })
	stop()
	if got := <-answer; got.status != 200 || !strings.Contains(got.body, `"success":true`) {
		t.Errorf("a call under way at the end: %+v", got)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	http.DefaultClient.CloseIdleConnections()
}

// FuzzStdio feeds the transport lines and wants JSON, and nothing else, in return.
func FuzzStdio(f *testing.F) {
	f.Add([]byte(initialize))
	f.Add([]byte(`{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{"name":"ssh_exec","arguments":{"command":1}}}`))
	f.Add([]byte(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7}}`))
	dir := f.TempDir()
	s, err := New(Config{Profiles: dir, DrainTimeout: 1})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(s.Close)
	f.Fuzz(func(t *testing.T, line []byte) {
		var out syncBuffer
		_ = s.Run(t.Context(), Stdio(bytes.NewReader(append(line, '\n')), &out))
		for answer := range strings.Lines(out.String()) {
			if !json.Valid([]byte(answer)) {
				t.Errorf("%q was answered by %q", line, answer)
			}
		}
	})
}

// TestHTTPSessionLeavesNothing wants mcp-go to hold nothing for a session between its requests, and the session to go on nevertheless.
func TestHTTPSessionLeavesNothing(t *testing.T) {
	f := start(t, fakessh.Options{}, nil)
	srv := web(t, f)
	defer http.DefaultClient.CloseIdleConnections()
	session := post(t, srv.URL+"/mcp", initialize, nil).header.Get("Mcp-Session-Id")
	for range 2 {
		if err := f.server.mcp.SendNotificationToSpecificClient(session, "notifications/message", nil); !errors.Is(err, mcpserver.ErrSessionNotFound) {
			t.Errorf("mcp-go holds session %q: %v", session, err)
		}
		got := post(t, srv.URL+"/mcp", `{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"ssh_exec","arguments":{"profile_id":"fake","command":"echo hi"}}}`,
			map[string]string{"Mcp-Session-Id": session})
		if got.status != 200 || !strings.Contains(got.body, `"stdout":"hi\n"`) {
			t.Errorf("%+v", got)
		}
	}
}
