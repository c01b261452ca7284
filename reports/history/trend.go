package history

import (
	"bytes"
	"fmt"
	"html"
	"html/template"
	"image/color"
	"math"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// The size of a chart in points, and colours that can be seen on white and on black. Text takes its colour from the page.
const (
	trendWidth  vg.Length = 440
	trendHeight vg.Length = 140
	labelRoom   vg.Length = 12 // right of the plot, for half of the last label
)

var (
	inkValue = color.NRGBA{0x2f, 0x81, 0xf7, 0xff}
	inkLevel = color.NRGBA{0x80, 0x80, 0x80, 0xff}
	inkWorse = color.NRGBA{0xda, 0x36, 0x33, 0xff}
	inkOther = color.NRGBA{0x2d, 0xa0, 0x44, 0xff}
)

// trend draws a series as SVG for the inside of a page: its values, the level of each stretch, and a line where it changed. The id must be unique
// in the page.
func trend(s *Series, id string) (template.HTML, error) {
	p := plot.New()
	p.BackgroundColor = nil
	p.Y.Min, p.Y.Max = 0, 0
	values := make(plotter.XYs, len(s.Points))
	for i, point := range s.Points {
		values[i] = plotter.XY{X: float64(i + 1), Y: point.Value}
		p.Y.Max = max(p.Y.Max, point.Value*1.05)
	}
	if err := addLine(p, values, draw.LineStyle{Color: inkValue, Width: 1.2}); err != nil {
		return "", err
	}
	if err := addLevels(p, s); err != nil {
		return "", err
	}
	p.X.Min, p.X.Max = 0.5, float64(len(values))+0.5
	if p.Y.Max == 0 {
		p.Y.Max = 1
	}
	p.X.Tick.Marker = plot.TickerFunc(wholeTicks)
	p.Y.Tick.Marker = plot.TickerFunc(func(low, high float64) []plot.Tick { return valueTicks(s.Metric, low, high) })
	var b bytes.Buffer
	canvas := vgsvg.New(trendWidth, trendHeight)
	p.Draw(draw.Crop(draw.New(canvas), 0, -labelRoom, 0, 0))
	if _, err := canvas.WriteTo(&b); err != nil {
		return "", err
	}
	return frame(b.String(), id, s)
}

func addLine(p *plot.Plot, xys plotter.XYs, style draw.LineStyle) error {
	line, err := plotter.NewLine(xys)
	if err != nil {
		return err
	}
	line.LineStyle = style
	p.Add(line)
	return nil
}

// addLevels draws the medians of the stretches and the changes between them.
func addLevels(p *plot.Plot, s *Series) error {
	from := 0
	level := func(to int, y float64) error {
		xys := plotter.XYs{{X: float64(from) + 0.5, Y: y}, {X: float64(to) + 0.5, Y: y}}
		from = to
		return addLine(p, xys, draw.LineStyle{Color: inkLevel, Width: 2})
	}
	for _, c := range s.Changes {
		if err := level(c.Index, c.Before.Median); err != nil {
			return err
		}
		ink := inkOther
		if c.Worse {
			ink = inkWorse
		}
		x := float64(c.Index) + 0.5
		if err := addLine(p, plotter.XYs{{X: x, Y: 0}, {X: x, Y: p.Y.Max}}, draw.LineStyle{Color: ink, Width: 1.5, Dashes: []vg.Length{4, 3}}); err != nil {
			return err
		}
	}
	return level(len(s.Points), s.Baseline.Median)
}

func wholeTicks(low, high float64) []plot.Tick {
	step := niceStep((high - low) / 6)
	var ticks []plot.Tick
	for v := max(step, 1.0); v <= high; v += max(step, 1) {
		ticks = append(ticks, plot.Tick{Value: v, Label: strconv.Itoa(int(v))})
	}
	return ticks
}

func valueTicks(m Metric, _, high float64) []plot.Tick {
	step := niceStep(high / 3)
	var ticks []plot.Tick
	for i := 0.0; i*step <= high; i++ {
		label := "0"
		if i > 0 {
			label = m.format(i * step)
		}
		ticks = append(ticks, plot.Tick{Value: i * step, Label: label})
	}
	return ticks
}

// niceStep is 1, 2 or 5 times a power of ten, at least v.
func niceStep(v float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(v)))
	for _, s := range []float64{1, 2, 5} {
		if v <= s*power {
			return s * power
		}
	}
	return 10 * power
}

// frame takes the head of the file off and gives the picture a text alternative.
func frame(svg, id string, s *Series) (template.HTML, error) {
	_, rest, found := strings.Cut(svg, "<svg")
	_, body, closed := strings.Cut(rest, ">")
	if !found || !closed {
		return "", fmt.Errorf("the chart of %s is not SVG", s.Name)
	}
	return template.HTML(fmt.Sprintf(`<svg class="chart" viewBox="0 0 %g %g" role="img" aria-labelledby="%s-t %s-d"><title id="%s-t">%s</title><desc id="%s-d">%s</desc>%s`,
		trendWidth.Points(), trendHeight.Points(), id, id, id, html.EscapeString(clean(s.Name.String())), id, html.EscapeString(s.words()), body)), nil
}

// words are the chart for those who do not see it.
func (s *Series) words() string {
	b := &strings.Builder{}
	fmt.Fprintf(b, "%s over %s. ", s.Metric.Name, count(len(s.Points), "run"))
	for i := range s.Changes {
		f := Finding{s, &s.Changes[i]}
		fmt.Fprintf(b, "At run %d %s. ", f.Change.Index+1, f.effect())
	}
	fmt.Fprintf(b, "Since then the median of %s is %s.", count(s.Baseline.N, "run"), s.Metric.format(s.Baseline.Median))
	return b.String()
}
