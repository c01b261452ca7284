package reports

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen/stats"
	"github.com/openaccess-mcp/openaccess-mcp/reports/result"
)

// Comparison is what two documents say of each other. It is no verdict: two single runs were made at different times, and what changed on the
// machine between them is in every figure.
type Comparison struct {
	Figures []Compared
	Apart   []string // cells that only one side has, or that cannot be compared, with the reason
	Notes   []string // what else a reader must know
}

// Compared is a figure that both sides have.
type Compared struct {
	Cell, Figure string
	Base, Head   string  // written
	Ratio        float64 // head over base; not a number where base is 0
	// Low and High are the interval of 95 % of the ratio over the windows of both runs, not a number without one.
	Low, High float64
	Windows   string // with enough calls in base and in head; empty for a figure that windows do not have
	// MoreIsBad is false for throughput alone.
	MoreIsBad bool
}

// Worse reports whether the interval lies wholly beyond a worsening by the share. Without an interval it does not.
func (c *Compared) Worse(share float64) bool {
	if c.MoreIsBad {
		return c.Low > 1+share
	}
	return c.High < 1/(1+share)
}

// Compare compares two documents cell by cell.
func Compare(base, head *result.Doc) Comparison {
	c := Comparison{Notes: compareNotes(base, head)}
	type key struct{ name, part, step, arm string }
	of := func(s *result.Scenario) key { return key{s.Name, s.Part, s.Step, s.Arm} }
	matched := map[key]bool{}
	for i := range base.Scenarios {
		b := &base.Scenarios[i]
		j := slices.IndexFunc(head.Scenarios, func(s result.Scenario) bool { return of(&s) == of(b) })
		switch {
		case !b.Ran():
			c.Apart = append(c.Apart, cellName(b)+": was not run in base")
		case j < 0 || !head.Scenarios[j].Ran():
			c.Apart = append(c.Apart, cellName(b)+": only base has it")
		case loadOf(b) != loadOf(&head.Scenarios[j]):
			c.Apart = append(c.Apart, fmt.Sprintf("%s: measured under another load: %s in base, %s in head", cellName(b), loadOf(b), loadOf(&head.Scenarios[j])))
		default:
			c.Figures = append(c.Figures, compareCells(b, &head.Scenarios[j])...)
		}
		matched[of(b)] = true
	}
	for i := range head.Scenarios {
		if h := &head.Scenarios[i]; !matched[of(h)] {
			c.Apart = append(c.Apart, cellName(h)+": only head has it")
		}
	}
	return c
}

// loadOf says what must be equal for two cells to be compared.
func loadOf(s *result.Scenario) string {
	load := fmt.Sprintf("%d at once", s.InFlight)
	if s.OfferedRate > 0 {
		load = rate(s.OfferedRate) + "/s"
	}
	return clean(words(s.Driver, s.Executor, load))
}

func compareNotes(base, head *result.Doc) []string {
	notes := []string{"two single runs, made at different times: what changed on the machine between them is in every figure, and windows of one run are correlated. " +
		"The intervals draw neighbouring windows together, but know nothing of other runs: they are too narrow rather than too wide",
		"an interval needs 10 windows with enough calls on each side: 20 for p50, 200 for p95 and 1,000 for p99"}
	for _, side := range []struct {
		name string
		doc  *result.Doc
	}{{"base", base}, {"head", head}} {
		if !side.doc.Generator.Valid {
			notes = append(notes, side.name+": its load generator was too late or too busy: its figures cannot be believed")
		}
		if side.doc.Gate != nil && len(side.doc.Gate.Pairs) > 0 {
			notes = append(notes, side.name+" has the pairs of a gate: loadgen gate --base FILE --head FILE judges pairs again")
		}
	}
	if a, b := hostLine(base.Run.Host), hostLine(head.Run.Host); a != b {
		notes = append(notes, clean("measured on different machines: base on "+a+", head on "+b))
	}
	if a, b := base.Run.Target.Kind+base.Run.Target.Faults, head.Run.Target.Kind+head.Run.Target.Faults; a != b {
		notes = append(notes, clean("measured against different targets: "+base.Run.Target.Kind+" "+base.Run.Target.Faults+" and "+head.Run.Target.Kind+" "+head.Run.Target.Faults))
	}
	return append(notes, "to find out whether head is slower, measure both in turn: loadgen gate --base PROGRAM --head PROGRAM, or --base-ref REVISION")
}

