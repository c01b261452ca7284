package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"

	"github.com/mark3labs/mcp-go/mcp"
	mcpserver "github.com/mark3labs/mcp-go/server"
)

// library is mcp-go with one tool, an ssh_exec that reaches no host and answers as that of NewNoop does, from memory.
func library() *mcpserver.MCPServer {
	s := mcpserver.NewMCPServer("mcp-go", "1", mcpserver.WithToolCapabilities(false))
	data, err := json.Marshal(Envelope[ExecData]{Success: true, Data: &ExecData{Stdout: "loadgen\n"}, Metadata: Metadata{Actor: "library"}})
	if err != nil {
		panic(err) // plain fields only
	}
	tool := (&Server{}).execTool().Tool
	s.AddTool(tool, func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return &mcp.CallToolResult{Content: []mcp.Content{mcp.NewTextContent(string(data))}, RawStructuredContent: data}, nil
	})
	return s
}

// LibraryStdio serves one client of mcp-go alone, over its own stdio transport, until in ends or ctx does: what the library costs, with nothing of this
// server, for comparison.
func LibraryStdio(ctx context.Context, in io.Reader, out io.Writer) error {
	err := mcpserver.NewStdioServer(library()).Listen(ctx, in, out)
	if errors.Is(err, io.EOF) || ctx.Err() != nil {
		return nil
	}
	return err
}

// LibraryHTTP serves the same over mcp-go's own Streamable HTTP at http://addr/mcp, on loopback only, until ctx ends. The address is logged as url=….
func LibraryHTTP(ctx context.Context, addr string, log *slog.Logger) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	if at, ok := l.Addr().(*net.TCPAddr); !ok || !at.IP.IsLoopback() {
		return errors.Join(fmt.Errorf("%s is not a loopback address: nobody has to prove who they are here", addr), l.Close())
	}
	mux := http.NewServeMux()
	mux.Handle(endpoint, mcpserver.NewStreamableHTTPServer(library()))
	srv := &http.Server{Handler: mux}
	defer context.AfterFunc(ctx, func() { _ = srv.Close() })()
	log.Info("serving MCP", "transport", "http", "url", "http://"+l.Addr().String()+endpoint)
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
