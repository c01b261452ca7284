package server

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Health is how a check, or the server as a whole, is doing.
type Health string

// The states of health, from good to bad.
const (
	Healthy   Health = "healthy"
	Degraded  Health = "degraded"  // it works, and somebody should look
	Unhealthy Health = "unhealthy" // it does not work
)

// worse returns the worse of two.
func (h Health) worse(o Health) Health {
	if h == Unhealthy || o == Unhealthy {
		return Unhealthy
	}
	if h == Degraded || o == Degraded {
		return Degraded
	}
	return Healthy
}

// HealthData is what server_health answers. Times are RFC 3339, durations seconds.
type HealthData struct {
	Status    Health        `json:"status" jsonschema:"healthy, degraded or unhealthy: that of the worst check"`
	Ready     bool          `json:"ready" jsonschema:"new work is taken now"`
	Reasons   []string      `json:"reasons,omitempty" jsonschema:"why no work is taken"`
	CheckedAt string        `json:"checked_at"`
	AgeS      float64       `json:"age_s" jsonschema:"seconds since the checks began"`
	DurationS float64       `json:"duration_s"`
	IntervalS float64       `json:"interval_s" jsonschema:"seconds between two checks"`
	Checks    []HealthCheck `json:"checks"`
}

// HealthCheck is the answer of one check.
type HealthCheck struct {
	Name      string  `json:"name" jsonschema:"server, database, ssh, resources, cache or pools"`
	Status    Health  `json:"status"`
	Message   string  `json:"message"`
	DurationS float64 `json:"duration_s"`
	CheckedAt string  `json:"checked_at"`
}

// check is one thing that is looked at, within a deadline of its own.
type check struct {
	name    string
	timeout time.Duration
	look    func(ctx context.Context, s *Server) (Health, string)
	busy    atomic.Bool // one that did not keep to its deadline still runs
}

// Deadlines of the checks.
const (
	quickCheck    = time.Second
	databaseCheck = 3 * time.Second
	sshCheck      = 10 * time.Second
)

// health keeps the last answers. A health of a server that serves no profiles has no checks.
type health struct {
	checks []*check
	ctx    context.Context // of the checks; ended by close
	cancel context.CancelFunc
	work   sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	last    *HealthData
	began   time.Time // when the checks of last did
	flight  *flight   // nil while no checks are under way
	history history

	sessions atomic.Int64 // MCP sessions that clients have open
	runs     atomic.Int64 // Runs that have not been told to stop
	ran      atomic.Bool
	address  atomic.Value // string: of the http transport
}

// startHealth makes the checks ready.
func (s *Server) startHealth() {
	h := &s.health
	h.ctx, h.cancel = context.WithCancel(context.Background())
	h.checks = []*check{
		{name: "server", timeout: quickCheck, look: checkServer},
		{name: "database", timeout: databaseCheck, look: checkDatabase},
		{name: "ssh", timeout: sshCheck, look: checkSSH},
		{name: "resources", timeout: quickCheck, look: checkResources},
		{name: "cache", timeout: quickCheck, look: checkCache},
		{name: "pools", timeout: quickCheck, look: checkPools},
	}
	h.history.add(s.sample())
}

// close ends the checks under way and waits for them.
func (h *health) close() {
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	if h.cancel != nil {
		h.cancel()
	}
	h.work.Wait()
}

// enter notes that a transport serves until ctx ends or leave is called.
func (h *health) enter(ctx context.Context) (leave func()) {
	h.runs.Add(1)
	h.ran.Store(true)
	once := sync.OnceFunc(func() { h.runs.Add(-1) })
	stop := context.AfterFunc(ctx, once)
	return func() { stop(); once() }
}

// draining reports whether the server has been told to stop.
func (h *health) draining() bool { return h.ran.Load() && h.runs.Load() == 0 }

// run checks every interval until ctx ends.
func (h *health) run(ctx context.Context, s *Server) {
	if len(h.checks) == 0 {
		return
	}
	for {
		interval := s.current().Monitoring.HealthCheckInterval.Duration()
		d, err := h.since(ctx, s, time.Now().Add(1-interval)) // somebody else may have asked meanwhile
		if err != nil {
			return
		}
		t := time.NewTimer(interval - time.Duration(d.AgeS*float64(time.Second)))
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return
		}
	}
}

// get gives the last answer with its age, and checks where there is none.
func (h *health) get(ctx context.Context, s *Server) (*HealthData, error) {
	if d := h.cached(s); d != nil {
		return d, nil
	}
	return h.refresh(ctx, s)
}

// cached is the last answer with its age, or nil.
func (h *health) cached(s *Server) *HealthData {
	h.mu.Lock()
	last, began := h.last, h.began
	h.mu.Unlock()
	if last == nil {
		return nil
	}
	d := *last
	d.AgeS = time.Since(began).Seconds()
	d.IntervalS = float64(s.current().Monitoring.HealthCheckInterval)
	d.Reasons = s.notReady(last)
	d.Ready = len(d.Reasons) == 0
	return &d
}

// refresh checks anew. Callers at the same time share one round of checks, which goes on when they give up. A round that began before the call
// may have seen what is no longer so; then the next one counts.
func (h *health) refresh(ctx context.Context, s *Server) (*HealthData, error) {
	return h.since(ctx, s, time.Now())
}

