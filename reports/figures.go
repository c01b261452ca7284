package reports

import (
	"cmp"
	"fmt"
	"html/template"
	"slices"
	"strings"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen/stats"
	"github.com/openaccess-mcp/openaccess-mcp/reports/chart"
	"github.com/openaccess-mcp/openaccess-mcp/reports/result"
)

// Bounds of what the charts of a page take, however many cells it has.
const (
	maxCharts   = 120  // beyond, charts are left out
	allColumns  = 1800 // of all heat maps together
	mostColumns = 90   // of one heat map
	leastColumn = 15
	tableRows   = 8 // of a table beside a chart over time
)

// gallery gathers the charts of a page within its bounds.
type gallery struct {
	columns         int // of each heat map
	charts, leftOut int
}

// sections gathers the charts of each scenario, and says what was left out.
func sections(d *result.Doc) (all []section, leftOut string) {
	maps := 0
	for i := range d.Scenarios {
		if len(d.Scenarios[i].Windows) > 0 {
			maps++
		}
	}
	g := gallery{columns: max(min(allColumns/max(maps, 1), mostColumns), leastColumn)}
	for _, cells := range byName(d) {
		s := section{ID: fmt.Sprintf("s%d", len(all)+1), Name: clean(cells[0].Name), Operation: clean(cells[0].Operation)}
		g.fill(&s, cells)
		if len(s.Figures) > 0 {
			all = append(all, s)
		}
	}
	if g.leftOut > 0 {
		leftOut = fmt.Sprintf("%d more charts are left out; the tables have all figures.", g.leftOut)
	}
	return all, leftOut
}

// fill draws the charts of one scenario's cells.
func (g *gallery) fill(s *section, cells []*result.Scenario) {
	ls := limits(cells)
	for group := range slices.Chunk(withLatency(cells), chart.MaxSeries) {
		g.add(s, func(id string) (figure, bool) { return percentiles(id, group, ls) })
	}
	for _, c := range cells {
		if len(c.Windows) > 0 {
			g.add(s, func(id string) (figure, bool) { return heat(id, c, ls, g.columns) })
		}
	}
	for _, c := range cells {
		if c.Server != nil && c.Server.Series != nil {
			g.add(s, func(id string) (figure, bool) { return usage(id, c) })
		}
	}
}

// add draws one more chart, unless there are too many or it cannot be read.
func (g *gallery) add(s *section, draw func(id string) (figure, bool)) {
	if g.charts >= maxCharts {
		g.leftOut++
		return
	}
	id := fmt.Sprintf("%s-%d", s.ID, len(s.Figures)+1)
	if f, ok := draw(id); ok {
		f.ID = id
		s.Figures = append(s.Figures, f)
		g.charts++
	}
}

// byName groups the cells that ran by scenario, in the order of the document.
func byName(d *result.Doc) [][]*result.Scenario {
	var groups [][]*result.Scenario
	at := map[string]int{}
	for i := range d.Scenarios {
		s := &d.Scenarios[i]
		if !s.Ran() {
			continue
		}
		g, ok := at[s.Name]
		if !ok {
			g = len(groups)
			at[s.Name], groups = g, append(groups, nil)
		}
		groups[g] = append(groups[g], s)
	}
	return groups
}

func withLatency(cells []*result.Scenario) []*result.Scenario {
	return slices.DeleteFunc(slices.Clone(cells), func(s *result.Scenario) bool { return s.Latency == nil || s.Latency.N == 0 })
}

// limits are those of the scenario's row of the targets table.
func limits(cells []*result.Scenario) []chart.Limit {
	for _, c := range cells {
		if g := c.Grade; g != nil && g.TargetNS > 0 {
			ls := []chart.Limit{{Name: "target " + bound(g.TargetNS), At: time.Duration(g.TargetNS), Ink: chart.InkTarget}}
			if g.AcceptableNS > g.TargetNS {
				ls = append(ls, chart.Limit{Name: "acceptable " + bound(g.AcceptableNS), At: time.Duration(g.AcceptableNS), Ink: chart.InkAcceptable})
			}
			return ls
		}
	}
	return nil
}

// seriesName tells a cell from the others of its scenario.
func seriesName(s *result.Scenario) string {
	name := words(s.Part, s.Step)
	if s.Arm != "" {
		name = words(name, "("+s.Arm+")")
	}
	return clean(cmp.Or(name, s.Name))
}

// percentiles draws the curves of up to chart.MaxSeries cells. ok is false when none can be read.
func percentiles(id string, cells []*result.Scenario, ls []chart.Limit) (f figure, ok bool) {
	f = figure{Caption: "Latency by percentile", Head: []string{"", "calls", "min", "p50", "p75", "p90", "p95", "p99", "p99.9", "max"}}
	hists := make([]*stats.Histogram, len(cells))
	var said []string
	for i, s := range cells {
		l := s.Latency
		h, err := l.Histogram()
		if err != nil {
			continue
		}
		hists[i], ok = h, true
		name := seriesName(s)
		f.Keys = append(f.Keys, seriesKey(i, name))
		f.Rows = append(f.Rows, []string{name, whole(l.N), nanos(l.Min), nanos(l.P50), nanos(l.P75), nanos(l.P90), nanos(l.P95), nanos(l.P99), nanos(l.P999), nanos(l.Max)})
		said = append(said, fmt.Sprintf("%s: p50 %s, p95 %s, p99 %s, max %s", name, nanos(l.P50), nanos(l.P95), nanos(l.P99), nanos(l.Max)))
	}
	for _, l := range ls {
		said = append(said, l.Name)
	}
	f.Chart = template.HTML(chart.Percentiles(chart.Words{ID: id, Title: f.Caption + " of " + clean(cells[0].Name), Desc: strings.Join(said, "; ") + "."}, hists, ls))
	return f, ok
}

