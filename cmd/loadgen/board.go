package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
	"github.com/openaccess-mcp/openaccess-mcp/reports"
)

// board is what a run shows of itself: a line for each scenario, and under the one that runs its figures of the last seconds.
type board struct {
	entries     []entry
	news        loadgen.Progress // of the one that runs
	interrupted bool
}

// entry is a scenario of the run.
type entry struct {
	name   string
	state  state
	word   string // what came of it
	detail string
}

type state int

const (
	waiting state = iota
	running
	ended
	endedBadly
)

var marks = map[state]chunk{
	waiting: {"·", dim}, running: {"▸", cyan}, ended: {"✓", green}, endedBadly: {"✗", red},
}

func newBoard(plans []*loadgen.Plan) board {
	var b board
	for _, p := range plans {
		b.entries = append(b.entries, entry{name: p.Name})
	}
	return b
}

// update takes the load generator's news.
func (b *board) update(n loadgen.Progress) {
	b.news = n
	if i := b.find(n.Plan); b.entries[i].state == waiting {
		b.entries[i].state = running
	}
}

// end notes what came of a scenario.
func (b *board) end(r *loadgen.Result) {
	e := &b.entries[b.find(r.Plan.Name)]
	e.state = ended
	var good bool
	if e.word, e.detail, good = outcome(r); !good {
		e.state = endedBadly
	}
}

// find gives the index of a scenario, which is added where it is not known.
func (b *board) find(name string) int {
	i := slices.IndexFunc(b.entries, func(e entry) bool { return e.name == name })
	if i < 0 {
		i, b.entries = len(b.entries), append(b.entries, entry{name: name})
	}
	return i
}

// outcome says in a word what came of a scenario, and the figure behind it.
func outcome(r *loadgen.Result) (word, detail string, good bool) {
	missed := slices.IndexFunc(r.Thresholds, func(t loadgen.ThresholdResult) bool { return !t.OK })
	switch g := r.Grade; {
	case r.Interrupted:
		return "interrupted", "", false
	case !r.Generator.Valid:
		return "invalid", strings.Join(r.Generator.Why, "; "), false
	case missed >= 0:
		return "failed", r.Thresholds[missed].Expr + " with " + r.Thresholds[missed].Value, false
	case g != nil && g.Value > 0:
		return string(g.Band), g.Statistic + " " + reports.Duration(g.Value), g.Band != loadgen.BandPoor && g.Band != loadgen.BandNoData
	case g != nil:
		return string(g.Band), g.Why, g.Band != loadgen.BandNoData
	case len(r.Thresholds) > 0:
		return "held", "", true
	}
	return "done", "", true
}

// lines draws the board for a terminal. Where it is too short, waiting and ended scenarios are counted, and the figures cut.
func (b *board) lines(columns, rows int) []line {
	name := 0
	for _, e := range b.entries {
		name = max(name, reports.Columns(e.name))
	}
	name = max(8, min(name, 32, columns/3))
	var before, now, after []line
	for i := range b.entries {
		e := &b.entries[i]
		head := line{marks[e.state], {text: " " + padded(reports.Fit(e.name, name), name) + "  "}}
		switch e.state {
		case running:
			head[1].style = bold
			now = append(now, append(head, b.bar(columns-name-4)...))
			now = append(now, b.figures(columns)...)
		case waiting:
			after = append(after, append(head, chunk{"waiting", dim}))
		default:
			before = append(before, append(head, chunk{text: padded(e.word, wordWidth) + "  " + reports.Fit(e.detail, max(0, columns-name-wordWidth-7))}))
		}
	}
	if b.interrupted {
		now = append(now, line{{"  interrupted: waiting for what is under way; interrupt again to end at once", yellow}})
	}
	return squeeze(before, now, after, rows-1)
}

// squeeze counts what comes before and after the present where there are not rows enough.
func squeeze(before, now, after []line, rows int) []line {
	if len(before)+len(now)+len(after) > rows && len(after) > 1 {
		after = []line{{marks[waiting], {fmt.Sprintf(" %d more waiting", len(after)), dim}}}
	}
	if len(before)+len(now)+len(after) > rows && len(before) > 1 {
		before = []line{{marks[ended], {text: fmt.Sprintf(" %d ended", len(before))}}}
	}
	for len(before)+len(now)+len(after) > rows && len(before)+len(after) > 0 {
		if len(before) > 0 {
			before = nil
		} else {
			after = nil
		}
	}
	return slices.Concat(before, now[:min(len(now), max(rows-len(before)-len(after), 1))], after)
}

