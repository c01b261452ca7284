package reports

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// column is one of a table. Its zero value is a figure, which is set to the right and never cut.
type column struct {
	head     string
	text     bool // set to the left
	name     bool // text whose middle may be cut
	optional bool // left out where no row says anything
	spare    int  // of columns that do not fit, those with the highest go first; 0 stays
}

// table aligns columns.
type table struct {
	columns []column
	rows    [][]string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// columnGap is the space between columns.
const columnGap = 2

// longName is where names are cut wherever there is room.
const longName = 32

// squeezes are what is done in turn to a table that is too wide: names are cut, but never below their head, and columns left out.
var squeezes = []struct{ name, spare int }{{16, 2}, {10, 1}, {5, 1}}

// write writes the table after an empty line, in lines of at most so many columns, or nothing when it has no rows.
func (t *table) write(w io.Writer, columns int) {
	if len(t.rows) == 0 {
		return
	}
	width := t.fit(columns)
	heads := make([]string, len(t.columns))
	for i, c := range t.columns {
		heads[i] = c.head
	}
	fmt.Fprintln(w)
	for _, row := range append([][]string{heads}, t.rows...) {
		t.line(w, row, width)
	}
}

// fit gives the width of each column; -1 leaves one out.
func (t *table) fit(columns int) []int {
	width := make([]int, len(t.columns))
	for i, c := range t.columns {
		width[i] = Columns(c.head)
		empty := true
		for _, row := range t.rows {
			width[i] = max(width[i], Columns(row[i]))
			empty = empty && (row[i] == "" || row[i] == none || row[i] == "0")
		}
		if c.name {
			width[i] = min(width[i], longName)
		}
		if c.optional && empty {
			width[i] = -1
		}
	}
	for _, s := range squeezes {
		t.shrink(width, columns, s.name)
		for total(width) > columns && t.leaveOut(width, s.spare) {
		}
	}
	return width
}

// shrink takes from the widest names what does not fit.
func (t *table) shrink(width []int, columns, least int) {
	for total(width) > columns {
		widest := -1
		for i, c := range t.columns {
			if c.name && width[i] > max(least, Columns(c.head)) && (widest < 0 || width[i] > width[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			return
		}
		width[widest]--
	}
}

// leaveOut leaves out the column that can be spared most, if one is at least that spare.
func (t *table) leaveOut(width []int, least int) bool {
	most := -1
	for i, c := range t.columns {
		if width[i] >= 0 && c.spare >= least && (most < 0 || c.spare > t.columns[most].spare) {
			most = i
		}
	}
	if most < 0 {
		return false
	}
	width[most] = -1
	return true
}

func total(width []int) int {
	sum := -columnGap
	for _, w := range width {
		if w >= 0 {
			sum += w + columnGap
		}
	}
	return sum
}

func (t *table) line(w io.Writer, row []string, width []int) {
	var cells []string
	for i, c := range t.columns {
		if width[i] < 0 {
			continue
		}
		cell := row[i]
		if c.name {
			cell = Fit(cell, width[i])
		}
		pad := strings.Repeat(" ", max(0, width[i]-Columns(cell)))
		if c.text || c.name {
			cells = append(cells, cell+pad)
		} else {
			cells = append(cells, pad+cell)
		}
	}
	fmt.Fprintln(w, strings.TrimRight(strings.Join(cells, strings.Repeat(" ", columnGap)), " "))
}

// named gives columns of names, of which the first is the table's title.
func named(title string, others ...string) []column {
	columns := []column{{head: title, name: true}}
	for _, head := range others {
		columns = append(columns, column{head: head, name: true, optional: true})
	}
	return slices.Clip(columns)
}
