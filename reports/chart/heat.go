package chart

import (
	"cmp"
	"fmt"
	"iter"
	"math"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen/stats"
)

// Window is a stretch of measured time.
type Window struct {
	Start, Width     time.Duration
	Latency          *stats.Coarse // of its successes
	Requests, Errors int64
}

// The heights of the two parts of Heat.
const (
	rateHeight vg.Length = 86
	heatHeight vg.Length = 184
)

// partGap keeps the labels of two parts of a chart apart.
const partGap vg.Length = 12

// Heat draws latency over time as a map: time goes to the right, latency up, and what is darker holds more calls. Lines show the median and the
// 99th percentile. Below, on the same axis of time, stand throughput and errors. Neighbouring windows are taken together until at most so many
// columns are left. There must be a window.
func Heat(w Words, windows []Window, ls []Limit, columns int) string {
	m := newHeatMap(merged(windows, max(columns, 1)))
	c := newCanvas(rateHeight + heatHeight)
	last := windows[len(windows)-1]
	end := last.Start + last.Width

	upper := newPlot()
	elapsed(upper, end, false)
	logY(upper, m.low, m.high)
	upper.Add(drawing(m.cells), drawing(m.lines), limits(ls))
	upper.Draw(c.area(rateHeight, rateHeight+heatHeight-8))

	lower := newPlot()
	elapsed(lower, end, true)
	linearY(lower, m.peak(), 1, func(v float64) string { return siNumber(v) + "/s" })
	lower.Add(drawing(m.rates))
	lower.Draw(c.area(0, rateHeight-partGap))
	return c.svg(w)
}

// Merged are windows taken together.
type Merged struct {
	Window
	Of int // windows
}

// Merge takes neighbouring windows together, so many at a time that at most so many are left, each under the index of its first window.
func Merge(ws []Window, most int) iter.Seq2[int, Merged] {
	each := max((len(ws)+most-1)/most, 1)
	return func(yield func(int, Merged) bool) {
		for i := 0; i < len(ws); i += each {
			sum := Merged{Window: Window{Start: ws[i].Start, Latency: &stats.Coarse{}}}
			for _, w := range ws[i:min(i+each, len(ws))] {
				sum.Of++
				sum.Width += w.Width
				sum.Requests += w.Requests
				sum.Errors += w.Errors
				if w.Latency != nil {
					sum.Latency.Merge(w.Latency)
				}
			}
			if !yield(i, sum) {
				return
			}
		}
	}
}

func merged(ws []Window, most int) []Window {
	var out []Window
	for _, m := range Merge(ws, most) {
		out = append(out, m.Window)
	}
	return out
}

// heatMap counts calls by window and row. A row is half a doubling, from 1 to 1.5 or from 1.5 to 2 times a power of two of microseconds, which
// is as fine as the histograms of windows may be.
type heatMap struct {
	windows   []Window
	counts    []map[int]int64 // by row, of each window
	most      int64
	low, high time.Duration
}

func newHeatMap(ws []Window) *heatMap {
	m := &heatMap{windows: ws, counts: make([]map[int]int64, len(ws))}
	first, last := math.MaxInt, math.MinInt
	for i, w := range ws {
		m.counts[i] = map[int]int64{}
		for b := range w.Latency.Buckets() {
			row := rowOf(b.Start)
			m.counts[i][row] += b.N
			m.most = max(m.most, m.counts[i][row])
			first, last = min(first, row), max(last, row)
		}
	}
	if m.most == 0 {
		first, last = 0, 6
	}
	m.low, m.high = rowStart(first), rowStart(last+1)
	return m
}

func rowOf(d time.Duration) int {
	us := max(d.Seconds()*1e6, 1)
	octave := math.Floor(math.Log2(us) + 1e-9)
	row := 2 * int(octave)
	if us >= 1.5*math.Pow(2, octave)*(1-1e-9) {
		row++
	}
	return row
}

func rowStart(row int) time.Duration {
	us := math.Pow(2, float64(row/2))
	if row%2 == 1 {
		us *= 1.5
	}
	return time.Duration(us * float64(time.Microsecond))
}

func (m *heatMap) peak() float64 {
	peak := 0.0
	for _, w := range m.windows {
		peak = max(peak, w.rate(w.Requests))
	}
	return peak
}

// Rate is the number of calls a second.
func (w *Window) Rate() float64 { return w.rate(w.Requests) }

