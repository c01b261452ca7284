package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"

	mcpserver "github.com/mark3labs/mcp-go/server"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/access"
)

// endpoint is the path of the MCP endpoint.
const endpoint = "/mcp"

// HTTP serves Streamable HTTP at http://addr/mcp, or with TLS where the configuration has a certificate. addr may be beyond loopback only where callers
// prove who they are, and nobody can read their tokens along; port 0 takes a free one. The address served is logged as url=….
func HTTP(addr string) Transport { return httpTransport(addr) }

type httpTransport string

func (addr httpTransport) serve(ctx context.Context, s *Server) error {
	at := s.cfg.HTTP.endpoint(string(addr))
	who := s.cfg.access()
	if err := at.Check(&who); err != nil {
		return err
	}
	l, err := at.Open(s.cfg.Logger)
	if err != nil {
		return err
	}
	calls, stopCalls := context.WithCancel(context.WithoutCancel(ctx))
	defer stopCalls()
	srv := &http.Server{
		BaseContext: func(net.Listener) context.Context { return calls },
		ErrorLog:    slog.NewLogLogger(s.cfg.Logger.Handler(), slog.LevelWarn),
	}
	l.Harden(srv)
	mcpHandler := s.streamable(srv)
	var running requests
	srv.Handler = s.guard(running.count(s.answering(mcpHandler)), s.monitorHandler())
	s.health.address.Store(l.Addr().String())
	defer s.health.address.Store("")
	s.cfg.Logger.Info("serving MCP", "transport", "http", "url", at.Scheme()+"://"+l.Addr().String()+endpoint)
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
		mcpserver.WithHTTPContextFunc(httpContext))
}

// httpContext is ctx with who calls.
func httpContext(ctx context.Context, r *http.Request) context.Context {
	if id := access.From(r.Context()); id != nil {
		return access.With(ctx, id)
	}
	return context.WithValue(ctx, overHTTP{}, true)
}

// answering answers what is for the endpoint: plain calls at once, and the rest by mcp-go, which keeps no sessions.
func (s *Server) answering(h *mcpserver.StreamableHTTPServer) http.Handler {
	return &plainHTTP{own: s.own, next: sessionless{h}}
}

// guard lets in who may speak to the endpoint, and bounds the body. What is not for the endpoint goes to others, which those may ask who may see the
// server's figures.
func (s *Server) guard(next, others http.Handler) http.Handler {
	return s.access.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != endpoint {
			if !access.From(r.Context()).AdmitsTool("server.stats") {
				http.Error(w, "the token is not for server.stats", http.StatusForbidden)
				return
			}
			others.ServeHTTP(w, r)
			return
		}
		if r.ContentLength > maxMessage {
			w.Header().Set("Connection", "close")
			http.Error(w, fmt.Sprintf("the body is longer than %d bytes", maxMessage), http.StatusRequestEntityTooLarge)
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxMessage)
		next.ServeHTTP(w, r)
	}))
}

// Handler serves the MCP endpoint at /mcp and the monitoring beside it for an HTTP server of the caller's, with Host and Origin checked as
// HTTP does.
// Close ends what it keeps for its sessions.
func (s *Server) Handler() http.Handler {
	h := s.streamable(nil)
	s.mu.Lock()
	s.handlers = append(s.handlers, h)
	s.mu.Unlock()
	return s.guard(s.answering(h), s.monitorHandler())
}
