// Package gate judges whether a server got worse, from pairs of slices that were measured of it and of the one it is compared with.
//
// Start with Judge: New makes one, Add gives it a pair, and Look says what can be said so far and whether to go on measuring. Judging is pure:
// it reads no clock and no file, and the same pairs with the same options give the same verdict, which Again gets from a document. Simulate
// measures how often the method is wrong. docs/gate-method.md explains it.
package gate

import (
	"errors"
	"fmt"
	"math"

	"github.com/openaccess-mcp/openaccess-mcp/reports/result"
)

// Options is how a gate decides; a zero value means the default that the field's comment names.
type Options = result.GateOptions

// ErrDone is wrapped by Add's error when the gate has decided: a decision is not measured over.
var ErrDone = errors.New("the gate has decided")

// Judge collects pairs and decides at the looks that its options name, and nowhere between. It is not for concurrent use.
type Judge struct {
	opts    Options
	pairs   []result.Pair
	columns columns   // of the pairs that are used
	control []float64 // log ratios of the control's p50 in all pairs that have it
	last    result.Gate
	judged  int // looks judged
	done    bool
}

// New makes a judge. Options that cannot be are an error that names the field.
func New(opts Options) (*Judge, error) {
	opts = withDefaults(opts)
	if err := checkOptions(opts); err != nil {
		return nil, err
	}
	return &Judge{opts: opts}, nil
}

// Add takes the next pair. One whose control differs by more than ControlLimit is marked Excluded and kept, but not used. A pair that cannot be
// (see result.Pair.Check), that does not come after the one before it, or that comes after a decision (ErrDone) is an error, and not taken.
func (j *Judge) Add(p result.Pair) error {
	if j.done {
		return fmt.Errorf("gate: pair %d: %w", p.Index, ErrDone)
	}
	if err := p.Check(); err != nil {
		return fmt.Errorf("gate: %w", err)
	}
	if n := len(j.pairs); n > 0 && p.Index <= j.pairs[n-1].Index {
		return fmt.Errorf("gate: pair %d comes after pair %d: indexes have to ascend", p.Index, j.pairs[n-1].Index)
	}
	if d := controlDiff(p.Control); !math.IsNaN(d) {
		j.control = append(j.control, d)
		if limit := math.Log1p(j.opts.ControlLimit); p.Excluded == "" && math.Abs(d) > limit {
			p.Excluded = fmt.Sprintf("the control's p50 differs by %.0f %% between two slices of the same program", 100*math.Expm1(math.Abs(d)))
		}
	}
	j.pairs = append(j.pairs, p)
	if p.Excluded == "" {
		j.columns.add(&p)
	}
	if k := j.judged; k < len(j.opts.Looks) && j.columns.pairs >= j.opts.Looks[k] {
		j.judge(k)
	}
	return nil
}

// Look says what was found at the last look that was reached; before the first all is inconclusive. done says that more pairs would change
// nothing: something regressed, every cell is decided, the last look was reached, or twice its pairs were measured and too many could not be
// used. Between two looks it gives again what the earlier one found. The gate holds all pairs that were added.
func (j *Judge) Look() (g result.Gate, done bool) {
	g = j.last
	if j.judged == 0 {
		g = result.Gate{Verdict: result.GateInconclusive, Why: []string{fmt.Sprintf("%d pairs of the %d that the first look needs", j.columns.pairs, j.opts.Looks[0])}}
	}
	g.Options, g.Measured, g.Excluded, g.Pairs = j.opts, len(j.pairs), len(j.pairs)-j.columns.pairs, j.pairs
	j.done = j.done || len(j.pairs) >= 2*j.opts.Looks[len(j.opts.Looks)-1]
	return g, j.done
}

// Again judges the pairs of a gate anew, by its own options. What the gate said before is not read.
func Again(g *result.Gate) (result.Gate, error) {
	j, err := New(g.Options)
	if err != nil {
		return result.Gate{}, err
	}
	for _, p := range g.Pairs {
		if err := j.Add(p); err != nil {
			return result.Gate{}, err
		}
	}
	out, _ := j.Look()
	return out, nil
}
