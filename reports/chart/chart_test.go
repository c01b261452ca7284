package chart

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen/stats"
)

// words that try to leave the chart.
var words = Words{ID: "c1", Title: `<b>"it's" & more`, Desc: "</desc><script>x</script>"}

func climbing(n int, high time.Duration) *stats.Histogram {
	h := &stats.Histogram{}
	for i := range n {
		h.Record(high * time.Duration(i+1) / time.Duration(n))
	}
	return h
}

func windowsOf(n int, width time.Duration) []Window {
	ws := make([]Window, n)
	for i := range ws {
		ws[i] = Window{Start: time.Duration(i) * width, Width: width, Latency: &stats.Coarse{}, Requests: 100, Errors: int64(i % 2)}
		for j := range 99 {
			ws[i].Latency.Record(time.Duration(j+1+i) * time.Millisecond)
		}
	}
	return ws
}

var charts = map[string]func() string{
	"percentiles": func() string {
		return Percentiles(words, []*stats.Histogram{climbing(5000, time.Second), nil, climbing(10, time.Millisecond)},
			[]Limit{{"target <1>", 100 * time.Millisecond, InkTarget}})
	},
	"no percentiles": func() string { return Percentiles(words, nil, nil) },
	"zero latency":   func() string { return Percentiles(words, []*stats.Histogram{climbing(50, 0)}, nil) },
	"heat": func() string {
		return Heat(words, windowsOf(300, time.Second), []Limit{{"target", 50 * time.Millisecond, InkTarget}}, 40)
	},
	"heat without calls": func() string { return Heat(words, []Window{{Width: time.Second, Latency: &stats.Coarse{}}}, nil, 40) },
	"heat of a moment":   func() string { return Heat(words, []Window{{Latency: &stats.Coarse{}}}, nil, 0) },
	"usage":              func() string { return Usage(words, time.Second, []float64{1, 250, 3}, []int64{1 << 20, 1 << 30}) },
	"usage of nothing":   func() string { return Usage(words, time.Second, nil, nil) },
	"forest": func() string {
		effects := []Effect{{Name: "<i>", Said: "</text>", At: 0.1, Low: -3, High: 40, Margin: 0.05, Ink: InkError},
			{At: math.NaN(), Low: math.NaN(), High: math.NaN(), Ink: InkTarget}, {At: 0.01, Low: 0, High: 0.02, Ink: InkAcceptable}}
		low, high := Reach(effects)
		return Forest(words, effects, low, high)
	},
	"forest of nothing": func() string {
		low, high := Reach(nil)
		return Forest(words, nil, low, high)
	},
	"scalability": func() string {
		return Scalability(words, []AtOnce{{1, 100}, {64, 2500}}, func(n float64) float64 { return 100 * n / (1 + 0.02*(n-1)) })
	},
	"scalability without a law": func() string {
		return Scalability(words, []AtOnce{{1, 0}}, func(float64) float64 { return math.NaN() })
	},
	"scalability of nothing": func() string { return Scalability(words, nil, func(float64) float64 { return math.Inf(1) }) },
	"usage over a long time": func() string { return Usage(words, 100*time.Hour, make([]float64, 300), nil) },
}

// TestChartsAreSound reads every chart as XML: nothing drawn lies beside it, every class has a look in the page, and words stay words.
func TestChartsAreSound(t *testing.T) {
	css, err := os.ReadFile("../report.css")
	if err != nil {
		t.Fatal(err)
	}
	for name, draw := range charts {
		t.Run(name, func(t *testing.T) {
			svg := draw()
			d := xml.NewDecoder(strings.NewReader(svg))
			for {
				tok, err := d.Token()
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Fatalf("%v in %s", err, svg)
				}
				if e, ok := tok.(xml.StartElement); ok {
					soundElement(t, e, string(css))
				}
			}
			for _, number := range []string{"NaN", "Inf", "e+"} {
				if strings.Contains(svg, number) {
					t.Errorf("the chart has %s: %s", number, svg)
				}
			}
		})
	}
}

func soundElement(t *testing.T, e xml.StartElement, css string) {
	t.Helper()
	switch e.Name.Local {
	case "svg", "title", "desc", "path", "text":
	default:
		t.Errorf("there is an element %s", e.Name.Local)
	}
	for _, a := range e.Attr {
		switch a.Name.Local {
		case "class":
			if kind, ink, ok := strings.Cut(a.Value, " "); ok && !strings.Contains(css, "."+kind+"."+ink+" ") && !strings.Contains(css, "."+kind+"."+ink+",") {
				t.Errorf("report.css has no look for .%s.%s", kind, ink)
			}
		case "d":
			within(t, a.Value)
		case "x":
			if x, err := strconv.ParseFloat(a.Value, 64); err != nil || x < 0 || x > width.Points() {
				t.Errorf("a text at %s", a.Value)
			}
		}
	}
}

var pathSteps = regexp.MustCompile(`([mlhvz])([^mlhvz]*)`)

var numbers = regexp.MustCompile(`-?(\d+\.?\d*|\.\d+)`)