// compareCells compares the figures that both have.
func compareCells(b, h *result.Scenario) []Compared {
	cell := cellName(b)
	var out []Compared
	for _, q := range comparedPercentiles {
		x, y := q.of(latency(b)), q.of(latency(h))
		if x == nil || y == nil {
			continue
		}
		f := Compared{Cell: cell, Figure: q.name, Base: nanos(x), Head: nanos(y), Ratio: float64(*y) / float64(*x), MoreIsBad: true, Low: math.NaN(), High: math.NaN()}
		f.overWindows(windowsOf(b, q.window, q.calls), windowsOf(h, q.window, q.calls))
		out = append(out, f)
	}
	plain := func(name string, x, y *float64, moreIsBad bool, write func(float64) string) {
		if x != nil && y != nil {
			out = append(out, Compared{Cell: cell, Figure: name, Base: write(*x), Head: write(*y), Ratio: *y / *x, Low: math.NaN(), High: math.NaN(),
				MoreIsBad: moreIsBad})
		}
	}
	if b.OfferedRate == 0 {
		plain("rate", &b.AchievedRate, &h.AchievedRate, false, func(v float64) string { return rate(v) + "/s" })
	}
	plain("CPU/op", used(b).CPUSPerOp, used(h).CPUSPerOp, true, func(v float64) string { return Duration(time.Duration(v * float64(time.Second))) })
	plain("RSS peak", asFloat(used(b).RSSPeakBytes), asFloat(used(h).RSSPeakBytes), true, Size[float64])
	plain("errors", failedShare(b), failedShare(h), true, func(v float64) string { return significant(100*v) + " %" })
	return out
}

var comparedPercentiles = []struct {
	name   string
	of     func(d *result.Distribution) *int64
	window func(w *result.Window) int64
	calls  int64 // that a window must have
}{
	{"p50", func(d *result.Distribution) *int64 { return d.P50 }, func(w *result.Window) int64 { return w.P50 }, 20},
	{"p95", func(d *result.Distribution) *int64 { return d.P95 }, func(w *result.Window) int64 { return w.P95 }, 200},
	{"p99", func(d *result.Distribution) *int64 { return d.P99 }, func(w *result.Window) int64 { return w.P99 }, 1000},
}

// windowsOf gives the percentile of each window with enough calls.
func windowsOf(s *result.Scenario, of func(w *result.Window) int64, calls int64) []float64 {
	var out []float64
	for i := range s.Windows {
		if w := &s.Windows[i]; w.Requests-w.Errors >= calls && of(w) > 0 {
			out = append(out, float64(of(w)))
		}
	}
	return out
}

func (c *Compared) overWindows(base, head []float64) {
	low, high, ok := stats.BlockRatio(base, head, 0.95, 1)
	if c.Windows = fmt.Sprintf("%d, %d", len(base), len(head)); ok {
		c.Low, c.High = low, high
	}
}

func asFloat(v *int64) *float64 {
	if v == nil {
		return nil
	}
	f := float64(*v)
	return &f
}

func failedShare(s *result.Scenario) *float64 {
	if s.Requests == 0 {
		return nil
	}
	v := float64(s.ErrorCount()) / float64(s.Requests)
	return &v
}

func (c *Compared) row() []string {
	ratio, interval := none, none
	if !math.IsNaN(c.Ratio) && !math.IsInf(c.Ratio, 0) {
		ratio = fmt.Sprintf("×%.3f", c.Ratio)
	}
	if !math.IsNaN(c.Low) {
		interval = fmt.Sprintf("×%.3f to ×%.3f", c.Low, c.High)
	}
	return []string{c.Cell, c.Figure, c.Base, c.Head, ratio, interval, c.Windows}
}

// CompareText writes a comparison for a terminal of so many columns, at least 80.
func CompareText(w io.Writer, c *Comparison, columns int) error {
	var page bytes.Buffer
	t := text{bufio.NewWriter(&page), max(columns, 80)}
	tab := table{columns: []column{{head: "Compared", name: true}, {text: true}, {head: "base"}, {head: "head"}, {head: "ratio"}, {head: "95 % interval"}, {head: "windows", spare: 1}}}
	for i := range c.Figures {
		tab.add(c.Figures[i].row()...)
	}
	if len(c.Figures) == 0 {
		fmt.Fprintln(t, "Nothing can be compared.")
	}
	tab.write(t, t.columns)
	for _, apart := range c.Apart {
		t.paragraph("  - ", apart)
	}
	for _, note := range c.Notes {
		t.paragraph("  ", note)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := w.Write(parted(page.Bytes()))
	return err
}

// CompareMarkdown writes a comparison in GitHub's dialect.
func CompareMarkdown(w io.Writer, c *Comparison) error {
	b := bufio.NewWriter(w)
	fmt.Fprintln(b, "## Two runs compared")
	t := mdTable{head: []string{"Cell", "Figure", "Base", "Head", "Ratio", "95 % interval", "Windows"}}
	for i := range c.Figures {
		t.add(c.Figures[i].row()...)
	}
	t.write(b, "Figures")
	mdList(b, c.Apart)
	mdList(b, c.Notes)
	return b.Flush()
}
