package gate

import (
	"errors"
	"fmt"
	"math"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen/stats"
	"github.com/openaccess-mcp/openaccess-mcp/reports/result"
)

// spendEarly is the gamma of the spending function: with looks at 10, 20 and 40 pairs it spends 60, 85 and 100 % of alpha. Ten pairs have 1,024
// assignments of signs, of which the first look so admits three. Pocock's kind of spending admits one, and a single pair that goes against the others
// would hide the clearest regression.
const spendEarly = 3.5

// maxPairs is the most pairs of a look: what one set of flips holds.
const maxPairs = 64

// withDefaults fills in what is zero.
func withDefaults(o Options) Options {
	defaults := []struct {
		field *float64
		value float64
	}{
		{&o.Alpha, 0.005}, {&o.Tail, 0.05}, {&o.MinEffect, 0.02}, {&o.MinEffectTail, 0.05}, {&o.MinErrors, 0.001},
		{&o.Margin, 0.05}, {&o.MarginTail, 0.15}, {&o.MarginErrors, 0.01}, {&o.ControlLimit, 0.25},
	}
	for _, d := range defaults {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	if len(o.Looks) == 0 {
		o.Looks = []int{10, 20, 40}
	}
	if o.Flips == 0 {
		o.Flips = 1 << 16
	}
	return o
}

// checkOptions finds what cannot be, defaults being filled in.
func checkOptions(o Options) error {
	if !(o.Alpha > 0 && o.Alpha < 0.5) {
		return fmt.Errorf("gate: alpha %v is no chance between 0 and 0.5", o.Alpha)
	}
	if !(o.Tail > 0 && o.Tail < 0.5) {
		return fmt.Errorf("gate: tail %v is no chance between 0 and 0.5", o.Tail)
	}
	for _, f := range []struct {
		name  string
		value float64
	}{
		{"min_effect", o.MinEffect}, {"min_effect_tail", o.MinEffectTail}, {"min_errors", o.MinErrors},
		{"margin", o.Margin}, {"margin_tail", o.MarginTail}, {"margin_errors", o.MarginErrors}, {"control_limit", o.ControlLimit},
	} {
		if !(f.value > 0) || math.IsInf(f.value, 0) {
			return fmt.Errorf("gate: %s %v has to be above 0", f.name, f.value)
		}
	}
	for _, f := range []struct {
		name           string
		effect, margin float64
	}{{"min_effect", o.MinEffect, o.Margin}, {"min_effect_tail", o.MinEffectTail, o.MarginTail}, {"min_errors", o.MinErrors, o.MarginErrors}} {
		if f.effect > f.margin {
			return fmt.Errorf("gate: %s %v is above its margin %v, so that a change could be a regression and none at once", f.name, f.effect, f.margin)
		}
	}
	return errors.Join(checkLooks(o), checkFlips(o))
}

func checkLooks(o Options) error {
	before := 1
	for i, n := range o.Looks {
		if n <= before || n > maxPairs {
			return fmt.Errorf("gate: looks[%d] is %d: they have to ascend from 2 to at most %d pairs", i, n, maxPairs)
		}
		before = n
	}
	if first := o.Looks[0]; math.Exp2(-float64(first)) > level(o, 0) {
		return fmt.Errorf("gate: looks[0]: %d pairs cannot reach the level %.2g of that look; use more", first, level(o, 0))
	}
	return nil
}

func checkFlips(o Options) error {
	for i := range o.Looks {
		if 2/float64(o.Flips) > level(o, i) {
			return fmt.Errorf("gate: flips %d are too few for the level %.2g of look %d", o.Flips, level(o, i), i+1)
		}
	}
	return nil
}

// spent is how much of alpha is spent by look k, counted from 0.
func spent(o Options, k int) float64 {
	return stats.Spend(o.Alpha, float64(o.Looks[k])/float64(o.Looks[len(o.Looks)-1]), spendEarly)
}

// level is what an adjusted p-value must not exceed at look k, counted from 0: what is spent there. The levels of all looks add up to alpha.
func level(o Options, k int) float64 {
	if k == 0 {
		return spent(o, 0)
	}
	return spent(o, k) - spent(o, k-1)
}

// bounds are the smallest effect that counts for a cell, and its margin, as changes and on the scale of its differences.
type bounds struct {
	effect, margin       float64 // as in the options
	effectDiff, marginAt float64 // of logarithms, or of shares for errors
}

// highFactor is by how much more p90 has to change than p50: between that, which hardly varies, and p99, which has bounds of its own.
const highFactor = 1.5

func boundsOf(o Options, c result.Cell) bounds {
	switch c.Measure {
	case result.MeasureErrors:
		return bounds{o.MinErrors, o.MarginErrors, o.MinErrors, o.MarginErrors}
	case result.MeasureP90:
		effect, margin := highFactor*o.MinEffect, highFactor*o.Margin
		return bounds{effect, margin, math.Log1p(effect), math.Log1p(margin)}
	case result.MeasureP99:
		return bounds{o.MinEffectTail, o.MarginTail, math.Log1p(o.MinEffectTail), math.Log1p(o.MarginTail)}
	}
	return bounds{o.MinEffect, o.Margin, math.Log1p(o.MinEffect), math.Log1p(o.Margin)}
}
