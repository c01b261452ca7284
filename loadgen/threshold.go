package loadgen

import (
	"cmp"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen/stats"
)

// Threshold is a limit that a run must hold, such as p95<100ms. ParseThreshold makes one; two are equal when they say the same.
type Threshold struct {
	Step   string  // the only step judged; empty means each of them
	Metric string  // "p50" and the like, "mean", "max", "error_rate", "rate" or "dropped"
	Op     string  // "<", "<=", ">", ">=" or "=="
	Value  float64 // nanoseconds for a latency, percent for error_rate, successes per second for rate, arrivals for dropped
}

// unit is what a metric is measured in, and how its values are written.
type unit int

const (
	unitNone unit = iota
	unitDuration
	unitPercent
	unitRate
	unitCount
)

// thresholdOps lists the comparisons, the longer of two with a common start first.
var thresholdOps = []string{"<=", ">=", "==", "<", ">"}

// ParseThreshold reads METRIC OP VALUE with an optional step in front, such as p95<100ms, p99.9<=1s, error_rate<0.1%, rate>=500,
// dropped==0, mean<20ms, max<2s or upload:p95<1s. Spaces around the parts are ignored.
func ParseThreshold(s string) (Threshold, error) {
	at := strings.IndexAny(s, "<>=")
	if at < 0 {
		return Threshold{}, fmt.Errorf("threshold %q has no comparison: write one like p95<100ms, with <, <=, >, >= or ==", s)
	}
	var t Threshold
	for _, op := range thresholdOps {
		if strings.HasPrefix(s[at:], op) {
			t.Op = op
			break
		}
	}
	if t.Op == "" {
		return Threshold{}, fmt.Errorf("threshold %q compares with =: write == for equality", s)
	}
	left := strings.TrimSpace(s[:at])
	if step, metric, ok := cutLast(left, ':'); ok {
		t.Step, left = strings.TrimSpace(step), strings.TrimSpace(metric)
		if t.Step == "" {
			return Threshold{}, fmt.Errorf("threshold %q names no step before the colon: write STEP:%s or leave the colon out", s, left)
		}
	}
	t.Metric = left
	value, err := parseThresholdValue(t.Metric, strings.TrimSpace(s[at+len(t.Op):]))
	if err != nil {
		return Threshold{}, fmt.Errorf("threshold %q: %v", s, err)
	}
	t.Value = value
	if err := t.check(); err != nil {
		return Threshold{}, err
	}
	return t, nil
}

// String writes the threshold as ParseThreshold reads it.
func (t Threshold) String() string {
	s := t.Metric + t.Op + formatMetric(metricUnit(t.Metric), t.Value)
	if t.Step != "" {
		s = t.Step + ":" + s
	}
	return s
}

// check says what is wrong with a threshold that was made by hand.
func (t Threshold) check() error {
	u := metricUnit(t.Metric)
	switch {
	case u == unitNone:
		return fmt.Errorf("unknown metric %q: use p50 to p99.99, mean, max, error_rate, rate or dropped", t.Metric)
	case strings.ContainsAny(t.Step, "<>=") || strings.TrimSpace(t.Step) != t.Step:
		return fmt.Errorf("step %q of threshold %q holds a comparison or outer spaces", t.Step, t.Metric)
	case !t.knownOp():
		return fmt.Errorf("unknown comparison %q in threshold on %s: use <, <=, >, >= or ==", t.Op, t.Metric)
	case !(t.Value >= 0) || math.IsInf(t.Value, 0):
		return fmt.Errorf("threshold on %s has the value %v: use a finite one that is not negative", t.Metric, t.Value)
	case u == unitDuration && t.Value > float64(stats.MaxValue):
		return fmt.Errorf("threshold on %s is beyond %v, the longest latency that is told apart: use a shorter one", t.Metric, stats.MaxValue)
	case u == unitDuration && t.Value != math.Trunc(t.Value), u == unitCount && t.Value != math.Trunc(t.Value):
		return fmt.Errorf("threshold on %s has the value %v: use a whole number", t.Metric, t.Value)
	case u == unitPercent && t.Value > 100:
		return fmt.Errorf("threshold on %s is %v%%: use at most 100%%", t.Metric, t.Value)
	}
	return nil
}

func (t Threshold) knownOp() bool {
	for _, op := range thresholdOps {
		if t.Op == op {
			return true
		}
	}
	return false
}

