package gate

import (
	"bytes"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen/stats"
	"github.com/openaccess-mcp/openaccess-mcp/reports/result"
)

func simulated(t *testing.T, s Simulation) Rates {
	t.Helper()
	r, err := s.Run()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func worsen(measure string, factor float64) []Injection {
	return []Injection{{result.Cell{Scenario: "scenario-1", Measure: measure}, factor}}
}

// TestNullGates is acceptance in short: TestProofGateSimulation has the whole.
func TestNullGates(t *testing.T) {
	for _, k := range Kinds {
		r := simulated(t, Simulation{Name: string(k), Gates: 60, Options: Options{Seed: 5, Flips: 1 << 13}, Noise: Synthetic{Kind: k}})
		if _, low, _ := r.Share(r.Verdicts[result.GateRegressed]); low > 0.005 {
			t.Errorf("%s: %d of %d null gates regressed", k, r.Verdicts[result.GateRegressed], r.Gates)
		}
	}
}

// TestInjectedSlowdowns is acceptance in short.
func TestInjectedSlowdowns(t *testing.T) {
	for _, tt := range []struct {
		measure string
		factor  float64
		look    int // by which it has to be caught
		share   float64
	}{
		{"p50", 1.10, 0, 0.97}, {"p50", 1.05, 1, 0.95}, {"p99", 1.10, 2, 0.88}, {"cpu_per_op", 1.06, 1, 0.95}, {"rss", 1.05, 0, 0.95}, {"saturation", 0.9, 0, 0.95}, {"errors", 0.01, 0, 0.95},
	} {
		r := simulated(t, Simulation{Name: tt.measure, Gates: 60, Options: Options{Seed: 6, Flips: 1 << 13}, Noise: Synthetic{Kind: Independent}, Inject: worsen(tt.measure, tt.factor)})
		if got := float64(r.Caught[tt.look]) / float64(r.Gates); got < tt.share {
			t.Errorf("%s × %v: caught in %v by look %d, want %v", tt.measure, tt.factor, got, tt.look+1, tt.share)
		}
	}
}

// TestUnresolvedIsInconclusive makes the machine too noisy for the slowdown: it is not to pass.
func TestUnresolvedIsInconclusive(t *testing.T) {
	noisy := Synthetic{Kind: Independent, SD: map[string]float64{result.MeasureP50: 0.3}}
	r := simulated(t, Simulation{Gates: 40, Options: Options{Flips: 1 << 13}, Noise: noisy, Inject: worsen("p50", 1.1)})
	if r.Passed != 0 || r.Verdicts[result.GateInconclusive] < 32 {
		t.Errorf("%d gates let it pass, verdicts %v", r.Passed, r.Verdicts)
	}
}

// TestDetectableIsDetected injects what gates said to be detectable, and finds it in about nine of ten.
func TestDetectableIsDetected(t *testing.T) {
	one := Synthetic{Kind: Independent, Scenarios: 1, SD: map[string]float64{result.MeasureP50: 0.1}}
	null := Simulation{Gates: 1, Options: Options{Looks: []int{20}, Flips: 1 << 13}, Noise: one}
	sum := 0.0
	for i := range uint64(40) {
		null.Options.Seed = i
		o, err := null.gate(i)
		if err != nil {
			t.Fatal(err)
		}
		c := o.gate.Cells[0]
		if c.Measure != result.MeasureP50 || c.Detectable == nil {
			t.Fatalf("gate %d: nothing detectable of %s", i, c)
		}
		sum += *c.Detectable / 40
	}
	r := simulated(t, Simulation{Gates: 400, Options: null.Options, Noise: one, Inject: worsen("p50", 1+sum)})
	if got := float64(r.Caught[0]) / 400; got < 0.82 || got > 0.97 {
		t.Errorf("%+.1f %% is caught in %v", 100*sum, got)
	}
}

func TestSimulationRepeats(t *testing.T) {
	s := Simulation{Gates: 20, Options: Options{Seed: 3, Flips: 1 << 12}, Noise: Synthetic{Kind: Bimodal}, Inject: worsen("p50", 1.1)}
	if a, b := simulated(t, s), simulated(t, s); !reflect.DeepEqual(a, b) {
		t.Errorf("%+v\n%+v", a, b)
	}
	s.Options.Alpha = 2
	if _, err := s.Run(); err == nil {
		t.Error("options that cannot be run")
	}
}

// TestSyntheticHasItsDeviation wants the pair sd that was asked for.
func TestSyntheticHasItsDeviation(t *testing.T) {
	for _, k := range []Kind{Independent, HeavyTailed} {
		next := Synthetic{Kind: k}.Stream(rand.New(rand.NewPCG(1, 1)))
		var cs columns
		for range 20_000 {
			p := next()
			cs.add(&p)
		}
		for _, c := range cs.all {
			if want := TypicalSD[c.cell.Measure]; want > 0 {
				if got := deviation(c.diff); math.Abs(got/want-1) > 0.15 {
					t.Errorf("%s, %s: sd %v, want %v", k, c.cell, got, want)
				}
			}
		}
	}
}

// TestRecorded resamples whole pairs in blocks, with a fresh coin.
func TestRecorded(t *testing.T) {
	gate := pairs(12, 0.02, nil, 0)
	for i := range gate {
		gate[i].Base.Figures[0].Value = float64(100 + i)
		gate[i].Head.Figures[0].Value = float64(200 + i)
	}
	next := Record([][]result.Pair{gate}).Stream(rand.New(rand.NewPCG(1, 2)))
	heads, before := 0, 0
	for i := range 4000 {
		p := next()
		b, h := int(p.Base.Figures[0].Value), int(p.Head.Figures[0].Value)
		if b > h {
			heads++
			b, h = h, b
		}
		if p.Index != i+1 || h != b+100 || i%recordedBlock != 0 && b != before+1 {
			t.Fatalf("pair %d: index %d, %d and %d after %d", i+1, p.Index, b, h, before)
		}
		before = b
	}
	if _, low, high := (&Rates{Gates: 4000}).Share(heads); low > 0.5 || high < 0.5 {
		t.Errorf("%d of 4000 pairs changed sides", heads)
	}
	r := simulated(t, Simulation{Gates: 50, Options: Options{Flips: 1 << 12}, Noise: Record([][]result.Pair{pairs(20, 0.02, nil, 0)})})
	if r.Verdicts[result.GateRegressed] > 2 {
		t.Errorf("%v", r.Verdicts)
	}
}

// Gates of other cells are not mixed, and those of a cell can be had alone.
func TestRecordedCells(t *testing.T) {
	rename := func(ps []result.Pair, scenario string) []result.Pair {
		for i := range ps {
			ps[i].Base.Figures[0].Scenario, ps[i].Head.Figures[0].Scenario = scenario, scenario
		}
		return ps
	}
	r := Record([][]result.Pair{pairs(12, 0.02, nil, 0), rename(pairs(12, 0.02, nil, 0), "another"), pairs(12, 0.02, nil, 0)})
	seen := map[string]int{}
	for i := range 40 {
		next := r.Stream(rand.New(rand.NewPCG(uint64(i), 2)))
		first := next().Base.Figures[0].Scenario
		seen[first]++
		for range 30 {
			if s := next().Base.Figures[0].Scenario; s != first {
				t.Fatalf("a gate of %s has a pair of %s", first, s)
			}
		}
	}
	if len(seen) != 2 || seen["another"] < 5 || seen["another"] > 25 {
		t.Errorf("a third of the gates is of the other scenario, not %v", seen)
	}
	var other result.Cell
	for _, c := range r.Cells() {
		if c.Scenario == "another" {
			other = c
		}
	}
	if of := r.Of(other); len(of.gates) != 1 || of.gates[0][0].Base.Figures[0].Scenario != "another" {
		t.Errorf("%d gates have %s, not the one", len(of.gates), other)
	}
}

func TestWriteRates(t *testing.T) {
	var b bytes.Buffer
	r := Rates{Name: "a name", Gates: 1000, Verdicts: map[result.GateVerdict]int{result.GateRegressed: 5}, Regressed: []int{2, 3, 5}, Caught: []int{0, 0, 0}, Pairs: 12_500}
	if err := WriteRates(&b, []Rates{r}); err != nil {
		t.Fatal(err)
	}
	_, high := stats.ClopperPearson(5, 1000, 0.025)
	for _, want := range []string{"a name", "0.50 % (0.16 % to " + percent(high), "0.20 % / 0.30 % / 0.50 %", "12.5"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is missing\n%s", want, b.String())
		}
	}
}
