package pool

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/profile"
)

const (
	maxParallelDials = 4 // handshakes under way at once with one host; sshd drops connections beyond its MaxStartups
	startupTries     = 4 // to a host that drops connections before the login and has no other one of ours
	startupPause     = 50 * time.Millisecond
	maxStartupPause  = 2 * time.Second
	calmAfter        = 10 * time.Second // without a drop, until one more handshake at once is tried
)

// host is what the groups of one address have in common: the handshakes under way, and the circuit breaker.
//
// The breaker opens when BreakerFailures dials in a row have failed and no connection to the host is up. Until retryAt nothing is tried;
// then one dial is the probe, and its outcome closes the breaker or opens it again.
type host struct {
	pool *Pool
	key  string // address, and the way to it
	addr string

	mu       sync.Mutex
	groups   int // that use it; the pool's mutex guards this one
	live     int // connections that are up
	failures int // dials in a row
	cause    error
	retryAt  time.Time // zero while the breaker is closed
	probing  bool      // the probe is under way
	used     time.Time // when a dial ended last

	startups gate
	parallel int       // places of startups
	dropped  time.Time // when the host dropped a connection before the login
}

// hostKey names a target's host by its address and the way there.
func hostKey(t *profile.Target) string {
	if t.Jump != nil {
		return t.Addr + " through " + t.Jump.Key
	}
	return t.Addr + " through " + t.VPN
}

// admit says whether a dial may begin, and whether it is the probe. The dial that it admits ends with done.
func (h *host) admit() (probe bool, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	wait := time.Until(h.retryAt)
	switch {
	case h.retryAt.IsZero():
		return false, nil
	case wait <= 0 && !h.probing:
		h.probing = true
		return true, nil
	}
	return false, h.openError(max(0, wait))
}

// openError is for those who call while the breaker is open; h.mu is held.
func (h *host) openError(wait time.Duration) error {
	next := fmt.Sprintf("the next attempt is made in %s, at %s", wait.Round(10*time.Millisecond), h.retryAt.Format("15:04:05.000"))
	if wait == 0 {
		next = "another attempt is under way"
	}
	return &Error{Kind: KindConnect, Addr: h.addr, RetryAfter: wait, Err: fmt.Errorf("not tried, since the last %d attempts failed (%v); %s", h.failures, h.cause, next)}
}

// done takes note of the outcome of a dial that was admitted.
func (h *host) done(probe bool, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.used = time.Now()
	if probe {
		h.probing = false
	}
	var way *wayError
	switch {
	case err == nil:
		h.live++
		h.failures, h.retryAt, h.cause = 0, time.Time{}, nil
	case errors.As(err, &way):
	case !unreachable(err):
		h.failures, h.retryAt, h.cause = 0, time.Time{}, nil // it answers
	default:
		h.failures++
		h.cause = causeOf(err)
		if h.live == 0 && (probe || h.failures >= h.pool.config().BreakerFailures) {
			h.retryAt = h.used.Add(h.pool.config().BreakerInterval)
		}
	}
}

// gone takes note of the end of a connection.
func (h *host) gone() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.live--
	h.used = time.Now()
}

// open reports whether the breaker keeps callers off.
func (h *host) open() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !h.retryAt.IsZero()
}

// forgettable reports whether nothing of the host is worth keeping; the pool's mutex is held.
func (h *host) forgettable(before time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.groups == 0 && h.live == 0 && h.startups.used == 0 && (h.failures == 0 || h.used.Before(before))
}

// dial makes a connection in turn with the other groups of the host. A connection that the host drops before the login, as sshd does
// beyond its MaxStartups, is tried again while keep says so and there is reason to hope.
func (h *host) dial(ctx context.Context, t *profile.Target, keep func() bool) (*conn, error) {
	ctx, cancel := context.WithTimeout(ctx, h.pool.config().DialTimeout)
	defer cancel()
	pause := startupPause
	for try := 1; ; try++ {
		h.mu.Lock()
		if err := h.startups.enter(ctx, &h.mu, t.Key, h.parallel); err != nil {
			return nil, waitError(ctx, t.Addr, "too many other connections to the host are being made")
		}
		c, err := h.pool.dial(ctx, t)
		h.started(err)
		if !errors.Is(err, errDropped) || !h.hopeful(try) || !keep() {
			return c, err
		}
		if !sleep(ctx, pause/2+rand.N(pause)) {
			return nil, err
		}
		pause = min(2*pause, maxStartupPause)
	}
}

// started ends one handshake: fewer are made at once after a drop, and more again after a while without.
func (h *host) started(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	switch {
	case errors.Is(err, errDropped):
		h.parallel = max(1, h.parallel/2)
		h.dropped = now
	case err == nil && h.parallel < maxParallelDials && now.Sub(h.dropped) > calmAfter:
		h.parallel++
		h.dropped = now
	}
	h.startups.leave(h.parallel)
}

// hopeful reports whether a host that dropped a connection may take the next: others get through, or not many were tried.
func (h *host) hopeful(try int) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.live > 0 || try < startupTries && h.failures == 0
}
