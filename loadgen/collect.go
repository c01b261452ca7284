package loadgen

import (
	"math"
	"sync"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen/stats"
)

// forever is the end of a measured time without any limit.
const forever = time.Duration(math.MaxInt64)

// collector turns samples into cells in bounded memory. One mutex guards it: adding a sample takes a few hundred nanoseconds, a small part
// of the call it describes, so shards would only multiply the memory. It is safe for concurrent use.
type collector struct {
	mu    sync.Mutex
	begin time.Duration // of the measured time of the turn under way
	end   time.Duration // of it, not part of it
	past  time.Duration // measured time of the turns before
	cells []recorder    // by step, those of all parts one after another
	calls int64         // ended
	ended int64         // of them, how many ended inside the measured time and were of a measured step
	parts []tally       // what Progress shows, by part of the mix
	names []cellName    // of the cells
	watch *watch        // nil where no threshold needs it
	turns bool          // whether the latency of each turn is kept

	export        *Export // nil for none
	scenario, arm string  // for the export
}

// recorder gathers one cell.
type recorder struct {
	hidden    bool          // the step is not measured: only its failures are told
	part      int           // of the mix; 0 without one
	from      time.Duration // of the part's measured time on the arm's clock
	until     time.Duration // of it, not part of it
	last      time.Duration // latest End of a measured sample
	requests  int64
	dropped   int64
	completed int64 // successes that ended inside the measured time, whenever they started
	bytes     int64
	reused    int64
	latency   stats.Histogram
	turns     []*stats.Histogram // of the latency
	service   stats.Histogram
	failed    stats.Histogram
	lateness  stats.Histogram
	timing    [4]stats.Histogram // in the order of timingNames
	progress  stats.Histogram    // until the first notification
	cancelled int64
	errors    map[string]int64
	messages  map[string]string
	timeline  timeline
	held      gauge
}

var timingNames = [4]string{"queue", "dial", "channel", "remote"}

func newCollector(prog *program) *collector {
	c := &collector{parts: make([]tally, len(prog.parts))}
	for i := range prog.loads {
		l := &prog.loads[i]
		for _, p := range l.parts {
			c.cells = append(c.cells, make([]recorder, max(0, p.cell+len(p.steps)-len(c.cells)))...)
			for i := range p.steps {
				c.cells[p.cell+i] = recorder{
					hidden: p.steps[i].unmeasured, part: p.index, from: max(l.begin, p.start), until: l.end,
					errors: map[string]int64{}, messages: map[string]string{},
				}
			}
		}
	}
	for _, p := range prog.parts {
		for i := range p.steps {
			c.names = append(c.names, cellName{part: p.name, step: p.steps[i].name, hidden: p.steps[i].unmeasured})
		}
	}
	return c
}

// turn begins a turn of the arm. Nothing is under way then.
func (c *collector) turn(t turn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.past += c.end - c.begin
	c.begin, c.end = t.measure, t.to
	if c.turns {
		for i := range c.cells {
			c.cells[i].turns = append(c.cells[i].turns, new(stats.Histogram))
		}
	}
}

// last is the latest end of a measured call of some parts.
func (c *collector) last(parts []*part) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	var last time.Duration
	for _, p := range parts {
		for i := range p.steps {
			last = max(last, c.cells[p.cell+i].last)
		}
	}
	return last
}

// hold counts an iteration of an occupancy that begins to hold, or with −1 ends.
func (c *collector) hold(p *part, at time.Duration, more int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := &c.cells[p.cell+p.take]
	r.held.reach(c.past+min(at, c.end, r.until)-c.begin, &r.timeline)
	r.held.now += more
}

// fewest is the fewest iterations of a part that were held at once in the measured time.
func (c *collector) fewest(p *part, measured time.Duration) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := &c.cells[p.cell+p.take]
	r.held.reach(measured, &r.timeline)
	return r.held.low
}

// add records a finished call. measured says whether its iteration counts; message goes with a failed Outcome.
func (c *collector) add(s *Sample, measured bool, message string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := &c.cells[s.Step]
	part := &c.parts[r.part]
	c.calls++
	if !r.hidden {
		part.requests++
		if s.End >= c.begin && s.End < c.end {
			c.ended++
		}
	}
	if s.Outcome == "" {
		if !r.hidden {
			part.succeed(s.End, s.End-s.Intended)
		}
		if s.End >= max(c.begin, r.from) && s.End < min(c.end, r.until) {
			r.completed++
		}
	} else {
		part.fail(s.Outcome)
	}
	if measured {
		r.last = max(r.last, s.End)
		r.add(s, c.past+max(0, s.Intended-c.begin), message)
		c.watch.add(s.Step, s, c.measuredAt(s.End))
		if name := c.names[s.Step]; !name.hidden {
			c.export.add(exported{c.scenario, name.part, c.arm, name.step, *s})
		}
	}
}

// iterationBegins counts an iteration of a part that starts, iterationEnds one that is over.
func (c *collector) iterationBegins(part int, at time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.parts[part].begin(at)
}

func (c *collector) iterationEnds(part int, at time.Duration, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.parts[part].end(at, ok)
}

// drop counts an arrival that was not sent, in every step that it would have called.
func (c *collector) drop(p *part, at time.Duration, measured bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.parts[p.index].drop(at)
	if !measured {
		return
	}
	for i := range p.steps {
		c.cells[p.cell+i].dropped++
		c.watch.drop(p.cell+i, c.measuredAt(at))
	}
}

// stop ends the measured time early.
func (c *collector) stop(at time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.end = max(c.begin, min(c.end, at))
}

