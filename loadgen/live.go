package loadgen

import (
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen/stats"
)

// Live sums up work of an arm while it runs, warm-up included. The rates and percentiles are of the last five seconds.
type Live struct {
	Requests  int64 // calls finished since the arm began
	Errors    int64 // of them, how many failed
	Dropped   int64 // arrivals not sent since the arm began
	TopError  string
	TopErrors int64 // how often the most frequent error code, TopError, came; ties go to the first in the alphabet

	InFlight      int           // iterations under way
	Offered       float64       // open: iterations begun or dropped per second; 0 for other executors
	Rate          float64       // iterations that ended well per second
	P50, P95, P99 time.Duration // of the latency of successful calls, roughly; 0 when none ended
}

// What a tally's rates and percentiles speak of.
const (
	tallySlots = 10
	tallyWidth = 500 * time.Millisecond
)

// tally counts what Live shows, in constant memory: totals, and a ring of short slots for the last seconds. The zero value is empty. It is
// not safe for concurrent use.
type tally struct {
	requests, errors, dropped, inFlight int64
	codes                               map[string]int64
	slots                               [tallySlots]tallySlot
}

// tallySlot is a stretch of tallyWidth.
type tallySlot struct {
	number         int64 // of the stretch, counted from the arm's start
	offered, ended int64
	latency        stats.Coarse
}

func (t *tally) slot(at time.Duration) *tallySlot {
	n := int64(at / tallyWidth)
	s := &t.slots[n%tallySlots]
	if s.number < n {
		*s = tallySlot{number: n}
	}
	return s
}

// begin counts an iteration that starts, end one that is over.
func (t *tally) begin(at time.Duration) {
	t.inFlight++
	t.slot(at).offered++
}

func (t *tally) end(at time.Duration, ok bool) {
	t.inFlight--
	if ok {
		t.slot(at).ended++
	}
}

func (t *tally) drop(at time.Duration) {
	t.dropped++
	t.slot(at).offered++
}

// succeed and fail count how a call ended.
func (t *tally) succeed(at, latency time.Duration) { t.slot(at).latency.Record(latency) }

func (t *tally) fail(code string) {
	t.errors++
	if t.codes == nil {
		t.codes = map[string]int64{}
	}
	if _, known := t.codes[code]; !known && len(t.codes) >= maxErrorCodes {
		code = codeOther
	}
	t.codes[code]++
}

// add puts all that other counted on top.
func (t *tally) add(other *tally) {
	t.requests, t.errors = t.requests+other.requests, t.errors+other.errors
	t.dropped, t.inFlight = t.dropped+other.dropped, t.inFlight+other.inFlight
	for code, n := range other.codes {
		if t.codes == nil {
			t.codes = map[string]int64{}
		}
		t.codes[code] += n
	}
	for i := range other.slots {
		o := &other.slots[i]
		s := t.slot(time.Duration(o.number) * tallyWidth)
		if s.number == o.number {
			s.offered, s.ended = s.offered+o.offered, s.ended+o.ended
			s.latency.Merge(&o.latency)
		}
	}
}

// live sums up at a time.
func (t *tally) live(now time.Duration) Live {
	l := Live{Requests: t.requests, Errors: t.errors, Dropped: t.dropped, InFlight: int(t.inFlight)}
	for code, n := range t.codes {
		if n > l.TopErrors || n == l.TopErrors && code < l.TopError {
			l.TopError, l.TopErrors = code, n
		}
	}
	var offered, ended int64
	var latency stats.Coarse
	first := max(0, int64(now/tallyWidth)-tallySlots+1)
	for i := range t.slots {
		if s := &t.slots[i]; s.number >= first {
			offered, ended = offered+s.offered, ended+s.ended
			latency.Merge(&s.latency)
		}
	}
	if span := now - time.Duration(first)*tallyWidth; span > 0 {
		l.Offered, l.Rate = float64(offered)/span.Seconds(), float64(ended)/span.Seconds()
	}
	l.P50, l.P95, l.P99 = latency.Percentile(0.5), latency.Percentile(0.95), latency.Percentile(0.99)
	return l
}
