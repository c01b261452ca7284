package loadgen

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen/stats"
)

// Threshold is a limit that a run must hold, such as p95<100ms. ParseThreshold makes one; two are equal when they say the same.
//
// Without a Window it is judged on the whole measured time. With one it is judged on every full window of that length, one beginning with each
// second, and the worst of them decides. A call belongs to the second in which it ended, and what ends after the measured time to its last.
type Threshold struct {
	Step   string        // the only step judged, as STEP, PART.STEP or PART; empty means each of them
	Metric string        // see ParseThreshold
	Op     string        // "<", "<=", ">", ">=" or "=="
	Value  float64       // nanoseconds for a duration, percent for a share, per second for a rate, bytes for a size, else a count
	Window time.Duration // whole seconds, MaxThresholdWindow at most; 0 judges the whole measured time

	Abort bool          // ends the run as soon as it is missed; String leaves it out
	After time.Duration // of measured time, before which Abort does nothing; String leaves it out
}

// MaxThresholdWindow bounds Threshold.Window.
const MaxThresholdWindow = 10 * time.Minute

// thresholdOps lists the comparisons, the longer of two with a common start first.
var thresholdOps = []string{"<=", ">=", "==", "<", ">"}

// ParseThreshold reads METRIC OP VALUE with an optional step in front and an optional window behind, such as p95<100ms, p99.9<=1s,
// error_rate<0.1%, rate>=500, dropped==0, upload:max<2s or p99<200ms over 10s. Spaces around the parts are ignored.
//
// The metrics are the percentiles (p50 to p99.99), mean and max of the latency, and those of other durations after service., failed.,
// lateness., first_progress., timing.queue., timing.dial., timing.channel. and timing.remote.; error_rate (a percentage), errors.CODE (a
// count), rate and offered (per second), dropped and held (counts), bytes_rate (bytes per second, 10MiB/s); the server's use of
// resources: server.cpu and server.cpu_per_op, server.rss and server.heap (200MiB), server.fds, server.goroutines, server.threads and
// server.sockets; and generator.cpu, in percent of one CPU.
func ParseThreshold(s string) (Threshold, error) {
	at := strings.IndexAny(s, "<>=")
	if at < 0 {
		return Threshold{}, fmt.Errorf("threshold %q has no comparison: write one like p95<100ms, with <, <=, >, >= or ==", s)
	}
	var t Threshold
	if i := slices.IndexFunc(thresholdOps, func(op string) bool { return strings.HasPrefix(s[at:], op) }); i >= 0 {
		t.Op = thresholdOps[i]
	} else {
		return Threshold{}, fmt.Errorf("threshold %q compares with =: write == for equality", s)
	}
	t.Metric = strings.TrimSpace(s[:at])
	if step, metric, ok := cutLast(t.Metric, ':'); ok {
		t.Step, t.Metric = strings.TrimSpace(step), strings.TrimSpace(metric)
		if t.Step == "" {
			return Threshold{}, fmt.Errorf("threshold %q names no step before the colon: write STEP:%s or leave the colon out", s, t.Metric)
		}
	}
	if err := t.parseLimit(s[at+len(t.Op):]); err != nil {
		return Threshold{}, fmt.Errorf("threshold %q: %v", s, err)
	}
	return t, t.check()
}

// parseLimit reads the value and the window.
func (t *Threshold) parseLimit(s string) (err error) {
	m, ok := findMetric(t.Metric)
	if !ok {
		return unknownMetric(t.Metric)
	}
	limit := strings.TrimSpace(s)
	if i := slices.Index(strings.Fields(s), "over"); i >= 0 {
		limit = strings.Join(strings.Fields(s)[:i], " ")
		window := strings.Join(strings.Fields(s)[i+1:], " ")
		if t.Window, err = time.ParseDuration(window); err != nil || t.Window == 0 {
			return fmt.Errorf("%q is no length of a window: write one like over 10s", window)
		}
	}
	t.Value, err = parseMetricValue(m.unit, limit)
	return err
}

func unknownMetric(name string) error {
	return fmt.Errorf("unknown metric %q: %s", name, metricsRemedy)
}

// String writes the threshold as ParseThreshold reads it.
func (t Threshold) String() string {
	s := t.Metric + t.Op + formatMetric(metricUnit(t.Metric), t.Value)
	if t.Step != "" {
		s = t.Step + ":" + s
	}
	if t.Window != 0 {
		s += " over " + formatDuration(t.Window)
	}
	return s
}