// live sums up all parts together, and each.
func (c *collector) live(now time.Duration) (all Live, parts []Live) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var sum tally
	for i := range c.parts {
		sum.add(&c.parts[i])
		parts = append(parts, c.parts[i].live(now))
	}
	return sum.live(now), parts
}

// counts are how many calls ended, and how many of them count as the server's operations.
func (c *collector) counts() (calls, ended int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.calls, c.ended
}

func (r *recorder) add(s *Sample, at time.Duration, message string) {
	r.requests++
	r.lateness.Record(s.Start - s.Intended)
	r.timeline.add(at, s.Outcome == "", s.End-s.Intended)
	if s.Outcome != "" {
		r.failed.Record(s.End - s.Intended)
		r.fail(s.Outcome, message)
		return
	}
	r.latency.Record(s.End - s.Intended)
	if n := len(r.turns); n > 0 {
		r.turns[n-1].Record(s.End - s.Intended)
	}
	r.service.Record(s.End - s.Start)
	r.bytes += s.Bytes
	if s.Progress > 0 {
		r.progress.Record(s.Progress - s.Intended)
	}
	if s.Cut > 0 {
		r.cancelled++
	}
	if t := s.Timing; t != (Timing{}) {
		for i, d := range [4]time.Duration{t.Queue, t.Dial, t.Channel, t.Remote} {
			r.timing[i].Record(d)
		}
		if t.Reused {
			r.reused++
		}
	}
}

// maxErrorCodes bounds the error codes that a cell keeps apart: a server may invent them without end.
const maxErrorCodes = 64

// codeOther counts errors once a cell holds maxErrorCodes others.
const codeOther = "OTHER"

func (r *recorder) fail(code, message string) {
	if _, known := r.errors[code]; !known {
		if len(r.errors) >= maxErrorCodes {
			code = codeOther
		}
		if _, known := r.messages[code]; !known {
			r.messages[code] = clip(message, 500)
		}
	}
	r.errors[code]++
}

// shown reports whether step i has a cell: it is measured, or it failed.
func (c *collector) shown(i int) bool {
	return !c.cells[i].hidden || len(c.cells[i].errors) > 0
}

// cell hands out the measurement of step i. measured is the length of the measured time. counted says that a number of iterations ended it,
// so that exactly its own calls fall into it.
func (c *collector) cell(i int, measured time.Duration, counted bool) Cell {
	r := &c.cells[i]
	completed := r.completed
	if counted {
		completed = r.latency.Count()
	}
	cell := Cell{
		Requests: r.requests, Dropped: r.dropped, Errors: r.errors, Bytes: r.bytes, Measured: measured,
		Latency: &r.latency, Service: &r.service, Failed: &r.failed, Lateness: &r.lateness,
		Timing: map[string]*stats.Histogram{}, Reused: r.reused, ErrorSamples: r.messages, Windows: r.timeline.list(),
		FirstProgress: &r.progress, Cancelled: r.cancelled, turns: r.turns,
	}
	for i, name := range timingNames {
		cell.Timing[name] = &r.timing[i]
	}
	if measured > 0 {
		cell.AchievedRate = float64(completed) / measured.Seconds()
	}
	return cell
}

const (
	maxWindows  = 300
	windowWidth = time.Second // at first; doubled as often as maxWindows asks
)

// timeline counts by stretch of time. The zero value is empty.
type timeline struct {
	width time.Duration
	each  []window
}

type window struct {
	requests, errors int64
	latency          stats.Coarse
	held             int64 // the fewest, where known
	known            bool
}

// at returns the window of a time.
func (t *timeline) at(at time.Duration) *window {
	if t.width == 0 {
		t.width = windowWidth
	}
	i := int(max(at, 0) / t.width)
	for i >= maxWindows {
		t.double()
		i = int(max(at, 0) / t.width)
	}
	for i >= len(t.each) {
		t.each = append(t.each, window{})
	}
	return &t.each[i]
}

func (t *timeline) add(at time.Duration, ok bool, latency time.Duration) {
	w := t.at(at)
	w.requests++
	if ok {
		w.latency.Record(latency)
	} else {
		w.errors++
	}
}

// hold notes that n iterations were held from one time up to another.
func (t *timeline) hold(from, to time.Duration, n int64) {
	for from = max(from, 0); from < to; from = (from/t.width + 1) * t.width {
		t.at(from).hold(n)
	}
}

func (w *window) hold(n int64) {
	if !w.known || n < w.held {
		w.held, w.known = n, true
	}
}

// double merges windows two by two.
func (t *timeline) double() {
	t.width *= 2
	half := (len(t.each) + 1) / 2
	for i := range half {
		merged := t.each[2*i]
		if 2*i+1 < len(t.each) {
			next := &t.each[2*i+1]
			merged.requests += next.requests
			merged.errors += next.errors
			merged.latency.Merge(&next.latency)
			if next.known {
				merged.hold(next.held)
			}
		}
		t.each[i] = merged
	}
	t.each = t.each[:half]
}

func (t *timeline) list() []Window {
	out := make([]Window, len(t.each))
	for i := range t.each {
		e := &t.each[i]
		out[i] = Window{
			Start: time.Duration(i) * t.width, Width: t.width, Requests: e.requests, Errors: e.errors,
			P50: e.latency.Percentile(0.5), P95: e.latency.Percentile(0.95), P99: e.latency.Percentile(0.99), Max: e.latency.Max(), Latency: e.latency, Held: e.held,
		}
	}
	return out
}
