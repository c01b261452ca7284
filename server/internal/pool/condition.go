package pool

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/profile"
)

// Condition says how the pool stands with one target now.
type Condition struct {
	Open    int // connections
	Leased  int // slots in use
	Waiting int // callers waiting for a slot or an SFTP session
	Breaker Breaker
}

// Breaker is what the circuit breaker of a host has seen. It is open while RetryAt is set.
type Breaker struct {
	Addr     string
	Failures int       // dials that failed, one after the other
	Cause    error     // of the last; nil where there is none
	RetryAt  time.Time // before this nothing is tried
}

// Open reports whether the host is not tried now.
func (b Breaker) Open() bool { return !b.RetryAt.IsZero() }

// Condition returns how the pool stands with t; zero for a target that it has not met.
func (p *Pool) Condition(t *profile.Target) Condition {
	p.mu.Lock()
	g, h := p.groups[t.Key], p.hosts[hostKey(t)]
	p.mu.Unlock()
	var c Condition
	if g != nil {
		var s Stats
		g.addTo(&s)
		c.Open, c.Leased, c.Waiting = s.Open, s.Leased, s.Waiting
	}
	if h != nil {
		c.Breaker = h.breaker()
	}
	return c
}

// Breakers lists the hosts that are in trouble, whose last dial failed, by address; and how many hosts there are in all.
func (p *Pool) Breakers() (failing []Breaker, hosts int) {
	p.mu.Lock()
	all := slices.Collect(maps.Values(p.hosts))
	p.mu.Unlock()
	for _, h := range all {
		if b := h.breaker(); b.Failures > 0 {
			failing = append(failing, b)
		}
	}
	slices.SortFunc(failing, func(a, b Breaker) int { return strings.Compare(a.Addr, b.Addr) })
	return failing, len(all)
}

func (h *host) breaker() Breaker {
	h.mu.Lock()
	defer h.mu.Unlock()
	return Breaker{h.addr, h.failures, h.cause, h.retryAt}
}

// Dropped reports whether err is of a connection that its host closed before the login, as sshd does beyond its MaxStartups.
func Dropped(err error) bool { return errors.Is(err, errDropped) }
