package reports

import (
	"strings"

	"github.com/mattn/go-runewidth"
)

// terminal counts columns as a terminal does whatever the locale: the same text must give the same report everywhere.
var terminal = &runewidth.Condition{}

// Columns is how many columns of a terminal s takes: two for each wide character, none for a combining one.
func Columns(s string) int { return terminal.StringWidth(s) }

// Fit makes s one line of printable characters that takes at most so many columns. A longer one loses its middle, since names differ at
// their ends.
func Fit(s string, columns int) string {
	s = clean(s)
	width := Columns(s)
	if width <= columns {
		return s
	}
	if columns < 3 {
		return Truncate(s, columns)
	}
	head := columns / 2
	tail := columns - 1 - head
	return terminal.Truncate(s, head, "") + "…" + strings.TrimLeft(terminal.TruncateLeft(s, width-tail, ""), " ")
}

// Truncate cuts s behind the last character that fits into so many columns.
func Truncate(s string, columns int) string { return terminal.Truncate(s, max(columns, 0), "") }

// wrap breaks a text at its spaces. Lines after the first are indented as deep as the first one's lead.
func wrap(lead, s string, columns int) string {
	var b strings.Builder
	indent := strings.Repeat(" ", Columns(lead))
	line, empty := lead, true
	for _, word := range strings.Fields(s) {
		if !empty && Columns(line)+1+Columns(word) > columns {
			b.WriteString(line + "\n")
			line, empty = indent, true
		}
		if !empty {
			line += " "
		}
		line, empty = line+Fit(word, columns-len(indent)), false
	}
	return b.String() + line + "\n"
}
