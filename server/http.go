package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	mcpserver "github.com/mark3labs/mcp-go/server"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/loopback"
)

// endpoint is the path of the MCP endpoint.
const endpoint = "/mcp"

// HTTP serves Streamable HTTP at http://addr/mcp. addr must be a loopback address, since callers are not authenticated; port 0 takes a
// free one. The address served is logged as url=….
func HTTP(addr string) Transport { return httpTransport(addr) }

type httpTransport string

func (addr httpTransport) serve(ctx context.Context, s *Server) error {
	if err := loopback.Check(string(addr)); err != nil {
		return err
	}
	l, err := net.Listen("tcp", string(addr))
	if err != nil {
		return fmt.Errorf("cannot listen: %w", err)
	}
	calls, stopCalls := context.WithCancel(context.WithoutCancel(ctx))
	defer stopCalls()
	srv := &http.Server{
		BaseContext:       func(net.Listener) context.Context { return calls },
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		ErrorLog:          slog.NewLogLogger(s.cfg.Logger.Handler(), slog.LevelWarn),
	}
	mcpHandler := s.streamable(srv)
	var running requests
	srv.Handler = guard(running.count(sessionless{mcpHandler}), s.monitorHandler())
	s.health.address.Store(l.Addr().String())
	defer s.health.address.Store("")
	s.cfg.Logger.Info("serving MCP", "transport", "http", "url", "http://"+l.Addr().String()+endpoint)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(calls, s.current().DrainTimeout.Duration())
	defer cancel()
	running.drain(drain) // meanwhile /readyz says that the server is stopping
	if err := mcpHandler.Shutdown(drain); err != nil {
		stopCalls()
		srv.Close()
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func (s *Server) streamable(srv *http.Server) *mcpserver.StreamableHTTPServer {
	return mcpserver.NewStreamableHTTPServer(s.mcp,
		mcpserver.WithStreamableHTTPServer(srv),
		mcpserver.WithStreamableHTTPLogger(s.cfg.Logger),
		mcpserver.WithHTTPContextFunc(func(ctx context.Context, _ *http.Request) context.Context {
			return context.WithValue(ctx, overHTTP{}, true)
		}))
}

// guard keeps web pages out. It also bounds the body. What is not for the endpoint goes to others.
func guard(next, others http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if why := loopback.Foreign(r); why != "" {
			http.Error(w, why, http.StatusForbidden)
			return
		}
		if r.URL.Path != endpoint {
			others.ServeHTTP(w, r)
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxMessage)
		next.ServeHTTP(w, r)
	})
}

// Handler serves the MCP endpoint at /mcp and the monitoring beside it for an HTTP server of the caller's, with Host and Origin checked as
// HTTP does.
// Close ends what it keeps for its sessions.
func (s *Server) Handler() http.Handler {
	h := s.streamable(nil)
	s.mu.Lock()
	s.handlers = append(s.handlers, h)
	s.mu.Unlock()
	return guard(sessionless{h}, s.monitorHandler())
}
