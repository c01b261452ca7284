package gate

import (
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/openaccess-mcp/openaccess-mcp/reports/result"
)

// wobble is noise without chance, in units of a few percent, whose signs and sizes vary.
var wobble = []float64{0.4, -1.1, 0.7, -0.2, 1.3, -0.8, 0.1, -0.5, 0.9, -0.6, 0.3, -1.2, 1, -0.1, 0.6, -0.9, 0.2, -0.4, 1.1, -0.7}

// pairs makes n pairs of one scenario in which head's figures are base's times what factors say, with a wobble of size.
func pairs(n int, size float64, factors map[string]float64, headFailed int64) []result.Pair {
	out := make([]result.Pair, n)
	for i := range out {
		p := &out[i]
		p.Index, p.HeadFirst = i+1, i%3 == 0
		for k, m := range measures {
			f := result.Figure{Scenario: "ssh-exec", Measure: m.name, Value: m.level, N: 1500}
			p.Base.Figures = append(p.Base.Figures, f)
			f.Value *= math.Exp(size * wobble[(i+3*k)%len(wobble)])
			if factor := factors[m.name]; factor > 0 {
				f.Value *= factor
			}
			p.Head.Figures = append(p.Head.Figures, f)
		}
		p.Base.Errors = []result.ErrorCount{{Scenario: "ssh-exec", Failed: 1, Total: 1500}}
		p.Head.Errors = []result.ErrorCount{{Scenario: "ssh-exec", Failed: 1 + headFailed, Total: 1500}}
	}
	return out
}

// judged adds pairs until the gate is done.
func judged(t *testing.T, o Options, ps []result.Pair) (result.Gate, bool) {
	t.Helper()
	j, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range ps {
		if err := j.Add(p); err != nil {
			t.Fatal(err)
		}
		if g, done := j.Look(); done {
			return g, true
		}
	}
	g, done := j.Look()
	return g, done
}

func find(t *testing.T, g result.Gate, measure string) result.GateCell {
	t.Helper()
	for _, c := range g.Cells {
		if c.Measure == measure {
			return c
		}
	}
	t.Fatalf("no cell of %s in %+v", measure, g.Cells)
	return result.GateCell{}
}

func TestVerdicts(t *testing.T) {
	for _, tt := range []struct {
		name    string
		size    float64
		factors map[string]float64
		failed  int64
		measure string // of the cell that is looked at
		cell    result.GateVerdict
		whole   result.GateVerdict
		used    int
	}{
		{"no difference", 0.01, nil, 0, "p50", result.GateEquivalent, result.GateEquivalent, 10},
		{"p50 worse", 0.02, map[string]float64{"p50": 1.1}, 0, "p50", result.GateRegressed, result.GateRegressed, 10},
		{"CPU alone", 0.02, map[string]float64{"cpu_per_op": 1.1}, 0, "cpu_per_op", result.GateRegressed, result.GateRegressed, 10},
		{"memory alone", 0.01, map[string]float64{"rss": 1.06}, 0, "rss", result.GateRegressed, result.GateRegressed, 10},
		{"less throughput", 0.02, map[string]float64{"saturation": 0.9}, 0, "saturation", result.GateRegressed, result.GateRegressed, 10},
		{"more throughput", 0.01, map[string]float64{"saturation": 1.15}, 0, "saturation", result.GateImproved, result.GateImproved, 10},
		{"p50 better", 0.01, map[string]float64{"p50": 0.9}, 0, "p50", result.GateImproved, result.GateImproved, 10},
		{"errors", 0.01, nil, 20, "errors", result.GateRegressed, result.GateRegressed, 10},
		{"one better, one worse", 0.01, map[string]float64{"p50": 0.9, "p99": 1.3}, 0, "p50", result.GateImproved, result.GateRegressed, 10},
		{"worse for certain, too little to count", 0.002, map[string]float64{"p50": 1.01}, 0, "p50", result.GateEquivalent, result.GateEquivalent, 10},
		{"unresolved", 0.3, map[string]float64{"p50": 1.1}, 0, "p50", result.GateInconclusive, result.GateInconclusive, 40},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g, done := judged(t, Options{}, pairs(40, tt.size, tt.factors, tt.failed))
			c := find(t, g, tt.measure)
			if !done || c.Verdict != tt.cell || g.Verdict != tt.whole || g.Used != tt.used {
				t.Errorf("cell %s, whole %s after %d pairs, done %v; want %s, %s after %d\n%+v\n%q", c.Verdict, g.Verdict, g.Used, done, tt.cell, tt.whole, tt.used, c, g.Why)
			}
			if len(g.Why) == 0 || g.OK() != (g.Verdict == result.GateEquivalent || g.Verdict == result.GateImproved) {
				t.Errorf("why %q, OK %v", g.Why, g.OK())
			}
		})
	}
}

