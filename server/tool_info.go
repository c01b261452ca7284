package server

import (
	"context"
	"runtime"
	"strings"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
	mcpserver "github.com/mark3labs/mcp-go/server"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/cache"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/metrics"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/pool"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/profile"
)

// ProfileInfo is what profile_list tells of a profile: never a credential.
type ProfileInfo struct {
	ID          string   `json:"id"`
	Host        string   `json:"host"`
	Port        int      `json:"port"`
	Username    string   `json:"username,omitempty"`
	Protocols   []string `json:"protocols,omitempty"`
	Jump        string   `json:"jump,omitempty" jsonschema:"profile that it is reached through"`
	ViaVPN      string   `json:"via_vpn,omitempty" jsonschema:"WireGuard peer that it is reached through, PEER or PROFILE/PEER"`
	VPNPeers    []string `json:"vpn_peers,omitempty" jsonschema:"ids for vpn_wireguard_toggle"`
	Tags        []string `json:"tags,omitempty"`
	Description string   `json:"description,omitempty"`
	Problem     string   `json:"problem,omitempty" jsonschema:"what is wrong with its files; the last good state of them counts"`
}

// BrokenProfile is a profile that cannot be used.
type BrokenProfile struct {
	ID      string `json:"id"`
	Problem string `json:"problem"`
}

// ProfilesData is what profile_list answers.
type ProfilesData struct {
	Profiles []ProfileInfo   `json:"profiles"`
	Broken   []BrokenProfile `json:"broken,omitempty" jsonschema:"profiles whose files cannot be used"`
}

func (s *Server) profilesTool() mcpserver.ServerTool {
	return mcpserver.ServerTool{
		Tool: mcp.NewTool("profile_list",
			mcp.WithDescription("List the hosts that can be reached, by profile id."),
			mcp.WithString("caller", mcp.Description("who is asking; recorded, not verified")),
			mcp.WithOutputSchema[Envelope[ProfilesData]](),
			mcp.WithReadOnlyHintAnnotation(true), mcp.WithDestructiveHintAnnotation(false),
			mcp.WithIdempotentHintAnnotation(true), mcp.WithOpenWorldHintAnnotation(false),
		),
		Handler: handle(s, "profile.list", listProfiles),
	}
}

func listProfiles(_ context.Context, c *call) (*ProfilesData, error) {
	if err := c.done(); err != nil {
		return nil, err
	}
	data := &ProfilesData{Profiles: []ProfileInfo{}}
	problems := map[string]string{}
	for _, b := range c.s.profiles.Broken() {
		if b.Kept && b.ID != "" {
			problems[b.ID] = strings.TrimPrefix(problems[b.ID]+"; "+b.Err.Error(), "; ")
		} else {
			data.Broken = append(data.Broken, BrokenProfile{b.ID, b.Err.Error()})
		}
	}
	for _, p := range c.s.profiles.List() {
		if !c.identity.AdmitsProfile(p.ID) {
			continue
		}
		info := ProfileInfo{
			ID: p.ID, Host: p.Host, Port: p.Port, Username: p.Username, Protocols: p.Protocols,
			Jump: p.Jump, ViaVPN: p.ViaVPN, Tags: p.Tags, Description: p.Description, Problem: problems[p.ID],
		}
		for _, peer := range p.VPN.Peers {
			info.VPNPeers = append(info.VPNPeers, peer.ID)
		}
		data.Profiles = append(data.Profiles, info)
	}
	return data, nil
}

// StatsData is what server_stats answers.
type StatsData struct {
	Version    string                       `json:"version"`
	UptimeS    float64                      `json:"uptime_s"`
	Goroutines int                          `json:"goroutines"`
	HeapBytes  uint64                       `json:"heap_bytes" jsonschema:"bytes of live and not yet swept heap objects"`
	GCCycles   uint64                       `json:"gc_cycles" jsonschema:"garbage collections since the start"`
	GCPauseP99 float64                      `json:"gc_pause_p99_s" jsonschema:"99th percentile of the pauses for garbage collection since the start"`
	GCPauseMax float64                      `json:"gc_pause_max_s" jsonschema:"longest pause for garbage collection since the start"`
	Running    int                          `json:"running" jsonschema:"calls admitted now"`
	Waiting    int                          `json:"waiting" jsonschema:"calls waiting for a slot under the limits now"`
	Memory     MemoryStats                  `json:"memory"`
	Responses  CacheStats                   `json:"response_cache"`
	Profiles   ProfileStats                 `json:"profiles"`
	Audit      AuditStats                   `json:"audit"`
	Since      time.Time                    `json:"since,omitzero" jsonschema:"when operations and profile_operations begin: with the server or with the last reset"`
	Operations map[string]metrics.Operation `json:"operations"`
	Profile    map[string]metrics.Operation `json:"profile_operations,omitempty" jsonschema:"the same on the profile that was asked for"`
	Pool       PoolStats                    `json:"pool"`
	Admission  AdmissionStats               `json:"admission"`
	Tunnels    int                          `json:"tunnels" jsonschema:"tunnels open now"`
	VPNPeers   int                          `json:"vpn_peers_up"`
	Process    ProcessStats                 `json:"process"`
}

