package gateway

import (
	"crypto/sha256"
	"encoding/base32"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
)

// State is what the gateway holds of a server.
type State string

// The states. A server that is not ready takes calls only while none is.
const (
	Ready    State = "ready"     // its last probe was answered well, or none has been made yet
	Drained  State = "drained"   // the configuration takes it out
	NotReady State = "not-ready" // it says 503 on /readyz, as a server does that is about to end
	Ejected  State = "ejected"   // calls failed in a row; it is tried again with one call when its time is over
	Down     State = "down"      // nothing listens there, or probes are not answered
)

// maxDoublings bounds the growth of the time for which a server is ejected.
const maxDoublings = 5

// tagLength is in characters of base 32: 50 bits, so that no two servers meet in one.
const tagLength = 10

// missesUntilDown is how many probes in a row must go without an answer, since a busy server may be late with one. When nothing listens, one
// is enough.
const missesUntilDown = 3

// backend is one server. Its fields below mu's line are guarded by the balancer's mutex.
type backend struct {
	target
	tag   string // names it in session ids
	links *links

	drain     bool // by configuration
	probe     State
	why       string // of the last change for the worse
	misses    int    // probes without an answer, in a row
	failures  int    // calls, likewise
	doublings int    // of the time of the next ejection
	until     time.Time
	trial     bool // the one call of an ejected server is under way

	inFlight, streams                                    int
	requests, failed, refused, lost, ejections, sessions int64
	probedAt                                             time.Time
}

func newBackend(t target) *backend {
	sum := sha256.Sum256([]byte(t.url))
	tag := strings.ToLower(base32.StdEncoding.EncodeToString(sum[:])[:tagLength])
	return &backend{target: t, tag: tag, links: newLinks(t.addr), probe: Ready}
}

// state is what b is now, and rank how willingly it is chosen: 0 before 1, and so on.
func (b *backend) state(now time.Time) (s State, rank int) {
	switch {
	case b.probe == Down:
		return Down, 3
	case !b.until.IsZero() && (now.Before(b.until) || b.trial):
		return Ejected, 2
	case b.drain:
		return Drained, 1
	case b.probe == NotReady:
		return NotReady, 1
	case !b.until.IsZero():
		return Ejected, 0 // half open
	}
	return Ready, 0
}

// balancer chooses servers and keeps what is known of them. It makes no connections. It is safe for concurrent use.
type balancer struct {
	log *slog.Logger

	mu         sync.Mutex
	backends   []*backend
	roundRobin bool
	ejectAfter int
	ejectFor   time.Duration
	next       int  // where the search begins
	degraded   bool // none was ready when a server was chosen last
	fallbacks  int64
}

// visit is one request's stay at a server. leave ends it.
type visit struct {
	*backend
	b        *balancer
	stream   bool // it lasts as long as the client listens, and so says nothing of the server's load
	trial    bool
	degraded bool // the server was chosen although it is not ready, because none is
	anew     bool // it may be about to close the connections that nobody uses, so this request gets one of its own
}

// verdict is how a visit went.
type verdict int

const (
	answered  verdict = iota // with a status below 500
	broken                   // with a status from 500, or not at all
	refused                  // nothing listens
	unreached                // no connection was made for another reason
	declined                 // it is stopping, and has done nothing
	void                     // the client left, which says nothing
)

// pick chooses a server that is not in tried; nil when there is none left. When none is ready it takes what is next best: a server that
// drains, then one that is ejected, then one that is down.
func (l *balancer) pick(tried []*backend, stream bool) *visit {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	var best *backend
	bestRank, n, at := 0, len(l.backends), 0
	for i := range n {
		b := l.backends[(l.next+i)%n]
		if slices.Contains(tried, b) {
			continue
		}
		_, rank := b.state(now)
		if best == nil || rank < bestRank || rank == bestRank && !l.roundRobin && b.inFlight < best.inFlight {
			best, bestRank, at = b, rank, (l.next+i)%n
		}
	}
	if best == nil {
		return nil
	}
	l.next = (at + 1) % n
	l.note(bestRank > 0)
	return l.enter(best, now, stream, bestRank > 0)
}

// note logs when the last ready server is gone and when there is one again.
func (l *balancer) note(degraded bool) {
	if degraded {
		l.fallbacks++
	}
	if degraded == l.degraded {
		return
	}
	l.degraded = degraded
	if degraded {
		l.log.Error("no server is ready; calls are tried on all of them")
	} else {
		l.log.Info("a server is ready again")
	}
}

