package chart

import (
	"strings"

	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// labelSize is the size of text in units; the page sets it as the default.
const labelSize = 13

// label lays out text that the reader's browser will draw in a font of its own: it takes the same width whatever is written, so that charts
// stand flush, and leaves the alignment to SVG.
type label struct{ width vg.Length }

var _ text.Handler = label{}

func (label) Cache() *font.Cache { return nil }

func (label) Extents(f font.Font) font.Extents {
	return font.Extents{Ascent: 0.8 * f.Size, Descent: 0.2 * f.Size, Height: 1.2 * f.Size}
}

func (label) Lines(s string) []string { return strings.Split(s, "\n") }

func (l label) Box(_ string, f font.Font) (width, height, depth vg.Length) {
	return l.width, 0.8 * f.Size, 0.2 * f.Size
}

// Draw writes the text with the anchor that the style's alignment asks for. pt is where its baseline would be, were it aligned to the bottom.
func (l label) Draw(c vg.Canvas, s string, sty text.Style, pt vg.Point) {
	svg := under(c)
	if svg == nil || s == "" || sty.Font.Size == 0 {
		return
	}
	anchor := map[text.XAlignment]string{text.XCenter: "middle", text.XRight: "end"}[sty.XAlign]
	pt.Y += vg.Length(sty.YAlign) * sty.Font.Size
	svg.SetColor(sty.Color)
	svg.text(pt, s, sty.Font.Size.Points(), anchor, sty.Rotation)
}

// under finds the canvas that others were cut from.
func under(c vg.Canvas) *canvas {
	for {
		switch of := c.(type) {
		case *draw.Canvas:
			c = of.Canvas
		case draw.Canvas:
			c = of.Canvas
		case *canvas:
			return of
		default:
			return nil
		}
	}
}

// style is that of text in a chart.
func style(ink Ink, x text.XAlignment, y text.YAlignment, width vg.Length) text.Style {
	return text.Style{Color: ink, Font: font.Font{Size: labelSize}, XAlign: x, YAlign: y, Handler: label{width}}
}