// judge measures the threshold on one cell.
func (t Threshold) judge(c *Cell) ThresholdResult {
	r := ThresholdResult{Expr: t.String(), Step: c.Step, Value: "no data"}
	v, ok := t.measure(c)
	if !ok {
		return r
	}
	r.Value = formatMeasured(metricUnit(t.Metric), v)
	r.OK = compare(v, t.Op, t.Value)
	return r
}

// measure returns the metric's value in a cell; ok is false where too little was measured to have one.
func (t Threshold) measure(c *Cell) (value float64, ok bool) {
	if c.Requests == 0 && (t.Metric != "dropped" || c.Dropped == 0) {
		return 0, false
	}
	switch t.Metric {
	case "error_rate":
		return 100 * float64(c.errorCount()) / float64(c.Requests), true
	case "rate":
		return c.AchievedRate, true
	case "dropped":
		return float64(c.Dropped), true
	case "mean":
		return float64(c.Latency.Mean()), c.Latency.Count() > 0
	case "max":
		return float64(c.Latency.Max()), c.Latency.Count() > 0
	}
	q, _ := parseQuantile(t.Metric)
	d, ok := c.Latency.Percentile(q)
	return float64(d), ok
}

// judgeThresholds judges each threshold on the cells it speaks of.
func judgeThresholds(ts []Threshold, cells []Cell) []ThresholdResult {
	var out []ThresholdResult
	for _, t := range ts {
		judged := false
		for i := range cells {
			if t.Step == "" || t.Step == cells[i].Step {
				out = append(out, t.judge(&cells[i]))
				judged = true
			}
		}
		if !judged {
			out = append(out, ThresholdResult{Expr: t.String(), Step: t.Step, Value: "no data"})
		}
	}
	return out
}

// metricUnit is unitNone for a metric that does not exist.
func metricUnit(metric string) unit {
	switch metric {
	case "mean", "max":
		return unitDuration
	case "error_rate":
		return unitPercent
	case "rate":
		return unitRate
	case "dropped":
		return unitCount
	}
	if _, ok := parseQuantile(metric); ok {
		return unitDuration
	}
	return unitNone
}

// parseQuantile reads p95 as 0.95 and p99.9 as 0.999. Only plain digits count, so that no percentile has two spellings that look alike.
func parseQuantile(s string) (q float64, ok bool) {
	digits, ok := strings.CutPrefix(s, "p")
	if !ok || strings.Trim(digits, "0123456789.") != "" || len(digits) > 8 {
		return 0, false
	}
	v, err := strconv.ParseFloat(digits, 64)
	if err != nil || v <= 0 || v >= 100 || strconv.FormatFloat(v, 'f', -1, 64) != digits {
		return 0, false
	}
	return v / 100, true
}

func parseThresholdValue(metric, s string) (float64, error) {
	number := s
	switch metricUnit(metric) {
	case unitNone:
		return 0, fmt.Errorf("unknown metric %q: use p50 to p99.99, mean, max, error_rate, rate or dropped", metric)
	case unitDuration:
		d, err := time.ParseDuration(s)
		if err != nil {
			return 0, fmt.Errorf("%q is no duration: write one like 100ms or 1.5s", s)
		}
		return float64(d), nil
	case unitPercent:
		var ok bool
		if number, ok = strings.CutSuffix(s, "%"); !ok {
			return 0, fmt.Errorf("%q has no percent sign: write one like 0.1%%", s)
		}
	case unitRate:
		number = strings.TrimSuffix(s, "/s")
	}
	v, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if err != nil || math.IsNaN(v) {
		return 0, fmt.Errorf("%q is no number", s)
	}
	return v + 0, nil // −0 becomes 0, which prints the same wherever it came from
}

// formatMetric writes a limit exactly, as ParseThreshold reads it.
func formatMetric(u unit, v float64) string {
	switch u {
	case unitDuration:
		return formatDuration(time.Duration(v))
	case unitPercent:
		return strconv.FormatFloat(v, 'f', -1, 64) + "%"
	default:
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
}

// formatMeasured writes a measured value for people: a latency to five digits, a share to three, a rate to a tenth.
func formatMeasured(u unit, v float64) string {
	switch u {
	case unitDuration:
		d, step := time.Duration(v), time.Duration(1)
		for d/step >= 100_000 {
			step *= 10
		}
		return formatDuration(d.Round(step))
	case unitPercent:
		return strconv.FormatFloat(v, 'g', 3, 64) + "%"
	case unitRate:
		return strconv.FormatFloat(v, 'f', 1, 64)
	default:
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
}

// formatDuration is d.String without trailing zero parts: 1h, not 1h0m0s.
func formatDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
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
