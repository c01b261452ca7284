package reports

import (
	"cmp"
	"fmt"
	"html/template"
	"math"
	"strings"

	"github.com/openaccess-mcp/openaccess-mcp/reports/chart"
	"github.com/openaccess-mcp/openaccess-mcp/reports/result"
)

// pageGate is what the page shows of a gate.
type pageGate struct {
	Rows    []gateRow
	Facts   []string
	Section section
	LeftOut string
}

// newPageGate gives nil without a gate.
func newPageGate(g *result.Gate) *pageGate {
	if g == nil {
		return nil
	}
	p := &pageGate{Rows: gateRows(g), Facts: gateFacts(g)}
	var all []chart.Effect
	for i := range g.Cells {
		all = append(all, effect(&g.Cells[i]))
	}
	low, high := chart.Reach(all)
	for i, cells := range byScenario(g) {
		if i >= maxCharts {
			p.LeftOut = "More charts are left out; the table has all figures."
			break
		}
		p.Section.Figures = append(p.Section.Figures, forest(fmt.Sprintf("gate-%d", i+1), cells, low, high))
	}
	return p
}

// byScenario groups the cells that have an estimate, in the order of the gate.
func byScenario(g *result.Gate) [][]*result.GateCell {
	var groups [][]*result.GateCell
	at := map[string]int{}
	for i := range g.Cells {
		c := &g.Cells[i]
		if c.Estimate == nil {
			continue
		}
		k, ok := at[c.Scenario]
		if !ok {
			k = len(groups)
			at[c.Scenario], groups = k, append(groups, nil)
		}
		groups[k] = append(groups[k], c)
	}
	return groups
}

// worsening turns a change round for what is better when it is higher: a throughput that falls by 1/1.05 is as bad as a latency that rises by 5 %.
func worsening(measure string, change *float64) float64 {
	switch {
	case change == nil:
		return math.NaN()
	case measure == result.MeasureSaturation:
		return 1/max(1+*change, 1e-3) - 1
	}
	return *change
}

func effect(c *result.GateCell) chart.Effect {
	e := chart.Effect{
		Name: Fit(c.Measure, 24), At: worsening(c.Measure, c.Estimate), Low: worsening(c.Measure, c.Low), High: worsening(c.Measure, c.High), Margin: c.Margin,
		Ink: chart.InkAcceptable,
	}
	if e.Low > e.High {
		e.Low, e.High = e.High, e.Low
	}
	switch c.Verdict {
	case result.GateRegressed:
		e.Ink = chart.InkError
	case result.GateImproved, result.GateEquivalent:
		e.Ink = chart.InkTarget
	}
	e.Said = newGateRow(c).Change + ", " + Fit(string(c.Verdict), 14)
	return e
}

// forest draws the cells of one scenario.
func forest(id string, cells []*result.GateCell, low, high float64) figure {
	f := figure{
		ID: id, Caption: cmp.Or(clean(cells[0].Scenario), none), Head: []string{"measure", "verdict", "change", "interval", "p"},
		Keys: []key{{template.HTML(chart.LineKey("")), "no change; right of it is worse"}, {template.HTML(chart.LimitKey(chart.InkAcceptable)), "margin"},
			{template.HTML(chart.LimitKey(chart.InkError)), "regressed"}, {template.HTML(chart.LimitKey(chart.InkTarget)), "passed"}},
	}
	var effects []chart.Effect
	var said []string
	for _, c := range cells {
		r := newGateRow(c)
		effects = append(effects, effect(c))
		f.Rows = append(f.Rows, []string{r.Measure, r.Verdict, r.Change, r.Interval, r.P})
		said = append(said, fmt.Sprintf("%s %s: %s (%s)", r.Measure, r.Verdict, r.Change, r.Interval))
	}
	f.Chart = template.HTML(chart.Forest(chart.Words{ID: id, Title: "Changes of " + f.Caption, Desc: strings.Join(said, "; ") + "."}, effects, low, high))
	return f
}
