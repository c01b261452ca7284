//go:build proof

package gate

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/openaccess-mcp/openaccess-mcp/reports/result"
)

// whole reports whether the claims are proved at full length, as under cmd/loadgen.
func whole() bool { return os.Getenv("PROOF") == "whole" }

// count is a number of gates as claimed, or as shortened for CI.
func count(claimed, short int) int {
	if whole() {
		return claimed
	}
	return short
}

// Null pairs that were measured live: on a machine that did nothing else, and beside a load that came and went.
const (
	recordedQuiet  = "gate-quiet-pairs.jsonl"
	recordedLoaded = "gate-loaded-pairs.jsonl"
)

// recorded reads such pairs, of those gates that are wanted.
func recorded(t *testing.T, name string, wanted func(cells []result.Cell) bool) *Recorded {
	t.Helper()
	f, err := os.Open(filepath.Join("../../docs/proof", name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	gates, err := result.ReadPairs(f)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	gates = slices.DeleteFunc(gates, func(ps []result.Pair) bool { return !wanted(cellsOf(ps)) })
	if len(gates) == 0 {
		t.Fatalf("%s: no gate is of the kind", name)
	}
	return Record(gates)
}

func anyGate([]result.Cell) bool { return true }

// noise is where gates are simulated, by name.
type noise struct {
	name string
	Source
}

// noises are all kinds.
func noises(t *testing.T) (out []noise) {
	t.Helper()
	for _, k := range Kinds {
		out = append(out, noise{string(k), Synthetic{Kind: k}})
	}
	return append(out, noise{"recorded", recorded(t, recordedQuiet, anyGate)}, noise{"recorded beside a load", recorded(t, recordedLoaded, anyGate)})
}

// TestProofGateSimulation measures how often the gate is wrong: false alarms on null gates of every kind of noise, and injected slowdowns that are
// missed. The names of simulations and the bounds are those of docs/gate-method.md.
func TestProofGateSimulation(t *testing.T) {
	t.Run("null", proveNull)
	t.Run("injected", proveInjected)
	t.Run("unresolved", proveUnresolved)
}

func proveNull(t *testing.T) {
	var all []Rates
	for _, n := range noises(t) {
		r := simulated(t, Simulation{Name: n.name, Gates: count(10_000, 300), Options: Options{Seed: 1}, Noise: n.Source})
		all = append(all, r)
		if _, low, high := r.Share(r.Verdicts[result.GateRegressed]); high > 0.01 && whole() || low > 0.01 {
			t.Errorf("%s: false alarms in up to %s of null gates", n.name, percent(high))
		}
	}
	keep(t, "gate-null.txt", all)
}

// claim is what share of gates has to catch what is injected by a look, from 0.
type claim struct {
	Simulation
	look  int
	share float64
}

func proveInjected(t *testing.T) {
	var all []Rates
	for _, c := range append(syntheticClaims(), recordedClaims(t)...) {
		c.Gates = count(4_000, 200)
		r := simulated(t, c.Simulation)
		all = append(all, r)
		if got, _, high := r.Share(r.Caught[c.look]); got < c.share && whole() || high < c.share {
			t.Errorf("%s: caught in %s at %d pairs, not in %s", r.Name, percent(got), r.Looks[c.look], percent(c.share))
		}
	}
	keep(t, "gate-injected.txt", all)
}

func syntheticClaims() (out []claim) {
	for _, tt := range []struct {
		kind    Kind
		measure string
		factor  float64
		look    int
		share   float64
	}{
		{Independent, "p50", 1.10, 0, 0.99}, {Independent, "p50", 1.05, 1, 0.95}, {Independent, "p99", 1.10, 2, 0.90},
		{HeavyTailed, "p50", 1.10, 0, 0.98}, {HeavyTailed, "p50", 1.05, 1, 0.95}, {HeavyTailed, "p99", 1.10, 2, 0.90},
		{Independent, "cpu_per_op", 1.05, 1, 0.95}, {Independent, "rss", 1.05, 0, 0.95}, {Independent, "saturation", 1 / 1.1, 0, 0.95},
		{Independent, "errors", 0.01, 0, 0.95},
	} {
		name := fmt.Sprintf("%s, %s × %.3g", tt.kind, tt.measure, tt.factor)
		if tt.measure == result.MeasureErrors {
			name = fmt.Sprintf("%s, errors + %.3g", tt.kind, tt.factor)
		}
		s := Simulation{Name: name, Options: Options{Seed: 2}, Noise: Synthetic{Kind: tt.kind}, Inject: worsen(tt.measure, tt.factor)}
		out = append(out, claim{s, tt.look, tt.share})
	}
	return out
}

// recordedClaims are of gates of one scenario: a host nearby, and one so far away that p99 varies little.
func recordedClaims(t *testing.T) (out []claim) {
	t.Helper()
	p50, p99 := result.Cell{Scenario: "ssh-exec", Measure: result.MeasureP50}, result.Cell{Scenario: "ssh-exec-far", Measure: result.MeasureP99}
	for _, tt := range []struct {
		cell   result.Cell
		sd     float64 // of a pair, up to which the share is claimed
		factor float64
		look   int
		share  float64
	}{{p50, 0.03, 1.10, 0, 0.99}, {p50, 0.03, 1.05, 1, 0.95}, {p99, 0.10, 1.10, 2, 0.90}} {
		noise := recorded(t, recordedQuiet, func(cells []result.Cell) bool {
			alone := !slices.ContainsFunc(cells, func(c result.Cell) bool { return c.Scenario != tt.cell.Scenario })
			return alone && slices.Contains(cells, tt.cell)
		})
		sd := noise.sd(tt.cell)
		if sd > tt.sd {
			t.Errorf("%s was recorded with a pair sd of %s, for which nothing is claimed", tt.cell, percent(sd))
		}
		name := fmt.Sprintf("recorded, %s × %.3g, pair sd %.1f %%", tt.cell.Measure, tt.factor, 100*sd)
		s := Simulation{Name: name, Options: Options{Seed: 4}, Noise: noise, Inject: []Injection{{Cell: tt.cell, Factor: tt.factor}}}
		out = append(out, claim{s, tt.look, tt.share})
	}
	return out
}

// sd is the standard deviation of a cell's differences, whose mean without a change is 0.
func (r *Recorded) sd(c result.Cell) float64 {
	var square, n float64
	for _, ps := range r.gates {
		for i := range ps {
			base, head := figureOf(&ps[i].Base, c), figureOf(&ps[i].Head, c)
			if base > 0 && head > 0 {
				square, n = square+math.Pow(math.Log(head/base), 2), n+1
			}
		}
	}
	return math.Sqrt(square / n)
}

func figureOf(s *result.Slice, c result.Cell) float64 {
	for _, f := range s.Figures {
		if f.Cell() == c {
			return f.Value
		}
	}
	return 0
}

// proveUnresolved has the noise hide the slowdown: no gate may let it pass.
func proveUnresolved(t *testing.T) {
	var all []Rates
	for _, tt := range []struct {
		measure    string
		factor, sd float64
	}{{"p50", 1.10, 0.3}, {"p99", 1.20, 0.7}, {"cpu_per_op", 1.10, 0.3}} {
		noise := Synthetic{Kind: Independent, SD: map[string]float64{tt.measure: tt.sd}}
		r := simulated(t, Simulation{Name: fmt.Sprintf("%s × %.3g, pair sd %.0f %%", tt.measure, tt.factor, 100*tt.sd), Gates: count(2_000, 100),
			Options: Options{Seed: 3}, Noise: noise, Inject: worsen(tt.measure, tt.factor)})
		all = append(all, r)
		if r.Passed > 0 {
			t.Errorf("%s: %d gates let it pass", r.Name, r.Passed)
		}
	}
	keep(t, "gate-unresolved.txt", all)
}

// keep writes rates where PROOF_DIR says, beside logging them.
func keep(t *testing.T, name string, all []Rates) {
	t.Helper()
	var b strings.Builder
	if err := WriteRates(&b, all); err != nil {
		t.Fatal(err)
	}
	t.Log("\n" + b.String())
	if dir := os.Getenv("PROOF_DIR"); dir != "" && whole() {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
