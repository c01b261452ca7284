package chart

import (
	"math"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen/stats"
)

// percentilesHeight is that of the chart.
const percentilesHeight vg.Length = 250

// Percentiles draws the latency at each percentile: both axes are logarithmic, so that the tail has as much room as the rest. A curve ends at
// the percentile that its samples support. There are at most MaxSeries histograms, drawn in the order of SeriesInk; empty ones have no curve.
func Percentiles(w Words, hists []*stats.Histogram, ls []Limit) string {
	p := newPlot()
	c := newCanvas(percentilesHeight)
	low, high, most := time.Duration(math.MaxInt64), time.Duration(0), 2.0
	for i, h := range hists[:min(len(hists), MaxSeries)] {
		if h.Count() == 0 {
			continue
		}
		curve := curveOf(h)
		low, high = min(low, curve[0].at), max(high, curve[len(curve)-1].at)
		most = max(most, curve[len(curve)-1].nines)
		p.Add(drawing(func(c draw.Canvas, p *plot.Plot) { curve.draw(c, p, seriesLine(i)) }))
	}
	for _, l := range ls {
		low, high = min(low, l.At), max(high, l.At)
	}
	if low > high {
		low, high = time.Millisecond, time.Second // there is nothing to show
	}
	p.Add(limits(ls))
	p.X.Min, p.X.Max = 0, most
	p.X.Tick.Marker = plot.TickerFunc(percentTicks)
	logY(p, low, high)
	p.Draw(c.area(0, percentilesHeight-8))
	return c.svg(w)
}

// point is the duration that 1−10^−nines of the samples do not exceed.
type point struct {
	nines float64
	at    time.Duration
}

type curve []point

// curveStep is the distance of a curve's points, in nines.
const curveStep = 0.05

// curveOf samples a histogram, which must not be empty, as far as it supports.
func curveOf(h *stats.Histogram) curve {
	c := curve{{0, h.Min()}}
	for i := 1; ; i++ {
		nines := curveStep * float64(i)
		at, ok := h.Percentile(1 - math.Pow(10, -nines))
		if !ok {
			return c
		}
		if last := len(c) - 1; last > 0 && c[last].at == at && c[last-1].at == at {
			c[last].nines = nines // a level stretch is one line
			continue
		}
		c = append(c, point{nines, at})
	}
}

func (cv curve) draw(c draw.Canvas, p *plot.Plot, line draw.LineStyle) {
	pts := make([]vg.Point, len(cv))
	for i, pt := range cv {
		pts[i] = vg.Point{X: c.X(p.X.Norm(pt.nines)), Y: c.Y(p.Y.Norm(max(pt.at.Seconds(), p.Y.Min)))}
	}
	c.StrokeLines(line, pts)
}

// dashes tell the series apart without colour.
var dashes = [MaxSeries][]vg.Length{nil, {7, 3}, {2, 2}, {9, 3, 2, 3}, {4, 2}, {12, 4}}

func seriesLine(i int) draw.LineStyle {
	return draw.LineStyle{Color: SeriesInk(i), Width: 2, Dashes: dashes[i]}
}

// percentTicks are the percentiles that people speak of.
func percentTicks(_, high float64) []plot.Tick {
	var ticks []plot.Tick
	for _, t := range []struct {
		q    float64
		name string
	}{{0, "min"}, {0.5, "p50"}, {0.9, "p90"}, {0.99, "p99"}, {0.999, "p99.9"}, {0.9999, "p99.99"}, {0.99999, "p99.999"}, {0.999999, ""}} {
		if nines := -math.Log10(1 - t.q); nines <= high+1e-6 {
			ticks = append(ticks, plot.Tick{Value: nines, Label: t.name})
		}
	}
	return ticks
}
