package server

import (
	"fmt"
	"math"
	"runtime"
	"sync"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/cache"
)

// sample is what the server holds at one moment.
type sample struct {
	at          time.Time
	cpu         time.Duration // of the process since its start; 0 where that is not known
	goroutines  int
	descriptors int
	resident    int64
	sessions    int64 // MCP sessions
	connections int   // to hosts
	running     int
	waiting     int
	poolWaiting int

	dials, dialFailures, limited int64
	cache                        cache.Stats
	bypassed                     int64 // calls with no_cache
}

func (s *Server) sample() sample {
	p := s.pool.Stats()
	running, waiting := s.limits.Stats()
	return sample{
		at: time.Now(), cpu: cpuTime(), goroutines: runtime.NumGoroutine(), descriptors: descriptors(), resident: s.memory.Usage().Resident,
		sessions: s.health.sessions.Load(), connections: p.Open, running: running, waiting: waiting, poolWaiting: p.Waiting,
		dials: p.Dials, dialFailures: p.DialFailures, limited: p.Limited, cache: s.responses.cache.Stats(), bypassed: s.responses.bypassed.Load(),
	}
}

// history keeps the samples of the last checks, the oldest first. It is never empty once a server was made.
type history struct {
	mu  sync.Mutex
	all []sample
}

// kept is how many samples are: two hours at the default interval.
const kept = 240

// lately is the time over which connections are judged.
const lately = 5 * time.Minute

func (h *history) add(s sample) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.all) == kept {
		h.all = append(h.all[:0], h.all[1:]...)
	}
	h.all = append(h.all, s)
}

func (h *history) samples() []sample {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]sample(nil), h.all...)
}

func (h *history) latest() sample {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.all[len(h.all)-1]
}

// before is the youngest sample that is at least d old, or the oldest.
func (h *history) before(d time.Duration) sample {
	all := h.samples()
	found := all[0]
	for _, s := range all {
		if time.Since(s.at) >= d {
			found = s
		}
	}
	return found
}

// cpu is the share of the processors that the process has used since the last check that is a second old, in percent.
func (h *history) cpu(now sample) (percent float64, over time.Duration, ok bool) {
	before := h.before(time.Second)
	over = now.at.Sub(before.at)
	if now.cpu == 0 || over < time.Second/10 {
		return 0, 0, false
	}
	return 100 * (now.cpu - before.cpu).Seconds() / over.Seconds() / float64(runtime.GOMAXPROCS(0)), over, true
}

// A leak is what grows without reason: over the three thirds of the history the least that was held goes up each time, by half in all, and
// what explains it does not.
const (
	leakSamples     = 9
	leakGoroutines  = 500
	leakDescriptors = 200
	leakSessions    = 1000
	leakRatio       = 1.5
)

// leaks finds what has grown without reason over the last checks.
func (s *Server) leaks() []Finding { return leaksIn(s.health.history.samples()) }

func leaksIn(all []sample) []Finding {
	if len(all) < leakSamples {
		return nil
	}
	third := len(all) / 3
	least := func(part int, of func(sample) int) int {
		n := math.MaxInt
		for _, s := range all[part*third : (part+1)*third] {
			n = min(n, of(s))
		}
		return n
	}
	grew := func(of func(sample) int, by int) (from, to int, yes bool) {
		a, b, c := least(0, of), least(1, of), least(2, of)
		return a, c, a < b && b < c && c-a >= by && float64(c) >= leakRatio*float64(a)
	}
	span := all[len(all)-1].at.Sub(all[0].at).Round(time.Second)
	_, _, busier := grew(func(s sample) int { return s.running + s.waiting + s.connections + int(s.sessions) }, 1)
	var list []Finding
	for _, part := range []struct {
		what     string
		of       func(sample) int
		by       int
		explains bool // more calls, sessions and connections are a reason
		remedy   string
	}{
		{"goroutines", func(s sample) int { return s.goroutines }, leakGoroutines, true, "report it with the goroutines that pprof shows, and restart the server when memory runs short"},
		{"file descriptors", func(s sample) int { return s.descriptors }, leakDescriptors, true, "look at `ls -l /proc/PID/fd`, report it, and restart the server before its limit is reached"},
		{"MCP sessions", func(s sample) int { return int(s.sessions) }, leakSessions, false, "clients keep streams open that they no longer read: have them close their connections"},
	} {
		if from, to, yes := grew(part.of, part.by); yes && !(part.explains && busier) {
			list = append(list, Finding{FindingLeak, "", "", fmt.Sprintf("%s grew from %d to %d in %v without more work", part.what, from, to, span), part.remedy})
		}
	}
	return list
}

// Marks of a cache that is of little use.
const (
	cacheLookups  = 100 // fewer say nothing
	cacheHitRatio = 0.2
	cacheCause    = 0.5 // of the lookups that hit nothing
)

// cacheFindings judges the response cache since the oldest check that is remembered.
func (s *Server) cacheFindings() []Finding {
	if s.responses.off.Load() {
		return nil
	}
	all := s.health.history.samples()
	now := all[0]
	now.cache, now.bypassed = s.responses.cache.Stats(), s.responses.bypassed.Load()
	return judgeCache(all[0], now)
}

func judgeCache(before, now sample) []Finding {
	since := func(of func(cache.Stats) int64) float64 { return float64(of(now.cache) - of(before.cache)) }
	good := since(func(c cache.Stats) int64 { return c.Hits + c.Shared })
	misses := since(func(c cache.Stats) int64 { return c.Misses })
	bypassed := float64(now.bypassed - before.bypassed)
	lookups := good + misses + bypassed
	if lookups < cacheLookups || good/lookups >= cacheHitRatio {
		return nil
	}
	cause, remedy := "the commands are hardly ever the same", "declare only commands read-only (read_only_commands) that are asked for again, word for word"
	for _, c := range []struct {
		n             float64
		cause, remedy string
	}{
		{bypassed, "%.0f calls asked not to use it (no_cache)", "have callers leave out no_cache where a remembered result is good enough"},
		{since(func(c cache.Stats) int64 { return c.Invalidated }), "%.0f results were made void by calls that may change the host",
			"declare commands that change nothing in the profile's read_only_commands, and send changes together"},
		{since(func(c cache.Stats) int64 { return c.Expired }), "%.0f results grew too old", "raise caching.response_cache_ttl"},
		{since(func(c cache.Stats) int64 { return c.Evicted }), "%.0f results gave way to others",
			"raise caching.response_cache_size and response_cache_mb, or resource_limits.max_memory_mb"},
	} {
		if c.n >= cacheCause*(lookups-good) {
			cause, remedy = fmt.Sprintf(c.cause, c.n), c.remedy
			break
		}
	}
	return []Finding{{FindingCache, "", "", fmt.Sprintf("the response cache served %.0f of %.0f calls for read-only commands: %s", good, lookups, cause), remedy}}
}