// TestCellFigures wants changes in the direction of the figure.
func TestCellFigures(t *testing.T) {
	g, _ := judged(t, Options{}, pairs(10, 0.01, map[string]float64{"saturation": 0.9, "p50": 1.1}, 0))
	for measure, want := range map[string]float64{"saturation": -0.1, "p50": 0.1, "rss": 0} {
		c := find(t, g, measure)
		if math.Abs(*c.Estimate-want) > 0.01 || !(*c.Low <= *c.Estimate && *c.Estimate <= *c.High) || c.Confidence < 0.9 {
			t.Errorf("%s: %v (%v to %v, confidence %v), want about %v", measure, *c.Estimate, *c.Low, *c.High, c.Confidence, want)
		}
	}
	if c := find(t, g, "p50"); *c.P > c.Level || *c.Base != 2e6 || c.MinEffect != 0.02 || find(t, g, "p99").Margin != 0.15 {
		t.Errorf("%+v", c)
	}
}

// TestInconclusiveSaysWhatIsMissing wants the detectable effect and the pairs needed.
func TestInconclusiveSaysWhatIsMissing(t *testing.T) {
	g, _ := judged(t, Options{}, pairs(40, 0.3, nil, 0))
	c := find(t, g, "p50")
	if c.Verdict != result.GateInconclusive || c.Detectable == nil || *c.Detectable < 0.05 || *c.Detectable > 0.7 || c.PairsNeeded == nil || *c.PairsNeeded < 1 {
		t.Fatalf("%s, detectable %v, pairs needed %v", c.Verdict, c.Detectable, c.PairsNeeded)
	}
	if !strings.Contains(c.Why, "is detectable with 40 pairs") || !strings.Contains(g.Why[0], "more are needed") {
		t.Errorf("%q, %q", c.Why, g.Why)
	}
}

// TestTooFewSamples wants a percentile without 10/(1−q) samples, or a cell that one side lacks, not to pass.
func TestTooFewSamples(t *testing.T) {
	few := pairs(40, 0.01, nil, 0)
	for i := range few {
		few[i].Head.Figures[2].N = 999
	}
	g, done := judged(t, Options{}, few)
	if c := find(t, g, "p99"); c.Verdict != result.GateInconclusive || c.Pairs != 0 || c.P != nil || g.Verdict != result.GateInconclusive || !done || g.Used != 40 {
		t.Errorf("p99 of 999 samples: %+v, whole %s after %d", c, g.Verdict, g.Used)
	}
	lacking := pairs(40, 0.01, nil, 0)
	for i := range lacking {
		lacking[i].Head.Figures = lacking[i].Head.Figures[1:]
	}
	if g, _ := judged(t, Options{}, lacking); g.Verdict != result.GateInconclusive || find(t, g, "p50").Verdict != result.GateInconclusive || len(g.Warnings) == 0 {
		t.Errorf("p50 of one side: %s, warnings %q", g.Verdict, g.Warnings)
	}
	none := make([]result.Pair, 40)
	for i := range none {
		none[i].Index = i + 1
	}
	if g, _ := judged(t, Options{}, none); g.Verdict != result.GateInconclusive || g.OK() {
		t.Errorf("nothing measured: %s", g.Verdict)
	}
	if g, done := judged(t, Options{}, pairs(9, 0.01, nil, 0)); g.Verdict != result.GateInconclusive || g.Look != 0 || done || g.Measured != 9 {
		t.Errorf("nine pairs: %s, look %d, done %v", g.Verdict, g.Look, done)
	}
}

