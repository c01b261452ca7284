package loadgen

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen/stats"
)

// TrendVerdict says whether something grows.
type TrendVerdict string

// The verdicts of a Trend.
const (
	Leak    TrendVerdict = "leak"          // it grows by more than is tolerated
	NoLeak  TrendVerdict = "no leak"       // it does not
	Unknown TrendVerdict = "not yet known" // the run was too short, or too unsteady, to say
)

// TrendConfidence is that of a TrendResult's interval: of runs that grow by no more than is tolerated, at most one in 200 is called a leak.
const TrendConfidence = 0.99

// How a trend is judged.
const (
	settleShare = 4  // of the measured time, one part in so many is left out: caches fill and the heap finds its size
	trendPoints = 60 // the most points that a line is fitted through; each is the lowest of as many stretches as it takes
	leastPoints = 20 // the fewest of which anything is said
)

// TrendResult is a trend as measured. Growth is in the metric's unit, per what the trend says.
type TrendResult struct {
	Trend   Trend
	Step    string // of a latency
	Part    string
	Verdict TrendVerdict
	Slope   float64 // 0 without data
	Low     float64 // the interval that holds the growth; infinite without data
	High    float64 // for NoLeak, the bound that was shown
	Late    float64 // growth in the later half of what was judged
	Points  int
	From    time.Duration // of the measured time, what was judged
	To      time.Duration
	Why     string // one sentence, without its full stop
}

// judgeTrends judges each trend on the cells of one arm.
func judgeTrends(ts []Trend, cells []Cell) []TrendResult {
	var out []TrendResult
	if len(cells) == 0 {
		return nil
	}
	calls := callsBy(cells)
	for _, t := range ts {
		q, latency := t.latency()
		if !latency {
			out = append(out, t.judge(serverSeries(cells[0].Server, t.Metric), calls))
			continue
		}
		for i := range cells {
			if c := &cells[i]; t.speaksOf(c.Part, c.Step) {
				r := t.judge(latencySeries(c.Windows, q), calls)
				r.Step, r.Part = c.Step, c.Part
				out = append(out, r)
			}
		}
	}
	return out
}

// callsBy gives the calls that were due, of all cells, by a time of the measured time in seconds.
func callsBy(cells []Cell) func(seconds float64) float64 {
	return func(seconds float64) (calls float64) {
		for i := range cells {
			for _, w := range cells[i].Windows {
				past := (seconds - w.Start.Seconds()) / w.Width.Seconds()
				calls += float64(w.Requests) * min(max(past, 0), 1)
			}
		}
		return calls
	}
}

// trendSeries is what a trend is judged on, without the time in which the server settles.
type trendSeries struct {
	from, to time.Duration // judged
	x, y     []float64     // seconds, and the metric
	unit     float64       // the smallest step in which the metric changes
}

// stretchesPer is how many stretches make a point.
func stretchesPer(n int) int { return (n + trendPoints - 1) / trendPoints }

// settled is the first of n stretches that is judged.
func settled(n int) int { return (n + settleShare - 1) / settleShare }

func serverSeries(r *Resources, metric string) trendSeries {
	s := trendSeries{unit: 1}
	if r == nil || r.levels.metrics[metric] == nil {
		return s
	}
	t := r.levels.metrics[metric]
	from := settled(len(t.each))
	s.from, s.to = time.Duration(from)*t.width, time.Duration(len(t.each))*t.width
	at := from
	for part := range slices.Chunk(t.each[from:], stretchesPer(len(t.each)-from)) {
		var floor level
		for _, l := range part {
			floor.take(l)
		}
		if floor.seen {
			s.add(t.width, at, len(part), floor.low)
		}
		at += len(part)
	}
	return s
}

func latencySeries(ws []Window, q float64) trendSeries {
	s := trendSeries{unit: float64(time.Microsecond) / 8}
	from := settled(len(ws))
	if from >= len(ws) {
		return s
	}
	width := ws[0].Width
	s.from, s.to = ws[from].Start, ws[len(ws)-1].Start+width
	at := from
	for part := range slices.Chunk(ws[from:], stretchesPer(len(ws)-from)) {
		var all stats.Coarse
		for i := range part {
			all.Merge(&part[i].Latency)
		}
		if all.Count() > 0 {
			s.add(width, at, len(part), float64(all.Percentile(q)))
		}
		at += len(part)
	}
	return s
}

