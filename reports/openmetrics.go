package reports

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
	"github.com/openaccess-mcp/openaccess-mcp/reports/result"
)

// OpenMetrics writes the report as an OpenMetrics 1.0 text, every sample at the time when the run ended, for Prometheus to import beside what it
// scraped of the server. Durations are seconds. A figure that was not measured has no sample.
func OpenMetrics(w io.Writer, d *result.Doc) error {
	m := &exposition{
		Writer: bufio.NewWriter(w),
		at:     openTime(d.Run.Started.Add(time.Duration(d.Run.DurationS * float64(time.Second)))),
		cells:  openCells(d),
	}
	m.run(d)
	m.counts()
	for _, of := range distributions {
		m.summary("loadgen_"+of.name+"_seconds", of.name+" of calls", of.get)
	}
	m.stages()
	m.server()
	m.judgements()
	m.trends()
	m.gate(d.Gate)
	m.capacity(d.Capacity)
	fmt.Fprintln(m, "# EOF")
	return m.Flush()
}

// exposition writes metric families one after another.
type exposition struct {
	*bufio.Writer
	at    string // timestamp of every sample
	cells []openCell
}

// openCell is a cell with its labels, as they stand between braces.
type openCell struct {
	*result.Scenario
	labels string
}

// openCells labels the cells. Where two would have the same labels, which a sound file has not, the later ones are told apart by a number.
func openCells(d *result.Doc) []openCell {
	seen := map[string]int{}
	var cells []openCell
	for i := range d.Scenarios {
		s := &d.Scenarios[i]
		l := labels("scenario", s.Name, "operation", s.Operation, "part", s.Part, "step", s.Step, "arm", s.Arm)
		if seen[l]++; seen[l] > 1 {
			l += "," + labels("repeat", strconv.Itoa(seen[l]))
		}
		cells = append(cells, openCell{s, l})
	}
	return cells
}

// labels writes names and values in turn; a value that is empty is the same as none.
func labels(pairs ...string) string {
	var out []string
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			out = append(out, pairs[i]+`="`+labelEscape.Replace(clean(pairs[i+1]))+`"`)
		}
	}
	return strings.Join(out, ",")
}

var labelEscape = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

func openTime(t time.Time) string {
	return strconv.FormatFloat(float64(t.UnixMilli())/1000, 'f', 3, 64)
}

// family begins one. A unit must be the last word of the name.
func (m *exposition) family(name, kind, unit, help string) {
	fmt.Fprintf(m, "# TYPE %s %s\n", name, kind)
	if unit != "" {
		fmt.Fprintf(m, "# UNIT %s %s\n", name, unit)
	}
	fmt.Fprintf(m, "# HELP %s %s\n", name, help)
}

func (m *exposition) sample(name, labels string, v float64) {
	if labels != "" {
		name += "{" + labels + "}"
	}
	fmt.Fprintf(m, "%s %s %s\n", name, number(v), m.at)
}

func (m *exposition) gauge(name, unit, help string, v float64) {
	m.family(name, "gauge", unit, help)
	m.sample(name, "", v)
}

func (m *exposition) run(d *result.Doc) {
	r := &d.Run
	m.family("loadgen_run", "info", "", "what was run, where and against what")
	m.sample("loadgen_run_info", labels("id", r.ID, "git", r.Git, "seed", strconv.FormatUint(r.Seed, 10), "server_version", r.Server.Version,
		"transport", r.Server.Transport, "target", r.Target.Kind, "cpu", r.Host.CPU, "os", r.Host.OS, "go", r.Host.Go, "shard", r.Shard), 1)
	m.gauge("loadgen_run_started_timestamp_seconds", "seconds", "when the run began, since the epoch", float64(r.Started.UnixMilli())/1000)
	m.gauge("loadgen_run_duration_seconds", "seconds", "how long the run took", r.DurationS)
	m.gauge("loadgen_verdict_held", "", "1 when all held", float64(boolInt(d.Verdict.OK)))
	g := &d.Generator
	m.gauge("loadgen_generator_valid", "", "1 when the load generator can be believed", float64(boolInt(g.Valid)))
	m.gauge("loadgen_generator_cpu_seconds", "seconds", "CPU time of the load generator", g.CPUS)
	m.gauge("loadgen_generator_cpu_wait_ratio", "ratio", "share of the time under load that the load generator waited for a CPU", g.CPUWait)
	m.gauge("loadgen_generator_lateness_p99_seconds", "seconds", "actual send minus intended, p99", inSeconds(g.LatenessP99NS))
	m.gauge("loadgen_generator_max_stall_seconds", "seconds", "longest time under load in which nothing of the load generator ran", inSeconds(g.MaxStallNS))
}

func (m *exposition) counts() {
	counter := func(name, help string, value func(s *result.Scenario) int64) {
		m.family(name, "counter", "", help)
		for _, c := range m.ran() {
			m.sample(name+"_total", c.labels, float64(value(c.Scenario)))
		}
	}
	counter("loadgen_requests", "calls measured", func(s *result.Scenario) int64 { return s.Requests })
	counter("loadgen_dropped_arrivals", "arrivals that found too many calls in flight", func(s *result.Scenario) int64 { return s.Dropped })
	counter("loadgen_cancelled", "calls that the client cancelled, as the scenario wants", func(s *result.Scenario) int64 { return s.Cancelled })
	m.family("loadgen_errors", "counter", "", "calls that failed, by code")
	for _, c := range m.ran() {
		for _, code := range slices.Sorted(maps.Keys(byText(c.Errors))) {
			m.sample("loadgen_errors_total", join(c.labels, labels("code", code)), float64(byText(c.Errors)[code]))
		}
	}
	m.perCell("loadgen_offered_rate", "", "calls a second that the schedule intended", func(s *result.Scenario) *float64 { return positive(s.OfferedRate) })
	m.perCell("loadgen_achieved_rate", "", "successful calls a second", func(s *result.Scenario) *float64 { return &s.AchievedRate })
	m.perCell("loadgen_throughput_bytes_per_second", "", "bytes moved a second", func(s *result.Scenario) *float64 { return &s.Throughput.BytesPerS })
}