// TestErrorsInABurst has all failures of head in one slice: a matter of luck that is no regression, and no pass.
func TestErrorsInABurst(t *testing.T) {
	ps := pairs(40, 0.01, nil, 0)
	ps[4].Head.Errors[0].Failed = 1200
	g, _ := judged(t, Options{}, ps)
	if c := find(t, g, "errors"); c.Verdict != result.GateInconclusive || *c.P < 0.1 {
		t.Errorf("%s, p %v", c.Verdict, *c.P)
	}
}

// TestNoPeeking wants nothing to be decided between looks, and a decision not to be measured over.
func TestNoPeeking(t *testing.T) {
	j, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	ps := pairs(40, 0.12, nil, 0)
	bad := pairs(40, 0.01, map[string]float64{"p50": 2}, 0)
	for i := range 19 {
		p := ps[i]
		if i >= 10 {
			p = bad[i]
		}
		if err := j.Add(p); err != nil {
			t.Fatal(err)
		}
		if g, done := j.Look(); done || g.Look != i/9 && g.Look != (i+1)/10 || g.Verdict != result.GateInconclusive {
			t.Fatalf("pair %d: look %d, %s, done %v", i+1, g.Look, g.Verdict, done)
		}
	}
	sure, _ := New(Options{})
	for _, p := range bad[:10] {
		if err := sure.Add(p); err != nil {
			t.Fatal(err)
		}
	}
	if err := sure.Add(bad[10]); !errors.Is(err, ErrDone) {
		t.Errorf("after a decision: %v", err)
	}
}

func TestAgain(t *testing.T) {
	g, _ := judged(t, Options{Seed: 9}, pairs(40, 0.12, map[string]float64{"p50": 1.06}, 0))
	again, err := Again(&g)
	if err != nil || !reflect.DeepEqual(again, g) {
		t.Errorf("%v\n%+v\n%+v", err, again, g)
	}
}

func TestControl(t *testing.T) {
	control := func(ps []result.Pair, ratio func(i int) float64) []result.Pair {
		for i := range ps {
			f := result.Figure{Scenario: "noop", Measure: result.MeasureP50, Value: 1e5, N: 500}
			ps[i].Control = &result.Control{Base: []result.Figure{f}}
			f.Value *= ratio(i)
			ps[i].Control.Head = []result.Figure{f}
		}
		return ps
	}
	g, _ := judged(t, Options{}, control(pairs(40, 0.01, nil, 0), func(i int) float64 { return math.Exp(0.01 * wobble[i%20]) }))
	if g.Control == nil || !g.Control.Fit || g.Control.Pairs != 10 || g.Verdict != result.GateEquivalent {
		t.Errorf("a fit machine: %+v, %s", g.Control, g.Verdict)
	}
	g, _ = judged(t, Options{}, control(pairs(40, 0.01, map[string]float64{"p50": 1.2}, 0), func(i int) float64 { return math.Exp(0.1 + 0.01*wobble[i%20]) }))
	if g.Control.Fit || g.Verdict != result.GateInconclusive || !strings.Contains(g.Why[0], "biased") {
		t.Errorf("a biased machine: %+v, %s %q", g.Control, g.Verdict, g.Why)
	}
	once := func(i int) float64 {
		if i == 3 {
			return 0.5
		}
		return 1
	}
	g, _ = judged(t, Options{}, control(pairs(40, 0.01, nil, 0), once))
	if g.Excluded != 1 || g.Measured != 11 || g.Used != 10 || g.Pairs[3].Excluded == "" || g.Verdict != result.GateEquivalent {
		t.Errorf("one disturbed pair: %d excluded of %d, %d used, %s", g.Excluded, g.Measured, g.Used, g.Verdict)
	}
	g, done := judged(t, Options{}, control(pairs(100, 0.01, nil, 0), func(i int) float64 { return 2 }))
	if !done || g.Measured != 80 || g.Excluded != 80 || g.Verdict != result.GateInconclusive {
		t.Errorf("no pair that can be used: %d excluded of %d, %s, done %v", g.Excluded, g.Measured, g.Verdict, done)
	}
}

