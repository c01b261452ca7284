package reports

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/reports/result"
)

// runsOf gives documents of several runs of one scenario, each a bit slower than the one before but for an outlier, in an order of its own.
func runsOf(t *testing.T, times float64) []*result.Doc {
	var docs []*result.Doc
	for _, low := range []int{14, 11, 13, 90, 12, 10, 15} {
		r := execRun()
		at := time.Duration(times * float64(low) * float64(time.Millisecond))
		r.Cells[0].Latency = histogram(3000, at, 3*at)
		docs = append(docs, sample(t, r))
	}
	return docs
}

func median(docs []*result.Doc, of func(s *result.Scenario) float64) float64 {
	var vs []float64
	for _, d := range docs {
		vs = append(vs, of(&d.Scenarios[0]))
	}
	slices.Sort(vs)
	return vs[len(vs)/2]
}

func TestBenchstatAgreesOnMedians(t *testing.T) {
	dir := t.TempDir()
	base, head := runsOf(t, 1), runsOf(t, 1.5)
	var files []string
	for name, docs := range map[string][]*result.Doc{"base": base, "head": head} {
		var b bytes.Buffer
		for _, d := range docs {
			if err := Benchfmt(&b, d); err != nil {
				t.Fatal(err)
			}
		}
		files = append(files, name+"="+filepath.Join(dir, name))
		if err := os.WriteFile(filepath.Join(dir, name), b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(files)
	out, err := exec.Command("go", append([]string{"tool", "benchstat", "-format", "csv"}, files...)...).Output()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for unit, of := range map[string]func(s *result.Scenario) float64{
		"p50-sec": func(s *result.Scenario) float64 { return float64(*s.Latency.P50) / 1e9 },
		"p99-sec": func(s *result.Scenario) float64 { return float64(*s.Latency.P99) / 1e9 },
		"sec/op":  func(s *result.Scenario) float64 { return float64(*s.Latency.Mean) / 1e9 },
		"ops/s":   func(s *result.Scenario) float64 { return s.Throughput.OpsPerS },
		"rss-B":   func(s *result.Scenario) float64 { return float64(*s.Server.RSSPeakBytes) },
	} {
		got := benchstatRow(t, string(out), unit, "Load/scenario=ssh-exec/step=exec/arm=pooled-2")
		for i, want := range []float64{median(base, of), median(head, of)} {
			if d := got[i]/want - 1; d < -1e-6 || d > 1e-6 {
				t.Errorf("%s: benchstat says %v, we say %v", unit, got[i], want)
			}
		}
	}
	if !strings.Contains(string(out), "+50") {
		t.Errorf("benchstat does not see that head is half as slow again:\n%s", out)
	}
}

// benchstatRow finds the two medians of a benchmark in the table of a unit.
func benchstatRow(t *testing.T, out, unit, name string) (medians [2]float64) {
	t.Helper()
	r := csv.NewReader(strings.NewReader(out))
	r.FieldsPerRecord = -1
	rows, err := r.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	inside := false
	for _, row := range rows {
		switch {
		case len(row) > 1 && row[0] == "":
			inside = row[1] == unit || inside && strings.Contains(fmt.Sprint(row), unit)
		case inside && row[0] == name:
			for i, column := range []int{1, 3} {
				if medians[i], err = strconv.ParseFloat(row[column], 64); err != nil {
					t.Fatal(err)
				}
			}
			return medians
		}
	}
	t.Fatalf("no %s of %s in\n%s", unit, name, out)
	return
}
