package driver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mark3labs/mcp-go/server"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
)

// drivers are all that the conformance tests below run over.
var drivers = []struct {
	name string
	open func(ctx context.Context) (loadgen.Driver, error)
}{
	{"stdio", func(ctx context.Context) (loadgen.Driver, error) { return Stdio(ctx, fixtureConfig("stdio")) }},
	{"http", func(ctx context.Context) (loadgen.Driver, error) { return HTTPChild(ctx, fixtureConfig("http")) }},
	{"inprocess", func(ctx context.Context) (loadgen.Driver, error) { return InProcess(ctx, runFixture) }},
}

var errDied = errors.New("fixture: about to die")

func runFixture(ctx context.Context, in io.Reader, out io.Writer) error {
	ctx, die := context.WithCancelCause(ctx)
	defer die(nil)
	err := fixtureStdio(ctx, in, out, func() {
		die(errDied)
		_ = out.(*io.PipeWriter).CloseWithError(errDied)
	})
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// each runs a test over every driver with one session open.
func each(t *testing.T, test func(t *testing.T, d loadgen.Driver, s loadgen.Session)) {
	for _, tt := range drivers {
		t.Run(tt.name, func(t *testing.T) {
			d, err := tt.open(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			closed := false
			t.Cleanup(func() {
				if err := d.Close(); err != nil && !closed && !strings.Contains(t.Name(), "Death") {
					t.Errorf("Close: %v", err)
				}
			})
			s, err := d.Open(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			test(t, d, s)
		})
	}
}

func call(t *testing.T, s loadgen.Session, tool string, args map[string]any) loadgen.Reply {
	t.Helper()
	r, err := s.Call(t.Context(), loadgen.Call{Tool: tool, Args: args})
	if err != nil {
		t.Fatalf("%s: %v", tool, err)
	}
	return r
}

func TestInfo(t *testing.T) {
	each(t, func(t *testing.T, d loadgen.Driver, s loadgen.Session) {
		i := d.Info()
		if i.ServerName != "fixture" || i.ServerVersion != "1.2.3" {
			t.Errorf("server %s %s", i.ServerName, i.ServerVersion)
		}
		if (i.PID != 0) != (i.Kind != "inprocess") || i.SharedSession != (i.Kind != "http") || i.Kind == "http" && !strings.HasPrefix(i.Address, "http://127.0.0.1:") {
			t.Errorf("%+v", i)
		}
	})
}

func TestReply(t *testing.T) {
	each(t, func(t *testing.T, d loadgen.Driver, s loadgen.Session) {
		r := call(t, s, "echo", map[string]any{"s": "häß\"\n\x01", "n": 7, "f": 1.5, "b": true, "l": []any{"x", nil}, "m": map[string]any{"k": "v"}})
		want := map[string]any{"s": "häß\"\n\x01", "n": 7.0, "f": 1.5, "b": true, "l": []any{"x", nil}, "m": map[string]any{"k": "v"}}
		if fmt.Sprint(r.Data) != fmt.Sprint(want) || r.Code != "" {
			t.Errorf("%+v", r)
		}
		timing := loadgen.Timing{Queue: time.Millisecond, Dial: 2 * time.Millisecond, Channel: 3 * time.Millisecond, Remote: 15 * time.Microsecond, Reused: true}
		if r.Timing != timing {
			t.Errorf("timing %+v", r.Timing)
		}
		if r := call(t, s, "echo", nil); r.Code != "" {
			t.Errorf("without arguments: %+v", r)
		}
	})
}

func TestErrors(t *testing.T) {
	each(t, func(t *testing.T, d loadgen.Driver, s loadgen.Session) {
		for tool, want := range map[string][2]string{
			"fail":      {"AUTHENTICATION_FAILED", "wrong password"},
			"plainfail": {CodeTool, "it broke"},
			"unknown":   {CodeProtocol, "unknown"},
		} {
			if r := call(t, s, tool, nil); r.Code != want[0] || !strings.Contains(r.Error, want[1]) {
				t.Errorf("%s: %+v, want %v", tool, r, want)
			}
		}
	})
}

func TestConcurrentCalls(t *testing.T) {
	each(t, func(t *testing.T, d loadgen.Driver, s loadgen.Session) {
		second, err := d.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer second.Close()
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() {
				s := []loadgen.Session{s, second}[i%2]
				for j := range 20 {
					want := fmt.Sprintf("%d/%d", i, j)
					r, err := s.Call(t.Context(), loadgen.Call{Tool: "echo", Args: map[string]any{"v": want}})
					if err != nil || r.Data["v"] != want {
						t.Errorf("got %v, %v, want %s", r.Data["v"], err, want)
					}
				}
			})
		}
		wg.Wait()
	})
}

func TestBigReply(t *testing.T) {
	each(t, func(t *testing.T, d loadgen.Driver, s loadgen.Session) {
		n := 2 << 20 / 3 * 3
		r := call(t, s, "big", map[string]any{"n": n})
		if got, _ := r.Data["stdout"].(string); got != strings.Repeat("a\"\n", n/3) {
			t.Errorf("%d bytes, want %d", len(got), n)
		}
		if r := call(t, s, "echo", map[string]any{"v": "after"}); r.Data["v"] != "after" {
			t.Errorf("after it: %+v", r)
		}
	})
}

func TestCancelReachesServer(t *testing.T) {
	each(t, func(t *testing.T, d loadgen.Driver, s loadgen.Session) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		errs := make(chan error, 3)
		for range 3 {
			go func() {
				_, err := s.Call(ctx, loadgen.Call{Tool: "block"})
				errs <- err
			}()
		}
		eventually(t, s, "started", 3)
		cancel()
		for range 3 {
			if err := <-errs; !errors.Is(err, context.Canceled) {
				t.Errorf("the call gave %v", err)
			}
		}
		eventually(t, s, "cancelled", 3)
		timeout, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer stop()
		if _, err := s.Call(timeout, loadgen.Call{Tool: "block"}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a timeout gave %v", err)
		}
		eventually(t, s, "cancelled", 4)
		if _, err := s.Call(timeout, loadgen.Call{Tool: "echo"}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a call after its time gave %v", err)
		}
	})
}