// byText adds up codes that are the same once they are clean.
func byText(errors map[string]int64) map[string]int64 {
	out := map[string]int64{}
	for code, n := range errors {
		out[clean(code)] += n
	}
	return out
}

func (m *exposition) ran() []openCell {
	return slices.DeleteFunc(slices.Clone(m.cells), func(c openCell) bool { return !c.Ran() })
}

// summary writes a distribution: the percentiles that its samples support, the sum and the count.
func (m *exposition) summary(name, help string, get func(s *result.Scenario) *result.Distribution) {
	m.family(name, "summary", "seconds", help)
	for _, c := range m.ran() {
		m.distribution(name, c.labels, get(c.Scenario))
	}
}

func (m *exposition) distribution(name, labelled string, d *result.Distribution) {
	if d == nil || d.N == 0 {
		return
	}
	for _, p := range percentilesOf(d) {
		if p.value != nil {
			m.sample(name, join(labelled, labels("quantile", p.quantile)), inSeconds(*p.value))
		}
	}
	if d.Mean != nil {
		m.sample(name+"_sum", labelled, inSeconds(*d.Mean)*float64(d.N))
	}
	m.sample(name+"_count", labelled, float64(d.N))
}

func (m *exposition) stages() {
	m.family("loadgen_stage_seconds", "summary", "seconds", "time of a call in one stage, as the server reports it")
	for _, c := range m.ran() {
		for _, stage := range stages {
			m.distribution("loadgen_stage_seconds", join(c.labels, labels("stage", stage)), c.Timing[stage])
		}
	}
}

func (m *exposition) server() {
	whole := func(get func(r *result.Resources) *int64) func(s *result.Scenario) *float64 {
		return func(s *result.Scenario) *float64 {
			v := get(used(s))
			if v == nil {
				return nil
			}
			f := float64(*v)
			return &f
		}
	}
	m.perCell("loadgen_server_cpu_per_call_seconds", "seconds", "CPU time of the server for a call", func(s *result.Scenario) *float64 { return used(s).CPUSPerOp })
	m.perCell("loadgen_server_resident_memory_peak_bytes", "bytes", "most resident memory of the server", whole(func(r *result.Resources) *int64 { return r.RSSPeakBytes }))
	m.perCell("loadgen_server_heap_bytes", "bytes", "heap of the server", whole(func(r *result.Resources) *int64 { return r.HeapBytes }))
	m.perCell("loadgen_server_goroutines", "", "goroutines of the server", whole(func(r *result.Resources) *int64 { return r.Goroutines }))
	m.perCell("loadgen_server_threads", "", "threads of the server", whole(func(r *result.Resources) *int64 { return r.Threads }))
	m.perCell("loadgen_server_fds", "", "open file descriptors of the server", whole(func(r *result.Resources) *int64 { return r.FDs }))
	m.perCell("loadgen_server_sockets", "", "open sockets of the server", whole(func(r *result.Resources) *int64 { return r.Sockets }))
}

func (m *exposition) perCell(name, unit, help string, value func(s *result.Scenario) *float64) {
	m.family(name, "gauge", unit, help)
	for _, c := range m.ran() {
		if v := value(c.Scenario); v != nil {
			m.sample(name, c.labels, *v)
		}
	}
}

var openBands = []loadgen.Band{loadgen.BandTarget, loadgen.BandAcceptable, loadgen.BandPoor, loadgen.BandNoData}

func (m *exposition) judgements() {
	m.family("loadgen_band", "stateset", "", "band of the targets table that the cell is in")
	for _, c := range m.cells {
		if c.Grade == nil {
			continue
		}
		for _, band := range openBands {
			m.sample("loadgen_band", join(c.labels, labels("loadgen_band", string(band))), float64(boolInt(c.Grade.Band == band)))
		}
	}
	m.family("loadgen_target_limit_seconds", "gauge", "seconds", "end of a band of the targets table")
	for _, c := range m.cells {
		if g := c.Grade; g != nil {
			m.sample("loadgen_target_limit_seconds", join(c.labels, labels("band", "target")), inSeconds(g.TargetNS))
			m.sample("loadgen_target_limit_seconds", join(c.labels, labels("band", "acceptable")), inSeconds(g.AcceptableNS))
		}
	}
	m.family("loadgen_threshold_held", "gauge", "", "1 when a threshold of the scenario held")
	for _, c := range m.cells {
		held := map[string]bool{}
		for _, t := range c.Thresholds {
			expr := clean(t.Expr)
			was, twice := held[expr]
			held[expr] = t.OK && (was || !twice)
		}
		for _, expr := range slices.Sorted(maps.Keys(held)) {
			m.sample("loadgen_threshold_held", join(c.labels, labels("expr", expr)), float64(boolInt(held[expr])))
		}
	}
}

func join(a, b string) string {
	return strings.Trim(a+","+b, ",")
}

func inSeconds(ns int64) float64 { return float64(ns) / 1e9 }

func positive(v float64) *float64 {
	if v <= 0 {
		return nil
	}
	return &v
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}
