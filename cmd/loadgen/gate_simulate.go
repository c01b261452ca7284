package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/openaccess-mcp/openaccess-mcp/reports/gate"
	"github.com/openaccess-mcp/openaccess-mcp/reports/result"
)

// runSimulation judges simulated gates: on pairs that were recorded, where --base names some, and else on noise that is made up.
func (o *gateOptions) runSimulation(cmd *cobra.Command) error {
	opts, err := o.judging()
	if err != nil {
		return err
	}
	all := o.synthetic(opts)
	if o.base != "" {
		gates, err := readNullPairs(o.base)
		if err != nil {
			return err
		}
		all = o.resampled(opts, gates)
	}
	notes := o.notes(cmd)
	var rates []gate.Rates
	for i, s := range all {
		fmt.Fprintf(notes, "loadgen: gate: simulation %d of %d: %d gates, %s\n", i+1, len(all), s.Gates, s.Name)
		r, err := s.RunContext(cmd.Context())
		if err != nil {
			return interruptedOr(cmd.Context(), err)
		}
		rates = append(rates, r)
	}
	return written(gate.WriteRates(cmd.OutOrStdout(), rates))
}

// simulatedChange is how much worse an injected figure is.
const simulatedChange = 0.10

// synthetic are null gates of every kind of noise, and such whose first scenario has a p50 that is worse.
func (o *gateOptions) synthetic(opts gate.Options) (out []gate.Simulation) {
	first := result.Cell{Scenario: "scenario-1", Measure: result.MeasureP50}
	for _, k := range gate.Kinds {
		s := gate.Simulation{Name: string(k), Gates: o.simulate, Options: opts, Noise: gate.Synthetic{Kind: k}}
		out = append(out, s, worsened(s, first))
	}
	return out
}

// resampled are null gates from recorded pairs, and for each cell those with it in which it is worse.
func (o *gateOptions) resampled(opts gate.Options, gates [][]result.Pair) []gate.Simulation {
	noise := gate.Record(gates)
	null := gate.Simulation{Name: "recorded", Gates: o.simulate, Options: opts, Noise: noise}
	out := []gate.Simulation{null}
	for _, c := range noise.Cells() {
		null.Noise = noise.Of(c)
		out = append(out, worsened(null, c))
	}
	return out
}

// worsened makes a cell of a simulation worse.
func worsened(s gate.Simulation, c result.Cell) gate.Simulation {
	factor, sign := 1+simulatedChange, "+"
	if c.Measure == result.MeasureSaturation {
		factor, sign = 1/factor, "−"
	}
	s.Name += fmt.Sprintf(", %s %s%.0f %%", c, sign, 100*simulatedChange)
	s.Inject = []gate.Injection{{Cell: c, Factor: factor}}
	return s
}

// isPairs reports whether a path names a file of recorded pairs.
func isPairs(path string) bool { return strings.EqualFold(filepath.Ext(path), ".jsonl") }

// readNullPairs reads the pairs of null gates: of a file of recorded pairs, or of one gate's result.
func readNullPairs(file string) ([][]result.Pair, error) {
	if !isPairs(file) {
		d, err := readGate("base", file)
		if err != nil {
			return nil, err
		}
		return [][]result.Pair{d.Gate.Pairs}, nil
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, usage("--base: cannot read %s: %v; name the pairs that a self-test recorded", file, unwrapped(err))
	}
	defer f.Close()
	gates, err := result.ReadPairs(f)
	if err != nil {
		return nil, usage("--base: %s: %w; record the pairs anew with loadgen gate --self-test --out DIR", file, err)
	}
	return gates, nil
}
