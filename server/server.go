// Package server is the pooled MCP server: SSH commands and SFTP transfers for AI clients, over connections that all calls share.
//
// Start with New and Run. The way of one call: a transport (stdio.go, http.go) hands the message to mcp-go, which calls the tool's
// file (tool_exec.go); there the call is authorized by the profile's policy, admitted under its limits (call.go), run over a lease from
// the pool (internal/remote) and answered in an envelope (envelope.go).
package server

import (
	"context"
	"maps"
	"net"
	"os/user"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
	mcpserver "github.com/mark3labs/mcp-go/server"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/access"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/admission"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/audit"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/metrics"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/policy"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/pool"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/profile"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/vpn"
)

const instructions = "Runs commands and moves files on remote hosts over SSH. Call profile_list for the hosts; pass a profile's id as " +
	"profile_id. Each result is an envelope: success, data, error, and metadata with error_code and timing."

// Server serves MCP clients. It is safe for concurrent use; one Server may Run several transports.
type Server struct {
	cfg       Config                 // at the start
	settings  atomic.Pointer[Config] // once Reload has changed it; see current
	mcp       *mcpserver.MCPServer
	own       ownTools // of mcp
	profiles  *profile.Store
	policies  policies
	pool      *pool.Pool
	heardDial func(time.Duration) // counts it; nil where nothing is counted
	limits    admission.Limiter
	memory    admission.Memory
	responses *responses
	audit     *audit.Store // nil keeps no record
	access    *access.Guard
	metrics   *metrics.Registry // nil counts nothing
	traffic   traffic
	monitor   monitor
	tunnels   tunnels
	jobs      jobs
	vpn       *vpn.Tunnels
	warmer    warmer
	health    health
	started   time.Time
	local     string // the user who runs the server

	calls atomic.Int64 // begun so far
	swept atomic.Int64 // calls at the last sweep

	reloading sync.Mutex

	mu       sync.Mutex
	handlers []*mcpserver.StreamableHTTPServer // made by Handler
}

// New loads the profiles, opens the audit record where the configuration has one, and returns a server that serves nothing yet; Close ends
// it. The error names every mistake in the profiles.
func New(cfg Config) (*Server, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	store, err := profile.Open(cfg.profileConfig())
	if err != nil {
		return nil, err
	}
	if err := checkCanaryKey(&cfg, store); err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, profiles: store, vpn: vpn.New(0), started: time.Now(), local: localUser(), warmer: newWarmer()}
	if s.access, err = access.Open(cfg.access()); err != nil {
		return nil, err
	}
	if s.audit, err = s.openAudit(); err != nil {
		s.access.Close()
		return nil, err
	}
	s.metrics = cfg.registry()
	s.heardDial = s.dialled()
	s.pool = pool.New(s.pooling(&cfg))
	s.responses = newResponses(cfg.Caching)
	s.memory.Limiter, s.memory.Shrink, s.memory.Report = &s.limits, s.shrink, s.reportMemory
	s.limit(&cfg)
	s.mcp = mcpserver.NewMCPServer("openaccess-mcp", cfg.Version,
		mcpserver.WithToolCapabilities(false), mcpserver.WithRecovery(), mcpserver.WithInstructions(instructions), mcpserver.WithHooks(s.hooks()))
	s.mcp.AddTools(s.execTool(), s.transferTool(), s.syncTool(), s.profilesTool(), s.statsTool())
	s.mcp.AddTools(s.tunnelTools()...)
	s.mcp.AddTools(s.vpnTool())
	s.mcp.AddTools(s.jobTools()...)
	s.watchFigures()
	s.mcp.AddTools(s.healthTool(), s.performanceTool())
	s.own = toolsOf(s.mcp)
	s.startHealth()
	return s, nil
}

// hooks lets tools be called by their dotted names: clients that refuse dots see underscores in the list.
func (s *Server) hooks() *mcpserver.Hooks {
	h := &mcpserver.Hooks{}
	h.AddBeforeCallTool(func(_ context.Context, _ any, req *mcp.CallToolRequest) {
		req.Params.Name = undotted(req.Params.Name)
	})
	h.AddOnRegisterSession(func(context.Context, mcpserver.ClientSession) { s.health.sessions.Add(1) })
	h.AddOnUnregisterSession(func(context.Context, mcpserver.ClientSession) { s.health.sessions.Add(-1) })
	return h
}

// undotted is a tool's name as the list has it.
func undotted(name string) string { return strings.ReplaceAll(name, ".", "_") }

// Transport is a way for clients to reach the server: Stdio or HTTP.
type Transport interface {
	serve(ctx context.Context, s *Server) error
}

// Run serves clients over t until ctx ends or, over stdio, the client closes its end. Calls under way then get DrainTimeout to end. It
// returns nil after such an orderly end.
func (s *Server) Run(ctx context.Context, t Transport) error {
	stopMonitor, err := s.startMonitor()
	if err != nil {
		return err
	}
	defer stopMonitor()
	ctx, cancel := context.WithCancel(ctx)
	var background sync.WaitGroup
	background.Go(func() { s.pool.Run(ctx) })
	background.Go(func() { s.memory.Run(ctx) })
	background.Go(func() { s.cleanup(ctx) })
	if s.profiles != nil { // else it serves none
		background.Go(func() { s.profiles.Watch(ctx) })
		background.Go(func() { s.warmUp(ctx) })
	}
	background.Go(func() { s.health.run(ctx, s) })
	defer background.Wait()
	defer s.health.enter(ctx)()
	defer cancel()
	return t.serve(ctx, s)
}

