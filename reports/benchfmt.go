package reports

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"strings"
	"unicode"

	"github.com/openaccess-mcp/openaccess-mcp/reports/result"
)

// Benchfmt writes the report in the format of Go's benchmarks, for benchstat: a line for each cell, so that each run of loadgen is one sample,
// and the median that benchstat gives over several files is that of the runs. Percentiles are of the latency, ns/op is its mean. What differs
// from run to run, such as its time, stays out, since benchstat would set such runs apart. Of a gate there is a line for each slice that it used,
// with its side in the name, so that benchstat -col /side shows the medians that the gate gives.
func Benchfmt(w io.Writer, d *result.Doc) error {
	b := bufio.NewWriter(w)
	system, arch, _ := strings.Cut(d.Run.Host.OS, "/")
	for _, c := range []struct{ key, value string }{
		{"goos", system}, {"goarch", arch}, {"cpu", d.Run.Host.CPU}, {"transport", d.Run.Server.Transport}, {"target", d.Run.Target.Kind},
	} {
		if value := strings.TrimSpace(clean(c.value)); value != "" {
			fmt.Fprintf(b, "%s: %s\n", c.key, value)
		}
	}
	for _, u := range []string{"ops/s", "B/s"} {
		fmt.Fprintf(b, "Unit %s better=higher\n", u)
	}
	for _, u := range benchUnits {
		fmt.Fprintf(b, "Unit %s better=lower\n", u)
	}
	for i := range d.Scenarios {
		if s := &d.Scenarios[i]; s.Ran() && s.Requests > 0 {
			fmt.Fprintln(b, benchLine(s, d.Run.Host.Cores))
		}
	}
	benchGate(b, d.Gate, d.Run.Host.Cores)
	benchCapacity(b, d.Capacity, d.Run.Host.Cores)
	return b.Flush()
}

// benchUnits are those of which less is better.
var benchUnits = []string{"ns/op", "p50-ns", "p75-ns", "p90-ns", "p95-ns", "p99-ns", "p999-ns", "errors/op", "cpu-ns/op", "rss-B"}

func benchLine(s *result.Scenario, cores int) string {
	var b strings.Builder
	b.WriteString("BenchmarkLoad/scenario=" + benchName(s.Name))
	for _, part := range []struct{ key, value string }{{"part", s.Part}, {"step", s.Step}, {"arm", s.Arm}} {
		if part.value != "" {
			b.WriteString("/" + part.key + "=" + benchName(part.value))
		}
	}
	fmt.Fprintf(&b, "-%d\t%d", max(cores, 1), s.Requests)
	put := func(v float64, unit string) { fmt.Fprintf(&b, "\t%s %s", number(v), unit) }
	l := dist(s.Latency)
	if l.Mean != nil {
		put(float64(*l.Mean), "ns/op")
	}
	for _, p := range percentilesOf(l) {
		if p.value != nil {
			put(float64(*p.value), p.name+"-ns")
		}
	}
	put(s.Throughput.OpsPerS, "ops/s")
	if v := s.Throughput.BytesPerS; v > 0 {
		put(v, "B/s")
	}
	put(float64(s.ErrorCount())/float64(s.Requests), "errors/op")
	if v := used(s).CPUSPerOp; v != nil {
		put(*v*1e9, "cpu-ns/op")
	}
	if v := used(s).RSSPeakBytes; v != nil {
		put(float64(*v), "rss-B")
	}
	return b.String()
}

// benchName makes text one part of a benchmark's name: without spaces and slashes, which end it.
func benchName(s string) string {
	return cmp.Or(strings.Map(func(r rune) rune {
		if r == '/' || unicode.IsSpace(r) {
			return '_'
		}
		return r
	}, clean(s)), "_")
}
