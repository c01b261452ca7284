package server

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/policy"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/pool"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/profile"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/remote"
)

// checkServer has the server answer a ping as a client's would be answered, and asks its own http listener whether it is alive.
func checkServer(ctx context.Context, s *Server) (Health, string) {
	if answer := s.mcp.HandleMessage(ctx, json.RawMessage(`{"jsonrpc":"2.0","id":1,"method":"ping"}`)); answer == nil {
		return Unhealthy, "a ping is not answered"
	}
	running, _ := s.limits.Stats()
	if s.health.draining() {
		return Unhealthy, fmt.Sprintf("the server is stopping; %d calls still run", running)
	}
	if address, _ := s.health.address.Load().(string); address != "" {
		at := s.cfg.HTTP.endpoint(address)
		if err := knock(ctx, at.Scheme()+"://"+address+"/healthz"); err != nil {
			return Unhealthy, "the server's own address does not answer: " + err.Error()
		}
	}
	return Healthy, fmt.Sprintf("up for %v; %d sessions, %d calls run", time.Since(s.started).Round(time.Second), s.health.sessions.Load(), running)
}

// knock asks this server's own address over a connection of its own. Nothing secret is said, so the certificate need not be for that address.
func knock(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	req.Host = "localhost" // where it listens on all addresses, it has none of its own
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("it answers %s", resp.Status)
	}
	return nil
}

// checkDatabase asks and writes the audit record.
func checkDatabase(ctx context.Context, s *Server) (Health, string) {
	if s.audit == nil {
		return Healthy, "no record of calls is kept (audit.enabled: false)"
	}
	if err := s.audit.Probe(ctx); err != nil {
		return Unhealthy, err.Error()
	}
	now := s.audit.Stats()
	switch {
	case now.Waiting > 0:
		return Degraded, fmt.Sprintf("%d calls wait until the audit record has room", now.Waiting)
	case now.Lost > 0:
		return Degraded, fmt.Sprintf("the audit record can be written, but %d records were lost since the start", now.Lost)
	}
	return Healthy, fmt.Sprintf("the audit record can be read and written; %d records written, %d buffered", now.Written, now.Buffered)
}

// checkCanaryKey finds out whether the canary is a profile; nil where it is.
func checkCanaryKey(cfg *Config, profiles *profile.Store) *Problem {
	const key = "monitoring.canary"
	if cfg.Monitoring.Canary == "" {
		return nil
	}
	_, err := profiles.Get(cfg.Monitoring.Canary)
	if err == nil {
		return nil
	}
	from := cfg.origins[key]
	if from == "" {
		from = "configuration"
	}
	return &Problem{File: from, Field: key, Message: err.Error(), Remedy: "name a profile of " + cfg.Profiles + ", or leave it out"}
}

// checkSSH reaches the canary's host, or judges by what calls have met.
func checkSSH(ctx context.Context, s *Server) (Health, string) {
	if canary := s.current().Monitoring.Canary; canary != "" {
		return s.checkCanary(ctx, canary)
	}
	return s.judgeHosts()
}

// checkCanary runs a command that does nothing on the canary's host, where its policy admits that, or opens a channel.
func (s *Server) checkCanary(ctx context.Context, id string) (Health, string) {
	start := time.Now()
	p, err := s.profiles.Get(id)
	if err != nil {
		return Unhealthy, "monitoring.canary: " + err.Error()
	}
	rules, err := s.policies.of(p)
	if err != nil {
		return Unhealthy, "monitoring.canary: " + err.Error()
	}
	t, err := s.profiles.Resolve(ctx, id)
	if err != nil {
		return Unhealthy, "canary: " + err.Error()
	}
	what := "opened a channel"
	if rules.Decide(policy.Call{Operation: "ssh.exec", Protocol: "ssh", Command: harmless}).Allowed {
		what = "ran " + harmless
		out, execErr := remote.Exec(ctx, s.pool, t, remote.Command{Line: harmless})
		if err = execErr; err == nil && out.ExitCode != 0 {
			err = fmt.Errorf("%s exited with %d", harmless, out.ExitCode)
		}
	} else {
		var session *pool.Session
		if session, err = s.pool.Session(ctx, t); err == nil {
			go discard(session)
			session.Close()
		}
	}
	if err != nil {
		return Unhealthy, fmt.Sprintf("canary %s: %v", id, err)
	}
	return Healthy, fmt.Sprintf("%s on canary %s in %s", what, id, milliseconds(time.Since(start).Seconds()))
}

// fewFailures to connect are enough to speak of all hosts.
const fewFailures = 3

