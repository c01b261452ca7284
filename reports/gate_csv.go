package reports

import (
	"strconv"

	"github.com/openaccess-mcp/openaccess-mcp/reports/result"
)

// gateUnits are the units of a gate's figures in the result file.
var gateUnits = map[string]string{
	result.MeasureP50: "ns", result.MeasureP90: "ns", result.MeasureP99: "ns", result.MeasureCPU: "s", result.MeasureRSS: "bytes",
	result.MeasureSaturation: "ops/s", result.MeasureErrors: "share",
}

// gateColumns are the names of a gate's columns and how the values of a cell are written. Changes are shares.
func gateColumns(run string) []struct {
	name  string
	value func(c *result.GateCell) string
} {
	known := func(v *float64) string {
		if v == nil {
			return ""
		}
		return number(*v)
	}
	return []struct {
		name  string
		value func(c *result.GateCell) string
	}{
		{"run", func(*result.GateCell) string { return inert(run) }},
		{"scenario", func(c *result.GateCell) string { return inert(c.Scenario) }},
		{"measure", func(c *result.GateCell) string { return inert(c.Measure) }},
		{"verdict", func(c *result.GateCell) string { return inert(string(c.Verdict)) }},
		{"unit", func(c *result.GateCell) string { return gateUnits[c.Measure] }},
		{"base", func(c *result.GateCell) string { return known(c.Base) }},
		{"head", func(c *result.GateCell) string { return known(c.Head) }},
		{"change", func(c *result.GateCell) string { return known(c.Estimate) }},
		{"change_low", func(c *result.GateCell) string { return known(c.Low) }},
		{"change_high", func(c *result.GateCell) string { return known(c.High) }},
		{"confidence", func(c *result.GateCell) string { return number(c.Confidence) }},
		{"p", func(c *result.GateCell) string { return known(c.P) }},
		{"p_better", func(c *result.GateCell) string { return known(c.PBetter) }},
		{"level", func(c *result.GateCell) string { return number(c.Level) }},
		{"pair_sd", func(c *result.GateCell) string { return known(c.SD) }},
		{"min_effect", func(c *result.GateCell) string { return number(c.MinEffect) }},
		{"margin", func(c *result.GateCell) string { return number(c.Margin) }},
		{"detectable", func(c *result.GateCell) string { return known(c.Detectable) }},
		{"pairs", func(c *result.GateCell) string { return strconv.Itoa(c.Pairs) }},
		{"pairs_needed", func(c *result.GateCell) string {
			if c.PairsNeeded == nil {
				return ""
			}
			return strconv.Itoa(*c.PairsNeeded)
		}},
		{"why", func(c *result.GateCell) string { return inert(c.Why) }},
	}
}

// csvTable is one whose rows may come from several tables: a column that a row does not have is empty.
type csvTable struct {
	head []string
	rows []map[string]string
}

func (t *csvTable) column(name string) {
	for _, h := range t.head {
		if h == name {
			return
		}
	}
	t.head = append(t.head, name)
}

// gate adds a row for each cell of a gate, what calls for action first.
func (t *csvTable) gate(d *result.Doc) {
	columns := gateColumns(d.Run.ID)
	for _, c := range columns {
		t.column(c.name)
	}
	for _, cell := range gateCells(d.Gate) {
		row := map[string]string{}
		for _, c := range columns {
			row[c.name] = c.value(cell)
		}
		t.rows = append(t.rows, row)
	}
}

// scenarios adds a row for each cell of a run.
func (t *csvTable) scenarios(d *result.Doc) {
	columns := csvColumns(d)
	for _, c := range columns {
		t.column(c.name)
	}
	for i := range d.Scenarios {
		row := map[string]string{}
		for _, c := range columns {
			row[c.name] = c.value(&d.Scenarios[i])
		}
		t.rows = append(t.rows, row)
	}
}
