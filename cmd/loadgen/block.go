package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/openaccess-mcp/openaccess-mcp/reports"
)

// Control sequences of ECMA-48 terminals, and two private ones of DEC's that those who do not know them ignore.
const (
	hideCursor, showCursor = "\x1b[?25l", "\x1b[?25h"
	beginFrame, endFrame   = "\x1b[?2026h", "\x1b[?2026l" // the terminal shows what is between them at once
	eraseLine, eraseBelow  = "\x1b[K", "\x1b[J"           // from the cursor on
	// eraseBlock goes about it in two steps: from the top left corner, eraseBelow alone makes some terminals keep what it erases.
	eraseBlock = "\r" + eraseLine + "\x1b[C" + eraseBelow + "\r"
)

// block is a few lines of a terminal that are redrawn in place, below everything else.
//
// While it stands, the cursor rests, hidden, where it begins. A terminal that is resized may break and move the lines as it likes: the
// cursor moves with them, so that erasing from there on takes away the block and nothing else. The zero value but for out stands nowhere.
type block struct {
	out     io.Writer
	colour  bool
	columns int // that it was drawn for; 0 when it does not stand
}

// draw writes whole lines of text above the block, which begins or moves down by it, and the block's lines anew. There must be no more of
// them than the terminal has rows; each is cut to fit.
func (b *block) draw(above string, lines []line, columns int) {
	var s strings.Builder
	s.WriteString(beginFrame + hideCursor + "\r")
	if above != "" || columns != b.columns {
		s.WriteString(eraseBlock)
	}
	s.WriteString(above)
	for i, l := range lines {
		if i > 0 {
			s.WriteString("\r\n")
		}
		s.WriteString(l.cut(columns-1, b.colour) + eraseLine) // in the last column the cursor would wait for a break
	}
	s.WriteString(eraseBelow)
	if len(lines) > 1 {
		fmt.Fprintf(&s, "\x1b[%dA", len(lines)-1)
	}
	s.WriteString("\r" + endFrame)
	io.WriteString(b.out, s.String())
	b.columns = columns
}

// erase takes the block away and gives the cursor back.
func (b *block) erase() {
	if b.columns > 0 {
		io.WriteString(b.out, eraseBlock+showCursor)
		b.columns = 0
	}
}

// style is how a chunk looks beside its text, as the parameter of an SGR sequence. None says anything that the text does not.
type style string

const (
	plain  style = ""
	bold   style = "1"
	dim    style = "2"
	red    style = "31"
	green  style = "32"
	yellow style = "33"
	cyan   style = "36"
)

// line is a line of text in chunks.
type line []chunk

type chunk struct {
	text string
	style
}

// cut writes the line in at most so many columns, in its styles where there is colour.
func (l line) cut(columns int, colour bool) string {
	var s strings.Builder
	for _, part := range l {
		text := reports.Truncate(part.text, columns)
		columns -= reports.Columns(text)
		if !colour || part.style == plain || text == "" {
			s.WriteString(text)
		} else {
			s.WriteString("\x1b[" + string(part.style) + "m" + text + "\x1b[m")
		}
	}
	return s.String()
}
