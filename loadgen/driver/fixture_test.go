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
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
	"go.uber.org/goleak"
)

// fixtureEnv makes the test binary the server that it names.
const fixtureEnv = "DRIVER_TEST_FIXTURE"

func TestMain(m *testing.M) {
	if mode := os.Getenv(fixtureEnv); mode != "" {
		fixtureMain(mode)
		return
	}
	goleak.VerifyTestMain(m)
}

// fixtureMain is the child process.
func fixtureMain(mode string) {
	die := func() {
		fmt.Fprintln(os.Stderr, "fixture: about to die")
		os.Exit(3)
	}
	switch mode {
	case "stdio":
		_ = fixtureStdio(context.Background(), os.Stdin, os.Stdout, die)
	case "http", "http-json":
		fixtureHTTP(mode, die)
	case "exit":
		fmt.Fprintln(os.Stderr, "fixture: no such profile")
		os.Exit(7)
	case "silent": // reads, never answers, and ignores a closed input
		time.Sleep(time.Minute)
	case "stubborn": // works, but does not end when asked to
		signal.Ignore(syscall.SIGTERM)
		_ = fixtureStdio(context.Background(), os.Stdin, os.Stdout, die)
		time.Sleep(time.Minute)
	case "garbage":
		fmt.Println("Welcome to the server!")
		_, _ = io.Copy(io.Discard, os.Stdin)
	}
}

func fixtureStdio(ctx context.Context, in io.Reader, out io.Writer, die func()) error {
	s := server.NewStdioServer(fixtureServer(die))
	server.WithWorkerPoolSize(100)(s)
	server.WithQueueSize(1000)(s)
	server.WithErrorLogger(log.New(io.Discard, "", 0))(s)
	return s.Listen(ctx, in, out)
}

func fixtureHTTP(mode string, die func()) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/mcp", server.NewStreamableHTTPServer(fixtureServer(die), server.WithStateful(true)))
	logger := slog.New(slog.NewTextHandler(os.Stderr, nil))
	if mode == "http-json" {
		logger = slog.New(slog.NewJSONHandler(os.Stderr, nil))
	}
	logger.Info("listening", "url", fmt.Sprintf("http://%s/mcp", l.Addr()))
	panic(http.Serve(l, mux))
}

// fixtureServer has tools that answer as this project's server does.
func fixtureServer(die func()) *server.MCPServer {
	s := server.NewMCPServer("fixture", "1.2.3")
	var started, cancelled atomic.Int64
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
		started.Add(1)
		<-ctx.Done()
		cancelled.Add(1)
		return envelope(false, nil, "TIMEOUT", "cancelled"), nil
	})
	add("counts", func(ctx context.Context, args map[string]any) (*mcp.CallToolResult, error) {
		return envelope(true, map[string]any{"started": started.Load(), "cancelled": cancelled.Load()}, "", ""), nil
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
	return ChildConfig{Path: os.Args[0], Env: []string{fixtureEnv + "=" + mode}}
}

// replyLine is a reply as it stands on the wire.
func replyLine(tb testing.TB) []byte {
	var out bytes.Buffer
	in := bytes.NewBufferString(`{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"echo","arguments":{"stdout":"hello\n","exit_code":0}}}` + "\n")
	_ = fixtureStdio(context.Background(), slowEOF{in}, &out, func() {})
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