func (l *balancer) enter(b *backend, now time.Time, stream, degraded bool) *visit {
	v := &visit{backend: b, b: l, stream: stream, degraded: degraded, anew: b.drain || b.probe != Ready}
	if !b.until.IsZero() && !b.trial && !now.Before(b.until) {
		b.trial, v.trial = true, true
	}
	b.requests++
	if stream {
		b.streams++
	} else {
		b.inFlight++
	}
	return v
}

// owner finds the server that a session's id names; nil when there is none. It reports whether that server can be reached, as far as is
// known. When no server is, all count as reachable.
func (l *balancer) owner(tag string) (b *backend, reachable bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	allDown := true
	for _, c := range l.backends {
		if c.tag == tag {
			b = c
		}
		allDown = allDown && c.probe == Down
	}
	return b, b != nil && (allDown || b.probe != Down)
}

// stay enters a server that a session has chosen.
func (l *balancer) stay(b *backend, stream bool) *visit {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.enter(b, time.Now(), stream, false)
}

// leave ends a visit and judges the server by it.
func (v *visit) leave(how verdict) {
	l, b := v.b, v.backend
	l.mu.Lock()
	defer l.mu.Unlock()
	if v.stream {
		b.streams--
	} else {
		b.inFlight--
	}
	if v.trial {
		b.trial = false
	}
	switch how {
	case answered:
		b.failures = 0
		if v.trial {
			b.until, b.doublings = time.Time{}, 0
			l.log.Info("server is back after an ejection", "backend", b.url)
		}
	case refused:
		b.refused++
		l.down(b, "connection refused")
		l.fail(v, "connection refused")
	case unreached:
		b.refused++
		l.fail(v, "no connection")
	case declined:
		b.refused++
		if b.probe == Ready {
			b.probe, b.why = NotReady, "it is stopping"
			l.log.Info("server is "+string(NotReady), "backend", b.url, "why", b.why)
		}
	case broken:
		b.failed++
		l.fail(v, "calls fail")
	}
}

// fail counts a failure in a row and ejects the server when there are enough, or when this was its trial.
func (l *balancer) fail(v *visit, why string) {
	b := v.backend
	b.failures++
	if b.failures < l.ejectAfter && !v.trial {
		return
	}
	if now := time.Now(); v.trial || b.until.IsZero() {
		b.until = now.Add(l.ejectFor << b.doublings)
		b.doublings = min(b.doublings+1, maxDoublings)
		b.ejections++
		b.why = why
		l.log.Warn("server ejected", "backend", b.url, "why", why, "until", b.until.Format(time.RFC3339))
	}
}

func (l *balancer) down(b *backend, why string) {
	if b.probe != Down {
		l.log.Warn("server is down", "backend", b.url, "why", why)
	}
	b.probe, b.why = Down, why
}

// probed takes the outcome of a probe: Ready, NotReady, Down when nothing listens, or "" when the server did not answer as it should.
func (l *balancer) probed(b *backend, s State, why string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b.probedAt = time.Now()
	if s == "" {
		if b.misses++; b.misses >= missesUntilDown {
			l.down(b, why)
		}
		return
	}
	b.misses = 0
	if s == Down {
		l.down(b, why)
		return
	}
	if b.probe == Down { // another process, perhaps: what the one before did wrong is not its fault
		b.failures, b.doublings, b.until = 0, 0, time.Time{}
	}
	if s != b.probe {
		l.log.Info("server is "+string(s), "backend", b.url, "was", b.probe)
		b.why = why
	}
	b.probe = s
}

// all lists the servers.
func (l *balancer) all() []*backend {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.backends)
}

// ready reports whether a server is.
func (l *balancer) ready() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	for _, b := range l.backends {
		if _, rank := b.state(now); rank == 0 {
			return true
		}
	}
	return false
}

// configure sets how servers are chosen and which there are, keeping what is known of those that stay. It returns the new and the gone.
func (l *balancer) configure(c *Config) (added, gone []*backend) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.roundRobin, l.ejectAfter, l.ejectFor = c.Strategy == RoundRobin, c.EjectAfter, c.EjectFor.Duration()
	var next []*backend
	for _, want := range c.Backends {
		t, _ := parseTarget(want.URL) // validate has seen it
		b := find(l.backends, t.url)
		if b == nil {
			b = newBackend(t)
			added = append(added, b)
		}
		b.drain = want.Drain
		next = append(next, b)
	}
	for _, b := range l.backends {
		if !slices.Contains(next, b) {
			gone = append(gone, b)
		}
	}
	l.backends, l.next = next, 0
	return added, gone
}

func find(all []*backend, url string) *backend {
	for _, b := range all {
		if b.url == url {
			return b
		}
	}
	return nil
}
