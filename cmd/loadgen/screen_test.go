package main

import (
	"fmt"
	"strings"

	"github.com/mattn/go-runewidth"
)

// screen is a terminal as far as progress uses one. It does not break lines: a character beyond the last column is an error. Resizing
// keeps the cursor on its character, as terminals do that break and join lines anew.
type screen struct {
	columns, rows, x, y int
	cells               [][]string // by row and column; a wide character's second cell is empty
	cursor, scrolled    bool
	styles              int // SGR sequences that set one
}

func newScreen(columns, rows int) *screen {
	s := &screen{cursor: true}
	s.resize(columns, rows)
	return s
}

func (s *screen) resize(columns, rows int) {
	s.columns, s.rows = columns, rows
	for len(s.cells) > rows { // above the cursor only what must go
		if s.y < rows {
			s.cells = s.cells[:len(s.cells)-1]
		} else {
			s.cells, s.y = s.cells[1:], s.y-1
		}
	}
	for len(s.cells) < rows {
		s.cells = append(s.cells, nil)
	}
	for i := range s.cells {
		s.cells[i] = append(s.cells[i], blanks(columns)...)[:columns]
	}
}

func blanks(n int) []string { return strings.Split(strings.Repeat(" ", n), "")[:n] }

func (s *screen) Write(b []byte) (int, error) {
	for text := string(b); text != ""; {
		if after, found := strings.CutPrefix(text, "\x1b["); found {
			end := strings.IndexFunc(after, func(r rune) bool { return r >= '@' })
			s.control(after[:end], after[end])
			text = after[end+1:]
			continue
		}
		r := []rune(text)[0]
		s.put(r)
		text = text[len(string(r)):]
	}
	return len(b), nil
}

func (s *screen) put(r rune) {
	switch r {
	case '\r':
		s.x = 0
		return
	case '\n':
		s.x = 0 // as the terminal's driver has it
		if s.y++; s.y == s.rows {
			s.y, s.cells, s.scrolled = s.rows-1, append(s.cells[1:], blanks(s.columns)), true
		}
		return
	}
	width := runewidth.RuneWidth(r)
	if r < ' ' || s.x+width > s.columns {
		panic(fmt.Sprintf("%q at %d of %d columns", r, s.x, s.columns))
	}
	s.cells[s.y][s.x] = string(r)
	if width == 2 {
		s.cells[s.y][s.x+1] = ""
	}
	s.x += width
}

func (s *screen) control(parameter string, final byte) {
	switch parameter + string(final) {
	case "K":
		copy(s.cells[s.y][s.x:], blanks(s.columns))
	case "J":
		copy(s.cells[s.y][s.x:], blanks(s.columns))
		for y := s.y + 1; y < s.rows; y++ {
			s.cells[y] = blanks(s.columns)
		}
	case "C":
		s.x = min(s.x+1, s.columns-1)
	case "?25l", "?25h":
		s.cursor = final == 'h'
	case "?2026h", "?2026l", "m":
	default:
		n := 0
		if _, err := fmt.Sscan(parameter, &n); err != nil || final != 'A' && final != 'm' {
			panic("unknown control sequence " + parameter + string(final))
		}
		if final == 'A' {
			s.y = max(0, s.y-n)
		} else {
			s.styles++
		}
	}
}

// String is what stands on the screen, without the spaces and empty lines after it.
func (s *screen) String() string {
	var rows []string
	for _, row := range s.cells {
		rows = append(rows, strings.TrimRight(strings.Join(row, ""), " "))
	}
	return strings.TrimRight(strings.Join(rows, "\n"), "\n")
}
