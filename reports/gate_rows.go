package reports

import (
	"fmt"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/reports/result"
)

// gateRow is what a gate says of one cell.
type gateRow struct{ Scenario, Measure, Verdict, Base, Head, Change, Interval, P, Detectable, More string }

// gateRows lists the cells: what regressed first, then what is undecided, then the rest.
func gateRows(g *result.Gate) []gateRow {
	var rows []gateRow
	for _, verdict := range []result.GateVerdict{result.GateRegressed, result.GateInconclusive, result.GateImproved, result.GateEquivalent} {
		for i := range g.Cells {
			if c := &g.Cells[i]; c.Verdict == verdict {
				rows = append(rows, newGateRow(c))
			}
		}
	}
	return rows
}

func newGateRow(c *result.GateCell) gateRow {
	figure := func(v *float64) string { return written(v, func(v float64) string { return gateFigure(c.Measure, v) }) }
	change := func(v *float64) string { return written(v, func(v float64) string { return gateChange(c.Measure, v) }) }
	r := gateRow{
		Scenario: clean(c.Scenario), Measure: clean(c.Measure), Verdict: clean(string(c.Verdict)), Base: figure(c.Base), Head: figure(c.Head),
		Change: change(c.Estimate), Interval: none, P: written(c.P, func(v float64) string { return fmt.Sprintf("%.2g", v) }),
		Detectable: change(c.Detectable), More: none,
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
	facts := []string{fmt.Sprintf("%s used of %d measured, look %d, family-wise false-alarm rate %g of which %.2g is spent",
		count(g.Used, "pair"), g.Measured, g.Look, g.Options.Alpha, g.Spent)}
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
	for _, w := range g.Warnings {
		facts = append(facts, clean(w))
	}
	return facts
}
