package metrics

import (
	"math"
	"net/http"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// prefix begins the name of every metric but those of the process and of Go, whose names are a convention.
const prefix = "openaccess_mcp_"

// classic are the bounds of the classic histograms' buckets in seconds. The bands of the targets table are among them.
var classic = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .2, .5, 1, 2, 5, 10, 30, 60}

// histogram describes a histogram of durations that is both classic and native, for servers that ask for either.
func histogram(name, help string) prometheus.HistogramOpts {
	return prometheus.HistogramOpts{
		Name: prefix + name, Help: help, Buckets: classic,
		NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 160, // beyond that, buckets become wider, and counts stay
	}
}

// makeVectors makes what Record counts in, and what is known without the server.
func (r *Registry) makeVectors() {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: prefix + name, Help: help}, labels)
	}
	r.calls = counter("operations_total", "Calls that ended.", "operation", "profile")
	r.errors = counter("operation_errors_total", "Calls that failed, by error code.", "operation", "profile", "code")
	r.bytes = counter("operation_bytes_total", "Payload moved by calls.", "operation", "profile")
	r.seconds = prometheus.NewHistogramVec(histogram("operation_duration_seconds", "Duration of calls, failed ones included."),
		[]string{"operation", "profile"})
	r.phases = prometheus.NewHistogramVec(histogram("operation_phase_duration_seconds",
		"Time that calls spent waiting for a slot (queue), for a connection (dial), opening a channel (channel) and at the host (remote)."),
		[]string{"operation", "phase"})
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: prefix + "build_info", Help: "Always 1; the labels say what runs.",
		ConstLabels: prometheus.Labels{"version": r.cfg.Version, "go_version": runtime.Version()},
	})
	build.Set(1)
	r.watchProcess()
	r.prometheus.MustRegister(r.calls, r.errors, r.bytes, r.seconds, r.phases, build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
}

// errorCounters makes the counters of a series' errors, which appear as errors occur.
func (r *Registry) errorCounters(operation, profile string) errorCounters {
	return errorCounters{vec: r.errors, operation: operation, profile: profile, m: map[string]prometheus.Counter{}}
}

// errorCounters are one series' by code. The mutex of the series guards them.
type errorCounters struct {
	vec                *prometheus.CounterVec
	operation, profile string
	m                  map[string]prometheus.Counter
}

func (e *errorCounters) inc(code string) {
	c := e.m[code]
	if c == nil {
		c = e.vec.WithLabelValues(e.operation, e.profile, code)
		e.m[code] = c
	}
	c.Inc()
}

// Durations makes another histogram of durations and returns what adds to it.
func (r *Registry) Durations(name, help string) (observe func(time.Duration)) {
	if r == nil {
		return func(time.Duration) {}
	}
	h := prometheus.NewHistogram(histogram(name, help))
	r.prometheus.MustRegister(h)
	return func(d time.Duration) { h.Observe(d.Seconds()) }
}

// Handler answers scrapers in the format that they ask for: text, OpenMetrics, or protobuf, which has native histograms too.
func (r *Registry) Handler() http.Handler {
	if r == nil {
		return http.NotFoundHandler()
	}
	return promhttp.HandlerFor(r.prometheus, promhttp.HandlerOpts{EnableOpenMetrics: true, MaxRequestsInFlight: 8, Timeout: 10 * time.Second})
}

// Figure is one value that is read from a T whenever somebody scrapes. Gauge and Counter make one.
type Figure[T any] struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	of   func(T) float64
}

// Number is what a figure may be.
type Number interface{ ~int | ~int64 | ~float64 }

// Gauge is a figure that may rise and fall. NaN leaves it out: it is not known then. The name lacks the prefix; labels are pairs of name and
// value.
func Gauge[T any, N Number](name, help string, of func(T) N, labels ...string) Figure[T] {
	return figure(prometheus.GaugeValue, name, help, of, labels)
}

// Counter is a figure that only grows. Its name ends in _total.
func Counter[T any, N Number](name, help string, of func(T) N, labels ...string) Figure[T] {
	return figure(prometheus.CounterValue, name, help, of, labels)
}

func figure[T any, N Number](kind prometheus.ValueType, name, help string, of func(T) N, labels []string) Figure[T] {
	fixed := prometheus.Labels{}
	for i := 0; i+1 < len(labels); i += 2 {
		fixed[labels[i]] = labels[i+1]
	}
	return Figure[T]{prometheus.NewDesc(prefix+name, help, nil, fixed), kind, func(t T) float64 { return float64(of(t)) }}
}

// Bool is 1 for true.
func Bool(b bool) int {
	if b {
		return 1
	}
	return 0
}

// Watch adds figures of what read returns, which is called once for each scrape. It panics when a figure exists already.
func Watch[T any](r *Registry, read func() T, figures ...Figure[T]) {
	if r != nil {
		r.prometheus.MustRegister(&source[T]{read, figures})
	}
}

// source is a prometheus.Collector.
type source[T any] struct {
	read    func() T
	figures []Figure[T]
}

// Describe implements prometheus.Collector.
func (s *source[T]) Describe(to chan<- *prometheus.Desc) {
	for _, f := range s.figures {
		to <- f.desc
	}
}

// Collect implements prometheus.Collector.
func (s *source[T]) Collect(to chan<- prometheus.Metric) {
	t := s.read()
	for _, f := range s.figures {
		if v := f.of(t); !math.IsNaN(v) {
			to <- prometheus.MustNewConstMetric(f.desc, f.kind, v)
		}
	}
}
