package result

import (
	"errors"
	"fmt"
	"slices"
)

var gateVerdicts = []GateVerdict{GateRegressed, GateImproved, GateEquivalent, GateInconclusive}

// check finds what cannot be in a gate: unknown verdicts, cells that are none, and pairs that Pair.Check refuses.
func (g *Gate) check() error {
	if g == nil {
		return nil
	}
	if !slices.Contains(gateVerdicts, g.Verdict) {
		return fmt.Errorf("gate.verdict %q is not known", g.Verdict)
	}
	for i := range g.Cells {
		c := &g.Cells[i]
		switch {
		case !slices.Contains(gateVerdicts, c.Verdict):
			return fmt.Errorf("gate.cells[%d].verdict %q is not known", i, c.Verdict)
		case c.Scenario == "" || c.Measure == "":
			return fmt.Errorf("gate.cells[%d] has no scenario or no measure", i)
		case c.Verdict == GateRegressed && g.OK():
			return fmt.Errorf("gate.verdict %q contradicts cells[%d], which regressed", g.Verdict, i)
		}
	}
	for i := range g.Pairs {
		if err := g.Pairs[i].Check(); err != nil {
			return fmt.Errorf("gate.pairs[%d]: %w", i, err)
		}
	}
	if g.Used < 0 || g.Used > len(g.Pairs) {
		return errors.New("gate.used is not the number of some of its pairs")
	}
	return nil
}
