package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
	"github.com/openaccess-mcp/openaccess-mcp/reports"
)

// plainEvery is the time between two lines of progress where there is no terminal.
const plainEvery = 5 * time.Second

// progress shows how far a run is: on a terminal as a board (board.go) in a block that is redrawn in place (block.go), elsewhere in a line
// every few seconds. What others write through it appears above the block. It is safe for concurrent use.
type progress struct {
	mu       sync.Mutex
	out      io.Writer
	quiet    bool
	terminal func() (columns, rows int, ok bool)
	now      func() time.Time

	board board
	block block
	rest  []byte // a line that others have begun
	over  bool   // nothing is drawn any more

	last  time.Time // of the last plain line
	phase string    // that it told
}

func newProgress(out io.Writer, quiet bool) *progress {
	return &progress{
		out: out, quiet: quiet, now: time.Now, block: block{out: out, colour: os.Getenv("NO_COLOR") == ""},
		terminal: func() (int, int, bool) { return terminalSize(out) },
	}
}

// terminalSize gives the size of the terminal behind w; ok is false where there is none, or one that cannot move its cursor.
func terminalSize(w any) (columns, rows int, ok bool) {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return 0, 0, false
	}
	if name := os.Getenv("TERM"); name == "dumb" || name == "" && runtime.GOOS != "windows" {
		return 0, 0, false
	}
	columns, rows, err := term.GetSize(int(f.Fd()))
	return columns, rows, err == nil && columns > 0 && rows > 0
}

// begin lists what is going to run.
func (p *progress) begin(plans []*loadgen.Plan) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.board = newBoard(plans)
}

// update takes the load generator's news.
func (p *progress) update(n loadgen.Progress) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.board.update(n)
	if p.draw("") || p.quiet || p.over {
		return
	}
	phase := n.Plan + "\n" + n.Arm
	if now := p.now(); phase != p.phase || now.Sub(p.last) >= plainEvery {
		p.phase, p.last = phase, now
		io.WriteString(p.out, plainLines(n))
	}
}

// end takes what came of a scenario.
func (p *progress) end(r *loadgen.Result) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.board.end(r)
	p.draw("")
}

// interrupt says that the run ends early.
func (p *progress) interrupt() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.board.interrupted = true
	if p.block.columns > 0 {
		p.draw("")
	}
}

// Write writes above the block, whole lines at a time.
func (p *progress) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.block.columns == 0 {
		return p.out.Write(b)
	}
	p.rest = append(p.rest, b...)
	if i := bytes.LastIndexByte(p.rest, '\n') + 1; i > 0 {
		above := string(p.rest[:i])
		p.rest = append([]byte(nil), p.rest[i:]...)
		p.draw(above)
	}
	return len(b), nil
}

// clear takes the block away for good.
func (p *progress) clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.over = true
	p.block.erase()
	p.out.Write(p.rest)
	p.rest = nil
}

// draw draws the board on a terminal, below what is given.
func (p *progress) draw(above string) bool {
	if p.quiet || p.over {
		return false
	}
	columns, rows, ok := p.terminal()
	if ok {
		p.block.draw(above, p.board.lines(columns, rows), columns)
	}
	return ok
}

// plainLines says how far a run is where there is no terminal, in a line for each part of a mix.
func plainLines(n loadgen.Progress) string {
	head := reports.Fit(n.Plan, 60)
	if n.Arm != "" {
		head += " (" + reports.Fit(n.Arm, 40) + ")"
	}
	head += " " + string(n.Phase)
	if n.Phase == loadgen.PhaseSetup {
		return head + "\n"
	}
	head += " " + plainClock(n)
	if n.ServerKnown {
		head += fmt.Sprintf("  server %.0f %% CPU %s", n.ServerCPU, reports.Size(n.ServerRSS))
	}
	var s strings.Builder
	fmt.Fprintln(&s, head+"  "+plainFigures(n.Live))
	for _, g := range n.Groups {
		if g.Part != "" && g.Arm == n.Arm {
			fmt.Fprintln(&s, "  "+reports.Fit(g.Part, 40)+"  "+plainFigures(g.Live))
		}
	}
	return s.String()
}

func plainClock(n loadgen.Progress) string {
	s := fmt.Sprintf("%ds", int(n.Elapsed.Seconds()))
	if n.Total > 0 {
		s += fmt.Sprintf(" of %ds", int(n.Total.Seconds()))
	}
	return s
}

func plainFigures(l loadgen.Live) string {
	var s strings.Builder
	if l.Offered > 0 {
		fmt.Fprintf(&s, "%.0f/s offered  ", l.Offered)
	}
	fmt.Fprintf(&s, "%.0f/s  %d in flight", l.Rate, l.InFlight)
	if l.P50 > 0 {
		fmt.Fprintf(&s, "  p50 %s  p95 %s  p99 %s", reports.Duration(l.P50), reports.Duration(l.P95), reports.Duration(l.P99))
	}
	fmt.Fprintf(&s, "  %d errors", l.Errors)
	if l.TopErrors > 0 {
		fmt.Fprintf(&s, " (%s ×%d)", reports.Fit(l.TopError, 40), l.TopErrors)
	}
	if l.Dropped > 0 {
		fmt.Fprintf(&s, "  %d dropped", l.Dropped)
	}
	return s.String()
}
