package chart

import (
	"fmt"
	"strings"
)

// Key is a short piece of the line of series i, below MaxSeries, to stand before its name.
func Key(i int) string {
	line := seriesLine(i)
	dash := make([]string, len(line.Dashes))
	for j, l := range line.Dashes {
		dash[j] = short(l.Points())
	}
	return stroke(SeriesInk(i), strings.Join(dash, " "))
}

// LineKey is a short piece of a line in the colour of text.
func LineKey(dash string) string { return stroke(InkText, dash) }

func stroke(ink Ink, dash string) string {
	return mark(fmt.Sprintf(`<path class="s %s" stroke-width="2" stroke-dasharray="%s" d="M0 5h28"/>`, ink, dash))
}

// LimitKey is a short piece of a line of one ink.
func LimitKey(ink Ink) string { return stroke(ink, "") }

// AreaKey is a patch of one ink.
func AreaKey(ink Ink) string {
	return mark(fmt.Sprintf(`<path class="f %s" d="M0 0h28v10h-28z"/>`, ink))
}

// HeatKey is a patch of each density, from few to many.
func HeatKey() string {
	var b strings.Builder
	for i := range levels {
		fmt.Fprintf(&b, `<path class="f %s" d="M%s 0h4.7v10h-4.7z"/>`, heatInk(i+1), short(float64(i)*28/levels))
	}
	return mark(b.String())
}

func mark(inside string) string {
	return `<svg class="key" viewBox="0 0 28 10" aria-hidden="true">` + inside + `</svg>`
}
