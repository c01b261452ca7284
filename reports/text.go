package reports

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strings"
	"unicode"

	"github.com/openaccess-mcp/openaccess-mcp/reports/result"
)

// textWidth is the number of columns that Text fits.
const textWidth = 100

// Text writes the report for a terminal of 100 columns, without colour.
func Text(w io.Writer, d *result.Doc) error { return TextFor(textWidth)(w, d) }

// TextFor gives a Text for another number of columns, at least 80. Names are cut to fit, and columns that others imply are left out;
// figures are never cut.
func TextFor(columns int) Render {
	columns = max(columns, 80)
	return func(w io.Writer, d *result.Doc) error {
		v := newView(d)
		var page bytes.Buffer
		t := text{bufio.NewWriter(&page), columns}
		t.verdict(&v, d)
		t.gate(d.Gate)
		t.capacity(d.Capacity)
		t.targets(&v)
		t.cells(d)
		t.arms(d)
		t.times(d)
		t.server(d)
		t.thresholds(&v)
		t.trends(&v)
		t.errors(v.Errors)
		t.run(&v, d)
		if err := t.Flush(); err != nil {
			return err
		}
		_, err := w.Write(parted(page.Bytes()))
		return err
	}
}

// parted puts a backslash before a line's text that a CI system would take for a command.
func parted(page []byte) []byte {
	out := make([]byte, 0, len(page))
	for line := range bytes.Lines(page) {
		rest := bytes.TrimLeftFunc(line, unicode.IsSpace)
		out = append(out, line[:len(line)-len(rest)]...)
		if bytes.HasPrefix(rest, []byte(commandMark)) {
			out = append(out, '\\')
		}
		out = append(out, rest...)
	}
	return out
}

// text writes the sections of a report.
type text struct {
	*bufio.Writer
	columns int
}

func (t text) paragraph(lead, s string) { fmt.Fprint(t, wrap(lead, s, t.columns)) }

// verdict comes first, with a sentence for each thing that did not hold.
func (t text) verdict(v *view, d *result.Doc) {
	fmt.Fprintf(t, "Verdict: %s\n", v.Verdict)
	for _, f := range v.Failed {
		t.paragraph("  - ", f)
	}
	for _, why := range passed(d) {
		t.paragraph("  - ", why)
	}
	if s := counted(v, d); s != "" {
		t.paragraph("  ", s)
	}
}

// counted says in a sentence what held.
func counted(v *view, d *result.Doc) string {
	var facts []string
	met := 0
	for i := range d.Scenarios {
		if g := d.Scenarios[i].Grade; g != nil && g.Band == "target" {
			met++
		}
	}
	if n := len(v.Targets); n > 0 {
		facts = append(facts, fmt.Sprintf("%d of %s met", met, count(n, "target")))
	}
	if n := len(v.Checks); n > 0 {
		facts = append(facts, fmt.Sprintf("%d of %s held", n-v.Missed, count(n, "threshold")))
	}
	if len(facts) == 0 {
		return ""
	}
	return strings.Join(facts, ", ") + "."
}

func (t text) targets(v *view) {
	tab := table{columns: append(named("Targets", "scenario", "step"),
		column{text: true}, column{head: "value"}, column{head: "band", text: true}, column{head: "target", text: true}, column{head: "acceptable", text: true, spare: 1})}
	for _, r := range v.Targets {
		tab.add(r.Operation, r.Scenario, r.Step, r.Statistic, r.Value, r.Band, r.Target, r.Acceptable)
	}
	tab.write(t, t.columns)
	for _, line := range v.Remarks {
		t.paragraph("  ", line)
	}
}

// manyThresholds are more than are listed when they held.
const manyThresholds = 6

func (t text) thresholds(v *view) {
	tab := table{columns: append(named("Thresholds"), column{text: true, name: true}, column{head: "measured"}, column{text: true})}
	rest := 0
	for _, r := range v.Checks {
		if len(v.Checks) > manyThresholds && r.Result == "held" {
			rest++
			continue
		}
		tab.add(r.Cell, r.Expr, r.Value, r.Result)
	}
	tab.write(t, t.columns)
	switch {
	case rest == 0:
	case rest == len(v.Checks):
		fmt.Fprintf(t, "\nThresholds: all %d held\n", rest)
	default:
		fmt.Fprintf(t, "  %d more held\n", rest)
	}
}

func (t text) errors(rows []errorRow) {
	if len(rows) == 0 {
		return
	}
	fmt.Fprintln(t, "\nErrors")
	for _, r := range rows {
		line := r.Cell + ": " + r.Code + " ×" + r.Count
		if r.Message != "" {
			line += ", such as: " + r.Message
		}
		t.paragraph("  ", line)
	}
}

// run says what was run, where and against what, and whether the generator was up to it.
func (t text) run(v *view, d *result.Doc) {
	fmt.Fprintln(t)
	for _, line := range v.About {
		fmt.Fprintln(t, Fit(line, t.columns))
	}
	if v.Health != "" {
		t.paragraph("", v.Health)
	}
}
