package gate

import (
	"fmt"
	"math"
	"slices"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen/stats"
	"github.com/openaccess-mcp/openaccess-mcp/reports/result"
)

// judge decides look k, counted from 0.
func (j *Judge) judge(k int) {
	l := look{opts: j.opts, k: k, n: j.opts.Looks[k], level: level(j.opts, k)}
	l.flips = stats.NewFlips(l.n, j.opts.Flips, j.opts.Seed)
	for _, c := range j.columns.all {
		l.cells = append(l.cells, l.measure(c))
	}
	l.test()
	g := result.Gate{Look: k + 1, Spent: spent(j.opts, k), Used: l.n}
	for i := range l.cells {
		l.cells[i].decide(&l)
		g.Cells = append(g.Cells, l.cells[i].out)
	}
	g.Control = j.controlArm(l.level)
	g.Verdict, g.Why = conclude(&g)
	g.Warnings = warnings(&g)
	j.last, j.judged = g, k+1
	j.done = k+1 == len(j.opts.Looks) || g.Verdict != result.GateInconclusive
}

// look is one decision in the making.
type look struct {
	opts  Options
	k, n  int
	level float64
	flips *stats.Flips
	cells []cell
	// critical is what the largest statistic exceeds by chance at the level, infinite where nothing could be tested.
	critical float64
}

// cell is one cell of a look.
type cell struct {
	*column
	bounds
	out    result.GateCell
	known  []float64
	shift  stats.Shift // of the differences
	spread float64     // how far the end of an interval of 1 − 2·Alpha is from the estimate
	sum    counted     // errors only
	fisher float64     // errors only: chance of as many more failures of head, times the cells of errors
	better float64     // errors only: of base
	tested bool
}

// measure describes a cell by the pairs of the look.
func (l *look) measure(c *column) cell {
	out := cell{column: c, bounds: boundsOf(l.opts, c.cell), known: c.known(l.n)}
	out.out = result.GateCell{Cell: c.cell, Verdict: result.GateInconclusive, Pairs: len(out.known), Level: l.level,
		MinEffect: out.effect, Margin: out.margin, SD: number(deviation(out.known))}
	out.tested = len(out.known) >= l.opts.Looks[0]
	if len(out.known) == 0 {
		return out
	}
	if c.cell.Measure == result.MeasureErrors {
		out.measureErrors(l)
		return out
	}
	out.out.Base, out.out.Head = number(median(c.base[:l.n])), number(median(c.head[:l.n]))
	out.shift = stats.HodgesLehmann(out.known, l.opts.Tail)
	wide := stats.HodgesLehmann(out.known, l.opts.Alpha)
	out.spread = wide.High - wide.Estimate
	low, high := out.shift.Low, out.shift.High
	if worse(c.cell) < 0 {
		low, high = -high, -low
	}
	out.out.Estimate = number(math.Expm1(worse(c.cell) * out.shift.Estimate))
	if out.out.Confidence = out.shift.Confidence; out.shift.Confidence > 0 {
		out.out.Low, out.out.High = number(math.Expm1(low)), number(math.Expm1(high))
	}
	return out
}

func (c *cell) measureErrors(l *look) {
	c.sum = c.totals(l.n)
	b, h := c.sum.base, c.sum.head
	c.out.Base, c.out.Head = number(share(b)), number(share(h))
	estimate, low, high := stats.ShareDifference(h.Failed, h.Total, b.Failed, b.Total, l.opts.Tail)
	c.shift = stats.Shift{Estimate: estimate, Low: low, High: high, Confidence: 1 - 2*l.opts.Tail}
	c.spread = high - estimate
	c.out.Estimate, c.out.Low, c.out.High, c.out.Confidence = number(estimate), number(low), number(high), c.shift.Confidence
	c.fisher = stats.FisherExact(h.Failed, h.Total, b.Failed, b.Total)
	c.better = stats.FisherExact(b.Failed, b.Total, h.Failed, h.Total)
}

// test finds the adjusted p-values of all cells that have enough pairs.
func (l *look) test() {
	l.critical = math.Inf(1)
	var terms [][]float64
	var at []int
	errorCells := 0.0
	for i := range l.cells {
		c := &l.cells[i]
		if !c.tested {
			continue
		}
		terms, at = append(terms, c.terms(l.n, c.effectDiff)), append(at, i)
		if c.cell.Measure == result.MeasureErrors {
			errorCells++
		}
	}
	if len(terms) == 0 {
		return
	}
	steps := l.flips.StepDown(terms, l.level)
	l.critical = steps.Critical
	for m, i := range at {
		c := &l.cells[i]
		p, better := steps.Greater[m], steps.Less[m]
		if c.cell.Measure == result.MeasureErrors {
			p, better = max(p, min(1, c.fisher*errorCells)), max(better, min(1, c.better*errorCells))
		}
		c.out.P, c.out.PBetter = number(p), number(better)
	}
}

