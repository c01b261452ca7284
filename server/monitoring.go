package server

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/loopback"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/metrics"
)

// Monitoring says what the server tells of itself.
type Monitoring struct {
	MetricsCollection     *bool   `yaml:"metrics_collection"`              // true; false counts no calls and serves no /metrics
	HealthCheckInterval   Seconds `yaml:"health_check_interval" min:"0.1"` // between two health checks; 30 s
	Canary                string  `yaml:"canary"`                          // profile whose host shows whether hosts can be reached; empty is none
	PerformanceMonitoring *bool   `yaml:"performance_monitoring"`          // true; false tells neither profiles nor the phases of calls apart
	MaxProfiles           int     `yaml:"max_profiles" min:"1"`            // profiles told apart, the first ones called; 100
	Listen                string  `yaml:"listen"`                          // loopback host:port beside the transport; none
	Pprof                 *bool   `yaml:"pprof"`                           // false; true serves /debug/pprof, to this machine only
}

func (m Monitoring) pprof() bool { return m.Pprof != nil && *m.Pprof }

// mutexFraction is the share of contended locks that pprof samples: one in so many.
const mutexFraction = 100

// registry makes what counts; nil where nothing is counted.
func (c *Config) registry() *metrics.Registry {
	m := c.Monitoring
	if m.pprof() {
		runtime.SetMutexProfileFraction(mutexFraction)
	}
	if !*m.MetricsCollection {
		return nil
	}
	profiles := 0
	if *m.PerformanceMonitoring {
		profiles = m.MaxProfiles
	}
	return metrics.New(metrics.Config{Version: c.Version, Codes: codes, Profiles: profiles})
}

// monitorHandler serves /metrics, the health of the server and, where asked for, /debug/pprof/.
func (s *Server) monitorHandler() http.Handler {
	mux := http.NewServeMux()
	if s.metrics != nil {
		mux.Handle("GET /metrics", s.metrics.Handler())
	}
	if s.cfg.Monitoring.pprof() {
		for path, serve := range map[string]http.HandlerFunc{
			"": pprof.Index, "cmdline": pprof.Cmdline, "profile": pprof.Profile, "symbol": pprof.Symbol, "trace": pprof.Trace,
		} {
			mux.Handle("GET /debug/pprof/"+path, loopbackOnly(serve))
		}
	}
	s.healthRoutes(mux)
	return mux
}

// loopbackOnly serves what came to a loopback address, whoever listens.
// localOnly keeps web pages away from a listener of its own, which is on loopback.
func localOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if why := loopback.Foreign(r); why != "" {
			http.Error(w, why, http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func loopbackOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		local, _ := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
		if local == nil || !local.IP.IsLoopback() {
			http.Error(w, "served on loopback only", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// monitor is the listener beside the transports, which share it. The zero value is ready.
type monitor struct {
	mu     sync.Mutex
	users  int
	server *http.Server
	served chan struct{} // closed when it has ended
}

// startMonitor listens at monitoring.listen until every caller has called stop. It does nothing where that is empty.
func (s *Server) startMonitor() (stop func(), err error) {
	m := &s.monitor
	m.mu.Lock()
	defer m.mu.Unlock()
	addr := s.cfg.Monitoring.Listen
	if addr == "" {
		return func() {}, nil
	}
	if m.users == 0 {
		if err := s.listenMonitor(addr); err != nil {
			return nil, err
		}
	}
	m.users++
	return sync.OnceFunc(m.leave), nil
}

// listenMonitor starts the listener; the monitor's mutex is held. Its URL is not logged as url, which is that of the MCP endpoint.
func (s *Server) listenMonitor(addr string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("monitoring.listen: %w: end what has the address, or let the system choose a port with 127.0.0.1:0", err)
	}
	m := &s.monitor
	m.served = make(chan struct{})
	m.server = &http.Server{
		Handler: localOnly(s.monitorHandler()), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute,
		ErrorLog: slog.NewLogLogger(s.cfg.Logger.Handler(), slog.LevelWarn),
	}
	s.cfg.Logger.Info("serving monitoring", "monitor_url", "http://"+l.Addr().String())
	go func(srv *http.Server, served chan struct{}) {
		defer close(served)
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.cfg.Logger.Error("monitoring has ended", "error", err)
		}
	}(m.server, m.served)
	return nil
}

func (m *monitor) leave() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.users--; m.users == 0 {
		m.server.Close()
		<-m.served
	}
}

// traffic counts the bytes of the SSH connections, jump hosts' traffic once.
type traffic struct{ received, sent atomic.Int64 }

// counted passes on what a dial returned.
func (t *traffic) counted(c net.Conn, err error) (net.Conn, error) {
	if err != nil {
		return nil, err
	}
	return &countedConn{c, t}, nil
}

type countedConn struct {
	net.Conn
	traffic *traffic
}

func (c *countedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.traffic.received.Add(int64(n))
	return n, err
}

func (c *countedConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.traffic.sent.Add(int64(n))
	return n, err
}