// within walks along a path, which is all relative, and wants every point inside the chart.
func within(t *testing.T, path string) {
	t.Helper()
	var x, y, fromX, fromY float64
	for _, m := range pathSteps.FindAllStringSubmatch(path, -1) {
		var v []float64
		for _, s := range numbers.FindAllString(m[2], -1) {
			f, err := strconv.ParseFloat(s, 64)
			if err != nil {
				t.Fatal(err)
			}
			v = append(v, f)
		}
		switch m[1] {
		case "m", "l":
			x, y = x+v[0], y+v[1]
		case "h":
			x += v[0]
		case "v":
			y += v[0]
		case "z":
			x, y = fromX, fromY
		}
		if m[1] == "m" {
			fromX, fromY = x, y
		}
		if x < -0.2 || x > width.Points()+0.2 || y < -0.2 || y > 270 {
			t.Errorf("%.1f %.1f lies outside, in %s", x, y, path)
			return
		}
	}
}

func TestCurvesEndWhereTheirSamplesDo(t *testing.T) {
	for n, nines := range map[int]float64{10: 1, 1000: 3, 5000: 3.65} {
		c := curveOf(climbing(n, time.Second))
		if last := c[len(c)-1].nines; math.Abs(last-nines) > 2*curveStep {
			t.Errorf("with %d samples the curve ends at %.2f nines, want %.2f", n, last, nines)
		}
		for i := 1; i < len(c); i++ {
			if c[i].at < c[i-1].at || c[i].nines <= c[i-1].nines {
				t.Errorf("the curve falls from %+v to %+v", c[i-1], c[i])
			}
		}
	}
}

func TestHeatKeepsEveryCall(t *testing.T) {
	ws := windowsOf(301, time.Second)
	m := newHeatMap(merged(ws, 40))
	if n := len(m.windows); n > 40 || n < 20 {
		t.Errorf("%d columns", n)
	}
	var calls, requests, errs int64
	for i, counts := range m.counts {
		for row, n := range counts {
			calls += n
			if rowStart(row) < m.low || rowStart(row+1) > m.high {
				t.Errorf("row %d lies outside of %v to %v", row, m.low, m.high)
			}
		}
		requests, errs = requests+m.windows[i].Requests, errs+m.windows[i].Errors
	}
	if calls != 301*99 || requests != 301*100 || errs != 150 {
		t.Errorf("%d calls, %d requests, %d errors", calls, requests, errs)
	}
	if last := m.windows[len(m.windows)-1]; last.Start+last.Width != 301*time.Second {
		t.Errorf("it ends at %v", last.Start+last.Width)
	}
}

func TestRowsFollowTheBuckets(t *testing.T) {
	for row := range 60 {
		at := rowStart(row)
		if rowOf(at) != row || row > 0 && rowOf(at-at/1000) != row-1 {
			t.Errorf("row %d begins at %v, which is in row %d after %d", row, at, rowOf(at), rowOf(at-at/1000))
		}
	}
}

func TestLevels(t *testing.T) {
	m := &heatMap{most: 1000}
	if m.level(0) != 0 || m.level(1) != 1 || m.level(1000) != levels {
		t.Errorf("levels %d, %d, %d", m.level(0), m.level(1), m.level(1000))
	}
	for n := int64(1); n < 1000; n++ {
		if m.level(n+1) < m.level(n) {
			t.Errorf("%d is darker than %d", n, n+1)
		}
	}
}

func TestReach(t *testing.T) {
	nan := math.NaN()
	for _, test := range []struct {
		effects   []Effect
		low, high float64
	}{
		{nil, -0.02, 0.02},
		{[]Effect{{At: nan, Low: nan, High: nan}}, -0.02, 0.02},
		{[]Effect{{At: 0.1, Low: -0.05, High: 0.3, Margin: 0.5}}, -0.05, 0.6},
		{[]Effect{{At: 3, Low: -7, High: 9}}, -1, 1},
	} {
		low, high := Reach(test.effects)
		if room := 0.04 * (test.high - test.low); math.Abs(low-test.low+room) > 1e-9 || math.Abs(high-test.high-room) > 1e-9 {
			t.Errorf("%+v: from %v to %v, want %v to %v and a bit of room", test.effects, low, high, test.low, test.high)
		}
	}
}

func TestRoundLog(t *testing.T) {
	for v, want := range map[float64][2]float64{1: {1, 1}, 1.5: {1, 2}, 2: {2, 2}, 0.3: {0.2, 0.5}, 70: {50, 100}, 1000: {1000, 1000}, 999: {500, 1000}} {
		low, high := roundLog(v, math.Floor), roundLog(v, math.Ceil)
		if math.Abs(low/want[0]-1) > 1e-9 || math.Abs(high/want[1]-1) > 1e-9 {
			t.Errorf("%v lies between %v and %v, want %v", v, low, high, want)
		}
	}
}

func TestAxisLabels(t *testing.T) {
	for v, want := range map[float64]string{1: "1 s", 0.05: "50 ms", 2e-5: "20 µs", 5e-9: "5 ns", 3600: "3600 s"} {
		if got := seconds(v); got != want {
			t.Errorf("seconds(%v) = %q, want %q", v, got, want)
		}
	}
	for _, c := range []struct {
		v, step float64
		want    string
	}{{0, 1, "0"}, {5, 5, "5 s"}, {1800, 600, "30 min"}, {7200, 3600, "2 h"}, {0.25, 0.05, "0.25 s"}} {
		if got := clock(c.v, c.step); got != c.want {
			t.Errorf("clock(%v, %v) = %q, want %q", c.v, c.step, got, c.want)
		}
	}
	for v, want := range map[float64]string{0: "0", 50: "50", 1500: "1.5k", 2e6: "2M"} {
		if got := siNumber(v); got != want {
			t.Errorf("siNumber(%v) = %q, want %q", v, got, want)
		}
	}
}
