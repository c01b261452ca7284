package reports

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/reports/result"
)

// gateRow is what a gate says of one cell.
type gateRow struct{ Scenario, Measure, Verdict, Base, Head, Change, Interval, P, Detectable, More, Pairs, Why string }

// gateVerdicts are all of them: what calls for action first.
var gateVerdicts = []result.GateVerdict{result.GateRegressed, result.GateInconclusive, result.GateImproved, result.GateEquivalent}

// gateCells lists the cells: what regressed first, then what is undecided, then the rest. A verdict that is not known comes before all.
func gateCells(g *result.Gate) []*result.GateCell {
	cells := make([]*result.GateCell, len(g.Cells))
	for i := range g.Cells {
		cells[i] = &g.Cells[i]
	}
	slices.SortStableFunc(cells, func(a, b *result.GateCell) int {
		return slices.Index(gateVerdicts, a.Verdict) - slices.Index(gateVerdicts, b.Verdict)
	})
	return cells
}

// gateRows is gateCells in words.
func gateRows(g *result.Gate) []gateRow {
	rows := make([]gateRow, len(g.Cells))
	for i, c := range gateCells(g) {
		rows[i] = newGateRow(c)
	}
	return rows
}

func newGateRow(c *result.GateCell) gateRow {
	figure := func(v *float64) string { return written(v, func(v float64) string { return gateFigure(c.Measure, v) }) }
	change := func(v *float64) string { return written(v, func(v float64) string { return gateChange(c.Measure, v) }) }
	r := gateRow{
		Scenario: clean(c.Scenario), Measure: clean(c.Measure), Verdict: clean(string(c.Verdict)), Base: figure(c.Base), Head: figure(c.Head),
		Change: change(c.Estimate), Interval: none, P: written(c.P, func(v float64) string { return fmt.Sprintf("%.2g", v) }),
		Detectable: strings.TrimPrefix(change(c.Detectable), "+"), More: none, Pairs: fmt.Sprint(c.Pairs), Why: clean(c.Why),
	}
	if c.Low != nil && c.High != nil {
		r.Interval = change(c.Low) + " to " + change(c.High)
	}
	if c.PairsNeeded != nil {
		r.More = fmt.Sprint(*c.PairsNeeded)
	}
	return r
}

// gateFigure writes a figure in the unit of its measure.
func gateFigure(measure string, v float64) string {
	switch measure {
	case result.MeasureP50, result.MeasureP90, result.MeasureP99:
		return Duration(time.Duration(v))
	case result.MeasureCPU:
		return Duration(time.Duration(v * float64(time.Second)))
	case result.MeasureRSS:
		return Size(v)
	case result.MeasureSaturation:
		return rate(v) + "/s"
	case result.MeasureErrors:
		return significant(100*v) + " %"
	}
	return significant(v)
}

// gateChange writes a relative change, of errors one in percentage points.
func gateChange(measure string, v float64) string {
	if measure == result.MeasureErrors {
		return fmt.Sprintf("%+.2f pt", 100*v)
	}
	return fmt.Sprintf("%+.1f %%", 100*v)
}

// gateFacts say in sentences what the gate rests on.
func gateFacts(g *result.Gate) []string {
	look := "before the first look"
	if g.Look > 0 {
		look = fmt.Sprintf("look %d", g.Look)
	}
	facts := []string{fmt.Sprintf("%s used of %d measured, %s, family-wise false-alarm rate %g of which %.2g is spent",
		count(g.Used, "pair"), g.Measured, look, g.Options.Alpha, g.Spent)}
	if g.Excluded > 0 {
		facts[0] += fmt.Sprintf(", %d left out", g.Excluded)
	}
	if c := g.Control; c != nil {
		fit := "the machine is fit"
		if !c.Fit {
			fit = "the machine is not fit for a gate"
		}
		facts = append(facts, fmt.Sprintf("control, the same program on both sides: p50 %s, %.1f %% from pair to pair (standard deviation): %s",
			gateChange(result.MeasureP50, c.Estimate), 100*c.SD, fit))
	}
	for _, c := range gateCells(g) {
		if g.Verdict == result.GateRegressed && c.Verdict == result.GateInconclusive && c.Why != "" { // else it stands in the verdict
			facts = append(facts, clean(c.String()+": "+c.Why))
		}
	}
	for _, w := range g.Warnings {
		facts = append(facts, clean(w))
	}
	return facts
}

// passed says why a gate passed, nothing for any other document: why it did not stands among what failed.
func passed(d *result.Doc) []string {
	if d.Gate == nil || !d.Gate.OK() || !d.Verdict.OK {
		return nil
	}
	var why []string
	for _, s := range d.Gate.Why {
		why = append(why, clean(s))
	}
	return why
}
