// Package reports renders result files: to a terminal, as JSON, Markdown, HTML, JUnit XML, CSV, OpenMetrics, Go benchmarks, and GitHub annotations.
//
// Start with Renderer, which finds a format by its name. Every renderer is a function of a writer and a result.Doc and reads
// nothing else; the same Doc gives the same bytes. A Doc may come from anywhere: no text in it, however hostile, can add markup
// or terminal control to a report.
package reports

import (
	"fmt"
	"io"
	"strings"

	"github.com/openaccess-mcp/openaccess-mcp/reports/result"
)

// Render writes a report of d. It returns the writer's error.
type Render func(w io.Writer, d *result.Doc) error

var renderers = []struct {
	name   string
	render Render
}{
	{"text", Text}, {"json", JSON}, {"markdown", Markdown}, {"html", HTML}, {"junit", JUnit},
	{"csv", CSV}, {"openmetrics", OpenMetrics}, {"benchfmt", Benchfmt}, {"github", Annotations},
}

// Formats names the formats that Renderer knows.
func Formats() []string {
	names := make([]string, len(renderers))
	for i, r := range renderers {
		names[i] = r.name
	}
	return names
}

// Renderer finds a format by its name. Its error names the formats there are.
func Renderer(format string) (Render, error) {
	for _, r := range renderers {
		if r.name == format {
			return r.render, nil
		}
	}
	return nil, fmt.Errorf("unknown format %q: use one of %s", format, strings.Join(Formats(), ", "))
}

// JSON writes the result file itself.
func JSON(w io.Writer, d *result.Doc) error { return result.Write(w, d) }
