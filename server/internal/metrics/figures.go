package metrics

import (
	"maps"
	"math"
	"math/bits"
	"time"
)

// Operation is what happened in one operation since the last reset. Times are seconds. A percentile that too few calls support is absent; the
// others are exact to 6 %.
type Operation struct {
	Calls  int64              `json:"calls"`
	Errors map[string]int64   `json:"errors,omitempty" jsonschema:"number of failed calls by error code"`
	Bytes  int64              `json:"bytes"`
	Min    float64            `json:"min_s"`
	Mean   float64            `json:"mean_s"`
	Max    float64            `json:"max_s"`
	P50    *float64           `json:"p50_s,omitempty" jsonschema:"median duration; absent, as the other percentiles, where too few calls support it"`
	P95    *float64           `json:"p95_s,omitempty"`
	P99    *float64           `json:"p99_s,omitempty"`
	Phases map[string]float64 `json:"phase_means_s,omitempty" jsonschema:"mean seconds that a call spent in each phase: queue, dial, channel, remote"`
}

// figures are the same while they grow. The mutex of their series guards them.
type figures struct {
	calls, bytes    int64
	total, min, max time.Duration
	phases          [len(Phases)]time.Duration
	errors          map[string]int64
	buckets         []int64 // as long as needed; see bucket
}

func (f *figures) add(c *Call) {
	if f.calls == 0 || c.Duration < f.min {
		f.min = c.Duration
	}
	f.max = max(f.max, c.Duration)
	f.calls++
	f.bytes += c.Bytes
	f.total += c.Duration
	for i, phase := range c.Phases {
		f.phases[i] += phase
	}
	if c.Code != "" {
		f.fail(c.Code, 1)
	}
	at := bucket(c.Duration)
	f.reach(at + 1)
	f.buckets[at]++
}

func (f *figures) fail(code string, n int64) {
	if f.errors == nil {
		f.errors = map[string]int64{}
	}
	f.errors[code] += n
}

// reach makes room for n buckets.
func (f *figures) reach(n int) {
	if missing := n - len(f.buckets); missing > 0 {
		f.buckets = append(f.buckets, make([]int64, missing)...)
	}
}

// merge adds the figures of g.
func (f *figures) merge(g *figures) {
	if g.calls == 0 {
		return
	}
	if f.calls == 0 || g.min < f.min {
		f.min = g.min
	}
	f.max = max(f.max, g.max)
	f.calls += g.calls
	f.bytes += g.bytes
	f.total += g.total
	for i, phase := range g.phases {
		f.phases[i] += phase
	}
	for code, n := range g.errors {
		f.fail(code, n)
	}
	f.reach(len(g.buckets))
	for i, n := range g.buckets {
		f.buckets[i] += n
	}
}

// steps is the number of buckets between a power of two and the next, in microseconds.
const steps = 16

// bucket is the index of the bucket that holds d: one for each microsecond at first, and steps for each doubling from there.
func bucket(d time.Duration) int {
	us := uint64(max(0, d) / time.Microsecond)
	shift := max(0, bits.Len64(us)-bits.Len64(2*steps-1))
	return shift*steps + int(us>>shift)
}

// bounds are where a bucket begins and ends.
func bounds(bucket int) (from, to time.Duration) {
	shift := max(0, bucket/steps-1)
	first := time.Duration(bucket - shift*steps)
	return first << shift * time.Microsecond, (first + 1) << shift * time.Microsecond
}

// percentile is the duration that the share q of the calls kept; nil where fewer than 1/(1-q) were made.
func (f *figures) percentile(q float64) *float64 {
	if float64(f.calls) < math.Round(1/(1-q)) {
		return nil
	}
	rank, seen := int64(math.Ceil(q*float64(f.calls))), int64(0)
	for i, n := range f.buckets {
		if seen += n; n == 0 || seen < rank {
			continue
		}
		from, to := bounds(i)
		within := float64(rank-(seen-n)) / float64(n)
		at := min(max(from+time.Duration(within*float64(to-from)), f.min), f.max).Seconds()
		return &at
	}
	return nil
}

// operation gives the figures to the outside.
func (f *figures) operation() Operation {
	o := Operation{
		Calls: f.calls, Errors: maps.Clone(f.errors), Bytes: f.bytes, Min: f.min.Seconds(), Max: f.max.Seconds(),
		Mean: (f.total / time.Duration(f.calls)).Seconds(), P50: f.percentile(0.5), P95: f.percentile(0.95), P99: f.percentile(0.99),
	}
	for i, phase := range f.phases {
		if phase > 0 {
			if o.Phases == nil {
				o.Phases = map[string]float64{}
			}
			o.Phases[Phases[i]] = phase.Seconds() / float64(f.calls)
		}
	}
	return o
}

// Since is when the figures of Snapshot and Profile begin: at New or at the last Reset.
func (r *Registry) Since() time.Time {
	if r == nil {
		return time.Time{}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.since
}

// Snapshot returns the figures of every operation called since the last Reset, by name.
func (r *Registry) Snapshot() map[string]Operation {
	return r.gather(func(string) bool { return true }, false)
}

// Profile returns those of one profile; nothing where profiles are not told apart or this one is beyond their bound.
func (r *Registry) Profile(id string) map[string]Operation {
	return r.gather(func(profile string) bool { return profile == id && id != "" }, false)
}

// Reset returns what Snapshot does and lets the figures begin anew. Each call is in one or the other. What Prometheus sees goes on growing.
func (r *Registry) Reset() map[string]Operation {
	return r.gather(func(string) bool { return true }, true)
}

func (r *Registry) gather(wanted func(profile string) bool, reset bool) map[string]Operation {
	all := map[string]Operation{}
	if r == nil {
		return all
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if reset {
		r.since = time.Now()
	}
	for name, op := range r.operations {
		var sum figures
		for profile, s := range *op.series.Load() {
			if wanted(profile) {
				s.gather(&sum, reset)
			}
		}
		if sum.calls > 0 {
			all[name] = sum.operation()
		}
	}
	return all
}

func (s *series) gather(sum *figures, reset bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sum.merge(&s.figures)
	if reset {
		s.figures = figures{}
	}
}
