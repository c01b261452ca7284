package loadgen

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// Trend is the growth that a run tolerates of something that should stay as it is, such as server.goroutines<0.1 per 1000 calls. A longer run
// tells smaller growth. ParseTrend makes one; two are equal when they say the same.
type Trend struct {
	Step   string  // of a latency, the only step judged, as for a Threshold; empty means each of them
	Metric string  // a percentile of the latency such as p50, or one of TrendMetrics
	Value  float64 // tolerated growth, above 0: nanoseconds, bytes or a count, as the metric has it
	Per    Per     // what the growth is divided by
}

// Per says over what a Trend grows.
type Per string

// What a Trend may grow over.
const (
	PerHour  Per = "hour"
	PerCalls Per = "1000 calls" // of all measured steps
)

// TrendMetrics are the server's resources that a Trend may be about.
var TrendMetrics = []string{"server.rss", "server.heap", "server.goroutines", "server.fds", "server.sockets", "server.threads"}

const trendRemedy = "write one like server.goroutines<0.1 per 1000 calls, server.rss<16MiB per hour or p50<1ms per hour"

// ParseTrend reads METRIC<VALUE per hour, or per 1000 calls, with an optional step in front of a latency, such as exec:p50<1ms per hour.
func ParseTrend(s string) (Trend, error) {
	left, per, ok := strings.Cut(s, " per ")
	metric, value, compared := strings.Cut(left, "<")
	if !ok || !compared {
		return Trend{}, fmt.Errorf("trend %q does not say how much of what is tolerated per what: %s", s, trendRemedy)
	}
	t := Trend{Metric: strings.TrimSpace(metric), Per: Per(strings.Join(strings.Fields(per), " "))}
	if step, metric, ok := cutLast(t.Metric, ':'); ok {
		t.Step, t.Metric = strings.TrimSpace(step), strings.TrimSpace(metric)
		if t.Step == "" {
			return Trend{}, fmt.Errorf("trend %q names no step before the colon: write STEP:%s or leave the colon out", s, t.Metric)
		}
	}
	var err error
	if t.Value, err = parseMetricValue(metricUnit(t.Metric), strings.TrimSpace(value)); err != nil {
		return Trend{}, fmt.Errorf("trend %q: %v", s, err)
	}
	return t, t.check()
}

// String writes the trend as ParseTrend reads it.
func (t Trend) String() string {
	s := t.Metric + "<" + formatMetric(metricUnit(t.Metric), t.Value) + " per " + string(t.Per)
	if t.Step != "" {
		s = t.Step + ":" + s
	}
	return s
}

// latency is the percentile of the latency that the trend is about; ok is false where it is about the server.
func (t Trend) latency() (q float64, ok bool) { return parseQuantile(t.Metric) }

// check says what is wrong with a trend that was made by hand.
func (t Trend) check() error {
	_, latency := t.latency()
	switch {
	case !latency && !slices.Contains(TrendMetrics, t.Metric):
		return fmt.Errorf("no trend of %q is known: use a percentile of the latency such as p50, or %s", t.Metric, strings.Join(TrendMetrics, ", "))
	case t.Step != "" && !latency:
		return fmt.Errorf("%s is the whole server's and has no step: leave %s: out", t.Metric, t.Step)
	case !(t.Value > 0) || math.IsInf(t.Value, 0):
		return fmt.Errorf("the trend of %s tolerates a growth of %v: use one above 0, since no run however long shows that there is none at all", t.Metric, t.Value)
	case t.Per != PerHour && t.Per != PerCalls:
		return fmt.Errorf("the trend of %s is per %q: use per hour or per 1000 calls", t.Metric, string(t.Per))
	}
	return nil
}

// speaksOf reports whether the trend, of a latency, is about a step.
func (t Trend) speaksOf(part, step string) bool { return Threshold{Step: t.Step}.speaksOf(part, step) }

func (c *planCompiler) trends(ts []Trend, measured map[string]bool) {
	for i, t := range ts {
		path := fmt.Sprintf("trends[%d]", i)
		if err := t.check(); err != nil {
			c.add(path, err.Error(), trendRemedy)
		} else if t.Step != "" && !measured[t.Step] {
			c.add(path, fmt.Sprintf("there is no step %q that is measured", t.Step), "name one of the plan, or leave the step out to judge all")
		}
	}
}
