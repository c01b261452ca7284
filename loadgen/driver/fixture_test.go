package driver

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
	"go.uber.org/goleak"
)

// fixtureEnv makes the test binary the server that it names, which counts what happens to it in files of the folder that countsEnv names.
const (
	fixtureEnv = "DRIVER_TEST_FIXTURE"
	countsEnv  = "DRIVER_TEST_COUNTS"
)

func TestMain(m *testing.M) {
	if mode := os.Getenv(fixtureEnv); mode != "" {
		fixtureMain(mode)
		return
	}
	blameGrace = 5 * time.Second
	goleak.VerifyTestMain(m)
}

// fixtureMain is the child process.
func fixtureMain(mode string) {
	die := func() {
		fmt.Fprintln(os.Stderr, "fixture: about to die")
		os.Exit(3)
	}
	counts := counters(os.Getenv(countsEnv))
	switch mode {
	case "stdio":
		_ = fixtureStdio(context.Background(), os.Stdin, os.Stdout, counts, die)
		time.Sleep(50 * time.Millisecond) // calls that end with the input still count themselves
	case "http", "http-json":
		fixtureHTTP(mode, counts, die)
	case "exit":
		fmt.Fprintln(os.Stderr, "fixture: no such profile")
		os.Exit(7)
	case "silent": // reads, never answers, and ignores a closed input
		time.Sleep(time.Minute)
	case "stubborn": // works, but does not end when asked to
		signal.Ignore(syscall.SIGTERM)
		_ = fixtureStdio(context.Background(), os.Stdin, os.Stdout, counts, die)
		time.Sleep(time.Minute)
	case "garbage":
		fmt.Println("Welcome to the server!")
		_, _ = io.Copy(io.Discard, os.Stdin)
	}
}

func fixtureStdio(ctx context.Context, in io.Reader, out io.Writer, counts counters, die func()) error {
	s := server.NewStdioServer(fixtureServer(counts, die))
	server.WithWorkerPoolSize(100)(s)
	server.WithQueueSize(1000)(s)
	server.WithErrorLogger(log.New(io.Discard, "", 0))(s)
	return s.Listen(ctx, in, out)
}

func fixtureHTTP(mode string, counts counters, die func()) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	mux := http.NewServeMux()
	handler := server.NewStreamableHTTPServer(fixtureServer(counts, die), server.WithStateful(true))
	mux.HandleFunc("/mcp", func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodDelete {
			counts.add("goodbyes")
		}
		handler.ServeHTTP(w, r)
	})
	logger := slog.New(slog.NewTextHandler(os.Stderr, nil))
	if mode == "http-json" {
		logger = slog.New(slog.NewJSONHandler(os.Stderr, nil))
	}
	logger.Info("listening", "url", fmt.Sprintf("http://%s/mcp", l.Addr()))
	web := http.Server{Handler: mux, ConnState: func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			counts.add("connections")
		case http.StateClosed:
			counts.add("disconnections")
		}
	}}
	panic(web.Serve(l))
}

// counters are files in a folder, one byte for each time, so that several processes may count together. The empty one counts nothing.
type counters string

func (c counters) add(name string) {
	if c == "" {
		return
	}
	f, err := os.OpenFile(filepath.Join(string(c), name), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = f.Write([]byte{'x'})
		f.Close()
	}
	if err != nil {
		panic(err)
	}
}

func (c counters) get(name string) int {
	info, err := os.Stat(filepath.Join(string(c), name))
	if err != nil {
		return 0
	}
	return int(info.Size())
}

