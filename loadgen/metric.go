package loadgen

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen/stats"
)

// unit is what a metric is measured in, and how its values are written.
type unit int

const (
	unitNone unit = iota
	unitDuration
	unitPercent
	unitRate
	unitCount
	unitBytes
	unitByteRate
)

// metric is a quantity that a Threshold may limit.
type metric struct {
	unit      unit
	durations *durations // of a statistic of durations, else nil
	statistic string     // of them: "p99" and the like, "mean" or "max"
	code      string     // of errors.CODE
	live      bool       // known while an arm is measured, so that it can end the run
	windowed  bool       // counted second by second, so that it can be judged over a window
}

// durations are one kind of those that a cell holds.
type durations struct {
	whole func(c *Cell) *stats.Histogram
	each  func(s *Sample) (d time.Duration, ok bool) // ok is false for a sample that has none
}

// durationKinds are the durations by the prefix of their metrics; latency has none.
var durationKinds = map[string]*durations{
	"": {
		func(c *Cell) *stats.Histogram { return c.Latency },
		func(s *Sample) (time.Duration, bool) { return s.End - s.Intended, s.Outcome == "" },
	},
	"service": {
		func(c *Cell) *stats.Histogram { return c.Service },
		func(s *Sample) (time.Duration, bool) { return s.End - s.Start, s.Outcome == "" },
	},
	"failed": {
		func(c *Cell) *stats.Histogram { return c.Failed },
		func(s *Sample) (time.Duration, bool) { return s.End - s.Intended, s.Outcome != "" },
	},
	"lateness": {
		func(c *Cell) *stats.Histogram { return c.Lateness },
		func(s *Sample) (time.Duration, bool) { return s.Start - s.Intended, true },
	},
	"first_progress": {
		func(c *Cell) *stats.Histogram { return c.FirstProgress },
		func(s *Sample) (time.Duration, bool) {
			return s.Progress - s.Intended, s.Outcome == "" && s.Progress > 0
		},
	},
	"timing.queue":   serverTime("queue", func(t *Timing) time.Duration { return t.Queue }),
	"timing.dial":    serverTime("dial", func(t *Timing) time.Duration { return t.Dial }),
	"timing.channel": serverTime("channel", func(t *Timing) time.Duration { return t.Channel }),
	"timing.remote":  serverTime("remote", func(t *Timing) time.Duration { return t.Remote }),
}

func serverTime(name string, part func(t *Timing) time.Duration) *durations {
	return &durations{
		func(c *Cell) *stats.Histogram { return c.Timing[name] },
		func(s *Sample) (time.Duration, bool) { return part(&s.Timing), s.Outcome == "" && s.Timing != Timing{} },
	}
}

// plainMetrics are those that are no statistic of durations, but for errors.CODE.
var plainMetrics = map[string]metric{
	"error_rate":        {unit: unitPercent, live: true, windowed: true},
	"rate":              {unit: unitRate, live: true, windowed: true},
	"bytes_rate":        {unit: unitByteRate, live: true, windowed: true},
	"dropped":           {unit: unitCount, live: true, windowed: true},
	"offered":           {unit: unitRate},
	"held":              {unit: unitCount},
	"server.rss":        {unit: unitBytes},
	"server.heap":       {unit: unitBytes},
	"server.cpu":        {unit: unitPercent},
	"server.cpu_per_op": {unit: unitDuration},
	"server.fds":        {unit: unitCount},
	"server.goroutines": {unit: unitCount},
	"server.threads":    {unit: unitCount},
	"server.sockets":    {unit: unitCount},
	"generator.cpu":     {unit: unitPercent},
}

var (
	codeForm      = regexp.MustCompile(`^[A-Z][A-Z0-9_]*$`)
	statisticForm = regexp.MustCompile(`^([a-z_.]+)\.(p[0-9.]+|mean|max)$`)
)

// metricsRemedy names every metric.
const metricsRemedy = "use p50 to p99.99, mean or max, alone for the latency or after service., failed., lateness., first_progress., " +
	"timing.queue., timing.dial., timing.channel. or timing.remote.; error_rate, errors.CODE, rate, offered, dropped, held or bytes_rate; " +
	"server.cpu, server.cpu_per_op, server.rss, server.heap, server.fds, server.goroutines, server.threads, server.sockets or generator.cpu"

// findMetric returns a metric by its name; ok is false for one that does not exist.
func findMetric(name string) (m metric, ok bool) {
	if m, ok := plainMetrics[name]; ok {
		return m, true
	}
	if code, ok := strings.CutPrefix(name, "errors."); ok && codeForm.MatchString(code) {
		return metric{unit: unitCount, code: code, live: true, windowed: true}, true
	}
	prefix, statistic := "", name
	if parts := statisticForm.FindStringSubmatch(name); parts != nil {
		prefix, statistic = parts[1], parts[2]
	}
	kind := durationKinds[prefix]
	if _, ok := parseQuantile(statistic); kind == nil || !ok && statistic != "mean" && statistic != "max" {
		return metric{}, false
	}
	return metric{unit: unitDuration, durations: kind, statistic: statistic, live: true, windowed: true}, true
}

