package main

import (
	"errors"
	"io"
	"os"

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
	if err := reports.Annotations(w, d); err != nil {
		return harness("cannot write annotations to standard error: %v", unwrapped(err))
	}
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
