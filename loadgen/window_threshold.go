package loadgen

import (
	"math"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen/stats"
)

// windowWatch judges a threshold that has a window on one cell, second by second and in constant memory. Times count from the start of the
// measured time. Whether a percentile holds its limit is exact, since the calls on either side of the limit are counted; its value is read
// from a coarse histogram.
type windowWatch struct {
	t       Threshold
	m       metric
	seconds []second // ring of the window's length; the second n is at n modulo its length
	now     int64    // the second that is being filled
	verdict windowVerdict
}

// second is what a windowWatch counts in one.
type second struct {
	requests, succeeded, dropped, bytes int64
	matching                            int64 // errors that the metric is about

	n, below, upTo int64 // durations, those below the limit, and those up to it
	sum, longest   time.Duration
	durations      stats.Coarse
}

// windowVerdict is the outcome of a threshold on one cell: the worst window, or what ended the run.
type windowVerdict struct {
	threshold  int // its place in the plan
	part, step string
	known      bool // there was a window with enough samples
	ok         bool
	value      float64
	start      time.Duration // of the window
	aborted    bool          // it ended the run
}

func newWindowWatch(t Threshold, v windowVerdict) *windowWatch {
	m, _ := findMetric(t.Metric)
	return &windowWatch{t: t, m: m, seconds: make([]second, t.Window/time.Second), verdict: v}
}

// advance closes the seconds before the one that at lies in. Once a window that began at or after t.After was missed and t.Abort wants the
// run to end, the verdict stays with it.
func (w *windowWatch) advance(at time.Duration) {
	for next := int64(at / time.Second); w.now < next && !w.verdict.aborted; {
		w.now++
		if start := time.Duration(w.now-int64(len(w.seconds))) * time.Second; start >= 0 {
			w.judge(start)
		}
		w.seconds[w.now%int64(len(w.seconds))] = second{}
	}
}

// add counts a call that ended. One that ends before the second being filled counts into that.
func (w *windowWatch) add(s *Sample) {
	sec := &w.seconds[w.now%int64(len(w.seconds))]
	sec.requests++
	if s.Outcome == "" {
		sec.succeeded++
		sec.bytes += s.Bytes
	} else if w.m.code == "" || w.m.code == s.Outcome {
		sec.matching++
	}
	if w.m.durations == nil {
		return
	}
	d, ok := w.m.durations.each(s)
	if !ok {
		return
	}
	d = max(d, 0)
	sec.n++
	sec.sum += d
	sec.longest = max(sec.longest, d)
	sec.durations.Record(d)
	if float64(d) < w.t.Value {
		sec.below++
	}
	if float64(d) <= w.t.Value {
		sec.upTo++
	}
}

func (w *windowWatch) drop() { w.seconds[w.now%int64(len(w.seconds))].dropped++ }

// judge judges the window that starts at start and is the whole ring.
func (w *windowWatch) judge(start time.Duration) {
	var all second
	for i := range w.seconds {
		all.merge(&w.seconds[i])
	}
	value, ok, known := w.measure(&all)
	if !known {
		return
	}
	v := &w.verdict
	v.aborted = !ok && w.t.Abort && start >= w.t.After
	if v.aborted || !v.known || v.ok && !ok || v.ok == ok && w.distance(value) > w.distance(v.value) {
		v.known, v.ok, v.value, v.start = true, ok, value, start
	}
}

// distance says how far a value lies towards the wrong side of the limit.
func (w *windowWatch) distance(value float64) float64 {
	switch w.t.Op {
	case "<", "<=":
		return value - w.t.Value
	case ">", ">=":
		return w.t.Value - value
	}
	return math.Abs(value - w.t.Value)
}

// measure judges one window; known is false where too little fell into it.
func (w *windowWatch) measure(all *second) (value float64, ok, known bool) {
	seconds := w.t.Window.Seconds()
	switch {
	case w.m.durations != nil:
		return w.duration(all)
	case w.m.code != "":
		value, known = float64(all.matching), true
	case w.t.Metric == "error_rate":
		value, known = 100*float64(all.matching)/float64(max(all.requests, 1)), all.requests > 0
	case w.t.Metric == "rate":
		value, known = float64(all.succeeded)/seconds, true
	case w.t.Metric == "bytes_rate":
		value, known = float64(all.bytes)/seconds, true
	case w.t.Metric == "dropped":
		value, known = float64(all.dropped), true
	}
	return value, compare(value, w.t.Op, w.t.Value), known
}

// duration judges a statistic of durations.
func (w *windowWatch) duration(all *second) (value float64, ok, known bool) {
	switch w.m.statistic {
	case "mean":
		value = math.Round(float64(all.sum) / float64(max(all.n, 1)))
		return value, compare(value, w.t.Op, w.t.Value), all.n > 0
	case "max":
		value = float64(all.longest)
		return value, compare(value, w.t.Op, w.t.Value), all.n > 0
	}
	q, _ := parseQuantile(w.m.statistic)
	if all.n < stats.MinSamples(q) {
		return 0, false, false
	}
	rank := int64(math.Ceil(q * float64(all.n) * (1 - 1e-12)))
	value = float64(all.durations.Percentile(q))
	switch limit := w.t.Value; { // the value is rough, so it is kept on the side of the limit where the count has it
	case all.below >= rank:
		value = min(value, limit-1)
	case all.upTo >= rank:
		value = limit
	default:
		value = max(value, limit+1)
	}
	return value, compare(value, w.t.Op, w.t.Value), true
}

func (s *second) merge(other *second) {
	s.requests += other.requests
	s.succeeded += other.succeeded
	s.dropped += other.dropped
	s.bytes += other.bytes
	s.matching += other.matching
	if other.n == 0 {
		return
	}
	s.n += other.n
	s.below += other.below
	s.upTo += other.upTo
	s.sum += other.sum
	s.longest = max(s.longest, other.longest)
	s.durations.Merge(&other.durations)
}

// result tells the verdict on t.
func (v *windowVerdict) result(t Threshold) ThresholdResult {
	r := ThresholdResult{Expr: t.String(), Step: v.step, Part: v.part, Value: "no data", OK: v.ok && !v.aborted, Aborted: v.aborted}
	if !v.known {
		return r
	}
	m, _ := findMetric(t.Metric)
	r.Value = formatMeasured(m.unit, v.value)
	if t.Window > 0 {
		if _, rough := parseQuantile(m.statistic); rough && v.value != t.Value {
			r.Value = "about " + r.Value
		}
		r.Start = v.start
		r.Value += " from " + formatDuration(v.start) + " to " + formatDuration(v.start+t.Window)
	}
	return r
}