// AdmissionStats says whom the limits refused.
type AdmissionStats struct {
	Limit    int   `json:"limit" jsonschema:"calls that may work on hosts at once"`
	Memory   int64 `json:"refused_for_memory"`
	Queue    int64 `json:"refused_for_queue" jsonschema:"calls that found the queue full"`
	Patience int64 `json:"refused_for_patience" jsonschema:"calls for which no slot came in time"`
}

func (s *Server) admissionStats() AdmissionStats {
	r := s.limits.Refused()
	return AdmissionStats{Limit: s.current().Limits.MaxConcurrentOperations, Memory: r.Memory, Queue: r.Queue, Patience: r.Patience}
}

// CacheStats is a cache's part of server_stats.
type CacheStats struct {
	Enabled     bool    `json:"enabled"`
	Hits        int64   `json:"hits"`
	Misses      int64   `json:"misses"`
	Shared      int64   `json:"shared" jsonschema:"calls that got the result of one that ran at the same time"`
	HitRatio    float64 `json:"hit_ratio" jsonschema:"hits of all that hit, missed or shared"`
	Evicted     int64   `json:"evicted" jsonschema:"entries that gave way to the bounds or to a want of memory"`
	Expired     int64   `json:"expired"`
	Invalidated int64   `json:"invalidated" jsonschema:"entries that a write made void"`
	Entries     int     `json:"entries"`
	Bytes       int64   `json:"bytes"`
}

func cacheStats(c cache.Stats, enabled bool) CacheStats {
	s := CacheStats{
		Enabled: enabled, Hits: c.Hits, Misses: c.Misses, Shared: c.Shared, Evicted: c.Evicted, Expired: c.Expired, Invalidated: c.Invalidated,
		Entries: c.Entries, Bytes: c.Bytes,
	}
	if all := c.Hits + c.Shared + c.Misses; all > 0 {
		s.HitRatio = float64(c.Hits) / float64(all)
	}
	return s
}

// ProfileStats is the profiles' part of server_stats.
type ProfileStats struct {
	Loaded   int     `json:"loaded"`
	Broken   int     `json:"broken" jsonschema:"profiles and known_hosts files that cannot be used as they are now, see profile_list"`
	Watched  bool    `json:"watched" jsonschema:"edited files count at once; else within a second"`
	Hits     int64   `json:"hits" jsonschema:"times that a profile or target was given out without a look at its files"`
	Misses   int64   `json:"misses"`
	HitRatio float64 `json:"hit_ratio"`
	Reads    int64   `json:"reads" jsonschema:"profile files read again since the start"`
}

func profileStats(p profile.Stats) ProfileStats {
	s := ProfileStats{Loaded: p.Profiles, Broken: p.Broken, Watched: p.Watched, Hits: p.Hits, Misses: p.Misses, Reads: p.Reads}
	if all := p.Hits + p.Misses; all > 0 {
		s.HitRatio = float64(p.Hits) / float64(all)
	}
	return s
}

// AuditStats is the audit record's part of server_stats.
type AuditStats struct {
	Enabled  bool   `json:"enabled"`
	Written  int64  `json:"written" jsonschema:"records in the file from this process"`
	Buffered int    `json:"buffered" jsonschema:"records that wait to be written now"`
	Waiting  int    `json:"waiting" jsonschema:"calls that wait for room in the buffer now"`
	Failing  bool   `json:"failing" jsonschema:"the file cannot be written now"`
	Lost     int64  `json:"lost" jsonschema:"records that could not be written"`
	Error    string `json:"error,omitempty"`
}

func (s *Server) auditStats() AuditStats {
	now := s.audit.Stats()
	return AuditStats{
		Enabled: s.audit != nil, Written: now.Written, Buffered: now.Buffered, Waiting: now.Waiting, Failing: now.Failing, Lost: now.Lost,
		Error: now.Error,
	}
}

// MemoryStats is the memory's part of server_stats. Sizes are bytes.
type MemoryStats struct {
	Resident int64 `json:"resident_bytes" jsonschema:"resident memory, read each second"`
	Mark     int64 `json:"mark_bytes" jsonschema:"above it caches shrink and idle connections go"`
	Hard     int64 `json:"hard_mark_bytes" jsonschema:"above it new work is refused"`
	Refusing bool  `json:"refusing" jsonschema:"new work is refused now"`
	Shrinks  int64 `json:"shrinks" jsonschema:"times that memory was given up"`
}

