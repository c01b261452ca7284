package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
	mcpserver "github.com/mark3labs/mcp-go/server"
)

// fixtureServer is an MCP server with the tool ssh_exec, which does nothing. FIXTURE says how it behaves:
//
//	crash      ends before the handshake
//	refuse     answers every call with AUTHENTICATION_FAILED
//	interrupt  interrupts its parent at the 20th call
//	interrupt-twice  does so twice, and never answers that call
//
// It adds its arguments, the configuration file they name, and where it listens to the file FIXTURE_LOG.
func fixtureServer() {
	record()
	if os.Getenv("FIXTURE") == "crash" {
		fmt.Fprintln(os.Stderr, "profiles/web-01.json:3: host is missing")
		os.Exit(3)
	}
	s := mcpserver.NewMCPServer("fixture", "9.9.9", mcpserver.WithToolCapabilities(false))
	var calls atomic.Int64
	s.AddTool(mcp.NewTool("ssh_exec"), func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		if calls.Add(1) != 20 {
			return reply(), nil
		}
		switch os.Getenv("FIXTURE") {
		case "interrupt":
			return reply(), interrupt()
		case "interrupt-twice":
			err := interrupt()
			time.Sleep(time.Second) // two signals at once may arrive as one
			err = errors.Join(err, interrupt())
			time.Sleep(20 * time.Second)
			fmt.Fprintln(os.Stderr, "not killed", err)
			os.Exit(1)
		}
		return reply(), nil
	})
	if slices.Contains(os.Args, "http") {
		serveHTTP(s)
		return
	}
	if err := mcpserver.ServeStdio(s); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func interrupt() error {
	parent, err := os.FindProcess(os.Getppid())
	if err != nil {
		return err
	}
	return parent.Signal(os.Interrupt)
}

func reply() *mcp.CallToolResult {
	if os.Getenv("FIXTURE") == "refuse" {
		return &mcp.CallToolResult{IsError: true, StructuredContent: map[string]any{
			"success": false, "error": "the host refuses the password", "metadata": map[string]any{"error_code": "AUTHENTICATION_FAILED"},
		}}
	}
	return &mcp.CallToolResult{StructuredContent: map[string]any{
		"success": true, "data": map[string]any{"exit_code": 0, "stdout": "loadgen\n"}, "metadata": map[string]any{},
	}}
}

func serveHTTP(s *mcpserver.MCPServer) {
	signal.Ignore(syscall.SIGPIPE) // or a line of log would end it once its parent is gone
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err == nil {
		addLog("listening " + l.Addr().String() + "\n")
		fmt.Fprintf(os.Stderr, "level=INFO msg=listening url=http://%s/mcp\n", l.Addr())
		err = http.Serve(l, mcpserver.NewStreamableHTTPServer(s))
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func record() {
	log := strings.Join(os.Args[1:], " ") + "\n"
	if i := slices.Index(os.Args, "--config"); i > 0 {
		data, err := os.ReadFile(os.Args[i+1])
		log += string(data)
		if err != nil {
			log += err.Error()
		}
	}
	addLog(log)
}

func addLog(text string) {
	f, err := os.OpenFile(os.Getenv("FIXTURE_LOG"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = f.WriteString(text)
		f.Close()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
