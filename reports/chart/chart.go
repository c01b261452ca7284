// Package chart draws the charts of a report as SVG for the inside of a page. It is the only package that sees a plotting library.
//
// Start with Percentiles, Heat, Usage, Scalability and Forest, one for each kind of chart. What they give has no colour, font or script: paths and texts carry the
// class of an Ink, and the style sheet of the page, which must know Inks, gives them a light and a dark look. Every chart says in words what it
// shows, in its title and desc, for those who do not see it.
package chart

import (
	"fmt"
	"html"
	"math"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// The inks that a style sheet must know, beside Series and Heat ones.
const (
	InkText       Ink = "ink"
	InkGrid       Ink = "grid"
	InkError      Ink = "err"
	InkTarget     Ink = "lim-t"
	InkAcceptable Ink = "lim-a"
	InkRate       Ink = "rate"
)

// MaxSeries is the most series that are told apart in one chart.
const MaxSeries = 6

// SeriesInk is the ink of the series with an index below MaxSeries. Their dashes differ as well.
func SeriesInk(i int) Ink { return Ink(fmt.Sprintf("s%d", i+1)) }

// levels is how many steps of density a heat map has.
const levels = 6

func heatInk(level int) Ink { return Ink(fmt.Sprintf("h%d", level)) }

// Inks lists the class names that a style sheet must know.
func Inks() []Ink {
	inks := []Ink{InkText, InkGrid, InkError, InkTarget, InkAcceptable, InkRate}
	for i := range MaxSeries {
		inks = append(inks, SeriesInk(i))
	}
	for i := range levels {
		inks = append(inks, heatInk(i+1))
	}
	return inks
}

// Words are a chart's text alternative. ID must be unique in the page, without white space.
type Words struct{ ID, Title, Desc string }

// Limit is a duration to be drawn in.
type Limit struct {
	Name string
	At   time.Duration
	Ink  Ink
}

// Charts are all as wide as this, in units, so that their text is equally large beside each other and on a phone.
const width vg.Length = 440

// The room that tick labels take.
const (
	leftRoom  vg.Length = 46
	rightRoom vg.Length = 16
)

// svg frames what was drawn.
func (c *canvas) svg(w Words) string {
	id := html.EscapeString(w.ID)
	return fmt.Sprintf(`<svg class="chart" viewBox="0 0 %s %s" role="img" aria-labelledby="%s-t %s-d"><title id="%s-t">%s</title><desc id="%s-d">%s</desc>%s</svg>`,
		short(width.Points()), short(c.height), id, id, id, html.EscapeString(w.Title), id, html.EscapeString(w.Desc), c.String())
}

// area is the part of a chart between two heights, less the room on the right.
func (c *canvas) area(from, to vg.Length) draw.Canvas {
	return draw.Canvas{Canvas: c, Rectangle: vg.Rectangle{Min: vg.Point{X: 0, Y: from}, Max: vg.Point{X: width - rightRoom, Y: to}}}
}

// newPlot has the look of all charts: no frame, ticks as thin lines across.
func newPlot() *plot.Plot {
	p := plot.New()
	p.BackgroundColor = nil
	p.X.Tick.Label = style(InkText, text.XCenter, text.YTop, 0)
	p.Y.Tick.Label = style(InkText, text.XRight, text.YCenter, leftRoom)
	for _, a := range []*plot.Axis{&p.X, &p.Y} {
		a.Label.TextStyle = style(InkText, text.XCenter, text.YBottom, 0)
		a.Padding = 4
		a.Tick.Length = 0
		a.LineStyle.Width = 0
	}
	p.Add(drawing(grid))
	return p
}

// drawing is a plotter that needs no more than a function.
type drawing func(c draw.Canvas, p *plot.Plot)

func (d drawing) Plot(c draw.Canvas, p *plot.Plot) { d(c, p) }

// grid draws a line for each labelled tick.
func grid(c draw.Canvas, p *plot.Plot) {
	line := draw.LineStyle{Color: InkGrid, Width: 1}
	for _, t := range p.X.Tick.Marker.Ticks(p.X.Min, p.X.Max) {
		if x := c.X(p.X.Norm(t.Value)); !t.IsMinor() && c.ContainsX(x) {
			c.StrokeLine2(line, x, c.Min.Y, x, c.Max.Y)
		}
	}
	for _, t := range p.Y.Tick.Marker.Ticks(p.Y.Min, p.Y.Max) {
		if y := c.Y(p.Y.Norm(t.Value)); !t.IsMinor() && c.ContainsY(y) {
			c.StrokeLine2(line, c.Min.X, y, c.Max.X, y)
		}
	}
}

// limits draws those that are in the range of a plot whose y axis is a time in seconds.
func limits(ls []Limit) drawing {
	return func(c draw.Canvas, p *plot.Plot) {
		for _, l := range ls {
			y := c.Y(p.Y.Norm(l.At.Seconds()))
			if !c.ContainsY(y) {
				continue
			}
			c.StrokeLine2(draw.LineStyle{Color: l.Ink, Width: 1.5, Dashes: []vg.Length{6, 3}}, c.Min.X, y, c.Max.X, y)
			at := y + 4
			if at+labelSize > c.Max.Y {
				at = y - labelSize // above it would lie outside
			}
			c.FillText(style(l.Ink, text.XLeft, text.YBottom, 0), vg.Point{X: c.Min.X + 4, Y: at}, l.Name)
		}
	}
}

// logY gives a plot a logarithmic y axis of seconds over the range, which is widened to whole ticks.
func logY(p *plot.Plot, low, high time.Duration) {
	lo, hi := max(low.Seconds(), 1e-9), high.Seconds()
	hi = max(hi, 3*lo)
	p.Y.Min, p.Y.Max = roundLog(lo, math.Floor), roundLog(hi, math.Ceil)
	p.Y.Scale = plot.LogScale{}
	p.Y.Tick.Marker = plot.TickerFunc(timeTicks)
}

// The steps of a logarithmic axis inside of a decade.
var steps = []float64{1, 2, 5, 10}

// roundLog goes to the step below or above.
func roundLog(v float64, round func(float64) float64) float64 {
	decade := math.Pow(10, math.Floor(math.Log10(v)+1e-9))
	at := v / decade
	below := steps[0]
	for _, s := range steps {
		switch {
		case math.Abs(at/s-1) < 1e-9:
			return s * decade
		case s < at:
			below = s
		case round(0.5) == 1:
			return s * decade
		default:
			return below * decade
		}
	}
	return decade
}

// timeTicks labels every decade, and steps between where there are few of those.
func timeTicks(low, high float64) []plot.Tick {
	decades := math.Log10(high / low)
	var ticks []plot.Tick
	for d := math.Floor(math.Log10(low) + 1e-9); d <= math.Log10(high)+1e-9; d++ {
		for _, s := range steps[:3] {
			if s != 1 && decades > 1.7 {
				continue
			}
			v := s * math.Pow(10, d)
			if v >= low*(1-1e-9) && v <= high*(1+1e-9) {
				ticks = append(ticks, plot.Tick{Value: v, Label: seconds(v)})
			}
		}
	}
	return ticks
}

// seconds writes a round time in its own unit.
func seconds(v float64) string {
	for _, u := range []struct {
		name string
		size float64
	}{{"s", 1}, {"ms", 1e-3}, {"µs", 1e-6}} {
		if v >= u.size*(1-1e-9) {
			return fmt.Sprintf("%.4g %s", v/u.size, u.name)
		}
	}
	return fmt.Sprintf("%.4g ns", v/1e-9)
}

// elapsed sets an x axis of seconds since the beginning of the measured time.
func elapsed(p *plot.Plot, end time.Duration, labelled bool) {
	p.X.Min, p.X.Max = 0, max(end.Seconds(), 1e-3)
	p.X.Tick.Marker = plot.TickerFunc(func(_, high float64) []plot.Tick {
		step := niceTime(high / 6)
		var ticks []plot.Tick
		for v := 0.0; v <= high*(1+1e-9); v += step {
			ticks = append(ticks, plot.Tick{Value: v, Label: clock(v, step)})
		}
		return ticks
	})
	if !labelled {
		p.X.Tick.Label.Font.Size = 0
	}
}

var timeSteps = []float64{0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200}

func niceTime(least float64) float64 {
	for _, s := range timeSteps {
		if s >= least {
			return s
		}
	}
	return math.Ceil(least/86400) * 86400
}

// clock writes a time on an axis whose ticks are a step apart.
func clock(v, step float64) string {
	switch {
	case v == 0:
		return "0"
	case step >= 3600:
		return fmt.Sprintf("%g h", v/3600)
	case step >= 60:
		return fmt.Sprintf("%g min", v/60)
	case step < 1:
		return fmt.Sprintf("%.4g s", v)
	}
	return fmt.Sprintf("%g s", v)
}

// linearY gives a plot a y axis from zero with few round ticks; write labels them.
func linearY(p *plot.Plot, high, unit float64, write func(float64) string) {
	if high <= 0 {
		high = unit
	}
	step := roundLog(high/unit/3, math.Ceil) * unit
	p.Y.Min, p.Y.Max = 0, max(high*1.05, step)
	p.Y.Tick.Marker = plot.TickerFunc(func(_, high float64) []plot.Tick {
		var ticks []plot.Tick
		for i := 0.0; i*step <= high*(1+1e-9); i++ {
			ticks = append(ticks, plot.Tick{Value: i * step, Label: write(i * step)})
		}
		return ticks
	})
}
