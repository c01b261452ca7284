package server

import (
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/admission"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/audit"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/cache"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/metrics"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/pool"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/remote"
)

// dialled is what the pool tells how long its dials took.
func (s *Server) dialled() func(time.Duration) {
	return s.metrics.Durations("pool_dial_duration_seconds", "Duration of successful dials: connecting, key exchange and login.")
}

// watchFigures shows to scrapers what the parts of the server count or hold.
func (s *Server) watchFigures() {
	s.watchPool()
	s.watchCache()
	s.watchAdmission()
	s.watchMemory()
	s.watchAudit()
	s.watchTunnels()
}

func (s *Server) watchPool() {
	type p = pool.Stats
	metrics.Watch(s.metrics, s.pool.Stats,
		metrics.Gauge("pool_targets", "Hosts and logins that have connections or had some lately.", func(p p) int { return p.Targets }),
		metrics.Gauge("pool_connections", "SSH connections open.", func(p p) int { return p.Open }),
		metrics.Gauge("pool_leased", "Channels in use, idle SFTP sessions included.", func(p p) int { return p.Leased }),
		metrics.Gauge("pool_held", "Forwarded connections and listeners open.", func(p p) int { return p.Held }),
		metrics.Gauge("pool_waiting", "Callers waiting for a channel or an SFTP session.", func(p p) int { return p.Waiting }),
		metrics.Gauge("pool_sftp_sessions", "SFTP sessions open.", func(p p) int { return p.SFTPSessions }),
		metrics.Gauge("pool_breakers_open", "Hosts that are not tried now, since the last attempts failed.", func(p p) int { return p.BreakersOpen }),
		metrics.Gauge("pool_reuse_ratio", "Leases whose connection was open already, of all.", func(p p) float64 { return p.ReusedFraction }),
		metrics.Counter("pool_leases_total", "Channels given to callers.", func(p p) int64 { return p.Leases }),
		metrics.Counter("pool_leases_reused_total", "Of those, the ones whose connection was open already.", func(p p) int64 { return p.Reused }),
		metrics.Counter("pool_dials_total", "Connections dialled.", func(p p) int64 { return p.Dials }, "outcome", "success"),
		metrics.Counter("pool_dials_total", "Connections dialled.", func(p p) int64 { return p.DialFailures }, "outcome", "failure"),
		metrics.Counter("pool_channels_refused_total", "Channels that a host refused to open.", func(p p) int64 { return p.Refused }),
		metrics.Counter("pool_callers_refused_total", "Callers refused because too many waited.", func(p p) int64 { return p.Limited }),
		metrics.Counter("pool_connections_closed_total", closedHelp, func(p p) int64 { return p.Evicted }, "reason", "idle"),
		metrics.Counter("pool_connections_closed_total", closedHelp, func(p p) int64 { return p.Expired }, "reason", "lifetime"),
		metrics.Counter("pool_connections_closed_total", closedHelp, func(p p) int64 { return p.Silent }, "reason", "silent"))
	metrics.Watch(s.metrics, func() *traffic { return &s.traffic },
		metrics.Counter("ssh_network_bytes_total", trafficHelp, func(t *traffic) int64 { return t.received.Load() }, "direction", "receive"),
		metrics.Counter("ssh_network_bytes_total", trafficHelp, func(t *traffic) int64 { return t.sent.Load() }, "direction", "transmit"))
}

const (
	closedHelp  = "Connections that the pool closed: not used, too old, or their host did not answer."
	trafficHelp = "Bytes of the SSH connections as they cross the network."
	askedHelp   = "Calls whose result was remembered (hit), was made (miss), or came from one that ran at the same time (shared)."
	removedHelp = "Results forgotten: to make room (evicted), too old (expired), or made void by a write (invalidated)."
	refusedHelp = "Calls not admitted: memory is short, the queue is full, or no slot came in time."
)

func (s *Server) watchCache() {
	type c = cache.Stats
	label := []string{"cache", "response"}
	with := func(more ...string) []string { return append(label[:2:2], more...) }
	metrics.Watch(s.metrics, s.responses.cache.Stats,
		metrics.Counter("cache_requests_total", askedHelp, func(c c) int64 { return c.Hits }, with("result", "hit")...),
		metrics.Counter("cache_requests_total", askedHelp, func(c c) int64 { return c.Misses }, with("result", "miss")...),
		metrics.Counter("cache_requests_total", askedHelp, func(c c) int64 { return c.Shared }, with("result", "shared")...),
		metrics.Counter("cache_removed_total", removedHelp, func(c c) int64 { return c.Evicted }, with("reason", "evicted")...),
		metrics.Counter("cache_removed_total", removedHelp, func(c c) int64 { return c.Expired }, with("reason", "expired")...),
		metrics.Counter("cache_removed_total", removedHelp, func(c c) int64 { return c.Invalidated }, with("reason", "invalidated")...),
		metrics.Gauge("cache_entries", "Results remembered.", func(c c) int { return c.Entries }, label...),
		metrics.Gauge("cache_bytes", "Bytes that they take.", func(c c) int64 { return c.Bytes }, label...))
}

