package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/term"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
	"github.com/openaccess-mcp/openaccess-mcp/reports"
)

// plainEvery is the time between two lines of progress where there is no terminal.
const plainEvery = 5 * time.Second

// progress shows how far a run is: on a terminal in one line that it rewrites, elsewhere in a line every few seconds. What others
// write through it appears between. It is safe for concurrent use.
type progress struct {
	mu       sync.Mutex
	out      io.Writer
	quiet    bool
	terminal func() (columns int, ok bool)
	now      func() time.Time

	shown bool      // a line stands on the terminal
	last  time.Time // of the last plain line
	phase string    // that it told
}

func newProgress(out io.Writer, quiet bool) *progress {
	return &progress{out: out, quiet: quiet, now: time.Now, terminal: func() (int, bool) {
		f, ok := out.(*os.File)
		if !ok || !term.IsTerminal(int(f.Fd())) {
			return 0, false
		}
		columns, _, err := term.GetSize(int(f.Fd()))
		return columns, err == nil && columns > 0
	}}
}

// update takes the load generator's news.
func (p *progress) update(n loadgen.Progress) {
	if p.quiet {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	line := progressLine(n)
	if columns, ok := p.terminal(); ok {
		p.erase()
		if utf8.RuneCountInString(line) >= columns {
			line = string([]rune(line)[:columns-1])
		}
		fmt.Fprint(p.out, line)
		p.shown = true
		return
	}
	phase := n.Plan + " " + n.Arm
	if now := p.now(); phase != p.phase || now.Sub(p.last) >= plainEvery {
		p.phase, p.last = phase, now
		fmt.Fprintln(p.out, line)
	}
}

// Write writes above the line of progress.
func (p *progress) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.erase()
	return p.out.Write(b)
}

// clear takes the line of progress away.
func (p *progress) clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.erase()
}

func (p *progress) erase() {
	if p.shown {
		fmt.Fprint(p.out, "\r\x1b[K")
		p.shown = false
	}
}

func progressLine(n loadgen.Progress) string {
	var b strings.Builder
	b.WriteString(n.Plan)
	if n.Arm != "" {
		fmt.Fprintf(&b, " (%s)", n.Arm)
	}
	fmt.Fprintf(&b, " %s", n.Phase)
	if n.Phase == loadgen.PhaseSetup {
		return b.String()
	}
	fmt.Fprintf(&b, " %ds", int(n.Elapsed.Seconds()))
	if n.Total > 0 {
		fmt.Fprintf(&b, " of %ds", int(n.Total.Seconds()))
	}
	fmt.Fprintf(&b, "  %.0f/s  %d in flight", n.Rate, n.InFlight)
	if n.P95 > 0 {
		fmt.Fprintf(&b, "  p95 %s", reports.Duration(n.P95))
	}
	fmt.Fprintf(&b, "  %d errors", n.Errors)
	if n.Dropped > 0 {
		fmt.Fprintf(&b, "  %d dropped", n.Dropped)
	}
	return b.String()
}