func (w *Window) rate(n int64) float64 {
	if w.Width <= 0 {
		return 0
	}
	return float64(n) / w.Width.Seconds()
}

// level is the density of a count, from 1 to levels, 0 for none: by its logarithm, since a few slow calls matter beside many fast ones.
func (m *heatMap) level(n int64) int {
	if n == 0 {
		return 0
	}
	return 1 + min(int(levels*math.Log1p(float64(n-1))/math.Log1p(float64(m.most))), levels-1)
}

// cells fills the map, level by level, a rectangle for each run of neighbours in a row.
func (m *heatMap) cells(c draw.Canvas, p *plot.Plot) {
	for level := 1; level <= levels; level++ {
		var path vg.Path
		for row := rowOf(m.low); rowStart(row) < m.high; row++ {
			y0, y1 := c.Y(p.Y.Norm(rowStart(row).Seconds())), c.Y(p.Y.Norm(rowStart(row+1).Seconds()))
			for i := 0; i < len(m.windows); i++ {
				from := i
				for i < len(m.windows) && m.level(m.counts[i][row]) == level {
					i++
				}
				if i > from {
					box(&path, c.X(p.X.Norm(m.windows[from].Start.Seconds())), y0, c.X(p.X.Norm(m.end(i-1))), y1)
				}
			}
		}
		if len(path) > 0 {
			c.SetColor(heatInk(level))
			c.Fill(path)
		}
	}
}

func (m *heatMap) end(i int) float64 { return (m.windows[i].Start + m.windows[i].Width).Seconds() }

func box(p *vg.Path, x0, y0, x1, y1 vg.Length) {
	p.Move(vg.Point{X: x0, Y: y0})
	p.Line(vg.Point{X: x1, Y: y0})
	p.Line(vg.Point{X: x1, Y: y1})
	p.Line(vg.Point{X: x0, Y: y1})
	p.Close()
}

// lines draws the median and the 99th percentile, broken where nothing was measured.
func (m *heatMap) lines(c draw.Canvas, p *plot.Plot) {
	for _, l := range []struct {
		q     float64
		style draw.LineStyle
	}{{0.5, draw.LineStyle{Color: InkText, Width: 1.5}}, {0.99, draw.LineStyle{Color: InkText, Width: 1.5, Dashes: []vg.Length{3, 2}}}} {
		var parts [][]vg.Point
		broken := true
		for _, w := range m.windows {
			if w.Latency.Count() == 0 {
				broken = true
				continue
			}
			at := min(max(w.Latency.Percentile(l.q).Seconds(), p.Y.Min), p.Y.Max)
			pt := vg.Point{X: c.X(p.X.Norm((w.Start + w.Width/2).Seconds())), Y: c.Y(p.Y.Norm(at))}
			if broken {
				parts, broken = append(parts, nil), false
			}
			parts[len(parts)-1] = append(parts[len(parts)-1], pt)
		}
		c.StrokeLines(l.style, parts...)
	}
}

// leastError is the height at which an error still shows.
const leastError vg.Length = 3

// rates draws throughput as an area and errors as bars from the ground.
func (m *heatMap) rates(c draw.Canvas, p *plot.Plot) {
	var area, errs vg.Path
	ground := c.Y(p.Y.Norm(0))
	for i, w := range m.windows {
		x0, x1 := c.X(p.X.Norm(w.Start.Seconds())), c.X(p.X.Norm(m.end(i)))
		if i == 0 {
			area.Move(vg.Point{X: x0, Y: ground})
		}
		y := c.Y(p.Y.Norm(w.rate(w.Requests)))
		area.Line(vg.Point{X: x0, Y: y})
		area.Line(vg.Point{X: x1, Y: y})
		if i == len(m.windows)-1 {
			area.Line(vg.Point{X: x1, Y: ground})
			area.Close()
		}
		if w.Errors > 0 {
			box(&errs, x0, ground, x1, max(c.Y(p.Y.Norm(w.rate(w.Errors))), ground+leastError))
		}
	}
	c.SetColor(InkRate)
	c.Fill(area)
	if len(errs) > 0 {
		c.SetColor(InkError)
		c.Fill(errs)
	}
}

// siNumber writes a round number shortly.
func siNumber(v float64) string {
	switch {
	case v >= 1e6:
		return fmt.Sprintf("%.4gM", v/1e6)
	case v >= 1e3:
		return fmt.Sprintf("%.4gk", v/1e3)
	}
	return fmt.Sprintf("%.4g", cmp.Or(v, 0))
}
