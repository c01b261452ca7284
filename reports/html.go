package reports

import (
	_ "embed"
	"html/template"
	"io"

	"github.com/openaccess-mcp/openaccess-mcp/reports/result"
)

//go:embed report.html.tmpl
var pageText string

var page = template.Must(template.New("report").Parse(pageText))

// HTML writes the report as one page that loads nothing else and follows the reader's light or dark setting.
func HTML(w io.Writer, d *result.Doc) error { return page.Execute(w, newView(d)) }
