// Package metrics counts what the server did, and shows that and what the server holds: to Prometheus as counters that only grow and as
// histograms (expose.go), and to MCP clients as plain figures since the last reset (figures.go).
//
// Start with Registry.Record. Every label has few values: operations that were not declared and error codes that New was not told of count
// as Other, and so do profiles beyond the first Config.Profiles ones.
package metrics

import (
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Other is the label of operations, codes and profiles that are not told apart.
const Other = "other"

// Phases are the parts of a call that are timed, in their order in time.
var Phases = [...]string{"queue", "dial", "channel", "remote"}

// Config says what is told apart.
type Config struct {
	Version  string   // of the server
	Codes    []string // of errors
	Profiles int      // how many profiles have figures of their own, the first ones called; 0 tells none apart, and no phases either
}

// Registry holds the counts. It is safe for concurrent use. A nil one counts nothing and has nothing to show.
type Registry struct {
	cfg        Config
	prometheus *prometheus.Registry
	calls      *prometheus.CounterVec
	errors     *prometheus.CounterVec
	bytes      *prometheus.CounterVec
	seconds    *prometheus.HistogramVec
	phases     *prometheus.HistogramVec
	codes      map[string]bool
	operations map[string]*operation // what was declared, and Other

	mu    sync.Mutex                      // of those who change what follows
	known atomic.Pointer[map[string]bool] // profiles told apart; replaced, never changed
	since time.Time                       // of the figures
}

// operation is one operation's series, by profile.
type operation struct {
	name   string
	phases [len(Phases)]prometheus.Observer
	series atomic.Pointer[map[string]*series] // replaced, never changed
}

// series is what is counted of one operation on one profile.
type series struct {
	calls, bytes prometheus.Counter
	seconds      prometheus.Observer

	mu      sync.Mutex // held for a few additions
	errors  errorCounters
	figures figures
}

// New returns a registry without calls.
func New(cfg Config) *Registry {
	r := &Registry{cfg: cfg, prometheus: prometheus.NewRegistry(), codes: map[string]bool{}, operations: map[string]*operation{}, since: time.Now()}
	r.known.Store(&map[string]bool{"": true, Other: true})
	for _, code := range cfg.Codes {
		r.codes[code] = true
	}
	r.makeVectors()
	r.Declare(Other)
	return r
}

// Declare tells an operation, by its dotted name, apart from others. It must not be called beside any other method.
func (r *Registry) Declare(name string) {
	if r == nil {
		return
	}
	op := &operation{name: name}
	op.series.Store(&map[string]*series{})
	for i, phase := range Phases {
		if r.cfg.Profiles > 0 {
			op.phases[i] = r.phases.WithLabelValues(name, phase)
		}
	}
	r.operations[name] = op
}

// Call is one finished call.
type Call struct {
	Operation string // dotted, such as "ssh.exec"
	Profile   string // that it worked on, "" for none; it must exist, so that callers cannot make up labels
	Code      string // error code, "" for success
	Duration  time.Duration
	Bytes     int64                      // payload moved
	Phases    [len(Phases)]time.Duration // zero for those that did not take place
}

// Record counts c.
func (r *Registry) Record(c Call) {
	if r == nil {
		return
	}
	op := r.operations[c.Operation]
	if op == nil {
		op = r.operations[Other]
	}
	s := r.find(op, c.Profile)
	s.calls.Inc()
	s.bytes.Add(float64(c.Bytes))
	s.seconds.Observe(c.Duration.Seconds())
	for i, phase := range c.Phases {
		if phase > 0 && op.phases[i] != nil {
			op.phases[i].Observe(phase.Seconds())
		}
	}
	if c.Code != "" && !r.codes[c.Code] {
		c.Code = Other
	}
	s.mu.Lock()
	if c.Code != "" {
		s.errors.inc(c.Code)
	}
	s.figures.add(&c)
	s.mu.Unlock()
}

// find gives the series of a profile, without a lock where the profile was called before or is not told apart.
func (r *Registry) find(op *operation, profile string) *series {
	switch known := *r.known.Load(); {
	case r.cfg.Profiles == 0:
		profile = ""
	case !known[profile] && len(known)-2 >= r.cfg.Profiles:
		profile = Other
	}
	if s := (*op.series.Load())[profile]; s != nil {
		return s
	}
	return r.make(op, profile)
}

// make adds a series, and its profile to those told apart while there is room.
func (r *Registry) make(op *operation, profile string) *series {
	r.mu.Lock()
	defer r.mu.Unlock()
	known := *r.known.Load()
	if !known[profile] {
		if len(known)-2 >= r.cfg.Profiles {
			profile = Other
		} else {
			more := maps.Clone(known)
			more[profile] = true
			r.known.Store(&more)
		}
	}
	before := *op.series.Load()
	if s := before[profile]; s != nil {
		return s
	}
	s := &series{
		calls: r.calls.WithLabelValues(op.name, profile), bytes: r.bytes.WithLabelValues(op.name, profile),
		seconds: r.seconds.WithLabelValues(op.name, profile), errors: r.errorCounters(op.name, profile),
	}
	after := maps.Clone(before)
	after[profile] = s
	op.series.Store(&after)
	return s
}