func TestOptionsThatCannotBe(t *testing.T) {
	for want, o := range map[string]Options{
		"alpha":                  {Alpha: 0.7},
		"min_effect -":           {MinEffect: -1},
		"min_effect 0.1 is":      {MinEffect: 0.1},
		"looks[1]":               {Looks: []int{10, 10}},
		"at most 64":             {Looks: []int{10, 100}},
		"5 pairs cannot reach":   {Looks: []int{5, 40}},
		"flips 100":              {Flips: 100},
		"min_errors 0.1":         {MinErrors: 0.1},
		"control_limit":          {ControlLimit: math.Inf(1)},
		"min_effect_tail 0.2 is": {MinEffectTail: 0.2},
	} {
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want it to name %q", o, err, want)
		}
	}
	o := withDefaults(Options{})
	if sum := level(o, 0) + level(o, 1) + level(o, 2); math.Abs(sum-o.Alpha) > 1e-15 || level(o, 0) < 3.0/1024 {
		t.Errorf("levels add up to %v, the first is %v", sum, level(o, 0))
	}
}

func TestPairsThatCannotBe(t *testing.T) {
	for want, spoil := range map[string]func(*result.Pair){
		"below 1":     func(p *result.Pair) { p.Index = 0 },
		"base":        func(p *result.Pair) { p.Base.Figures[0].Value = 0 },
		"head":        func(p *result.Pair) { p.Head.Figures[0].Value = math.NaN() },
		"not known":   func(p *result.Pair) { p.Head.Figures[0].Measure = "p75" },
		"given twice": func(p *result.Pair) { p.Head.Figures[0] = p.Head.Figures[1] },
		"failed of":   func(p *result.Pair) { p.Head.Errors[0].Failed = 2000 },
		"control head": func(p *result.Pair) {
			p.Control = &result.Control{Head: []result.Figure{{Scenario: "noop", Measure: "p50"}}}
		},
	} {
		p := pairs(1, 0.01, nil, 0)[0]
		spoil(&p)
		j, _ := New(Options{})
		if err := j.Add(p); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want it to say %q", err, want)
		}
		if g, _ := j.Look(); g.Measured != 0 {
			t.Errorf("%s: the pair was taken", want)
		}
	}
	j, _ := New(Options{})
	ps := pairs(2, 0.01, nil, 0)
	if err := errors.Join(j.Add(ps[1]), j.Add(ps[0])); err == nil || !strings.Contains(err.Error(), "have to ascend") {
		t.Errorf("out of order: %v", err)
	}
}

// A throughput that cannot be told leaves the verdict to the others, one that fell does not, and one that was hardly measured is missing evidence.
func TestThroughputHoldsNothingUp(t *testing.T) {
	noisy := func(ps []result.Pair, factor float64) []result.Pair {
		for i := range ps {
			for k := range ps[i].Head.Figures {
				if f := &ps[i].Head.Figures[k]; f.Measure == result.MeasureSaturation {
					f.Value *= factor * math.Exp(0.15*wobble[i%len(wobble)])
				}
			}
		}
		return ps
	}
	g, done := judged(t, Options{}, noisy(pairs(10, 0.01, nil, 0), 1))
	if c := find(t, g, "saturation"); g.Verdict != result.GateEquivalent || !done || c.Verdict != result.GateInconclusive || c.Detectable == nil {
		t.Errorf("%s, done %v, saturation %+v", g.Verdict, done, c)
	}
	if len(g.Warnings) == 0 || !strings.Contains(strings.Join(g.Warnings, "\n"), "not part of the verdict, since it cannot be told: ssh-exec saturation") {
		t.Errorf("warnings %q do not tell", g.Warnings)
	}
	if g, _ := judged(t, Options{}, noisy(pairs(10, 0.01, nil, 0), 0.4)); g.Verdict != result.GateRegressed {
		t.Errorf("a fall by 60 %% is %s", g.Verdict)
	}
	few := pairs(10, 0.01, nil, 0)
	for i := range few[:5] {
		few[i].Head.Figures = few[i].Head.Figures[:len(few[i].Head.Figures)-1] // the last is saturation
	}
	if g, _ := judged(t, Options{}, few); g.Verdict != result.GateInconclusive {
		t.Errorf("a throughput of five pairs: %s", g.Verdict)
	}
}
