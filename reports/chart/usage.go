package chart

import (
	"fmt"
	"slices"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// usageHeight is that of each of the two parts of Usage.
const usageHeight vg.Length = 115

// Usage draws what a process used over time in stretches of one width: CPU in percent of one core, and under it memory in bytes. Either may be
// empty.
func Usage(w Words, width time.Duration, cpu []float64, memory []int64) string {
	c := newCanvas(2 * usageHeight)
	end := time.Duration(max(len(cpu), len(memory))) * width

	upper := newPlot()
	elapsed(upper, end, false)
	linearY(upper, slices.Max(append([]float64{1}, cpu...)), 1, func(v float64) string { return fmt.Sprintf("%.4g %%", v) })
	upper.Add(steady(cpu, width, SeriesInk(0)))
	upper.Draw(c.area(usageHeight, 2*usageHeight-8))

	resident := make([]float64, len(memory))
	for i, v := range memory {
		resident[i] = float64(v)
	}
	lower := newPlot()
	elapsed(lower, end, true)
	linearY(lower, slices.Max(append([]float64{1 << 20}, resident...)), 1<<20, func(v float64) string { return fmt.Sprintf("%.4g MiB", v/(1<<20)) })
	lower.Add(steady(resident, width, SeriesInk(1)))
	lower.Draw(c.area(0, usageHeight-partGap))
	return c.svg(w)
}

// steady draws values that each hold for a width.
func steady(values []float64, width time.Duration, ink Ink) drawing {
	return func(c draw.Canvas, p *plot.Plot) {
		var pts []vg.Point
		for i, v := range values {
			y := c.Y(p.Y.Norm(v))
			pts = append(pts, vg.Point{X: c.X(p.X.Norm(float64(i) * width.Seconds())), Y: y}, vg.Point{X: c.X(p.X.Norm(float64(i+1) * width.Seconds())), Y: y})
		}
		c.StrokeLines(draw.LineStyle{Color: ink, Width: 2}, pts)
	}
}
