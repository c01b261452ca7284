package reports

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
	"github.com/openaccess-mcp/openaccess-mcp/reports/result"
)

// newTrend writes a trend. Where nothing could be judged there is a verdict and no figure.
func newTrend(s *result.Scenario, t *result.Trend) trendRow {
	row := trendRow{Cell: cellName(s), Expr: clean(t.Expr), Verdict: clean(string(t.Verdict)), Growth: none, Interval: none, Over: none, Why: clean(t.Why)}
	if strings.HasPrefix(t.Metric, "server.") { // it is of the whole arm
		row.Cell = cellName(&result.Scenario{Name: s.Name, Arm: s.Arm})
	}
	if t.ToNS > t.FromNS {
		row.Over = fmt.Sprintf("%s to %s, %s", Duration(time.Duration(t.FromNS)), Duration(time.Duration(t.ToNS)), count(t.Points, "point"))
	}
	if t.Slope != nil {
		row.Growth = clean(loadgen.FormatGrowth(t.Unit, *t.Slope))
	}
	if t.Low != nil && t.High != nil {
		row.Interval = clean(loadgen.FormatGrowth(t.Unit, *t.Low) + " to " + loadgen.FormatGrowth(t.Unit, *t.High))
	}
	return row
}

// trends shows the growth of each, with the interval that holds it, and why that is the verdict.
func (t text) trends(v *view) {
	tab := table{columns: append(named("Trends"), column{text: true, name: true}, column{head: "growth"}, column{head: "interval", spare: 1}, column{text: true})}
	for _, r := range v.Trends {
		tab.add(r.Cell, r.Expr, r.Growth, r.Interval, r.Verdict)
	}
	tab.write(t, t.columns)
	for _, r := range v.Trends {
		t.paragraph("  ", r.metric()+": "+r.Why+" ("+r.Over+")")
	}
}

// metric is what the trend is of.
func (r *trendRow) metric() string { return strings.TrimSpace(strings.SplitN(r.Expr, "<", 2)[0]) }

func mdTrends(w io.Writer, rows []trendRow) {
	t := mdTable{head: []string{"Cell", "Tolerated", "Verdict", "Growth", "Interval", "Judged", "Why"}}
	for _, r := range rows {
		t.add(r.Cell, r.Expr, r.Verdict, r.Growth, r.Interval, r.Over, r.Why)
	}
	t.write(w, "Trends")
}
