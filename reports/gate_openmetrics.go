package reports

import "github.com/openaccess-mcp/openaccess-mcp/reports/result"

// gate writes what a gate says, of each cell under its scenario and measure. It writes nothing without one.
func (m *exposition) gate(g *result.Gate) {
	if g == nil {
		return
	}
	verdicts := func(name, labelled string, of result.GateVerdict) {
		for _, v := range gateVerdicts {
			m.sample(name, join(labelled, labels(name, string(v))), float64(boolInt(of == v)))
		}
	}
	m.family("loadgen_gate", "stateset", "", "verdict of the gate")
	verdicts("loadgen_gate", "", g.Verdict)
	m.family("loadgen_gate_pairs", "gauge", "", "pairs of slices, used and left out")
	m.sample("loadgen_gate_pairs", labels("state", "used"), float64(g.Used))
	m.sample("loadgen_gate_pairs", labels("state", "excluded"), float64(g.Excluded))
	if c := g.Control; c != nil {
		m.gauge("loadgen_gate_machine_fit", "", "1 when the control arm finds the machine fit for a gate", float64(boolInt(c.Fit)))
		m.gauge("loadgen_gate_control_sd", "", "standard deviation of the log ratio of p50 of the same program on both sides", c.SD)
	}
	cells := m.gateCells(g)
	m.family("loadgen_gate_cell", "stateset", "", "verdict on a cell")
	for _, c := range cells {
		verdicts("loadgen_gate_cell", c.labels, c.Verdict)
	}
	for _, of := range gateGauges {
		m.family(of.name, "gauge", of.unit, of.help)
		for _, c := range cells {
			if v := of.value(c.GateCell); v != nil {
				m.sample(of.name, c.labels, *v)
			}
		}
	}
	m.figures(cells)
}

type openGateCell struct {
	*result.GateCell
	labels string
}

// gateCells labels the cells. Where two would have the same labels, which a sound file has not, the first one alone is written.
func (m *exposition) gateCells(g *result.Gate) []openGateCell {
	seen := map[string]bool{}
	var cells []openGateCell
	for _, c := range gateCells(g) {
		l := labels("scenario", c.Scenario, "measure", c.Measure)
		if !seen[l] {
			seen[l], cells = true, append(cells, openGateCell{c, l})
		}
	}
	return cells
}

var gateGauges = []struct {
	name, unit, help string
	value            func(c *result.GateCell) *float64
}{
	{"loadgen_gate_change_ratio", "ratio", "head/base - 1, of errors the difference of shares", func(c *result.GateCell) *float64 { return c.Estimate }},
	{"loadgen_gate_change_low_ratio", "ratio", "lower end of its interval", func(c *result.GateCell) *float64 { return c.Low }},
	{"loadgen_gate_change_high_ratio", "ratio", "upper end of its interval", func(c *result.GateCell) *float64 { return c.High }},
	{"loadgen_gate_detectable_ratio", "ratio", "worsening that nine gates in ten would find", func(c *result.GateCell) *float64 { return c.Detectable }},
	{"loadgen_gate_p", "", "adjusted p-value that the cell is no worse", func(c *result.GateCell) *float64 { return c.P }},
	{"loadgen_gate_pairs_needed", "", "more pairs that an inconclusive cell needs", func(c *result.GateCell) *float64 {
		if c.PairsNeeded == nil {
			return nil
		}
		v := float64(*c.PairsNeeded)
		return &v
	}},
}

// gateFamilies are the families of figures by measure: those of latency and CPU in seconds.
var gateFamilies = []struct {
	name, unit, help string
	measures         []string
	factor           float64
}{
	{"loadgen_gate_latency_seconds", "seconds", "median over the pairs of a percentile of the latency", []string{result.MeasureP50, result.MeasureP90, result.MeasureP99}, 1e-9},
	{"loadgen_gate_cpu_per_call_seconds", "seconds", "median over the pairs of the CPU time of the server for a call", []string{result.MeasureCPU}, 1},
	{"loadgen_gate_resident_memory_peak_bytes", "bytes", "median over the pairs of the most resident memory of the server", []string{result.MeasureRSS}, 1},
	{"loadgen_gate_saturation_rate", "", "median over the pairs of the calls a second that saturate the server", []string{result.MeasureSaturation}, 1},
	{"loadgen_gate_errors_ratio", "ratio", "share of all calls that failed", []string{result.MeasureErrors}, 1},
}

// figures writes what each side measured.
func (m *exposition) figures(cells []openGateCell) {
	for _, f := range gateFamilies {
		m.family(f.name, "gauge", f.unit, f.help)
		for _, measure := range f.measures {
			for _, c := range cells {
				if c.Measure != measure {
					continue
				}
				if c.Base != nil {
					m.sample(f.name, join(c.labels, labels("side", "base")), *c.Base*f.factor)
				}
				if c.Head != nil {
					m.sample(f.name, join(c.labels, labels("side", "head")), *c.Head*f.factor)
				}
			}
		}
	}
}
