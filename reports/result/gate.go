package result

import (
	"errors"
	"fmt"
	"math"
)

// The measures that a gate judges. Those of MeasureSaturation are better when they are higher, all others when they are lower.
const (
	MeasureP50        = "p50"        // latency of successes from the intended start, nanoseconds
	MeasureP90        = "p90"        // likewise
	MeasureP99        = "p99"        // likewise
	MeasureCPU        = "cpu_per_op" // the server's CPU time for an operation, seconds
	MeasureRSS        = "rss"        // the server's peak resident memory, bytes
	MeasureSaturation = "saturation" // throughput of a closed loop that saturates the server, operations per second
	MeasureErrors     = "errors"     // share of calls that failed; its figures are ErrorCounts
)

// Cell is one thing that a gate judges: a measure of a scenario.
type Cell struct {
	Scenario string `json:"scenario"`
	Measure  string `json:"measure"` // one of the Measure constants
}

// String is "scenario measure".
func (c Cell) String() string { return c.Scenario + " " + c.Measure }

// Quantile is the percentile that a latency measure is, such as 0.99, and 0 for every other measure.
func (c Cell) Quantile() float64 {
	switch c.Measure {
	case MeasureP50:
		return 0.5
	case MeasureP90:
		return 0.9
	case MeasureP99:
		return 0.99
	}
	return 0
}

// MinSamples is how many samples a slice needs for the measure: 10/(1−q) for the percentile q, 1 for any other.
func (c Cell) MinSamples() int64 {
	if q := c.Quantile(); q > 0 {
		return int64(math.Round(10 / (1 - q)))
	}
	return 1
}

// Figure is what a slice measured of a cell, in the unit of its measure. MeasureErrors has none: it is made of ErrorCounts. A figure that was not
// measured is left out of its slice, never 0.
type Figure struct {
	Scenario string  `json:"s"`
	Measure  string  `json:"m"`
	Value    float64 `json:"v"` // above 0, finite
	N        int64   `json:"n"` // samples behind it: successes for a percentile, operations for CPU and saturation, readings for memory
}

// Cell is what the figure is of.
func (f Figure) Cell() Cell { return Cell{f.Scenario, f.Measure} }

// ErrorCount counts the measured calls of a scenario in a slice.
type ErrorCount struct {
	Scenario string `json:"s"`
	Failed   int64  `json:"failed"`
	Total    int64  `json:"total"` // failed ones included
}

// Slice is what one side measured in a pair.
type Slice struct {
	Figures []Figure     `json:"figures"`
	Errors  []ErrorCount `json:"errors,omitempty"`
}

// Pair is one slice of each side, measured one right after the other. HeadFirst has to be drawn by a fair coin of its own for every pair, and not be
// balanced over pairs: the exactness of the test rests on that coin alone.
type Pair struct {
	Index     int      `json:"index"` // from 1, ascending
	HeadFirst bool     `json:"head_first,omitempty"`
	Base      Slice    `json:"base"`
	Head      Slice    `json:"head"`
	Control   *Control `json:"control,omitempty"`
	Excluded  string   `json:"excluded,omitempty"` // why the pair is not used; "" means that it is. Never decided by Base and Head
}

// Control is a pair of slices in which the same program, the no-op tool, stood on both sides.
type Control struct {
	Base []Figure `json:"base"`
	Head []Figure `json:"head"`
}

// GateVerdict is what a gate says of a cell, and of all of them.
type GateVerdict string

// The verdicts. Only GateImproved and GateEquivalent are a pass.
const (
	GateRegressed    GateVerdict = "regressed"    // worse, beyond chance and by at least the smallest effect that matters
	GateImproved     GateVerdict = "improved"     // better, likewise
	GateEquivalent   GateVerdict = "equivalent"   // no worse than the margin
	GateInconclusive GateVerdict = "inconclusive" // none of these can be said
)

// GateOptions is how a gate decides. A zero value means the default.
type GateOptions struct {
	Alpha         float64 `json:"alpha"`           // chance of any false "regressed" over all cells and looks; 0.005. The same again for "improved"
	Tail          float64 `json:"tail"`            // chance with which either end of an interval errs, and so that at one look a worsening of the margin looks like none; 0.05
	Looks         []int   `json:"looks"`           // pairs used when the gate may decide, ascending, at least 2 each; 10, 20, 40
	MinEffect     float64 `json:"min_effect"`      // smallest relative change that is a regression or an improvement, half as much again for p90; 0.02
	MinEffectTail float64 `json:"min_effect_tail"` // the same for p99; 0.05
	MinErrors     float64 `json:"min_errors"`      // the same for the share of calls that failed, as a difference; 0.001
	Margin        float64 `json:"margin"`          // relative change that must be ruled out for "equivalent", half as much again for p90; 0.05
	MarginTail    float64 `json:"margin_tail"`     // the same for p99; 0.15
	MarginErrors  float64 `json:"margin_errors"`   // the same for the share of calls that failed, as a difference; 0.01
	ControlLimit  float64 `json:"control_limit"`   // relative difference of a pair's control p50 from which on the pair is not used; 0.25
	Flips         int     `json:"flips"`           // sign flips tried at most; where all flips of the pairs are no more, the test is exact; 65,536
	Seed          uint64  `json:"seed"`            // of the flips, where they are drawn; 0 is a seed like any other
}

