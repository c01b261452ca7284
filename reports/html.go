package reports

import (
	_ "embed"
	"html/template"
	"io"

	"github.com/openaccess-mcp/openaccess-mcp/reports/result"
)

//go:embed report.html.tmpl
var pageText string

//go:embed report.css
var pageStyle string

var page = template.Must(template.New("report").Parse(pageText))

// HTML writes the report as one page that loads nothing else, runs no script and follows the reader's light or dark setting. Its charts are
// inline SVG, each with a description in words and its figures as a table.
func HTML(w io.Writer, d *result.Doc) error { return page.Execute(w, newPage(d)) }
