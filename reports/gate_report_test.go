package reports

import (
	"bytes"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/reports/gate"
	"github.com/openaccess-mcp/openaccess-mcp/reports/result"
)

// gateDoc judges pairs of made-up noise, in whose head worse changes the figures.
func gateDoc(t testing.TB, pairs int, noise float64, worse func(f *result.Figure), opts gate.Options) *result.Doc {
	t.Helper()
	judge, err := gate.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	sd := map[string]float64{}
	for m, v := range gate.TypicalSD {
		sd[m] = noise * v
	}
	next := gate.Synthetic{Kind: gate.Independent, Scenarios: 1, SD: sd}.Stream(rand.New(rand.NewPCG(1, 2)))
	for i := range pairs {
		p := next()
		for j := range p.Head.Figures {
			worse(&p.Head.Figures[j])
		}
		control := []result.Figure{{Scenario: "noop", Measure: result.MeasureP50, Value: 200_000, N: 1000}}
		p.Control = &result.Control{Base: control, Head: control}
		if i == 3 {
			p.Control.Head = []result.Figure{{Scenario: "noop", Measure: result.MeasureP50, Value: 300_000, N: 1000}}
		}
		if err := judge.Add(p); err != nil {
			t.Fatal(err)
		}
	}
	g, _ := judge.Look()
	d := &result.Doc{
		Schema: result.Schema, Scenarios: []result.Scenario{}, Generator: result.Generator{Valid: true, Why: []string{}}, Gate: &g,
		Run: result.Run{
			ID: "20260304T050607Z-0002", Started: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC), DurationS: 93, Seed: 7, Git: "0123abcd",
			Command: "loadgen gate --base-ref main --seed 7", Host: result.Host{CPU: "Example CPU", Cores: 2, OS: "linux/amd64", Go: "go1.26"},
			Server: result.Server{Path: "0123abcd", Transport: "stdio"}, Target: result.Target{Kind: "fake"},
		},
		Verdict: result.Verdict{OK: g.OK(), Failed: []string{}},
	}
	if !g.OK() {
		d.Verdict.Failed = g.Why
	}
	return d
}

// slower makes a measure worse by a factor.
func slower(measure string, factor float64) func(*result.Figure) {
	return func(f *result.Figure) {
		if f.Measure == measure {
			f.Value *= factor
		}
	}
}

func gateDocs(t testing.TB) map[string]*result.Doc {
	return map[string]*result.Doc{
		"gate-regressed":    gateDoc(t, 11, 1, slower(result.MeasureP50, 1.1), gate.Options{}),
		"gate-improved":     gateDoc(t, 11, 0.1, slower(result.MeasureSaturation, 1.1), gate.Options{}),
		"gate-equivalent":   gateDoc(t, 11, 0.1, slower(result.MeasureP50, 1), gate.Options{}),
		"gate-inconclusive": gateDoc(t, 11, 4, slower(result.MeasureP50, 1), gate.Options{}),
		"gate-early":        gateDoc(t, 4, 1, slower(result.MeasureP50, 1), gate.Options{}),
	}
}

func TestGateGolden(t *testing.T) {
	for name, d := range gateDocs(t) {
		if want := strings.TrimPrefix(name, "gate-"); want != string(d.Gate.Verdict) && want != "early" {
			t.Errorf("%s became %s: %v", name, d.Gate.Verdict, d.Gate.Why)
		}
		for format, ext := range extensions {
			if format == "json" && name != "gate-regressed" {
				continue // the others have nothing that it has not
			}
			t.Run(name+"/"+format, func(t *testing.T) { golden(t, name+"."+ext, render(t, format, d)) })
		}
	}
}

func TestGateComment(t *testing.T) {
	for name, d := range gateDocs(t) {
		var b bytes.Buffer
		if err := GateComment(&b, d); err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(b.String(), GateMarker+"\n") || strings.Count(b.String(), GateMarker) != 1 {
			t.Errorf("%s: the marker does not stand alone at the beginning:\n%s", name, b.String())
		}
		if name == "gate-regressed" {
			golden(t, "gate-comment.md", b.String())
		}
	}
	if err := GateComment(&bytes.Buffer{}, sample(t, execRun())); err == nil {
		t.Error("a run without a gate has a comment")
	}
}

// TestGateIsNeverASilentPass wants every format that judges to say so where the gate did not pass.
func TestGateIsNeverASilentPass(t *testing.T) {
	for name, d := range gateDocs(t) {
		passes := d.Gate.OK()
		if failed := strings.Contains(render(t, "junit", d), "<failure"); failed == passes {
			t.Errorf("%s: the suite of JUnit fails: %v", name, failed)
		}
		if notice := strings.Contains(render(t, "github", d), "::notice "); notice != passes {
			t.Errorf("%s: a notice stands for it: %v", name, notice)
		}
		for _, format := range []string{"text", "markdown", "html"} {
			if got := render(t, format, d); !strings.Contains(got, ": "+string(d.Gate.Verdict)) {
				t.Errorf("%s: %s does not say %s", name, format, d.Gate.Verdict)
			}
		}
	}
}

// TestUnknownVerdictIsShown has a verdict that only a newer program may give.
func TestUnknownVerdictIsShown(t *testing.T) {
	d := gateDoc(t, 11, 0.1, slower(result.MeasureP50, 1), gate.Options{})
	d.Gate.Cells[3].Verdict = "puzzling"
	for _, format := range []string{"text", "markdown", "html", "csv", "junit"} {
		if got := render(t, format, d); !strings.Contains(got, "puzzling") {
			t.Errorf("%s leaves the cell out", format)
		}
	}
	if !strings.Contains(render(t, "junit", d), `<failure message="puzzling`) {
		t.Error("it is no failure")
	}
}

// TestWorseningOfThroughput turns round what is better when it is higher, ends of the interval included.
func TestWorseningOfThroughput(t *testing.T) {
	e := effect(&result.GateCell{Cell: result.Cell{Measure: result.MeasureSaturation}, Estimate: known(-0.2), Low: known(-0.5), High: known(0.25)})
	if e.At != 0.25 || e.Low > -0.19 || e.High != 1 {
		t.Errorf("got %+v", e)
	}
}

// TestBenchstatAgreesWithTheGate reads the slices of a gate with benchstat, side against side: its medians are those of the gate's table.
func TestBenchstatAgreesWithTheGate(t *testing.T) {
	d := gateDoc(t, 11, 1, slower(result.MeasureP50, 1.1), gate.Options{})
	file := filepath.Join(t.TempDir(), "gate.txt")
	if err := os.WriteFile(file, []byte(render(t, "benchfmt", d)), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("go", "tool", "benchstat", "-format", "csv", "-col", "/side", file).Output()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for measure, unit := range map[string]struct {
		name   string
		factor float64
	}{"p50": {"p50-sec", 1e-9}, "p99": {"p99-sec", 1e-9}, "cpu_per_op": {"cpu-sec/op", 1}, "rss": {"rss-B", 1}, "saturation": {"ops/s", 1}} {
		got := benchstatRow(t, string(out), unit.name, "Gate/scenario=scenario-1-2")
		for i := range d.Gate.Cells {
			c := &d.Gate.Cells[i]
			if c.Measure != measure {
				continue
			}
			for side, want := range []float64{*c.Base * unit.factor, *c.Head * unit.factor} {
				if off := got[side]/want - 1; off < -1e-4 || off > 1e-4 { // benchstat rounds
					t.Errorf("%s: benchstat says %v, the gate %v", measure, got[side], want)
				}
			}
		}
	}
}
