package chart

import (
	"fmt"
	"html"
	"image"
	"image/color"
	"math"
	"strconv"
	"strings"

	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/vg"
)

// Ink is a colour by its name: the page gives the class of that name a fill and a stroke, and so a light and a dark look. As a color.Color
// it is black, which nothing here uses.
type Ink string

// RGBA makes Ink a color.Color.
func (Ink) RGBA() (r, g, b, a uint32) { return 0, 0, 0, math.MaxUint16 }

// canvas draws into SVG. What it writes has no colour, font or size of its own, so that the page around it decides. One unit is a point.
type canvas struct {
	body   strings.Builder
	height float64
	pen
	saved []pen

	open string // attributes of the path that is still open
	x, y int    // where it is, in tenths
	from [2]int // where its last part began
}

// pen is what Push saves.
type pen struct {
	ink   Ink
	width vg.Length
	dash  string
	at    [6]float64 // x' = a·x + c·y + e, y' = b·x + d·y + f
}

func newCanvas(height vg.Length) *canvas {
	return &canvas{height: height.Points(), pen: pen{width: 1, at: [6]float64{1, 0, 0, 1, 0, 0}}}
}

// String is what was drawn.
func (c *canvas) String() string {
	c.end()
	return c.body.String()
}

func (c *canvas) SetLineWidth(w vg.Length) { c.width = w }

func (c *canvas) SetLineDash(pattern []vg.Length, _ vg.Length) {
	dash := make([]string, len(pattern))
	for i, l := range pattern {
		dash[i] = short(l.Points())
	}
	c.dash = strings.Join(dash, " ")
}

// SetColor takes an Ink; any other colour is that of the text.
func (c *canvas) SetColor(to color.Color) {
	c.ink = InkText
	if ink, ok := to.(Ink); ok {
		c.ink = ink
	}
}

func (c *canvas) Rotate(rad float64) {
	sin, cos := math.Sincos(rad)
	m := c.at
	c.at = [6]float64{m[0]*cos + m[2]*sin, m[1]*cos + m[3]*sin, m[2]*cos - m[0]*sin, m[3]*cos - m[1]*sin, m[4], m[5]}
}

func (c *canvas) Translate(pt vg.Point) {
	m, x, y := &c.at, pt.X.Points(), pt.Y.Points()
	m[4], m[5] = m[0]*x+m[2]*y+m[4], m[1]*x+m[3]*y+m[5]
}

func (c *canvas) Scale(x, y float64) {
	m := &c.at
	m[0], m[1], m[2], m[3] = m[0]*x, m[1]*x, m[2]*y, m[3]*y
}

func (c *canvas) Push() { c.saved = append(c.saved, c.pen) }

func (c *canvas) Pop() {
	last := len(c.saved) - 1
	c.pen, c.saved = c.saved[last], c.saved[:last]
}

func (c *canvas) Stroke(p vg.Path) {
	if c.width <= 0 {
		return
	}
	attrs := `class="s ` + string(c.ink) + `"`
	if c.width != 1 {
		attrs += ` stroke-width="` + short(c.width.Points()) + `"`
	}
	if c.dash != "" {
		attrs += ` stroke-dasharray="` + c.dash + `"`
	}
	c.path(attrs, p)
}

func (c *canvas) Fill(p vg.Path) { c.path(`class="f `+string(c.ink)+`"`, p) }

// FillString is for text that did not come through a label.
func (c *canvas) FillString(f font.Face, pt vg.Point, text string) {
	c.text(pt, text, f.Font.Size.Points(), "", 0)
}

// DrawImage draws nothing: a chart here has no image.
func (c *canvas) DrawImage(vg.Rectangle, image.Image) {}

// path adds p to the open path where that has the same attributes, and else begins another.
func (c *canvas) path(attrs string, p vg.Path) {
	if c.open != attrs {
		c.end()
		c.body.WriteString("<path " + attrs + ` d="`)
		c.open, c.x, c.y = attrs, 0, 0
	}
	for _, comp := range p {
		switch comp.Type {
		case vg.MoveComp:
			c.step("m", comp.Pos)
		case vg.LineComp, vg.CurveComp:
			c.step("l", comp.Pos)
		case vg.ArcComp:
			c.arc(comp)
		case vg.CloseComp:
			c.body.WriteByte('z')
			c.x, c.y = c.from[0], c.from[1]
		}
	}
}

// arcSteps are the lines that stand for an arc: arcs here are no larger than a dot.
const arcSteps = 12

func (c *canvas) arc(a vg.PathComp) {
	for i := 1; i <= arcSteps; i++ {
		sin, cos := math.Sincos(a.Start + a.Angle*float64(i)/arcSteps)
		c.step("l", vg.Point{X: a.Pos.X + a.Radius*vg.Length(cos), Y: a.Pos.Y + a.Radius*vg.Length(sin)})
	}
}

// step goes to a point in tenths of a unit, relative to the one before, which is the shortest way to say it.
func (c *canvas) step(command string, to vg.Point) {
	px, py := c.place(to)
	x, y := int(math.Round(10*px)), int(math.Round(10*py))
	dx, dy := float64(x-c.x)/10, float64(y-c.y)/10
	c.x, c.y = x, y
	switch {
	case command == "m":
		c.from = [2]int{x, y}
		c.body.WriteString("m" + short(dx) + second(dy))
	case dx == 0 && dy == 0:
	case dy == 0:
		c.body.WriteString("h" + short(dx))
	case dx == 0:
		c.body.WriteString("v" + short(dy))
	default:
		c.body.WriteString("l" + short(dx) + second(dy))
	}
}

// place turns a point into SVG's, whose y grows downwards.
func (c *canvas) place(pt vg.Point) (x, y float64) {
	m, px, py := c.at, pt.X.Points(), pt.Y.Points()
	return m[0]*px + m[2]*py + m[4], c.height - (m[1]*px + m[3]*py + m[5])
}

func (c *canvas) end() {
	if c.open != "" {
		c.body.WriteString(`"/>`)
		c.open = ""
	}
}

// text writes a line whose anchor is at pt, turned by so many radians against the clock.
func (c *canvas) text(pt vg.Point, s string, size float64, anchor string, turn float64) {
	c.end()
	x, y := c.place(pt)
	fmt.Fprintf(&c.body, `<text class="f %s" x="%s" y="%s"`, c.ink, short(x), short(y))
	if size != labelSize {
		fmt.Fprintf(&c.body, ` font-size="%s"`, short(size))
	}
	if anchor != "" {
		fmt.Fprintf(&c.body, ` text-anchor="%s"`, anchor)
	}
	if turn != 0 {
		fmt.Fprintf(&c.body, ` transform="rotate(%s %s %s)"`, short(-turn*180/math.Pi), short(x), short(y))
	}
	fmt.Fprintf(&c.body, `>%s</text>`, html.EscapeString(s))
}

// short writes a number to a tenth, without what is not needed.
func short(v float64) string {
	s := strconv.FormatFloat(v, 'f', 1, 64)
	s = strings.TrimSuffix(s, ".0")
	if s == "-0" {
		return "0"
	}
	return strings.Replace(s, "0.", ".", boolInt(strings.HasPrefix(s, "0.") || strings.HasPrefix(s, "-0.")))
}

// second writes a number behind another, apart from it.
func second(v float64) string {
	s := short(v)
	if s[0] == '-' {
		return s
	}
	return " " + s
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}
