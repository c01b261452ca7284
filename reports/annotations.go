package reports

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"strings"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
	"github.com/openaccess-mcp/openaccess-mcp/reports/result"
)

// Annotation is a workflow command that makes GitHub Actions show a message on the run, and beside a line of File where one is given. Its zero
// value but for Message is a notice. No text in it can end the command, begin another or set a property.
type Annotation struct {
	Level   string // "error", "warning" or "notice"
	File    string // within the repository
	Line    int    // from 1
	Title   string
	Message string
}

// String is the command, without a line end.
func (a Annotation) String() string {
	var properties []string
	put := func(name, value string) {
		if value != "" {
			properties = append(properties, name+"="+commandProperty.Replace(clean(value)))
		}
	}
	put("file", a.File)
	if a.File != "" && a.Line > 0 {
		put("line", whole(int64(a.Line)))
	}
	put("title", a.Title)
	level := "notice"
	if a.Level == "error" || a.Level == "warning" {
		level = a.Level
	}
	if len(properties) > 0 {
		level += " "
	}
	return "::" + level + strings.Join(properties, ",") + "::" + commandData.Replace(cleanLines(a.Message))
}

// How the runner reads commands: a message ends with the line, a property with a comma or colon as well.
var (
	commandData     = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	commandProperty = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
)

// cleanLines is clean for a text of several lines.
func cleanLines(s string) string {
	lines := strings.Split(s, "\n")
	for i, line := range lines {
		lines[i] = clean(line)
	}
	return strings.Join(lines, "\n")
}

// maxAnnotations is what GitHub shows of one level in one step.
const maxAnnotations = 10

// Annotations writes a command for each thing that did not hold, or a notice that all did. What is inconclusive is a warning.
func Annotations(w io.Writer, d *result.Doc) error {
	b := bufio.NewWriter(w)
	v := newView(d)
	levels := gateLevels(d.Gate)
	for _, f := range d.Findings(loadgen.BandAcceptable) {
		if f.Kind == result.Inconclusive {
			levels[f.Text] = "warning"
		}
	}
	title := v.Title
	if d.Gate != nil {
		title += ", " + v.Verdict
	}
	if v.OK {
		fmt.Fprintln(b, Annotation{Title: title, Message: strings.TrimSpace(strings.Join(append(heldWords(d), counted(&v, d)), " "))})
	}
	for i, text := range d.Verdict.Failed {
		if rest := len(d.Verdict.Failed) - i; i == maxAnnotations-1 && rest > 1 {
			fmt.Fprintln(b, Annotation{Level: worstLevel(d), Title: title, Message: fmt.Sprintf("%d more findings: see the report", rest)})
			break
		}
		fmt.Fprintln(b, Annotation{Level: cmp.Or(levels[text], "error"), Title: title, Message: text})
	}
	return b.Flush()
}

// heldWords say that all held.
func heldWords(d *result.Doc) []string {
	if d.Gate == nil {
		return []string{"All held."}
	}
	return []string{strings.Join(passed(d), "; ") + "."}
}

// gateLevels gives what is inconclusive in a gate its level; what it does not name is an error.
func gateLevels(g *result.Gate) map[string]string {
	levels := map[string]string{}
	if g != nil && g.Verdict == result.GateInconclusive {
		for _, why := range append(g.Why, string(g.Verdict)) {
			levels[why] = "warning"
		}
	}
	return levels
}

// worstLevel is that of what is summed up.
func worstLevel(d *result.Doc) string {
	if d.Gate != nil && d.Gate.Verdict == result.GateInconclusive {
		return "warning"
	}
	return "error"
}
