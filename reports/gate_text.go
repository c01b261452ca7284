package reports

import "github.com/openaccess-mcp/openaccess-mcp/reports/result"

// gate writes what a gate says of each cell. It writes nothing without one.
func (t text) gate(g *result.Gate) {
	if g == nil {
		return
	}
	tab := table{columns: append(named("Gate", "measure"), column{text: true}, column{head: "base"}, column{head: "head"}, column{head: "change"},
		column{head: "interval"}, column{head: "p", spare: 3}, column{head: "detectable", spare: 1}, column{head: "more pairs", optional: true, spare: 2})}
	for _, r := range gateRows(g) {
		tab.add(r.Scenario, r.Measure, r.Verdict, r.Base, r.Head, r.Change, r.Interval, r.P, r.Detectable, r.More)
	}
	tab.write(t, t.columns)
	for _, line := range gateFacts(g) {
		t.paragraph("  ", line)
	}
}