// since gives the answer of a round that began at a time or later, and begins one where there is none.
func (h *health) since(ctx context.Context, s *Server, least time.Time) (*HealthData, error) {
	for {
		under, err := h.join(s, least)
		if err != nil {
			return nil, err
		}
		if under == nil {
			return h.cached(s), nil
		}
		select {
		case <-under.ended:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// flight is a round of checks under way.
type flight struct {
	began time.Time
	ended chan struct{} // closed when it has
}

// join returns the round under way, or begins one; nil where the last round began at least or later.
func (h *health) join(s *Server, least time.Time) (*flight, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.last != nil && !h.began.Before(least) {
		return nil, nil
	}
	if h.closed {
		return nil, &callError{CodeInternalError, "the server is closed"}
	}
	if h.flight == nil {
		f := &flight{time.Now(), make(chan struct{})}
		h.flight = f
		h.work.Go(func() { h.round(s, f) })
	}
	return h.flight, nil
}

// round runs all checks at once.
func (h *health) round(s *Server, f *flight) {
	began := f.began
	d := &HealthData{Status: Healthy, CheckedAt: stamp(began), Checks: make([]HealthCheck, len(h.checks))}
	sample := s.sample()
	var wg sync.WaitGroup
	for i, c := range h.checks {
		wg.Go(func() { d.Checks[i] = h.one(c, s) })
	}
	wg.Wait()
	for _, c := range d.Checks {
		d.Status = d.Status.worse(c.Status)
	}
	d.DurationS = time.Since(began).Seconds()
	h.mu.Lock()
	before := h.last
	h.last, h.began, h.flight = d, began, nil
	h.mu.Unlock()
	h.history.add(sample)
	if h.ctx.Err() == nil { // else the checks were cut off by the server's end
		s.logHealth(before, d)
	}
	close(f.ended)
}

// one runs a check. One that does not end in time is left behind, and not begun again before it has ended.
func (h *health) one(c *check, s *Server) HealthCheck {
	start := time.Now()
	out := HealthCheck{Name: c.name, CheckedAt: stamp(start)}
	if !c.busy.CompareAndSwap(false, true) {
		out.Status, out.Message = Unhealthy, "the check before has not ended"
		return out
	}
	ctx, cancel := context.WithTimeoutCause(h.ctx, c.timeout, fmt.Errorf("no answer within %v: %w", c.timeout, context.DeadlineExceeded))
	type answer struct {
		status  Health
		message string
	}
	done := make(chan answer, 1)
	h.work.Go(func() {
		defer cancel()
		status, message := c.look(ctx, s)
		c.busy.Store(false) // before the answer: another round may begin as soon as that is there
		done <- answer{status, message}
	})
	select {
	case a := <-done:
		out.Status, out.Message = a.status, a.message
	case <-ctx.Done():
		select { // both may have come
		case a := <-done:
			out.Status, out.Message = a.status, a.message
		default:
			out.Status, out.Message = Unhealthy, context.Cause(ctx).Error()
		}
	}
	out.DurationS = time.Since(start).Seconds()
	return out
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// logHealth tells of checks whose state has changed.
func (s *Server) logHealth(before, now *HealthData) {
	for i, c := range now.Checks {
		was := Healthy
		if before != nil {
			was = before.Checks[i].Status
		}
		switch {
		case c.Status == was:
		case c.Status == Healthy:
			s.cfg.Logger.Info("health check is well again", "check", c.Name, "message", c.Message)
		default:
			s.cfg.Logger.Warn("health check failed", "check", c.Name, "status", c.Status, "message", c.Message)
		}
	}
}

// notReady says why the server takes no work now. What is slow to find out is taken from the last checks, which may be nil.
func (s *Server) notReady(last *HealthData) (reasons []string) {
	if s.health.draining() {
		reasons = append(reasons, "the server is stopping; calls under way get time to end")
	}
	if u := s.memory.Usage(); u.Refusing {
		reasons = append(reasons, fmt.Sprintf("the server uses %d MB of memory, more than the %d MB at which it stops taking work", u.Resident>>20, u.Hard>>20))
	}
	audit := s.audit.Stats()
	if audit.Failing {
		reasons = append(reasons, "the audit record cannot be written: "+audit.Error)
	}
	if last == nil || audit.Failing {
		return reasons
	}
	for _, c := range last.Checks {
		if c.Name == "database" && c.Status == Unhealthy {
			reasons = append(reasons, c.Message)
		}
	}
	return reasons
}

// healthRoutes mounts /healthz and /readyz.
func (s *Server) healthRoutes(mux *http.ServeMux) {
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		answerJSON(w, http.StatusOK, map[string]any{"status": "alive", "version": s.cfg.Version, "uptime_s": time.Since(s.started).Seconds()})
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		ready := Readiness{Status: "ready", Reasons: []string{}}
		s.health.mu.Lock()
		last, began := s.health.last, s.health.began
		s.health.mu.Unlock()
		if last != nil {
			ready.Health, ready.CheckedAt, ready.AgeS = last.Status, last.CheckedAt, time.Since(began).Seconds()
		}
		status := http.StatusOK
		if reasons := s.notReady(last); len(reasons) > 0 {
			ready.Status, ready.Reasons, status = "not ready", reasons, http.StatusServiceUnavailable
			w.Header().Set("Retry-After", "5")
		}
		answerJSON(w, status, ready)
	})
}

// Readiness is what /readyz answers, with 200 when Status is "ready" and 503 when it is "not ready".
type Readiness struct {
	Status    string   `json:"status"`
	Reasons   []string `json:"reasons"`
	Health    Health   `json:"health,omitempty"`     // of the last checks
	CheckedAt string   `json:"checked_at,omitempty"` // when they began
	AgeS      float64  `json:"age_s"`
}

func answerJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}
