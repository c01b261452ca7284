package gateway

import (
	"encoding/json"
	"net/http"
	"time"
)

// Status is what the gateway knows of itself and of its servers. It is served as JSON at /status.
type Status struct {
	Ready    bool            `json:"ready"`    // a server is ready and the gateway is not draining
	Draining bool            `json:"draining"` // the gateway is about to end
	Strategy string          `json:"strategy"`
	Uptime   float64         `json:"uptime_s"`
	Backends []BackendStatus `json:"backends"`

	Retried    int64 `json:"retried"`         // requests that were tried again at another server, since they had surely not started or change nothing
	Unknown    int64 `json:"outcome_unknown"` // calls lost with their server
	Orphaned   int64 `json:"sessions_lost"`   // requests of sessions whose server is gone, answered 404
	TurnedAway int64 `json:"turned_away"`     // requests for which no server could be reached
	Fallbacks  int64 `json:"fallbacks"`       // requests tried at a server that was not ready, since none was
}

// BackendStatus is what is known of one server. Counts are of requests since the gateway started.
type BackendStatus struct {
	URL       string `json:"url"`
	State     State  `json:"state"`
	Why       string `json:"why,omitempty"` // of the last change for the worse
	InFlight  int    `json:"in_flight"`     // requests without streams
	Streams   int    `json:"streams"`       // that last as long as a client listens
	Requests  int64  `json:"requests"`
	Failed    int64  `json:"failed"`  // answered with a status from 500, or not whole
	Refused   int64  `json:"refused"` // not started for want of a connection
	Lost      int64  `json:"lost"`    // of those failed: not whole, and not tried again
	Sessions  int64  `json:"sessions_opened"`
	Ejections int64  `json:"ejections"`
	// EjectedUntil is when an ejected server gets a call again.
	EjectedUntil *time.Time `json:"ejected_until,omitempty"`
	Probed       *time.Time `json:"probed,omitempty"`
}

// Status tells how things are now.
func (g *Gateway) Status() Status {
	s := Status{
		Draining: g.draining.Load(), Uptime: time.Since(g.started).Seconds(), Ready: g.balancer.ready() && !g.draining.Load(),
		Retried: g.retried.Load(), Unknown: g.unknown.Load(), Orphaned: g.orphaned.Load(), TurnedAway: g.turnedAway.Load(),
	}
	g.balancer.status(&s)
	return s
}

func (l *balancer) status(s *Status) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s.Strategy, s.Fallbacks = LeastInFlight, l.fallbacks
	if l.roundRobin {
		s.Strategy = RoundRobin
	}
	now := time.Now()
	for _, b := range l.backends {
		state, _ := b.state(now)
		bs := BackendStatus{
			URL: b.url, State: state, InFlight: b.inFlight, Streams: b.streams, Requests: b.requests, Failed: b.failed, Refused: b.refused,
			Lost: b.lost, Sessions: b.sessions, Ejections: b.ejections,
		}
		if state != Ready {
			bs.Why = b.why
		}
		if !b.until.IsZero() {
			bs.EjectedUntil = &[]time.Time{b.until}[0]
		}
		if !b.probedAt.IsZero() {
			bs.Probed = &[]time.Time{b.probedAt}[0]
		}
		s.Backends = append(s.Backends, bs)
	}
}

// opened counts a session, and lost a request that was not answered whole.
func (l *balancer) opened(b *backend) { l.count(&b.sessions) }
func (l *balancer) lost(b *backend)   { l.count(&b.lost) }

func (l *balancer) count(n *int64) {
	l.mu.Lock()
	*n++
	l.mu.Unlock()
}

// serveHealth says that the gateway lives.
func (g *Gateway) serveHealth(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]any{"status": "ok"})
}

// serveReady says whether the gateway should be given work: 503 while it drains, and while no server is ready, though it then tries them all.
func (g *Gateway) serveReady(w http.ResponseWriter, _ *http.Request) {
	s := g.Status()
	states := map[string]State{}
	for _, b := range s.Backends {
		states[b.URL] = b.State
	}
	body := map[string]any{"ready": s.Ready, "backends": states}
	switch {
	case s.Draining:
		body["why"] = "the gateway is draining"
	case !s.Ready:
		body["why"] = "no server is ready; calls are tried on all of them"
	}
	status := http.StatusOK
	if !s.Ready {
		status = http.StatusServiceUnavailable
	}
	writeJSON(w, status, body)
}

func (g *Gateway) serveStatus(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, g.Status())
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	_ = e.Encode(v) // the client may be gone
}
