package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/openaccess-mcp/openaccess-mcp/reports"
	"github.com/openaccess-mcp/openaccess-mcp/reports/result"
)

// surfaces shows the verdict where people look: in the file of --comment and, on GitHub Actions, as annotations and in the step's summary.
func (o *gateOptions) surfaces(w io.Writer, d *result.Doc) error {
	if o.comment != "" {
		if err := writeFile(o.comment, reports.GateComment, d); err != nil {
			return harness("--comment: cannot write %s: %v; name another file", o.comment, unwrapped(err))
		}
	}
	if os.Getenv("GITHUB_ACTIONS") != "true" {
		return nil
	}
	annotate(w, d.Gate)
	if file := os.Getenv("GITHUB_STEP_SUMMARY"); file != "" {
		if err := appendSummary(file, d); err != nil {
			return harness("cannot write the step's summary: %v", unwrapped(err))
		}
	}
	return nil
}

func appendSummary(file string, d *result.Doc) error {
	f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	return errors.Join(reports.Markdown(f, d), f.Close())
}

// maxAnnotations is how many GitHub shows of a step.
const maxAnnotations = 10

// annotate writes GitHub's workflow commands: an error for what regressed, a warning for what cannot be told.
func annotate(w io.Writer, g *result.Gate) {
	command := map[result.GateVerdict]string{result.GateRegressed: "error", result.GateInconclusive: "warning"}[g.Verdict]
	if command == "" {
		fmt.Fprintf(w, "::notice title=Performance gate::%s\n", workflowData(string(g.Verdict)))
		return
	}
	for _, why := range g.Why[:min(len(g.Why), maxAnnotations)] {
		fmt.Fprintf(w, "::%s title=Performance gate, %s::%s\n", command, g.Verdict, workflowData(why))
	}
}

// workflowData escapes the message of a workflow command, as the runner's own toolkit does: no text can begin another command.
func workflowData(s string) string {
	return strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A").Replace(s)
}
