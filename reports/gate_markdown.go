package reports

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"github.com/openaccess-mcp/openaccess-mcp/reports/result"
)

// GateMarker stands in a comment of GateComment and nowhere else, so that the comment is found and updated.
const GateMarker = "<!-- openaccess-mcp perf-gate -->"

// gateMarks stand before a gate's verdict.
var gateMarks = map[result.GateVerdict]string{
	result.GateRegressed: "❌", result.GateImproved: "🎉", result.GateEquivalent: "✅", result.GateInconclusive: "❔",
}

// GateComment writes the comment on a pull request: the verdict, and the cells folded away. A document without a gate gives an error.
func GateComment(w io.Writer, d *result.Doc) error {
	g := d.Gate
	if g == nil {
		return errors.New("the result has no gate to comment on")
	}
	b := bufio.NewWriter(w)
	fmt.Fprintf(b, "%s\n### %s Performance gate: %s\n", GateMarker, mdMark(d), md(clean(string(g.Verdict))))
	var why []string
	for _, s := range g.Why {
		why = append(why, clean(s))
	}
	mdList(b, why)
	fmt.Fprintf(b, "\n<details><summary>%s, %s</summary>\n", count(len(g.Cells), "cell"), count(g.Used, "pair"))
	mdGate(b, g)
	if command := again(d); command != "" {
		fmt.Fprintf(b, "\nRun it again:\n\n%s", mdCode(command))
	}
	fmt.Fprint(b, "\n</details>\n")
	return b.Flush()
}

// mdGate writes what a gate says of each cell. It writes nothing without one.
func mdGate(w io.Writer, g *result.Gate) {
	if g == nil {
		return
	}
	t := mdTable{head: []string{"Scenario", "Measure", "Verdict", "Base", "Head", "Change", "Interval", "p", "Detectable", "More pairs"}}
	for _, r := range gateRows(g) {
		t.add(r.Scenario, r.Measure, r.Verdict, r.Base, r.Head, r.Change, r.Interval, r.P, r.Detectable, r.More)
	}
	t.write(w, "Gate")
	mdList(w, gateFacts(g))
}