// eventually waits until the fixture has counted to want.
func eventually(t *testing.T, s loadgen.Session, count string, want float64) {
	t.Helper()
	for range 500 {
		if call(t, s, "counts", nil).Data[count] == want {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("%s does not reach %v", count, want)
}

func TestServerDeath(t *testing.T) {
	each(t, func(t *testing.T, d loadgen.Driver, s loadgen.Session) {
		errs := make(chan error, 10)
		for range 10 {
			go func() {
				_, err := s.Call(t.Context(), loadgen.Call{Tool: "block"})
				errs <- err
			}()
		}
		eventually(t, s, "started", 10)
		_, err := s.Call(t.Context(), loadgen.Call{Tool: "die"})
		if err == nil || !strings.Contains(err.Error(), "about to die") {
			t.Errorf("the fatal call gave %v", err)
		}
		for range 10 {
			if err := <-errs; err == nil {
				t.Error("a call under way gave no error")
			}
		}
		if _, err := s.Call(t.Context(), loadgen.Call{Tool: "echo"}); err == nil {
			t.Error("a call after the death gave no error")
		}
		if err := d.Close(); err == nil || !strings.Contains(err.Error(), "about to die") {
			t.Errorf("Close gave %v", err)
		}
	})
}

func TestCloseWithCallsUnderWay(t *testing.T) {
	each(t, func(t *testing.T, d loadgen.Driver, s loadgen.Session) {
		errs := make(chan error, 5)
		for range 5 {
			go func() {
				r, err := s.Call(t.Context(), loadgen.Call{Tool: "block"})
				if err == nil && r.Code == "" {
					err = errors.New("success")
				}
				errs <- err
			}()
		}
		eventually(t, s, "started", 5)
		if err := d.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		for range 5 {
			<-errs
		}
		if _, err := d.Open(t.Context()); err == nil {
			t.Error("a closed driver opens a session")
		}
	})
}

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
	if r := call(t, s, "echo", map[string]any{"v": "x"}); r.Data["v"] != "x" {
		t.Errorf("%+v", r)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	again, err := child.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if r := call(t, again, "echo", map[string]any{"v": "y"}); r.Data["v"] != "y" {
		t.Errorf("the server did not outlive the driver's Close: %+v", r)
	}
}

// TestHTTPCancelIsSent watches the wire: a server may also see a broken connection, which under this protocol says nothing.
func TestHTTPCancelIsSent(t *testing.T) {
	cancelled := make(chan string, 1)
	handler := server.NewStreamableHTTPServer(fixtureServer(nil), server.WithStateful(true))
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
		if !strings.Contains(body, fmt.Sprint(firstCallID+1)) {
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