// judgeHosts judges by the connections that were tried lately.
func (s *Server) judgeHosts() (Health, string) {
	failing, hosts := s.pool.Breakers()
	var shut []string
	for _, b := range failing {
		if b.Open() {
			shut = append(shut, fmt.Sprintf("%s (%v)", b.Addr, b.Cause))
		}
	}
	switch {
	case len(shut) > 0 && len(shut) == hosts:
		return Unhealthy, "no host can be reached: " + few(shut)
	case len(shut) > 0:
		return Degraded, fmt.Sprintf("%d of %d hosts cannot be reached: %s", len(shut), hosts, few(shut))
	}
	now, before := s.pool.Stats(), s.health.history.before(lately)
	dials, failures := now.Dials-before.dials, now.DialFailures-before.dialFailures
	switch {
	case failures >= fewFailures && dials == 0 && now.Open == 0:
		return Unhealthy, fmt.Sprintf("all of the last %d attempts to connect failed", failures)
	case failures > 0 && failures >= dials:
		return Degraded, fmt.Sprintf("%d of the last %d attempts to connect failed", failures, dials+failures)
	}
	return Healthy, fmt.Sprintf("%d connections open; %d made and %d attempts failed in the last %v; no canary is configured (monitoring.canary)",
		now.Open, dials, failures, lately)
}

// few names the first of many.
func few(list []string) string {
	if n := len(list); n > 3 {
		return strings.Join(list[:3], ", ") + fmt.Sprintf(" and %d more", n-3)
	}
	return strings.Join(list, ", ")
}

// Marks of the resources, in percent.
const (
	maxCPU         = 80 // of all processors that the process may use
	maxDescriptors = 80 // of the system's limit
)

// checkResources holds memory, processor time and descriptors against their limits.
func checkResources(_ context.Context, s *Server) (Health, string) {
	now := s.sample()
	status := Healthy
	var parts []string
	add := func(h Health, format string, args ...any) {
		status = status.worse(h)
		parts = append(parts, fmt.Sprintf(format, args...))
	}
	memory := s.memory.Usage()
	used := fmt.Sprintf("memory %d of %d MB", now.resident>>20, memory.Mark>>20)
	switch {
	case memory.Refusing:
		add(Unhealthy, "%s; new work is refused", used)
	case memory.Mark > 0 && now.resident > memory.Mark:
		add(Degraded, "%s; caches shrink and idle connections go", used)
	default:
		add(Healthy, "%s", used)
	}
	if cpu, over, ok := s.health.history.cpu(now); ok {
		h := Healthy
		if cpu > maxCPU {
			h = Degraded
		}
		add(h, "CPU %.0f of %d %% over %v", cpu, maxCPU, over.Round(100*time.Millisecond))
	}
	if limit := descriptorLimit(); limit > 0 && now.descriptors > 0 {
		h := Healthy
		if 100*now.descriptors > maxDescriptors*limit {
			h = Degraded
		}
		add(h, "%d of %d descriptors", now.descriptors, limit)
	}
	add(Healthy, "%d goroutines", now.goroutines)
	for _, leak := range s.leaks() {
		add(Degraded, "%s", leak.Message)
	}
	return status, strings.Join(parts, ", ")
}

// checkCache looks whether caches answer and are of use.
func checkCache(_ context.Context, s *Server) (Health, string) {
	profiles := len(s.profiles.List())
	now := cacheStats(s.responses.cache.Stats(), !s.responses.off.Load())
	if findings := s.cacheFindings(); len(findings) > 0 {
		return Degraded, findings[0].Message
	}
	if !now.Enabled {
		return Healthy, fmt.Sprintf("%d profiles; the response cache is off (caching.enabled: false)", profiles)
	}
	return Healthy, fmt.Sprintf("%d profiles; %d responses in %d KB, %.0f %% hits", profiles, now.Entries, now.Bytes>>10, 100*now.HitRatio)
}

// checkPools looks whether callers get connections and slots.
func checkPools(_ context.Context, s *Server) (Health, string) {
	now, before := s.pool.Stats(), s.health.history.latest()
	running, waiting := s.limits.Stats()
	limited := now.Limited - before.limited
	switch {
	case limited > 0:
		return Degraded, fmt.Sprintf("%d calls were refused since the check before, since too many wait for connections; %d wait now", limited, now.Waiting)
	case now.Waiting > 0 && before.poolWaiting > 0 && now.Open > 0: // else the first is being dialled
		return Degraded, fmt.Sprintf("%d calls wait for connections, of which %d are open with %d channels in use", now.Waiting, now.Open, now.Leased)
	case waiting > 0 && before.waiting > 0:
		return Degraded, fmt.Sprintf("%d calls wait for a slot, while %d run", waiting, running)
	case now.BreakersOpen > 0:
		return Degraded, fmt.Sprintf("%d hosts are not tried now", now.BreakersOpen)
	case !s.cfg.Pooling.enabled():
		return Healthy, "pooling is off (connection_pooling.enabled: false)"
	}
	return Healthy, fmt.Sprintf("%d connections to %d targets, %d channels in use, %d SFTP sessions, %.0f %% of leases reused a connection",
		now.Open, now.Targets, now.Leased, now.SFTPSessions, 100*now.ReusedFraction)
}