// cleanup sweeps from time to time until ctx ends.
func (s *Server) cleanup(ctx context.Context) {
	for {
		t := time.NewTimer(s.current().Limits.CleanupInterval.Duration())
		select {
		case <-t.C:
			s.sweep()
		case <-ctx.Done():
			t.Stop()
			return
		}
	}
}

// sweep gives up what is too old or no longer used.
func (s *Server) sweep() {
	s.trim()
	if s.responses != nil { // else it serves no profiles
		s.responses.cache.Purge()
		s.policies.keep(s.profiles.List())
	}
}

// trim gives the memory that a busy time took back to the system, when no call has come since the last sweep. MCP clients keep servers around that
// they seldom use, and Go's own scavenger leaves as much to garbage as to what lives. It does so again at each sweep, since what asks many idle
// connections whether they are alive leaves garbage, too.
func (s *Server) trim() {
	calls := s.calls.Load()
	if s.swept.Swap(calls) == calls {
		debug.FreeOSMemory()
	}
}

// shrink gives up memory that can be had again.
func (s *Server) shrink() {
	s.responses.cache.Shrink()
	s.pool.CloseIdle()
}

func (s *Server) reportMemory(message string, now admission.Usage) {
	s.cfg.Logger.Warn(message, "resident_mb", now.Resident>>20, "mark_mb", now.Mark>>20, "hard_mark_mb", now.Hard>>20)
}

// Close stops every job and closes every tunnel, every SSH connection and what Handler's HTTP sessions hold. Call it after Run has returned.
func (s *Server) Close() {
	s.mu.Lock()
	for _, h := range s.handlers {
		_ = h.Shutdown(context.Background()) // closes sessions; there is no listener to wait for
	}
	s.mu.Unlock()
	s.access.Close()
	s.health.close()
	s.jobs.close()
	s.tunnels.close()
	s.pool.Close()
	s.vpn.Close()
	if err := s.audit.Close(); err != nil {
		s.cfg.Logger.Error("closing the audit record", "error", err)
	}
}

// actor is who the server holds the caller to be: who proved so over HTTP, any local process there where nobody needs to, and over stdio the user who
// started it, or the configured name.
func (s *Server) actor(ctx context.Context) string {
	switch id := access.From(ctx); {
	case id != nil:
		return id.Actor
	case ctx.Value(overHTTP{}) != nil:
		return "http:local"
	case s.cfg.Auth.LocalName != "":
		return "stdio:" + s.cfg.Auth.LocalName
	}
	return "stdio:" + s.local
}

// overHTTP marks the context of a call that came over HTTP.
type overHTTP struct{}

func localUser() string {
	u, err := user.Current()
	if err != nil {
		return "unknown"
	}
	return u.Username
}

func (p Pooling) enabled() bool { return p.Enabled == nil || *p.Enabled }

// pooling is what the pool needs to know of c.
func (s *Server) pooling(c *Config) pool.Config {
	cfg := c.Pooling.pool(s.dial)
	cfg.Dialled = s.heardDial
	return cfg
}

func (p Pooling) pool(dial func(context.Context, *profile.Target) (net.Conn, error)) pool.Config {
	return pool.Config{
		Dial:     dial,
		Disabled: !p.enabled(), MaxConns: p.MaxSSHConnections, MaxSFTP: p.MaxSFTPSessions,
		DialTimeout: p.ConnectionTimeout.Duration(), IdleTimeout: p.IdleTimeout.Duration(), MaxLifetime: p.MaxLifetime.Duration(),
		KeepaliveInterval: p.KeepaliveInterval.Duration(), KeepaliveTimeout: p.KeepaliveTimeout.Duration(),
		BreakerInterval: p.ProbeInterval.Duration(),
		NoSpares:        p.ChannelAhead != nil && !*p.ChannelAhead,
	}
}

// policies keeps the compiled policy of each profile as long as the profile is unchanged.
type policies struct {
	mu sync.Mutex
	m  map[string]compiled
}

type compiled struct {
	of     *profile.Profile
	policy *policy.Policy
}

func (ps *policies) of(p *profile.Profile) (*policy.Policy, error) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if c, ok := ps.m[p.ID]; ok && c.of == p {
		return c.policy, nil
	}
	compiledPolicy, err := policy.Compile(rules(p))
	if err != nil {
		return nil, err
	}
	if ps.m == nil {
		ps.m = map[string]compiled{}
	}
	ps.m[p.ID] = compiled{p, compiledPolicy}
	return compiledPolicy, nil
}

// keep forgets the policies of others than these profiles.
func (ps *policies) keep(profiles []*profile.Profile) {
	used := make(map[*profile.Profile]bool, len(profiles))
	for _, p := range profiles {
		used[p] = true
	}
	ps.mu.Lock()
	defer ps.mu.Unlock()
	maps.DeleteFunc(ps.m, func(_ string, c compiled) bool { return !used[c.of] })
}
