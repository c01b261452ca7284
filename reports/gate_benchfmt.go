package reports

import (
	"fmt"
	"io"
	"strings"

	"github.com/openaccess-mcp/openaccess-mcp/reports/result"
)

// gateBench are the units of a gate's figures for benchstat, and what makes a figure one of that unit.
var gateBench = map[string]struct {
	unit   string
	factor float64
}{
	result.MeasureP50: {"p50-ns", 1}, result.MeasureP90: {"p90-ns", 1}, result.MeasureP99: {"p99-ns", 1},
	result.MeasureCPU: {"cpu-ns/op", 1e9}, result.MeasureRSS: {"rss-B", 1}, result.MeasureSaturation: {"ops/s", 1},
}

// benchGate writes a line for each scenario of each slice in the pairs that the gate used. It writes nothing without a gate.
func benchGate(w io.Writer, g *result.Gate, cores int) {
	if g == nil {
		return
	}
	used := 0
	for i := range g.Pairs {
		p := &g.Pairs[i]
		if p.Excluded != "" {
			continue
		}
		if used++; used > g.Used {
			return // measured after the look that decided
		}
		benchSlice(w, "base", &p.Base, cores)
		benchSlice(w, "head", &p.Head, cores)
	}
}

func benchSlice(w io.Writer, side string, s *result.Slice, cores int) {
	var names []string
	lines, calls := map[string]*strings.Builder{}, map[string]int64{}
	line := func(scenario string) *strings.Builder {
		if lines[scenario] == nil {
			names, lines[scenario] = append(names, scenario), &strings.Builder{}
		}
		return lines[scenario]
	}
	for _, f := range s.Figures {
		if u, ok := gateBench[f.Measure]; ok && f.N >= f.Cell().MinSamples() {
			fmt.Fprintf(line(f.Scenario), "\t%s %s", number(f.Value*u.factor), u.unit)
			calls[f.Scenario] = max(calls[f.Scenario], f.N)
		}
	}
	for _, e := range s.Errors {
		if e.Total > 0 {
			fmt.Fprintf(line(e.Scenario), "\t%s errors/op", number(float64(e.Failed)/float64(e.Total)))
			calls[e.Scenario] = e.Total
		}
	}
	for _, name := range names {
		fmt.Fprintf(w, "BenchmarkGate/scenario=%s/side=%s-%d\t%d%s\n", benchName(name), side, max(cores, 1), max(calls[name], 1), lines[name])
	}
}