// PoolStats is the pool's part of server_stats.
type PoolStats struct {
	Enabled       bool    `json:"enabled"`
	Targets       int     `json:"targets"`
	Open          int     `json:"open" jsonschema:"SSH connections open now"`
	Leased        int     `json:"leased" jsonschema:"channels in use now, idle SFTP sessions included"`
	Waiting       int     `json:"waiting" jsonschema:"callers waiting for a channel now"`
	SFTPSessions  int     `json:"sftp_sessions" jsonschema:"SFTP sessions open now"`
	Dials         int64   `json:"dials"`
	DialFailures  int64   `json:"dial_failures"`
	DialMeanS     float64 `json:"dial_mean_s"`
	Leases        int64   `json:"leases"`
	Reused        int64   `json:"reused" jsonschema:"leases whose connection was open already"`
	ReuseRatio    float64 `json:"reuse_ratio"`
	RefusedOpened int64   `json:"refused" jsonschema:"channels that a host refused"`
	Held          int     `json:"held" jsonschema:"forwarded connections and listeners open now"`
	Limited       int64   `json:"callers_refused" jsonschema:"callers refused because too many waited"`
	Evicted       int64   `json:"closed_idle" jsonschema:"connections closed because nobody used them"`
	Expired       int64   `json:"closed_lifetime" jsonschema:"connections closed at the end of their lifetime"`
	Silent        int64   `json:"closed_silent" jsonschema:"connections closed because their host did not answer"`
	BreakersOpen  int     `json:"breakers_open" jsonschema:"hosts that are not tried now, since the last attempts failed"`
}

func (s *Server) statsTool() mcpserver.ServerTool {
	return mcpserver.ServerTool{
		Tool: mcp.NewTool("server_stats",
			mcp.WithDescription("Show what the server has done and holds: calls, errors, durations, SSH connections, memory."),
			mcp.WithString("profile_id", mcp.Description("also show what was done on this profile")),
			mcp.WithBoolean("reset", mcp.Description("let the figures of operations begin anew after this answer; what Prometheus sees goes on")),
			mcp.WithString("caller", mcp.Description("who is asking; recorded, not verified")),
			mcp.WithOutputSchema[Envelope[StatsData]](),
			mcp.WithReadOnlyHintAnnotation(false), mcp.WithDestructiveHintAnnotation(false), // reset changes what the next answer says
			mcp.WithIdempotentHintAnnotation(false), mcp.WithOpenWorldHintAnnotation(false),
		),
		Handler: handle(s, "server.stats", stats),
	}
}

func stats(_ context.Context, c *call) (*StatsData, error) {
	id, reset := c.str("profile_id"), c.boolean(false, "reset")
	if err := c.done(); err != nil {
		return nil, err
	}
	data := c.s.stats()
	m := c.s.metrics
	switch {
	case reset && m == nil:
		return nil, &callError{CodeInvalidParameters, "nothing is counted that could be reset: set monitoring.metrics_collection to true"}
	case id == "":
	case m == nil || !*c.s.cfg.Monitoring.PerformanceMonitoring:
		return nil, &callError{CodeInvalidParameters,
			"profiles are not told apart: set monitoring.metrics_collection and monitoring.performance_monitoring to true, or leave out profile_id"}
	default:
		if err := c.admitsProfile(id); err != nil {
			return nil, err
		}
		if _, err := c.s.profiles.Get(id); err != nil {
			return nil, err
		}
		data.Profile = m.Profile(id)
	}
	data.Since = m.Since()
	if reset {
		data.Operations = m.Reset()
	} else {
		data.Operations = m.Snapshot()
	}
	return data, nil
}

// stats is what the server is and holds now.
func (s *Server) stats() *StatsData {
	gc := readGC()
	running, waiting := s.limits.Stats()
	return &StatsData{
		Version: s.cfg.Version, UptimeS: time.Since(s.started).Seconds(), Goroutines: runtime.NumGoroutine(), HeapBytes: gc.heapBytes,
		GCCycles: gc.cycles, GCPauseP99: gc.pauseP99S, GCPauseMax: gc.pauseMaxS,
		Running: running, Waiting: waiting, Memory: MemoryStats(s.memory.Usage()),
		Responses: cacheStats(s.responses.cache.Stats(), !s.responses.off.Load()), Audit: s.auditStats(),
		Profiles: profileStats(s.profiles.Stats()),
		Pool:     poolStats(s.pool.Stats(), s.current().Pooling.enabled()), Admission: s.admissionStats(),
		Tunnels: len(s.tunnels.list()), VPNPeers: s.vpn.CountUp(), Process: s.processStats(),
	}
}

func poolStats(p pool.Stats, enabled bool) PoolStats {
	return PoolStats{
		Enabled: enabled, Targets: p.Targets, Open: p.Open, Leased: p.Leased, Waiting: p.Waiting, SFTPSessions: p.SFTPSessions,
		Dials: p.Dials, DialFailures: p.DialFailures, DialMeanS: p.DialTimeMean.Seconds(),
		Leases: p.Leases, Reused: p.Reused, ReuseRatio: p.ReusedFraction, RefusedOpened: p.Refused,
		Held: p.Held, Limited: p.Limited, Evicted: p.Evicted, Expired: p.Expired, Silent: p.Silent, BreakersOpen: p.BreakersOpen,
	}
}
