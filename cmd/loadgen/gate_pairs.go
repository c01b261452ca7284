package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
	"github.com/openaccess-mcp/openaccess-mcp/reports/result"
)

// gateColumns says which percentiles of which workload are judged: those for which every slice has samples enough.
type gateColumns struct{ workloads []loadgen.Workload }

// gateQuantiles are the percentiles that can be judged.
var gateQuantiles = []struct {
	measure string
	q       float64
}{{result.MeasureP50, 0.5}, {result.MeasureP90, 0.9}, {result.MeasureP99, 0.99}}

// judges reports whether slices of a workload are planned to have the samples for a percentile. A slice that then lacks them is missing evidence; a
// percentile that no slice can have is none that the gate is asked about.
func judges(w *loadgen.Workload, q float64) bool {
	return w.Expected() >= loadgen.JudgedSamples(q)
}

// figures converts one side of a pair.
func (c *gateColumns) figures(slices []loadgen.Slice) result.Slice {
	var out result.Slice
	for i := range slices {
		w, s := &c.workloads[i], &slices[i]
		name := w.Plan.Name
		out.Figures = append(out.Figures, latencies(w, s)...)
		out.Figures = append(out.Figures, resourcesOf(name, s)...)
		if s.Saturation > 0 {
			out.Figures = append(out.Figures, result.Figure{Scenario: name, Measure: result.MeasureSaturation, Value: s.Saturation, N: max(1, int64(s.Saturation*w.Burst.Seconds()))})
		}
		out.Errors = append(out.Errors, result.ErrorCount{Scenario: name, Failed: s.Errors, Total: s.Requests})
	}
	return out
}

// latencies are the percentiles of the steps that are judged, each step under a name of its own where there are several.
func latencies(w *loadgen.Workload, s *loadgen.Slice) (out []result.Figure) {
	for i := range s.Steps {
		step := &s.Steps[i]
		name := w.Plan.Name
		if len(s.Steps) > 1 {
			name += "." + step.Step
		}
		for _, m := range gateQuantiles {
			if v := step.Percentile(m.q); v > 0 && judges(w, m.q) {
				out = append(out, result.Figure{Scenario: name, Measure: m.measure, Value: float64(v), N: step.Latency.Count()})
			}
		}
	}
	return out
}

func resourcesOf(name string, s *loadgen.Slice) (out []result.Figure) {
	if s.CPUPerOp > 0 {
		out = append(out, result.Figure{Scenario: name, Measure: result.MeasureCPU, Value: s.CPUPerOp, N: s.Requests})
	}
	if s.RSS > 0 {
		out = append(out, result.Figure{Scenario: name, Measure: result.MeasureRSS, Value: float64(s.RSS), N: 1})
	}
	return out
}

// pair converts a pair as measured.
func (c *gateColumns) pair(p *loadgen.Pair) result.Pair {
	out := result.Pair{Index: p.Index + 1, HeadFirst: p.HeadFirst, Base: c.figures(p.Base), Head: c.figures(p.Head)}
	if p.HasControlArm {
		load := controlLoad()
		out.Control = &result.Control{Base: latencies(&load, &p.Control[0]), Head: latencies(&load, &p.Control[1])}
	}
	return out
}

// unjudged says which percentiles slices are too short for, and how long they would have to be.
func (c *gateColumns) unjudged() (out []string) {
	for i := range c.workloads {
		w := &c.workloads[i]
		for _, m := range gateQuantiles {
			if !judges(w, m.q) {
				need := time.Duration(spareSamples * float64(loadgen.JudgedSamples(m.q)) / w.Rate * float64(time.Second)).Round(100 * time.Millisecond)
				out = append(out, fmt.Sprintf("%s %s is not judged: slices of %v have too few calls for it, --slice %v would have enough", w.Plan.Name, m.measure, w.Slice, need))
			}
		}
	}
	return out
}

// lateness counts slices in which the generator was not to be believed, and keeps the last reason.
type lateness struct {
	slices, late int
	why          string
}

// warning is "" where it was rare. Late calls count in the latency of both sides alike, so they add noise and decide nothing by themselves.
func (l *lateness) warning() string {
	if l.late*10 <= l.slices {
		return ""
	}
	return fmt.Sprintf("the generator itself was late in %d of %d slices (%s): the machine has too little to spare for this load", l.late, l.slices, l.why)
}

func (l *lateness) add(p *loadgen.Pair) {
	for _, s := range slices.Concat(p.Base, p.Head) {
		l.slices++
		if s.Late != "" {
			l.late++
			l.why = s.Late
		}
	}
}