// wordWidth is that of phases and bands.
const wordWidth = 10

// bar shows the phase of the scenario that runs and how much of it is over.
func (b *board) bar(columns int) line {
	n := &b.news
	said := clock(n.Elapsed)
	if n.Total > 0 {
		said += " of " + clock(n.Total)
	}
	if n.Arms > 1 {
		said += fmt.Sprintf(", arm %d of %d", n.ArmIndex+1, n.Arms)
	}
	width := min(40, columns-wordWidth-reports.Columns(said)-4)
	l := line{{text: padded(string(n.Phase), wordWidth)}}
	if width >= 5 {
		full := int(overall(n) * float64(width))
		l = append(l, chunk{strings.Repeat("━", full), cyan}, chunk{strings.Repeat("─", width-full), dim}, chunk{text: "  "})
	}
	return append(l, chunk{text: said})
}

// overall is the share of all arms that is over.
func overall(n *loadgen.Progress) float64 {
	return min(1, (float64(n.ArmIndex)+min(1, n.Done))/float64(max(1, n.Arms)))
}

// figures are a table of the groups that have begun, and the server.
func (b *board) figures(columns int) []line {
	n := &b.news
	groups := n.Groups
	if len(groups) == 0 {
		groups = []loadgen.Group{{Live: n.Live}}
	}
	label := len(tableTitle)
	dropped := false
	for _, g := range groups {
		label, dropped = max(label, reports.Columns(groupName(g))), dropped || g.Dropped > 0
	}
	label = min(label, 24, max(len(tableTitle), columns-75))
	out := []line{{{figureRow(tableTitle, label, []string{"offered/s", "done/s", "in flight", "p50", "p95", "p99", "errors"}, dropped, "dropped"), dim}}}
	for _, g := range groups {
		text := figureRow(groupName(g), label, []string{
			offered(g.Offered), perSecond(g.Rate), fmt.Sprint(g.InFlight), latency(g.P50), latency(g.P95), latency(g.P99), fmt.Sprint(g.Errors),
		}, dropped, fmt.Sprint(g.Dropped))
		out = append(out, line{{text: text}, {topError(g.Live), red}})
	}
	if n.ServerKnown {
		out = append(out, line{{text: fmt.Sprintf("    server CPU %.0f %%, RSS %s", n.ServerCPU, reports.Size(n.ServerRSS))}})
	}
	return out
}

const tableTitle = "last 5 s"

func figureRow(label string, width int, cells []string, more bool, extra string) string {
	var s strings.Builder
	s.WriteString("    " + padded(reports.Fit(label, width), width))
	if more {
		cells = append(cells, extra)
	}
	for i, c := range cells {
		s.WriteString("  " + strings.Repeat(" ", max(0, figureWidths[i]-reports.Columns(c))) + c)
	}
	return s.String()
}

// figureWidths keep the columns where they are while the figures change.
var figureWidths = []int{9, 6, 9, 7, 7, 7, 6, 7}

func groupName(g loadgen.Group) string {
	return strings.TrimSpace(g.Arm + " " + g.Part)
}

// topError names the most frequent error, and how often it came where there are others.
func topError(l loadgen.Live) string {
	switch l.TopErrors {
	case 0:
		return ""
	case l.Errors:
		return "  " + reports.Fit(l.TopError, 40)
	}
	return fmt.Sprintf("  %s ×%d", reports.Fit(l.TopError, 40), l.TopErrors)
}

func padded(s string, columns int) string {
	return s + strings.Repeat(" ", max(0, columns-reports.Columns(s)))
}

// offered has no figure for a closed executor, which offers nothing.
func offered(v float64) string {
	if v == 0 {
		return "–"
	}
	return perSecond(v)
}

func perSecond(v float64) string {
	if v > 0 && v < 10 {
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}

func latency(d time.Duration) string {
	if d == 0 {
		return "–"
	}
	return reports.Duration(d)
}

// clock writes seconds, or minutes and seconds.
func clock(d time.Duration) string {
	s := int(d.Seconds())
	if s < 100 {
		return fmt.Sprintf("%d s", s)
	}
	return fmt.Sprintf("%d:%02d", s/60, s%60)
}