// decide settles the cell's verdict.
func (c *cell) decide(l *look) {
	o := &c.out
	if !c.tested {
		o.Why = fmt.Sprintf("%d pairs have enough samples on both sides, %d are needed", o.Pairs, l.opts.Looks[0])
		return
	}
	c.detectable(l)
	switch {
	case *o.P <= l.level && c.shift.Estimate >= c.effectDiff:
		o.Verdict = result.GateRegressed
	case *o.PBetter <= l.level && c.shift.Estimate <= -c.effectDiff:
		o.Verdict = result.GateImproved
	case c.equivalent(l):
		o.Verdict = result.GateEquivalent
	default:
		c.inconclusive(l)
		return
	}
	o.PairsNeeded = nil
}

// equivalent reports whether the interval rules the margin out: with the p-value that "no worse than that" needs, one of the two one-sided tests of
// D. J. Schuirmann, Journal of Pharmacokinetics and Biopharmaceutics 15 (1987). One of 1 − 2·Alpha has to be narrow enough to do so for no
// change at all: where a machine cannot resolve the margin, luck is no evidence. An estimate as large as a regression's is measured on, even within the margin,
// while there are pairs to come, and for p99, whose margin is wide, it is never equivalence. Where no call of head failed, it cannot have got worse.
func (c *cell) equivalent(l *look) bool {
	s := c.shift
	if c.cell.Measure == result.MeasureErrors && c.sum.head.Failed == 0 {
		return true
	}
	small := s.Estimate < c.effectDiff || l.k+1 == len(l.opts.Looks) && c.cell.Measure != result.MeasureP99
	return small && s.Confidence > 0 && s.High < c.marginAt && c.spread < c.marginAt
}

// conclude gives the verdict of all cells, and why.
func conclude(g *result.Gate) (result.GateVerdict, []string) {
	named := map[result.GateVerdict][]string{}
	for i := range g.Cells {
		if c := &g.Cells[i]; !holdsNothingUp(c) {
			named[c.Verdict] = append(named[c.Verdict], sentence(c))
		}
	}
	switch {
	case g.Control != nil && !g.Control.Fit:
		return result.GateInconclusive, slices.Clone(g.Control.Why)
	case len(g.Cells) == 0:
		return result.GateInconclusive, []string{"nothing was measured"}
	}
	for _, v := range []result.GateVerdict{result.GateRegressed, result.GateInconclusive, result.GateImproved} {
		if len(named[v]) > 0 {
			return v, named[v]
		}
	}
	if len(named) == 0 {
		return result.GateInconclusive, []string{"nothing but throughput was measured, and that cannot be told"}
	}
	return result.GateEquivalent, []string{fmt.Sprintf("%d cells are within their margins", len(named[result.GateEquivalent]))}
}

// holdsNothingUp reports whether a cell that is inconclusive leaves the verdict to the others. Throughput at saturation does: it may regress, and so fail
// a gate, but a loaded machine's throughput varies so much from slice to slice that few machines could ever rule its margin out. One that too few
// pairs have is missing evidence like any other.
func holdsNothingUp(c *result.GateCell) bool {
	return c.Measure == result.MeasureSaturation && c.Verdict == result.GateInconclusive && c.P != nil
}

// sentence says what was found of a cell.
func sentence(c *result.GateCell) string {
	s := c.String() + ": "
	if c.Estimate != nil {
		s += change(c, *c.Estimate)
		if c.Low != nil && c.High != nil {
			s += fmt.Sprintf(" (%s to %s)", change(c, *c.Low), change(c, *c.High))
		}
	}
	switch {
	case c.Verdict != result.GateInconclusive:
		return s
	case c.Estimate != nil && c.Why != "":
		s += ", "
	}
	return s + c.Why
}

// change writes a relative change, or for errors a difference in percentage points.
func change(c *result.GateCell, v float64) string {
	if c.Measure == result.MeasureErrors {
		return fmt.Sprintf("%+.2f points", 100*v)
	}
	return fmt.Sprintf("%+.1f %%", 100*v)
}

// size is a change without its sign.
func size(c *result.GateCell, v float64) string { return change(c, v)[1:] }

// number is nil where a figure is none.
func number(v float64) *float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return nil
	}
	return &v
}