// add puts a point in the middle of its stretches.
func (s *trendSeries) add(width time.Duration, first, n int, value float64) {
	s.x, s.y = append(s.x, width.Seconds()*(float64(first)+float64(n)/2)), append(s.y, value)
}

// judge fits a line through the whole series, and one through its later half: what has only not settled yet grows less there. What grows with the
// calls is laid over them instead of over time, so that it makes a line whatever the rate does.
func (t Trend) judge(s trendSeries, calls func(seconds float64) float64) TrendResult {
	r := TrendResult{Trend: t, Verdict: Unknown, Points: len(s.x), From: s.from, To: s.to, Low: math.Inf(-1), High: math.Inf(1)}
	if len(s.x) < leastPoints {
		r.Why = fmt.Sprintf("there are %d points, at least %d are needed: run longer", len(s.x), leastPoints)
		if len(s.x) == 0 {
			r.Why = "there is no data"
		}
		return r
	}
	x := make([]float64, len(s.x))
	for i, at := range s.x {
		x[i] = at / 3600
		if t.Per == PerCalls {
			x[i] = calls(at) / 1000
		}
	}
	half := len(x) / 2
	whole, ok := stats.TheilSen(x, s.y, TrendConfidence)
	late, lateOK := stats.TheilSen(x[half:], s.y[half:], TrendConfidence)
	if !ok || !lateOK {
		r.Why = "there were no calls"
		return r
	}
	step := s.unit / (x[len(x)-1] - x[0]) // a change smaller than a step shows nowhere
	r.Slope, r.Low, r.High, r.Late = whole.Slope, whole.Low-step, whole.High+step, late.Slope
	r.decide()
	return r
}

// decide gives the verdict. Both speak only where the later half agrees.
func (r *TrendResult) decide() {
	tolerated, write := r.Trend.Value, r.Trend.growth
	switch {
	case r.Low > tolerated && r.Late > tolerated:
		r.Verdict = Leak
		r.Why = fmt.Sprintf("it grows by %s or more, and %s is tolerated", write(r.Low), FormatGrowth(r.Trend.Unit(), tolerated))
	case r.High <= tolerated && r.Late <= tolerated:
		r.Verdict = NoLeak
		r.Why = fmt.Sprintf("it grows by %s at most, and %s is tolerated", write(r.High), FormatGrowth(r.Trend.Unit(), tolerated))
	case r.Low > tolerated || r.High <= tolerated:
		r.Why = fmt.Sprintf("the whole and its later half, which grows by %s, do not agree: it may not have settled; run longer", write(r.Late))
	default:
		r.Why = fmt.Sprintf("it grows by %s to %s, and %s is tolerated: run longer", FormatGrowth(r.Trend.Unit(), r.Low), write(r.High), FormatGrowth(r.Trend.Unit(), tolerated))
	}
}

// growth writes a growth to three digits.
func (t Trend) growth(v float64) string { return FormatGrowth(t.Unit(), v) + " per " + string(t.Per) }

// Unit is what the trend's metric is counted in: "ns", "bytes" or "" for a plain count.
func (t Trend) Unit() string {
	switch metricUnit(t.Metric) {
	case unitDuration:
		return "ns"
	case unitBytes:
		return "bytes"
	}
	return ""
}

// FormatGrowth writes a growth of a Trend's unit for people, to three digits.
func FormatGrowth(unit string, v float64) string {
	size := math.Abs(v)
	suffix := ""
	switch {
	case math.IsInf(v, 0):
		return strings.Trim(fmt.Sprint(v), "+")
	case unit == "bytes":
		suffix = " B"
		for _, b := range byteUnits {
			if size >= b.size {
				size, suffix = size/b.size, " "+b.name
				break
			}
		}
	case unit == "ns":
		suffix = " ns"
		for _, d := range []struct {
			name string
			size float64
		}{{" s", 1e9}, {" ms", 1e6}, {" µs", 1e3}} {
			if size >= d.size {
				size, suffix = size/d.size, d.name
				break
			}
		}
	}
	text := fmt.Sprintf("%.3g", size)
	if size >= 999.5 {
		text = fmt.Sprintf("%.0f", size)
	}
	if v < 0 && size != 0 {
		text = "-" + text
	}
	return text + suffix
}