// fixtureServer has tools that answer as this project's server does.
func fixtureServer(counts counters, die func()) *server.MCPServer {
	hooks := &server.Hooks{}
	hooks.AddAfterInitialize(func(context.Context, any, *mcp.InitializeRequest, *mcp.InitializeResult) { counts.add("handshakes") })
	s := server.NewMCPServer("fixture", "1.2.3", server.WithHooks(hooks))
	add := func(name string, handler func(ctx context.Context, args map[string]any) (*mcp.CallToolResult, error)) {
		s.AddTool(mcp.NewTool(name), func(ctx context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			return handler(ctx, r.GetArguments())
		})
	}
	add("echo", func(ctx context.Context, args map[string]any) (*mcp.CallToolResult, error) {
		return envelope(true, args, "", ""), nil
	})
	add("big", func(ctx context.Context, args map[string]any) (*mcp.CallToolResult, error) {
		return envelope(true, map[string]any{"stdout": strings.Repeat("a\"\n", int(args["n"].(float64))/3)}, "", ""), nil
	})
	add("fail", func(ctx context.Context, args map[string]any) (*mcp.CallToolResult, error) {
		return envelope(false, nil, "AUTHENTICATION_FAILED", "wrong password"), nil
	})
	add("plainfail", func(ctx context.Context, args map[string]any) (*mcp.CallToolResult, error) {
		return mcp.NewToolResultError("it broke"), nil
	})
	add("block", func(ctx context.Context, args map[string]any) (*mcp.CallToolResult, error) {
		counts.add("started")
		<-ctx.Done()
		counts.add("cancelled")
		return envelope(false, nil, "TIMEOUT", "cancelled"), nil
	})
	add("jsontext", func(ctx context.Context, args map[string]any) (*mcp.CallToolResult, error) {
		r := envelope(true, map[string]any{"stdout": "as text"}, "", "")
		r.RawStructuredContent = nil
		return r, nil
	})
	add("text", func(ctx context.Context, args map[string]any) (*mcp.CallToolResult, error) {
		return mcp.NewToolResultText("{no JSON"), nil
	})
	s.AddTool(mcp.NewTool("progress"), func(ctx context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		asked := r.Params.Meta
		if asked == nil || asked.ProgressToken == nil {
			return envelope(true, map[string]any{}, "", ""), nil
		}
		for i := range 3 {
			err := s.SendNotificationToClient(ctx, "notifications/progress", map[string]any{"progressToken": asked.ProgressToken, "progress": i})
			if err != nil {
				return nil, err
			}
		}
		time.Sleep(300 * time.Millisecond) // the server orders a notification and a reply only where they are apart
		return envelope(true, map[string]any{}, "", ""), nil
	})
	add("die", func(ctx context.Context, args map[string]any) (*mcp.CallToolResult, error) {
		die()
		<-ctx.Done()
		return nil, errors.New("dead")
	})
	return s
}

func envelope(ok bool, data map[string]any, code, message string) *mcp.CallToolResult {
	metadata := map[string]any{"profile_id": "web-01", "actor": "test", "timing": map[string]any{
		"queue": 0.001, "dial": 0.002, "channel": 0.003, "remote": 1.5e-5, "reused": true,
	}}
	env := map[string]any{"success": ok, "metadata": metadata}
	if data != nil {
		env["data"] = data
	}
	if code != "" {
		metadata["error_code"], env["error"] = code, message
	}
	text, err := json.Marshal(env)
	if err != nil {
		panic(err)
	}
	return &mcp.CallToolResult{
		Content: []mcp.Content{mcp.NewTextContent(string(text))}, RawStructuredContent: text, IsError: !ok,
	}
}

// fixtureConfig runs the test binary as a server.
func fixtureConfig(mode string) ChildConfig {
	noSleep := "GORACE=atexit_sleep_ms=0" // or each child of a test with -race would take a second to end
	return ChildConfig{Path: os.Args[0], Env: []string{fixtureEnv + "=" + mode, noSleep}}
}

// replyLine is a reply as it stands on the wire.
func replyLine(tb testing.TB) []byte {
	var out bytes.Buffer
	in := bytes.NewBufferString(`{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"echo","arguments":{"stdout":"hello\n","exit_code":0}}}` + "\n")
	_ = fixtureStdio(context.Background(), slowEOF{in}, &out, "", func() {})
	line, _, _ := bytes.Cut(out.Bytes(), []byte("\n"))
	if len(line) == 0 {
		tb.Fatal("the fixture did not answer")
	}
	return line
}

// slowEOF gives the server time to answer what it has read.
type slowEOF struct{ r *bytes.Buffer }

func (s slowEOF) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil {
		time.Sleep(100 * time.Millisecond)
	}
	return n, err
}
