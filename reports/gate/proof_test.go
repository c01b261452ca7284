//go:build proof

package gate

import (
	"fmt"
	"os"
	"path/filepath"
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

// recorded is the file of null pairs that were measured live, which is resampled where it is there.
const recorded = "../../docs/proof/gate-null-pairs.jsonl"

// noises are all kinds of noise that gates are simulated on.
func noises(t *testing.T) map[string]Source {
	t.Helper()
	out := map[string]Source{}
	for _, k := range Kinds {
		out[string(k)] = Synthetic{Kind: k}
	}
	f, err := os.Open(recorded)
	if err != nil {
		t.Logf("without recorded noise: %v", err)
		return out
	}
	defer f.Close()
	gates, err := result.ReadPairs(f)
	if err != nil {
		t.Fatalf("%s: %v", recorded, err)
	}
	out["recorded"] = Recorded{Gates: gates}
	return out
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
	sources := noises(t)
	for _, name := range append(kindNames(), "recorded") {
		noise, ok := sources[name]
		if !ok {
			continue
		}
		r := simulated(t, Simulation{Name: name, Gates: count(10_000, 300), Options: Options{Seed: 1}, Noise: noise})
		all = append(all, r)
		if _, low, high := r.Share(r.Verdicts[result.GateRegressed]); high > 0.01 && whole() || low > 0.01 {
			t.Errorf("%s: false alarms in up to %s of null gates", name, percent(high))
		}
	}
	keep(t, "gate-null.txt", all)
}

func kindNames() []string {
	var out []string
	for _, k := range Kinds {
		out = append(out, string(k))
	}
	return out
}

func proveInjected(t *testing.T) {
	var all []Rates
	for _, tt := range []struct {
		kind    Kind
		measure string
		factor  float64
		look    int // by which it has to be caught, from 0
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
		r := simulated(t, Simulation{Name: name, Gates: count(4_000, 200), Options: Options{Seed: 2}, Noise: Synthetic{Kind: tt.kind}, Inject: worsen(tt.measure, tt.factor)})
		all = append(all, r)
		if got, _, high := r.Share(r.Caught[tt.look]); got < tt.share && whole() || high < tt.share {
			t.Errorf("%s: caught in %s at %d pairs, not in %s", r.Name, percent(got), r.Looks[tt.look], percent(tt.share))
		}
	}
	keep(t, "gate-injected.txt", all)
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