// heat draws a cell over time. ok is false when a window cannot be read.
func heat(id string, s *result.Scenario, ls []chart.Limit, columns int) (f figure, ok bool) {
	ws := make([]chart.Window, len(s.Windows))
	for i, w := range s.Windows {
		h, err := w.Histogram()
		if err != nil {
			return figure{}, false
		}
		ws[i] = chart.Window{Start: time.Duration(w.StartNS), Width: time.Duration(w.WidthNS), Latency: h, Requests: w.Requests, Errors: w.Errors}
	}
	f = figure{
		Caption: "Latency over time, " + seriesName(s), Head: []string{"from", "calls/s", "errors", "p50", "p99", "max"},
		Keys: []key{{template.HTML(chart.HeatKey()), "few to many calls"}, {template.HTML(chart.LineKey("")), "median"}, {template.HTML(chart.LineKey("3 2")), "p99"},
			{template.HTML(chart.AreaKey(chart.InkRate)), "calls a second"}, {template.HTML(chart.AreaKey(chart.InkError)), "errors"}},
	}
	f.Rows = stretches(s, ws)
	f.Chart = template.HTML(chart.Heat(chart.Words{ID: id, Title: f.Caption + " of " + clean(s.Name), Desc: overTime(s, ws)}, ws, ls, columns))
	return f, true
}

// stretches sums windows up to a few rows.
func stretches(s *result.Scenario, ws []chart.Window) [][]string {
	var rows [][]string
	for from, part := range chart.Merge(ws, tableRows) {
		longest := int64(0)
		for _, w := range s.Windows[from : from+part.Of] {
			longest = max(longest, w.Max)
		}
		row := []string{Duration(part.Start), rate(part.Rate()), whole(part.Errors), none, none, none}
		if part.Latency.Count() > 0 {
			row[3], row[4], row[5] = Duration(part.Latency.Percentile(0.5)), Duration(part.Latency.Percentile(0.99)), nanos(&longest)
		}
		rows = append(rows, row)
	}
	return rows
}

// overTime says in words what a heat map shows.
func overTime(s *result.Scenario, ws []chart.Window) string {
	var worst *result.Window
	low, high := int64(0), int64(0)
	var failed int64
	for i := range s.Windows {
		w := &s.Windows[i]
		failed += w.Errors
		if ws[i].Latency.Count() == 0 {
			continue
		}
		if worst == nil || w.P99 > worst.P99 {
			worst = w
		}
		if low == 0 || w.P50 < low {
			low = w.P50
		}
		high = max(high, w.P50)
	}
	text := fmt.Sprintf("%s of %s each", count(len(ws), "window"), Duration(ws[0].Width))
	if worst != nil {
		text += fmt.Sprintf("; the median of a window lies between %s and %s; the highest p99 is %s, in the window that begins at %s",
			nanos(&low), nanos(&high), nanos(&worst.P99), Duration(time.Duration(worst.StartNS)))
	}
	return text + "; " + count(int(failed), "error") + "."
}

// usage draws what the server used over time.
func usage(id string, s *result.Scenario) (f figure, ok bool) {
	r := s.Server.Series
	n := max(len(r.CPUPercent), len(r.RSSBytes))
	if n == 0 || r.WidthNS <= 0 {
		return figure{}, false
	}
	of := ""
	if s.Arm != "" {
		of = " (" + clean(s.Arm) + ")"
	}
	f = figure{Caption: "CPU and memory of the server" + of, Head: []string{"from", "CPU", "RSS"}, Keys: []key{seriesKey(0, "CPU, of one core"), {template.HTML(chart.Key(1)), "resident memory"}}}
	each := (n + tableRows - 1) / tableRows
	for i := 0; i < n; i += each {
		f.Rows = append(f.Rows, []string{Duration(time.Duration(int64(i) * r.WidthNS)), mostOf(r.CPUPercent, i, each, func(v float64) string { return significant(v) + " %" }), mostOf(r.RSSBytes, i, each, Size[int64])})
	}
	desc := fmt.Sprintf("At most %s of one core and %s.", mostOf(r.CPUPercent, 0, n, func(v float64) string { return significant(v) + " %" }), mostOf(r.RSSBytes, 0, n, Size[int64]))
	f.Chart = template.HTML(chart.Usage(chart.Words{ID: id, Title: f.Caption + " under " + clean(s.Name), Desc: desc}, time.Duration(r.WidthNS), r.CPUPercent, r.RSSBytes))
	return f, true
}

// mostOf writes the largest of a stretch of values.
func mostOf[V int64 | float64](values []V, from, n int, write func(V) string) string {
	part := values[min(from, len(values)):min(from+n, len(values))]
	if len(part) == 0 {
		return none
	}
	return write(slices.Max(part))
}
