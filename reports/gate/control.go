package gate

import (
	"fmt"
	"math"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen/stats"
	"github.com/openaccess-mcp/openaccess-mcp/reports/result"
)

// controlDiff is the log ratio of the control's p50, not a number without one.
func controlDiff(c *result.Control) float64 {
	if c == nil {
		return math.NaN()
	}
	return math.Log(controlP50(c.Head) / controlP50(c.Base))
}

func controlP50(figures []result.Figure) float64 {
	for _, f := range figures {
		if c := f.Cell(); c.Measure == result.MeasureP50 && f.N >= c.MinSamples() {
			return f.Value
		}
	}
	return math.NaN()
}

// maxExcluded is the share of pairs that may be excluded before the machine is unfit.
const maxExcluded = 1.0 / 3

// controlArm says what the control found in all pairs so far. The machine is unfit when the same program differs from itself beyond chance and by a
// change that would count, or when too many pairs were excluded.
func (j *Judge) controlArm(level float64) *result.GateControl {
	excluded := len(j.pairs) - j.columns.pairs
	n := len(j.control)
	if n == 0 && excluded == 0 {
		return nil
	}
	g := &result.GateControl{Pairs: n, P: 1, Fit: true, Why: []string{}}
	unfit := func(format string, args ...any) { g.Fit, g.Why = false, append(g.Why, fmt.Sprintf(format, args...)) }
	if float64(excluded) > maxExcluded*float64(len(j.pairs)) {
		unfit("%d of %d pairs could not be used: the machine is unfit for a comparison", excluded, len(j.pairs))
	}
	if n < 2 {
		return g
	}
	diffs := j.control[:min(n, maxPairs)]
	shift := stats.HodgesLehmann(diffs, j.opts.Alpha)
	steps := stats.NewFlips(len(diffs), j.opts.Flips, j.opts.Seed).StepDown([][]float64{diffs}, 0)
	g.SD, g.Estimate, g.P = deviation(diffs), math.Expm1(shift.Estimate), min(1, 2*min(steps.Greater[0], steps.Less[0]))
	if g.P <= level && math.Abs(shift.Estimate) >= math.Log1p(j.opts.MinEffect) {
		unfit("the same program differs from itself by %+.1f %% of p50 (p = %.2g): the machine or the procedure is biased", 100*g.Estimate, g.P)
	}
	return g
}

// warnings are what a reader should know though it decides nothing.
func warnings(g *result.Gate) []string {
	var out []string
	if c := g.Control; c != nil && c.Pairs >= 2 {
		if wide := 1.645 * c.SD / math.Sqrt(float64(c.Pairs)); wide > math.Log1p(g.Options.Margin) {
			out = append(out, fmt.Sprintf("the machine is noisy: the same program differs from itself by %.1f %% from slice to slice (standard deviation of p50)", 100*c.SD))
		}
	}
	for i := range g.Cells {
		c := &g.Cells[i]
		if c.Pairs < g.Used {
			out = append(out, fmt.Sprintf("%s: %d of %d pairs lack samples", c.Cell, g.Used-c.Pairs, g.Used))
		}
		if holdsNothingUp(c) && g.Verdict != result.GateInconclusive {
			out = append(out, "not part of the verdict, since it cannot be told: "+sentence(c))
		}
	}
	return out
}
