package chart

import (
	"fmt"
	"math"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// scalabilityHeight is that of the chart.
const scalabilityHeight vg.Length = 220

// AtOnce is the throughput, a second, with a number of virtual users.
type AtOnce struct {
	N          int
	Throughput float64
}

// Scalability draws throughput over concurrency: what was measured as dots, and as a line the law that was fitted to them, from one to the
// most at once. A law without a value somewhere has no line there.
func Scalability(w Words, measured []AtOnce, law func(n float64) float64) string {
	most, high := 1.0, 0.0
	for _, m := range measured {
		most, high = max(most, float64(m.N)), max(high, m.Throughput)
	}
	curve := lawCurve(law, most)
	for _, pt := range curve {
		high = max(high, float64(pt.Y))
	}
	p := newPlot()
	p.X.Min, p.X.Max = 0, most
	p.X.Tick.Marker = plot.TickerFunc(countTicks)
	linearY(p, high, 1, func(v float64) string { return siNumber(v) + "/s" })
	p.Add(drawing(func(c draw.Canvas, p *plot.Plot) {
		at := func(x, y float64) vg.Point { return vg.Point{X: c.X(p.X.Norm(x)), Y: c.Y(p.Y.Norm(y))} }
		line := make([]vg.Point, len(curve))
		for i, pt := range curve {
			line[i] = at(float64(pt.X), float64(pt.Y))
		}
		c.StrokeLines(seriesLine(0), line)
		for _, m := range measured {
			dot(c, at(float64(m.N), m.Throughput))
		}
	}))
	c := newCanvas(scalabilityHeight)
	p.Draw(c.area(0, scalabilityHeight-8))
	return c.svg(w)
}

// lawPoints is how many points of a law are drawn.
const lawPoints = 100

func lawCurve(law func(n float64) float64, most float64) (pts []vg.Point) {
	for i := range lawPoints + 1 {
		n := 1 + (most-1)*float64(i)/lawPoints
		if y := law(n); y >= 0 && !math.IsInf(y, 0) {
			pts = append(pts, vg.Point{X: vg.Length(n), Y: vg.Length(y)})
		}
	}
	return pts
}

// dot marks a point that was measured.
func dot(c draw.Canvas, at vg.Point) {
	const r = 4
	c.FillPolygon(InkText, []vg.Point{{X: at.X - r, Y: at.Y}, {X: at.X, Y: at.Y + r}, {X: at.X + r, Y: at.Y}, {X: at.X, Y: at.Y - r}})
}

// countTicks are a few round whole numbers from 0 on.
func countTicks(_, high float64) []plot.Tick {
	step := max(roundLog(high/6, math.Ceil), 1)
	var ticks []plot.Tick
	for v := 0.0; v <= high*(1+1e-9); v += step {
		ticks = append(ticks, plot.Tick{Value: v, Label: fmt.Sprintf("%.0f", v)})
	}
	return ticks
}