// Gate is a comparison of two servers by pairs of slices.
type Gate struct {
	Verdict  GateVerdict  `json:"verdict"`
	Why      []string     `json:"why"` // a sentence without its full stop for each thing that made the verdict
	Options  GateOptions  `json:"options"`
	Look     int          `json:"look"`               // that the verdict is of, from 1; 0 before the first
	Spent    float64      `json:"spent"`              // of Alpha, by this look
	Used     int          `json:"used"`               // pairs that the verdict is of
	Measured int          `json:"measured"`           // pairs, those not used included
	Excluded int          `json:"excluded,omitempty"` // pairs not used
	Cells    []GateCell   `json:"cells"`
	Control  *GateControl `json:"control,omitempty"` // nil without a control arm
	Warnings []string     `json:"warnings,omitempty"`
	Pairs    []Pair       `json:"pairs"` // all that were measured, so that the gate can be judged again
}

// GateCell is what a gate says of one cell. Changes are relative, head/base − 1, in the direction of the figure: +0.1 is 10 % more of it, which is
// worse for all measures but saturation. For MeasureErrors they are differences of the share that failed. What cannot be said is nil.
type GateCell struct {
	Cell
	Verdict     GateVerdict `json:"verdict"`
	Why         string      `json:"why,omitempty"` // of an inconclusive cell
	Pairs       int         `json:"pairs"`         // that have the figure on both sides
	Base        *float64    `json:"base"`          // median over the pairs, in the unit of the measure; for errors the share of all calls
	Head        *float64    `json:"head"`
	Estimate    *float64    `json:"estimate"`     // Hodges–Lehmann
	Low         *float64    `json:"low"`          // of the interval of confidence 1 − 2·Tail, or what is nearest above it
	High        *float64    `json:"high"`         // likewise
	Confidence  float64     `json:"confidence"`   // really reached by Low and High together; 0 without them
	P           *float64    `json:"p"`            // that the cell is no worse, adjusted for all cells
	PBetter     *float64    `json:"p_better"`     // that it is no better, likewise
	Level       float64     `json:"level"`        // what P must not exceed at this look
	SD          *float64    `json:"sd"`           // of a pair's log ratio; for errors of the difference of shares
	MinEffect   float64     `json:"min_effect"`   // smallest change that counts
	Margin      float64     `json:"margin"`       // change that equivalence rules out
	Detectable  *float64    `json:"detectable"`   // relative worsening, without its sign, found in nine gates of ten with these pairs
	PairsNeeded *int        `json:"pairs_needed"` // more pairs, in all likelihood, until an inconclusive cell is decided
}

// GateControl is what the control arm found: the noise of the machine, as the same program on both sides shows it.
type GateControl struct {
	Pairs    int      `json:"pairs"`    // that have it
	SD       float64  `json:"sd"`       // of the log ratio of p50
	Estimate float64  `json:"estimate"` // relative difference of p50
	P        float64  `json:"p"`        // two-sided, that a fair machine shows as large a difference
	Fit      bool     `json:"fit"`      // false: what was measured is not evidence, and no verdict but inconclusive is given
	Why      []string `json:"why"`
}

// OK reports whether the gate passes: improved or equivalent.
func (g *Gate) OK() bool { return g.Verdict == GateImproved || g.Verdict == GateEquivalent }

// Check finds what cannot be in a pair: figures that are not finite and above 0, unknown measures, a cell that is given twice, more failures than calls.
// The error names the side and the cell.
func (p *Pair) Check() error {
	if p.Index < 1 {
		return fmt.Errorf("pair %d: its index is below 1", p.Index)
	}
	sides := []struct {
		name    string
		figures []Figure
		errors  []ErrorCount
	}{{"base", p.Base.Figures, p.Base.Errors}, {"head", p.Head.Figures, p.Head.Errors}}
	if c := p.Control; c != nil {
		sides = append(sides, sides[0], sides[0])
		sides[2].name, sides[2].figures, sides[2].errors = "control base", c.Base, nil
		sides[3].name, sides[3].figures, sides[3].errors = "control head", c.Head, nil
	}
	for _, s := range sides {
		if err := errors.Join(checkFigures(s.figures), checkErrors(s.errors)); err != nil {
			return fmt.Errorf("pair %d, %s: %w", p.Index, s.name, err)
		}
	}
	return nil
}

func checkFigures(figures []Figure) error {
	seen := map[Cell]bool{}
	for _, f := range figures {
		c := f.Cell()
		switch f.Measure {
		case MeasureP50, MeasureP90, MeasureP99, MeasureCPU, MeasureRSS, MeasureSaturation:
		default:
			return fmt.Errorf("%s: the measure is not known", c)
		}
		if !(f.Value > 0) || math.IsInf(f.Value, 0) || f.N < 0 {
			return fmt.Errorf("%s: %v of %d samples cannot be; leave out what was not measured", c, f.Value, f.N)
		}
		if f.Scenario == "" || seen[c] {
			return fmt.Errorf("%s: it has no scenario, or is given twice", c)
		}
		seen[c] = true
	}
	return nil
}

func checkErrors(counts []ErrorCount) error {
	seen := map[string]bool{}
	for _, e := range counts {
		if e.Failed < 0 || e.Failed > e.Total {
			return fmt.Errorf("%s errors: %d failed of %d cannot be", e.Scenario, e.Failed, e.Total)
		}
		if e.Scenario == "" || seen[e.Scenario] {
			return fmt.Errorf("%s errors: they have no scenario, or are given twice", e.Scenario)
		}
		seen[e.Scenario] = true
	}
	return nil
}
