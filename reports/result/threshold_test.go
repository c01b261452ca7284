package result

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
	"github.com/openaccess-mcp/openaccess-mcp/loadgen/stats"
)

// TestFirstProgressAndEndedRun takes what a call told on its way, and a threshold that ended the run, to the file and back.
func TestFirstProgressAndEndedRun(t *testing.T) {
	told := new(stats.Histogram)
	told.Record(40 * time.Millisecond)
	cell := func(part string) loadgen.Cell {
		return loadgen.Cell{Step: "up", Part: part, Requests: 1, Cancelled: 1, FirstProgress: told, Measured: time.Second}
	}
	d, err := FromRun(Meta{}, []*loadgen.Result{{
		Plan: &loadgen.Plan{Name: "x"}, Cells: []loadgen.Cell{cell("a"), cell("b")}, Generator: loadgen.GeneratorHealth{Valid: true},
		Thresholds: []loadgen.ThresholdResult{{Expr: "p50<1ms over 2s", Step: "up", Part: "b", Value: "about 3ms from 1s to 3s", Start: time.Second, Aborted: true}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	if err := Write(&file, d); err != nil {
		t.Fatal(err)
	}
	if d, err = Read(bytes.NewReader(file.Bytes())); err != nil {
		t.Fatal(err)
	}
	if p := d.Scenarios[0].FirstProgress; p == nil || p.N != 1 || d.Scenarios[0].Cancelled != 1 {
		t.Errorf("first progress %+v, %d cancelled", p, d.Scenarios[0].Cancelled)
	}
	if len(d.Scenarios[0].Thresholds) != 0 || len(d.Scenarios[1].Thresholds) != 1 || d.Scenarios[1].Thresholds[0].StartNS != 1e9 {
		t.Errorf("thresholds %+v and %+v", d.Scenarios[0].Thresholds, d.Scenarios[1].Thresholds)
	}
	want := "threshold p50<1ms over 2s ended the run with about 3ms from 1s to 3s"
	if got := strings.Join(d.Verdict.Failed, "\n"); !strings.Contains(got, want) {
		t.Errorf("verdict %q", got)
	}
}
