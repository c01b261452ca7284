package driver

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mark3labs/mcp-go/server"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
)

func TestHTTPRunning(t *testing.T) {
	child, err := HTTPChild(t.Context(), fixtureConfig("http-json"))
	if err != nil {
		t.Fatal(err)
	}
	defer child.Close()
	d, err := HTTP(t.Context(), HTTPConfig{URL: child.Info().Address})
	if err != nil {
		t.Fatal(err)
	}
	s, err := d.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if r := call(t, s, loadgen.Call{Tool: "echo", Args: map[string]any{"v": "x"}}); r.Data["v"] != "x" {
		t.Errorf("%+v", r)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	again, err := child.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if r := call(t, again, loadgen.Call{Tool: "echo", Args: map[string]any{"v": "y"}}); r.Data["v"] != "y" {
		t.Errorf("the server did not outlive the driver's Close: %+v", r)
	}
}

// TestHTTPCancelIsSent watches the wire: a server may also see a broken connection, which under this protocol says nothing.
func TestHTTPCancelIsSent(t *testing.T) {
	cancelled := make(chan string, 1)
	handler := server.NewStreamableHTTPServer(fixtureServer("", nil), server.WithStateful(true))
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil && strings.Contains(string(body), "notifications/cancelled") {
			cancelled <- string(body)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		handler.ServeHTTP(w, r)
	}))
	defer web.Close()
	d, err := HTTP(t.Context(), HTTPConfig{URL: web.URL + "/mcp"})
	if err != nil {
		t.Fatal(err)
	}
	s, err := d.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := s.Call(ctx, loadgen.Call{Tool: "block"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the call gave %v", err)
	}
	if err := d.Close(); err != nil { // waits for the notification
		t.Error(err)
	}
	select {
	case body := <-cancelled:
		if !strings.Contains(body, `"requestId":2,`) { // the handshake was 1
			t.Errorf("the notification does not name the call: %s", body)
		}
	default:
		t.Error("no notification was sent")
	}
}

func TestStartErrors(t *testing.T) {
	notExecutable := filepath.Join(t.TempDir(), "server")
	if err := os.WriteFile(notExecutable, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	silent := fixtureConfig("silent")
	silent.StartTimeout, silent.StopTimeout = 300*time.Millisecond, 300*time.Millisecond
	for name, tt := range map[string]struct {
		cfg  ChildConfig
		want []string
	}{
		"missing":        {ChildConfig{Path: "/nonexistent/server"}, []string{"/nonexistent/server", "no such file"}},
		"not on path":    {ChildConfig{Path: "no-such-server-anywhere"}, []string{"no-such-server-anywhere", "not found"}},
		"not executable": {ChildConfig{Path: notExecutable}, []string{"permission denied"}},
		"bad directory":  {ChildConfig{Path: os.Args[0], Dir: "/nonexistent"}, []string{"no such file"}},
		"exits":          {fixtureConfig("exit"), []string{"exit status 7", "no such profile"}},
		"silent":         {silent, []string{"no answer to the handshake within 300ms"}},
		"garbage":        {fixtureConfig("garbage"), []string{"Welcome to the server", "no JSON-RPC"}},
	} {
		for kind, start := range map[string]func(context.Context, ChildConfig) (loadgen.Driver, error){"stdio": Stdio, "http": HTTPChild} {
			if name == "garbage" && kind == "http" {
				continue // it never logs a URL, which is the silent case
			}
			d, err := start(t.Context(), tt.cfg)
			if err == nil {
				d.Close()
				t.Errorf("%s over %s: no error", name, kind)
				continue
			}
			if !errors.Is(err, ErrServerStart) {
				t.Errorf("%s over %s: %v does not match ErrServerStart", name, kind, err)
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%s over %s: %q lacks %q", name, kind, err, want)
				}
			}
		}
	}
	if _, err := HTTP(t.Context(), HTTPConfig{URL: "http://127.0.0.1:1/mcp"}); !errors.Is(err, ErrServerStart) || !strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("refused port: %v", err)
	}
	failed := errors.New("no configuration")
	if _, err := InProcess(t.Context(), func(context.Context, io.Reader, io.Writer) error { return failed }); !errors.Is(err, failed) || !errors.Is(err, ErrServerStart) {
		t.Errorf("in process: %v", err)
	}
}

func TestStartInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cfg := fixtureConfig("silent")
	cfg.StopTimeout = 100 * time.Millisecond
	time.AfterFunc(50*time.Millisecond, cancel)
	if _, err := Stdio(ctx, cfg); !errors.Is(err, context.Canceled) || errors.Is(err, ErrServerStart) {
		t.Errorf("%v, want the context's end", err)
	}
}

func TestStubbornServerIsKilled(t *testing.T) {
	cfg := fixtureConfig("stubborn")
	cfg.StopTimeout = 200 * time.Millisecond
	var stderr strings.Builder
	cfg.Stderr = &stderr
	d, err := Stdio(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	pid := d.Info().PID
	if err := d.Close(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("Close: %v", err)
	}
	if p, err := os.FindProcess(pid); err == nil && p.Signal(syscall.Signal(0)) == nil {
		t.Errorf("process %d lives on", pid)
	}
	if err := d.Close(); err == nil {
		t.Error("a second Close forgot the error")
	}
}

func TestURLIn(t *testing.T) {
	for line, want := range map[string]string{
		`time=2026 level=INFO msg=listening url=http://127.0.0.1:8080/mcp`: "http://127.0.0.1:8080/mcp",
		`level=INFO url="http://127.0.0.1:8080/mcp" sessions=0`:            "http://127.0.0.1:8080/mcp",
		`{"msg":"listening","url":"http://127.0.0.1:9/mcp"}`:               "http://127.0.0.1:9/mcp",
		`{"msg":"listening", "url": "https://h/mcp", "x":1}`:               "https://h/mcp",
		`url=ftp://x`: "", `curl=http://x/`: "", `listening`: "", ``: "", `url=`: "",
	} {
		if got, ok := urlIn(line); got != want || ok != (want != "") {
			t.Errorf("urlIn(%q) = %q, %v", line, got, ok)
		}
	}
}
