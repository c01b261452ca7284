package reports

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/openaccess-mcp/openaccess-mcp/reports/result"
)

// textWidth is the number of columns that a text report fits, as long as the names in it are of usual length.
const textWidth = 100

// Text writes the report for a terminal, without colour.
func Text(w io.Writer, d *result.Doc) error {
	v := newView(d)
	b := bufio.NewWriter(w)
	for _, line := range v.About {
		fmt.Fprintln(b, fit(line, textWidth))
	}
	textTargets(b, &v)
	textCells(b, v.Cells)
	textArms(b, v.Arms)
	textChecks(b, &v)
	textErrors(b, v.Errors)
	for _, warning := range v.Warnings {
		fmt.Fprintf(b, "\n%s\n", warning)
	}
	fmt.Fprintf(b, "\nVerdict: %s\n", v.Verdict)
	for _, f := range v.Failed {
		fmt.Fprint(b, wrap("  - ", f, textWidth))
	}
	return b.Flush()
}

func textTargets(w io.Writer, v *view) {
	t := table{head: []string{"Targets", "scenario", "step", "", "value", "band", "target", "acceptable"}, right: "value"}
	for _, r := range v.Targets {
		t.add(r.Operation, r.Scenario, r.Step, r.Statistic, r.Value, r.Band, r.Target, r.Acceptable)
	}
	t.write(w)
	for _, line := range v.Remarks {
		fmt.Fprint(w, wrap("  ", line, textWidth))
	}
}

func textCells(w io.Writer, rows []cellRow) {
	t := table{
		head:     []string{"Cells", "step", "arm", "load", "rate/s", "p50", "p95", "p99", "max", "errors", "dropped"},
		right:    "load rate/s p50 p95 p99 max errors dropped",
		optional: "arm dropped",
	}
	for _, r := range rows {
		t.add(r.Scenario, r.Step, r.Arm, r.Load, r.Rate, r.P50, r.P95, r.P99, r.Max, r.Errors, r.Dropped)
	}
	t.write(w)
}

func textArms(w io.Writer, rows []armRow) {
	t := table{head: []string{"Arms", "step", "", "p50", "p95", "rate"}}
	for _, r := range rows {
		t.add(r.Scenario, r.Step, r.Base+" → "+r.Arm, r.BaseP50+" → "+r.ArmP50+" "+r.P50, r.BaseP95+" → "+r.ArmP95+" "+r.P95, r.Rate)
	}
	t.write(w)
}

// textChecks counts the thresholds; the verdict names those that failed.
func textChecks(w io.Writer, v *view) {
	if len(v.Checks) > 0 {
		fmt.Fprintf(w, "\nThresholds: %s\n", v.Held)
	}
}

func textErrors(w io.Writer, rows []errorRow) {
	if len(rows) == 0 {
		return
	}
	fmt.Fprintln(w, "\nErrors")
	for _, r := range rows {
		line := r.Cell + ": " + r.Code + " ×" + r.Count
		if r.Message != "" {
			line += ", such as: " + r.Message
		}
		fmt.Fprint(w, wrap("  ", line, textWidth))
	}
}

// table aligns columns. Those whose head is a word of right are set to the right, those of optional are left out where they say nothing.
type table struct {
	head     []string
	right    string
	optional string
	rows     [][]string
}

// maxCell bounds a name in a table, in columns.
const maxCell = 24

func (t *table) add(cells ...string) {
	for i := range cells {
		if i < 3 {
			cells[i] = fit(cells[i], maxCell)
		}
	}
	t.rows = append(t.rows, cells)
}

// write writes the table after an empty line, or nothing when it has no rows.
func (t *table) write(w io.Writer) {
	if len(t.rows) == 0 {
		return
	}
	width := make([]int, len(t.head)) // 0 leaves a column out
	for i := range width {
		for _, row := range append([][]string{t.head}, t.rows...) {
			width[i] = max(width[i], utf8.RuneCountInString(row[i]))
		}
		if oneOf(t.optional, t.head[i]) && !slices.ContainsFunc(t.rows, func(row []string) bool { return row[i] != none && row[i] != "0" }) {
			width[i] = 0
		}
	}
	fmt.Fprintln(w)
	t.line(w, t.head, width)
	for _, row := range t.rows {
		t.line(w, row, width)
	}
}

func (t *table) line(w io.Writer, row []string, width []int) {
	var b strings.Builder
	for i, c := range row {
		if width[i] == 0 {
			continue
		}
		pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(c))
		if i > 0 {
			b.WriteString("  ")
		}
		if oneOf(t.right, t.head[i]) {
			b.WriteString(pad + c)
		} else {
			b.WriteString(c + pad)
		}
	}
	fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
}

// oneOf reports whether a column's head is one of some words.
func oneOf(words, head string) bool {
	return head != "" && strings.Contains(" "+words+" ", " "+head+" ")
}

// fit cuts a text to a number of columns.
func fit(s string, columns int) string {
	if utf8.RuneCountInString(s) <= columns {
		return s
	}
	return string([]rune(s)[:columns-1]) + "…"
}

// wrap breaks a text at its spaces. Lines after the first are indented as deep as the first one's lead.
func wrap(lead, s string, columns int) string {
	var b strings.Builder
	indent := strings.Repeat(" ", len(lead))
	line, empty := lead, true
	for _, word := range strings.Fields(s) {
		if !empty && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > columns {
			b.WriteString(line + "\n")
			line, empty = indent, true
		}
		if !empty {
			line += " "
		}
		line, empty = line+fit(word, columns-len(lead)), false
	}
	return b.String() + line + "\n"
}