// check says what is wrong with a threshold that was made by hand.
func (t Threshold) check() error {
	m, known := findMetric(t.Metric)
	u := m.unit
	switch {
	case !known:
		return unknownMetric(t.Metric)
	case strings.ContainsAny(t.Step, "<>=") || strings.TrimSpace(t.Step) != t.Step:
		return fmt.Errorf("step %q of threshold %q holds a comparison or outer spaces: write its name as it stands under steps", t.Step, t.Metric)
	case !slices.Contains(thresholdOps, t.Op):
		return fmt.Errorf("unknown comparison %q in threshold on %s: use <, <=, >, >= or ==", t.Op, t.Metric)
	case !(t.Value >= 0) || math.IsInf(t.Value, 0):
		return fmt.Errorf("threshold on %s has the value %v: use a finite one that is not negative", t.Metric, t.Value)
	case u == unitDuration && t.Value > float64(stats.MaxValue):
		return fmt.Errorf("threshold on %s is beyond %v, the longest latency that is told apart: use a shorter one", t.Metric, stats.MaxValue)
	case (u == unitDuration || u == unitCount || u == unitBytes) && t.Value != math.Trunc(t.Value):
		return fmt.Errorf("threshold on %s has the value %v: use a whole number", t.Metric, t.Value)
	case t.Metric == "error_rate" && t.Value > 100:
		return fmt.Errorf("threshold on %s is %v%%: use at most 100%%", t.Metric, t.Value)
	case t.Window != 0:
		return t.checkWindow(m)
	}
	return nil
}

func (t Threshold) checkWindow(m metric) error {
	switch {
	case !m.windowed:
		return fmt.Errorf("%s is not counted second by second and has no windows: leave over %v out", t.Metric, formatDuration(t.Window))
	case t.Window < time.Second || t.Window > MaxThresholdWindow || t.Window%time.Second != 0:
		return fmt.Errorf("a window of %v cannot be judged: use whole seconds, 1s to %v", formatDuration(t.Window), formatDuration(MaxThresholdWindow))
	}
	return nil
}

// speaksOf reports whether the threshold is about a step.
func (t Threshold) speaksOf(part, step string) bool {
	return t.Step == "" || t.Step == step || part != "" && (t.Step == part || t.Step == part+"."+step)
}

// judge measures the threshold, which has no window, on one cell.
func (t Threshold) judge(f figures) ThresholdResult {
	r := ThresholdResult{Expr: t.String(), Step: f.cell.Step, Part: f.cell.Part, Value: "no data"}
	if v, ok := t.measure(f); ok {
		r.Value, r.OK = formatMeasured(metricUnit(t.Metric), v), compare(v, t.Op, t.Value)
	}
	return r
}

// judgeThresholds judges each threshold on the cells it speaks of. windows holds the verdicts of those that have windows, and of those that
// ended the run.
func judgeThresholds(ts []Threshold, cells []Cell, generatorCPU float64, windows []windowVerdict) []ThresholdResult {
	var out []ThresholdResult
	for n, t := range ts {
		before := len(out)
		for i := range cells {
			c := &cells[i]
			if !t.speaksOf(c.Part, c.Step) {
				continue
			}
			at := slices.IndexFunc(windows, func(w windowVerdict) bool { return w.threshold == n && w.part == c.Part && w.step == c.Step })
			switch {
			case at >= 0:
				out = append(out, windows[at].result(t))
			case t.Window == 0:
				out = append(out, t.judge(figures{c, generatorCPU}))
			}
			if strings.HasPrefix(t.Metric, "server.") || strings.HasPrefix(t.Metric, "generator.") {
				break // every cell has the same
			}
		}
		if len(out) == before {
			out = append(out, ThresholdResult{Expr: t.String(), Step: t.Step, Value: "no data"})
		}
	}
	return out
}

// compare applies one of the comparison operators of thresholds.
func compare[T cmp.Ordered](a T, op string, b T) bool {
	switch op {
	case "<":
		return a < b
	case "<=":
		return a <= b
	case ">":
		return a > b
	case ">=":
		return a >= b
	default:
		return a == b
	}
}

func cutLast(s string, sep byte) (before, after string, found bool) {
	i := strings.LastIndexByte(s, sep)
	if i < 0 {
		return "", s, false
	}
	return s[:i], s[i+1:], true
}
