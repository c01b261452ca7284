// Package gateway is one MCP endpoint balanced over several servers.
//
// Start with New and Run. The way of one request: Run's HTTP server hands it to exchange.go, which reads it whole; balancer.go chooses a server,
// or session.go finds the one that a session of the older wire belongs to; links.go sends it over a connection of its own; answer.go passes
// the answer on. Where the server is lost meanwhile, outcome.go says what is known of the call. probe.go asks the servers how they are.
//
// The gateway keeps no record of sessions: which server a session belongs to stands in its id. So a gateway may be restarted, or stand beside
// another over the same servers, without a client noticing.
package gateway

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/access"
)

const (
	endpoint   = "/mcp"
	maxMessage = 16 << 20 // bytes of a request's body, as servers bound it
	lastWords  = time.Second
)

// errDraining ends the requests that are under way when the time to drain is over.
var errDraining = errors.New("the gateway is ending")

// Gateway balances MCP requests over servers. It is safe for concurrent use.
type Gateway struct {
	cfg      Config // at the start
	balancer balancer
	probes   prober
	timing   atomic.Pointer[timing]
	started  time.Time
	held     int // maxHeld

	draining atomic.Bool
	streams  context.Context // ends, with endStreams, when draining begins
	end      context.CancelFunc

	retried, unknown, orphaned, turnedAway atomic.Int64
	reloading                              sync.Mutex
}

// timing is what Reload may change of how long things take.
type timing struct{ probeInterval, probeTimeout, drain time.Duration }

// New makes a gateway that does nothing yet. Its error names every mistake in cfg.
func New(cfg Config) (*Gateway, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	g := &Gateway{cfg: cfg, started: time.Now(), held: maxHeld}
	g.balancer.log = cfg.Logger
	g.streams, g.end = context.WithCancel(context.Background())
	g.probes.g = g
	g.apply(&cfg)
	return g, nil
}

func (g *Gateway) apply(cfg *Config) (added, gone []*backend) {
	g.timing.Store(&timing{cfg.ProbeInterval.Duration(), cfg.ProbeTimeout.Duration(), cfg.DrainTimeout.Duration()})
	return g.balancer.configure(cfg)
}

// Reload takes another configuration, without touching what is under way: servers come, go, and are drained or taken back. A server that is
// gone gets nothing more, and clients with sessions there are told to begin anew. A new Listen counts only after a restart. An error leaves
// everything as it was.
func (g *Gateway) Reload(cfg Config) error {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return err
	}
	g.reloading.Lock()
	defer g.reloading.Unlock()
	added, gone := g.apply(&cfg)
	g.probes.follow(added, gone)
	g.cfg.Logger.Info("configuration reloaded", "servers", len(cfg.Backends), "added", urls(added), "gone", urls(gone))
	if cfg.Listen != g.cfg.Listen {
		g.cfg.Logger.Warn("listen is changed by a restart only", "now", g.cfg.Listen)
	}
	was, is := g.cfg.guard(), cfg.guard()
	was.Logger, is.Logger = nil, nil
	at, next := g.cfg.endpoint(), cfg.endpoint()
	at.Listen, next.Listen = "", ""
	if !reflect.DeepEqual(was, is) || at != next {
		g.cfg.Logger.Warn("who may come, and TLS, are changed by a restart only; what is in the files of tokens and certificates counts at once")
	}
	return nil
}

func urls(all []*backend) []string {
	list := make([]string, len(all))
	for i, b := range all {
		list[i] = b.url
	}
	return list
}

// Run serves clients until ctx ends. Then it takes no more of them, ends streams that only listen, and gives calls under way DrainTimeout to
// end; those that do not are answered that their outcome is unknown. It returns nil after such an orderly end. The URL served is logged as
// url=…. A Gateway runs once.
func (g *Gateway) Run(ctx context.Context) error {
	guard, err := access.Open(g.cfg.guard())
	if err != nil {
		return err
	}
	defer guard.Close()
	at := g.cfg.endpoint()
	listener, err := at.Open(g.cfg.Logger)
	if err != nil {
		return err
	}
	g.start(ctx)
	defer g.stop()
	calls, stopCalls := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stopCalls(nil)
	srv := &http.Server{
		Handler:     g.handler(guard),
		BaseContext: func(net.Listener) context.Context { return calls },
		ErrorLog:    slog.NewLogLogger(g.cfg.Logger.Handler(), slog.LevelWarn),
	}
	listener.Harden(srv)
	g.cfg.Logger.Info("serving MCP", "transport", "gateway", "url", at.Scheme()+"://"+listener.Addr().String()+endpoint, "servers", len(g.cfg.Backends))
	served := make(chan error, 1)
	go func() { served <- srv.Serve(listener) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	g.drain(srv, stopCalls)
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// start probes every server once and goes on doing so.
func (g *Gateway) start(ctx context.Context) {
	g.probes.start(ctx, g.balancer.all())
}

// stop ends what start began and the connections to the servers.
func (g *Gateway) stop() {
	g.probes.stop()
	for _, b := range g.balancer.all() {
		b.links.close()
	}
}

func (g *Gateway) drain(srv *http.Server, stopCalls context.CancelCauseFunc) {
	g.draining.Store(true)
	g.end()
	g.cfg.Logger.Info("draining")
	ctx, cancel := context.WithTimeout(context.Background(), g.timing.Load().drain)
	defer cancel()
	if srv.Shutdown(ctx) == nil {
		return
	}
	g.cfg.Logger.Warn("calls are still under way; their outcome is unknown")
	stopCalls(errDraining)
	ctx, cancel = context.WithTimeout(context.Background(), lastWords)
	defer cancel()
	if srv.Shutdown(ctx) != nil {
		srv.Close()
	}
}

// handler serves the MCP endpoint and what the gateway says of itself, to those whom guard lets in.
func (g *Gateway) handler(guard *access.Guard) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc(endpoint, g.serveMCP)
	mux.HandleFunc("GET /healthz", g.serveHealth)
	mux.HandleFunc("GET /readyz", g.serveReady)
	mux.HandleFunc("GET /status", g.serveStatus)
	return guard.Wrap(mux)
}
