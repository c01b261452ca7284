package reports

import (
	"encoding/csv"
	"io"
	"strconv"
	"strings"

	"github.com/openaccess-mcp/openaccess-mcp/reports/result"
)

// csvColumn is one of the file: a name with its unit, and how a cell's value is written, empty where there is none.
type csvColumn struct {
	name  string
	value func(s *result.Scenario) string
}

// CSV writes a row for each cell, rows of the targets table that were not run included, for a spreadsheet or a data frame: RFC 4180, with a head
// line. Durations are nanoseconds. A figure that was not measured is empty. Text that a spreadsheet would take for a formula begins with an
// apostrophe. Of a gate it has a row for each cell that was judged, in columns of their own: a change is a share, a figure in its unit;
// of a search for capacity one for each thing measured, and of a soak one for each trend.
func CSV(w io.Writer, d *result.Doc) error {
	var t csvTable
	if d.Gate != nil {
		t.gate(d)
	}
	t.capacity(d)
	if d.Gate == nil && d.Capacity == nil || len(d.Scenarios) > 0 {
		t.scenarios(d)
	}
	t.trends(d)
	out := csv.NewWriter(w)
	if err := out.Write(t.head); err != nil {
		return err
	}
	row := make([]string, len(t.head))
	for _, values := range t.rows {
		for i, name := range t.head {
			row[i] = values[name]
		}
		if err := out.Write(row); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}

func csvColumns(d *result.Doc) []csvColumn {
	text := func(name string, value func(s *result.Scenario) string) csvColumn {
		return csvColumn{name, func(s *result.Scenario) string { return inert(value(s)) }}
	}
	columns := []csvColumn{
		text("run", func(*result.Scenario) string { return d.Run.ID }),
		text("scenario", func(s *result.Scenario) string { return s.Name }),
		text("operation", func(s *result.Scenario) string { return s.Operation }),
		text("part", func(s *result.Scenario) string { return s.Part }),
		text("step", func(s *result.Scenario) string { return s.Step }),
		text("arm", func(s *result.Scenario) string { return s.Arm }),
		text("driver", func(s *result.Scenario) string { return s.Driver }),
		text("executor", func(s *result.Scenario) string { return s.Executor }),
	}
	columns = append(columns, csvCounts()...)
	for _, of := range distributions {
		columns = append(columns, csvDistribution(of.name, of.get)...)
	}
	for _, stage := range stages {
		columns = append(columns, csvColumn{stage + "_mean_ns", measured(func(s *result.Scenario) *int64 { return dist(s.Timing[stage]).Mean })})
	}
	columns = append(columns, csvServer()...)
	return append(columns,
		text("grade_statistic", func(s *result.Scenario) string { return grade(s).Statistic }),
		csvColumn{"grade_value_ns", measured(func(s *result.Scenario) *int64 { return grade(s).ValueNS })},
		text("grade_band", func(s *result.Scenario) string { return string(grade(s).Band) }),
	)
}

func csvCounts() []csvColumn {
	counted := func(name string, value func(s *result.Scenario) float64) csvColumn {
		return csvColumn{name, func(s *result.Scenario) string {
			if !s.Ran() {
				return ""
			}
			return number(value(s))
		}}
	}
	return []csvColumn{
		counted("in_flight", func(s *result.Scenario) float64 { return float64(s.InFlight) }),
		counted("offered_per_s", func(s *result.Scenario) float64 { return s.OfferedRate }),
		counted("achieved_per_s", func(s *result.Scenario) float64 { return s.AchievedRate }),
		counted("requests", func(s *result.Scenario) float64 { return float64(s.Requests) }),
		counted("errors", func(s *result.Scenario) float64 { return float64(s.ErrorCount()) }),
		counted("dropped", func(s *result.Scenario) float64 { return float64(s.Dropped) }),
		counted("cancelled", func(s *result.Scenario) float64 { return float64(s.Cancelled) }),
		counted("bytes_per_s", func(s *result.Scenario) float64 { return s.Throughput.BytesPerS }),
	}
}

func csvDistribution(name string, get func(s *result.Scenario) *result.Distribution) []csvColumn {
	columns := []csvColumn{{name + "_n", func(s *result.Scenario) string {
		if get(s) == nil {
			return ""
		}
		return whole(get(s).N)
	}}}
	for _, p := range percentilesOf(&result.Distribution{}) {
		columns = append(columns, csvColumn{name + "_" + p.name + "_ns", measured(func(s *result.Scenario) *int64 {
			for _, q := range percentilesOf(dist(get(s))) {
				if q.name == p.name {
					return q.value
				}
			}
			return nil
		})})
	}
	return append(columns,
		csvColumn{name + "_min_ns", measured(func(s *result.Scenario) *int64 { return dist(get(s)).Min })},
		csvColumn{name + "_max_ns", measured(func(s *result.Scenario) *int64 { return dist(get(s)).Max })},
		csvColumn{name + "_mean_ns", measured(func(s *result.Scenario) *int64 { return dist(get(s)).Mean })})
}

func csvServer() []csvColumn {
	return []csvColumn{
		{"server_cpu_s_per_op", measured(func(s *result.Scenario) *float64 { return used(s).CPUSPerOp })},
		{"server_cpu_percent", measured(func(s *result.Scenario) *float64 { return used(s).CPUPercent })},
		{"server_rss_peak_bytes", measured(func(s *result.Scenario) *int64 { return used(s).RSSPeakBytes })},
		{"server_heap_bytes", measured(func(s *result.Scenario) *int64 { return used(s).HeapBytes })},
		{"server_goroutines", measured(func(s *result.Scenario) *int64 { return used(s).Goroutines })},
		{"server_threads", measured(func(s *result.Scenario) *int64 { return used(s).Threads })},
		{"server_fds", measured(func(s *result.Scenario) *int64 { return used(s).FDs })},
		{"server_sockets", measured(func(s *result.Scenario) *int64 { return used(s).Sockets })},
		{"server_net_bytes_per_op", measured(func(s *result.Scenario) *float64 { return used(s).NetBytesPerOp })},
	}
}

func measured[V int64 | float64](get func(s *result.Scenario) *V) func(s *result.Scenario) string {
	return func(s *result.Scenario) string {
		v := get(s)
		if v == nil {
			return ""
		}
		return number(float64(*v))
	}
}

// number writes a figure for programs: exact, without an exponent.
func number(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

// formulaStarts begin a formula in one spreadsheet or another, or a command to the CI system that shows the file.
const formulaStarts = "=+-@:|%＝＋－＠"

// inert makes text that a spreadsheet takes for nothing but text.
func inert(s string) string {
	s = clean(s)
	if rest := strings.TrimLeft(s, ` '"`); rest != "" && strings.ContainsRune(formulaStarts, []rune(rest)[0]) {
		return "'" + s
	}
	return s
}