func (s *Server) watchAdmission() {
	type a struct {
		running, waiting int
		refused          admission.Refusals
	}
	read := func() (now a) {
		now.running, now.waiting = s.limits.Stats()
		now.refused = s.limits.Refused()
		return now
	}
	metrics.Watch(s.metrics, read,
		metrics.Gauge("admission_running", "Calls that work on hosts.", func(a a) int { return a.running }),
		metrics.Gauge("admission_waiting", "Calls waiting for a slot under the limits.", func(a a) int { return a.waiting }),
		metrics.Counter("admission_refused_total", refusedHelp, func(a a) int64 { return a.refused.Memory }, "reason", "memory"),
		metrics.Counter("admission_refused_total", refusedHelp, func(a a) int64 { return a.refused.Queue }, "reason", "queue"),
		metrics.Counter("admission_refused_total", refusedHelp, func(a a) int64 { return a.refused.Patience }, "reason", "patience"))
	metrics.Watch(s.metrics, s.current,
		metrics.Gauge("admission_limit", "Calls that may work on hosts at once.", func(c *Config) int { return c.Limits.MaxConcurrentOperations }))
}

func (s *Server) watchMemory() {
	type u = admission.Usage
	metrics.Watch(s.metrics, s.memory.Usage,
		metrics.Gauge("memory_resident_bytes", "Resident memory as the limits see it, read each second.", func(u u) int64 { return u.Resident }),
		metrics.Gauge("memory_mark_bytes", "Above it caches shrink and idle connections go.", func(u u) int64 { return u.Mark }),
		metrics.Gauge("memory_hard_mark_bytes", "Above it new work is refused.", func(u u) int64 { return u.Hard }),
		metrics.Gauge("memory_refusing", "1 while new work is refused.", func(u u) int { return metrics.Bool(u.Refusing) }),
		metrics.Counter("memory_shrinks_total", "Times that memory was given up.", func(u u) int64 { return u.Shrinks }))
}

func (s *Server) watchAudit() {
	if s.audit == nil {
		return
	}
	type a = audit.Stats
	metrics.Watch(s.metrics, s.audit.Stats,
		metrics.Counter("audit_records_total", "Records of calls written.", func(a a) int64 { return a.Written }),
		metrics.Counter("audit_commits_total", "Batches that they came in.", func(a a) int64 { return a.Commits }),
		metrics.Counter("audit_lost_total", "Records that could not be written.", func(a a) int64 { return a.Lost }),
		metrics.Gauge("audit_buffered", "Records that wait to be written.", func(a a) int { return a.Buffered }),
		metrics.Gauge("audit_waiting", "Calls that wait for room in the buffer.", func(a a) int { return a.Waiting }),
		metrics.Gauge("audit_failing", "1 while the record cannot be written.", func(a a) int { return metrics.Bool(a.Failing) }))
}

func (s *Server) watchTunnels() {
	type kinds = map[remote.TunnelKind]int
	const help = "Tunnels open."
	metrics.Watch(s.metrics, s.tunnels.kinds,
		metrics.Gauge("tunnels", help, func(k kinds) int { return k[remote.LocalTunnel] }, "type", string(remote.LocalTunnel)),
		metrics.Gauge("tunnels", help, func(k kinds) int { return k[remote.RemoteTunnel] }, "type", string(remote.RemoteTunnel)),
		metrics.Gauge("tunnels", help, func(k kinds) int { return k[remote.DynamicTunnel] }, "type", string(remote.DynamicTunnel)))
	metrics.Watch(s.metrics, s.jobs.counts,
		metrics.Gauge("jobs", "Background jobs kept.", func(n jobCounts) int { return n.active }, "state", "active"),
		metrics.Gauge("jobs", "Background jobs kept.", func(n jobCounts) int { return n.ended }, "state", "ended"))
	metrics.Watch(s.metrics, s.vpn.CountUp,
		metrics.Gauge("vpn_peers_up", "WireGuard peers that are up.", func(n int) int { return n }))
}

// kinds counts the open tunnels of each kind.
func (ts *tunnels) kinds() map[remote.TunnelKind]int {
	n := map[remote.TunnelKind]int{}
	for _, t := range ts.list() {
		n[t.kind]++
	}
	return n
}

// ProcessStats is the process's part of server_stats. What the system does not tell is absent.
type ProcessStats struct {
	Virtual     *int64   `json:"virtual_bytes,omitempty" jsonschema:"virtual memory"`
	Resident    *int64   `json:"resident_bytes,omitempty" jsonschema:"resident memory"`
	CPU         *float64 `json:"cpu_s,omitempty" jsonschema:"seconds of user and system time so far"`
	Threads     *int64   `json:"threads,omitempty"`
	Descriptors *int64   `json:"descriptors,omitempty" jsonschema:"file descriptors open now"`
	Limit       *int64   `json:"descriptors_limit,omitempty" jsonschema:"file descriptors that may be open"`
	Sockets     *int64   `json:"sockets,omitempty" jsonschema:"sockets open now"`
	SSHReceived int64    `json:"ssh_received_bytes" jsonschema:"bytes of the SSH connections as they crossed the network"`
	SSHSent     int64    `json:"ssh_sent_bytes"`
	Received    *int64   `json:"network_received_bytes,omitempty" jsonschema:"bytes that came in over IP in the server's network namespace, other processes' too"`
	Sent        *int64   `json:"network_sent_bytes,omitempty"`
}

func (s *Server) processStats() ProcessStats {
	p := metrics.ReadProcess()
	known := func(n int64) *int64 {
		if n < 0 {
			return nil
		}
		return &n
	}
	stats := ProcessStats{
		Virtual: known(p.Virtual), Resident: known(p.Resident), Threads: known(p.Threads), Descriptors: known(p.Descriptors),
		Limit: known(p.MaxDescriptors), Sockets: known(p.Sockets), Received: known(p.Received), Sent: known(p.Sent),
		SSHReceived: s.traffic.received.Load(), SSHSent: s.traffic.sent.Load(),
	}
	if p.CPU >= 0 {
		stats.CPU = &p.CPU
	}
	return stats
}
