package reports

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"github.com/openaccess-mcp/openaccess-mcp/reports/result"
)

// Markdown writes the report in GitHub's dialect, sized for the summary of a CI step.
func Markdown(w io.Writer, d *result.Doc) error {
	v := newView(d)
	b := bufio.NewWriter(w)
	fmt.Fprintf(b, "## %s %s: %s\n", mdMark(d), v.Title, md(v.Verdict))
	mdList(b, v.Failed)
	mdList(b, passed(d))
	mdList(b, v.Warnings)
	mdGate(b, d.Gate)
	mdCapacity(b, d.Capacity)
	mdTargets(b, v.Targets)
	mdCells(b, v.Cells)
	mdArms(b, v.Arms)
	mdSpent(b, spentTimes(d))
	mdServers(b, v.Servers)
	mdRest(b, v)
	fmt.Fprint(b, "\n### Run\n")
	about := v.About
	if v.Health != "" {
		about = append(about, v.Health)
	}
	mdList(b, about)
	if v.Command != "" {
		fmt.Fprintf(b, "\nRun it again:\n\n%s", mdCode(v.Command))
	}
	return b.Flush()
}

// mdMark stands before the verdict.
func mdMark(d *result.Doc) string {
	switch {
	case d.Gate != nil && gateMarks[d.Gate.Verdict] != "":
		return gateMarks[d.Gate.Verdict]
	case d.Verdict.OK:
		return "✅"
	}
	return "❌"
}

func mdTargets(w io.Writer, rows []targetRow) {
	t := mdTable{head: []string{"Operation", "Scenario", "Step", "Statistic", "Value", "Band", "Target", "Acceptable"}}
	for _, r := range rows {
		t.add(r.Operation, r.Scenario, r.Step, r.Statistic, r.Value, r.Band, r.Target, r.Acceptable)
	}
	t.write(w, "Targets")
}

func mdCells(w io.Writer, rows []cellRow) {
	t := mdTable{head: []string{"Scenario", "Step", "Arm", "Load", "Rate/s", "p50", "p95", "p99", "Max", "Errors", "Dropped"}}
	for _, r := range rows {
		t.add(r.Scenario, r.Step, r.Arm, r.Load, r.Rate, r.P50, r.P95, r.P99, r.Max, r.Errors, r.Dropped)
	}
	t.write(w, "Cells")
}

func mdArms(w io.Writer, rows []armRow) {
	t := mdTable{head: []string{"Scenario", "Step", "Arms", "p50", "", "p95", "", "Rate"}}
	for _, r := range rows {
		t.add(r.Scenario, r.Step, r.Base+" → "+r.Arm, r.BaseP50+" → "+r.ArmP50, r.P50, r.BaseP95+" → "+r.ArmP95, r.P95, r.Rate)
	}
	t.write(w, "Arms")
}

func mdSpent(w io.Writer, rows []spent) {
	t := mdTable{head: append([]string{"Cell", "Mean"}, partNames()...)}
	for _, r := range rows {
		t.add(append([]string{cellName(r.cell), nanos(&r.latency)}, r.parts()...)...)
	}
	t.write(w, "Where the time went")
}

func mdServers(w io.Writer, rows []serverRow) {
	t := mdTable{head: []string{"Scenario", "Part", "Arm", "CPU/op", "CPU", "RSS peak", "Heap", "GC p99", "GCs", "Goroutines", "Threads", "fds", "Sockets"}}
	for _, r := range rows {
		t.add(r.Scenario, orNone(r.Part), orNone(r.Arm), r.CPUPerOp, r.CPU, r.RSS, r.Heap, r.GCPause, r.Cycles, r.Goroutines, r.Threads, r.FDs, r.Sockets)
	}
	t.write(w, "Server")
}

func mdRest(w io.Writer, v view) {
	t := mdTable{head: []string{"Cell", "Threshold", "Measured", "Result"}}
	for _, r := range v.Checks {
		t.add(r.Cell, r.Expr, r.Value, r.Result)
	}
	t.write(w, "Thresholds")
	mdTrends(w, v.Trends)
	t = mdTable{head: []string{"Cell", "Code", "Count", "Such as"}}
	for _, r := range v.Errors {
		t.add(r.Cell, r.Code, r.Count, r.Message)
	}
	t.write(w, "Errors")
}

// mdTable is a table whose cells are escaped as they are written.
type mdTable struct {
	head []string
	rows [][]string
}

func (t *mdTable) add(cells ...string) { t.rows = append(t.rows, cells) }

func (t *mdTable) write(w io.Writer, title string) {
	if len(t.rows) == 0 {
		return
	}
	fmt.Fprintf(w, "\n### %s\n\n| %s |\n|%s\n", title, strings.Join(t.head, " | "), strings.Repeat(" --- |", len(t.head)))
	for _, row := range t.rows {
		for _, c := range row {
			fmt.Fprintf(w, "| %s ", md(c))
		}
		fmt.Fprintln(w, "|")
	}
}

func mdList(w io.Writer, items []string) {
	if len(items) > 0 {
		fmt.Fprintln(w)
	}
	for _, item := range items {
		fmt.Fprintf(w, "- %s\n", md(item))
	}
}

// mdSafe is the punctuation that means nothing inside a line of Markdown.
const mdSafe = " ,;:.%()/=+?'\"-"

// md writes text as a character reference wherever it could mean something to Markdown or HTML, and takes apart what GitHub
// would turn into a link or a mention.
func md(s string) string {
	var b strings.Builder
	for i, r := range s {
		switch {
		case r > 127 || isWord(byte(r)):
			b.WriteRune(r)
		case r == '_' && i > 0 && i+1 < len(s) && isWord(s[i-1]) && isWord(s[i+1]): // inside a word it means nothing
			b.WriteRune(r)
		case strings.ContainsRune(mdSafe, r) && (i > 0 || r == '('):
			b.WriteRune(r)
		default:
			fmt.Fprintf(&b, "&#%d;", r)
		}
	}
	return mdBreak.Replace(b.String())
}

func isWord(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

var mdBreak = strings.NewReplacer("://", ":<!-- -->//", "www.", "www<!-- -->.", "WWW.", "WWW<!-- -->.", "&#64;", "&#64;<!-- -->")

// mdCode writes a block of code that no text inside can end.
func mdCode(s string) string {
	fence := "```"
	for strings.Contains(s, fence) {
		fence += "`"
	}
	return fence + "\n" + s + "\n" + fence + "\n"
}
