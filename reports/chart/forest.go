package chart

import (
	"fmt"
	"math"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Effect is a row of Forest: how much worse something got, as a share, with its interval. What is not known is not a number.
type Effect struct {
	Name, Said    string // stand over the row, at its left and at its right
	At, Low, High float64
	Margin        float64 // worsening that has to be ruled out; 0 is none
	Ink           Ink
}

const (
	effectRow   vg.Length = 34 // height of a row
	effectLine  vg.Length = 9  // of it, where its line lies
	effectWords vg.Length = 17 // and where its text stands
	forestAxis  vg.Length = 24
	// furthest bounds the axis on each side, so that one wild interval leaves room for the rest. What lies beyond ends at the edge.
	furthest = 1.0
	// nearest is what the axis shows at least, on each side.
	nearest = 0.02
)

// Reach is how far the axis of a Forest goes down and up so that all effects are in it, the same for several charts when it is made of all their
// effects.
func Reach(effects []Effect) (low, high float64) {
	low, high = -nearest, nearest
	for _, e := range effects {
		for _, v := range []float64{e.At, e.Low, e.High, 1.2 * e.Margin} {
			if !math.IsNaN(v) {
				low, high = min(low, v), max(high, v)
			}
		}
	}
	low, high = max(low, -furthest), min(high, furthest)
	room := 0.04 * (high - low)
	return low - room, high + room
}

// Forest draws effects under each other, over an axis from low to high as Reach gives them: a dot with the line of its interval, a short line at its
// margin, and a long one where nothing changed.
func Forest(w Words, effects []Effect, low, high float64) string {
	height := forestAxis + effectRow*vg.Length(max(len(effects), 1))
	c := newCanvas(height)
	p := newPlot()
	p.X.Min, p.X.Max = low, high
	p.X.Tick.Marker = plot.TickerFunc(shareTicks)
	p.Y.Min, p.Y.Max = 0, 1
	p.Y.Tick.Marker = plot.ConstantTicks(nil)
	p.Add(drawing(func(c draw.Canvas, p *plot.Plot) {
		zero := c.X(p.X.Norm(0))
		c.StrokeLine2(draw.LineStyle{Color: InkText, Width: 1}, zero, c.Min.Y, zero, c.Max.Y)
		for i, e := range effects {
			e.draw(c, p, c.Max.Y-effectRow*vg.Length(i+1))
		}
	}))
	p.Draw(c.area(0, height-2))
	return c.svg(w)
}

// draw draws a row whose lower edge is at y.
func (e *Effect) draw(c draw.Canvas, p *plot.Plot, y vg.Length) {
	x := func(v float64) vg.Length { return min(max(c.X(p.X.Norm(v)), c.Min.X), c.Max.X) }
	c.FillText(style(InkText, text.XLeft, text.YBottom, 0), vg.Point{X: c.Min.X, Y: y + effectWords}, e.Name)
	c.FillText(style(InkText, text.XRight, text.YBottom, 0), vg.Point{X: c.Max.X, Y: y + effectWords}, e.Said)
	at := y + effectLine
	if e.Margin > 0 {
		c.StrokeLine2(draw.LineStyle{Color: InkAcceptable, Width: 1.5, Dashes: []vg.Length{2, 2}}, x(e.Margin), at-6, x(e.Margin), at+6)
	}
	if !math.IsNaN(e.Low) && !math.IsNaN(e.High) {
		c.StrokeLine2(draw.LineStyle{Color: e.Ink, Width: 3}, x(e.Low), at, x(e.High), at)
	}
	if !math.IsNaN(e.At) {
		dot(c, vg.Point{X: x(e.At), Y: at})
	}
}

// shareTicks are a few round percentages.
func shareTicks(low, high float64) []plot.Tick {
	step := roundLog((high-low)/6, math.Ceil)
	var ticks []plot.Tick
	for i := math.Ceil(low / step); i*step <= high*(1+1e-9); i++ {
		label := fmt.Sprintf("%+.4g %%", 100*i*step)
		if i == 0 {
			label = "0"
		}
		ticks = append(ticks, plot.Tick{Value: i * step, Label: label})
	}
	return ticks
}