// metricUnit is unitNone for a metric that does not exist.
func metricUnit(name string) unit {
	m, _ := findMetric(name)
	return m.unit
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

// figures are what thresholds are judged on.
type figures struct {
	cell         *Cell
	generatorCPU float64 // percent of one CPU; negative while it is not known
}

// measure returns the metric's value; ok is false where too little was measured to have one.
func (t Threshold) measure(f figures) (value float64, ok bool) {
	c := f.cell
	switch t.Metric {
	case "generator.cpu":
		return f.generatorCPU, f.generatorCPU >= 0
	case "offered":
		return c.OfferedRate, c.OfferedRate > 0
	case "held":
		if c.Held == nil {
			return 0, false
		}
		return float64(*c.Held), true
	case "dropped":
		return float64(c.Dropped), c.Requests+c.Dropped > 0
	}
	m, _ := findMetric(t.Metric)
	switch {
	case strings.HasPrefix(t.Metric, "server."):
		return serverFigure(c.Server, t.Metric)
	case c.Requests == 0:
		return 0, false
	case m.durations != nil:
		return statisticOf(m.durations.whole(c), m.statistic)
	case m.code != "":
		return float64(c.Errors[m.code]), true
	case t.Metric == "error_rate":
		return 100 * float64(c.errorCount()) / float64(c.Requests), true
	case t.Metric == "rate":
		return c.AchievedRate, true
	}
	return float64(c.Bytes) / c.Measured.Seconds(), c.Measured > 0
}

// serverFigure returns one of the server's resources, which may be nil.
func serverFigure(r *Resources, metric string) (value float64, ok bool) {
	if r == nil {
		return 0, false
	}
	whole := map[string]*int64{
		"server.rss": r.RSSPeakBytes, "server.heap": r.HeapBytes, "server.fds": r.FDs, "server.goroutines": r.Goroutines,
		"server.threads": r.Threads, "server.sockets": r.Sockets,
	}
	switch metric {
	case "server.cpu":
		return scaled(r.CPUPercent, 1)
	case "server.cpu_per_op":
		return scaled(r.CPUSPerOp, float64(time.Second))
	}
	if n := whole[metric]; n != nil {
		return float64(*n), true
	}
	return 0, false
}

func scaled(v *float64, by float64) (float64, bool) {
	if v == nil {
		return 0, false
	}
	return *v * by, true
}

func statisticOf(h *stats.Histogram, statistic string) (value float64, ok bool) {
	switch statistic {
	case "mean":
		return float64(h.Mean()), h.Count() > 0
	case "max":
		return float64(h.Max()), h.Count() > 0
	}
	q, _ := parseQuantile(statistic)
	d, ok := h.Percentile(q)
	return float64(d), ok
}

// byteUnits are those in which sizes are read and written.
var byteUnits = []struct {
	name string
	size float64
}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}

// parseMetricValue reads a limit.
func parseMetricValue(u unit, s string) (float64, error) {
	number, scale := s, 1.0
	switch u {
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
	case unitBytes, unitByteRate:
		if u == unitByteRate {
			number = strings.TrimSpace(strings.TrimSuffix(s, "/s"))
		}
		for _, b := range byteUnits {
			if n, ok := strings.CutSuffix(number, b.name); ok {
				number, scale = n, b.size
				break
			}
		}
	}
	v, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if err != nil || v != v {
		return 0, fmt.Errorf("%q is no number%s", s, numberRemedy(u))
	}
	return v*scale + 0, nil // −0 becomes 0, which prints the same wherever it came from
}

func numberRemedy(u unit) string {
	switch u {
	case unitBytes:
		return ": write one like 200MiB"
	case unitByteRate:
		return ": write one like 10MiB/s"
	}
	return ""
}

// formatMetric writes a limit exactly, as ParseThreshold reads it.
func formatMetric(u unit, v float64) string {
	plain := func(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }
	switch u {
	case unitDuration:
		return formatDuration(time.Duration(v))
	case unitPercent:
		return plain(v) + "%"
	case unitBytes, unitByteRate:
		i := slices.IndexFunc(byteUnits, func(b struct {
			name string
			size float64
		}) bool {
			n := v / b.size
			return n >= 1 && n == float64(int64(n)) || b.size == 1
		})
		text := plain(v/byteUnits[i].size) + byteUnits[i].name
		if u == unitByteRate {
			text += "/s"
		}
		return text
	}
	return plain(v)
}

// formatMeasured writes a measured value for people: a latency to five digits, a share or size to three, a rate to a tenth.
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
	case unitBytes, unitByteRate:
		return formatBytes(u, v)
	default:
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
}

func formatBytes(u unit, v float64) string {
	text := strconv.FormatFloat(v, 'f', 0, 64) + "B"
	for _, b := range byteUnits {
		if v >= b.size && b.size > 1 {
			text = strconv.FormatFloat(v/b.size, 'f', 1, 64) + b.name
			break
		}
	}
	if u == unitByteRate {
		text += "/s"
	}
	return text
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
