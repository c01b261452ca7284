package reports

import (
	"strconv"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
	"github.com/openaccess-mcp/openaccess-mcp/reports/result"
)

var trendColumns = []string{"run", "scenario", "part", "step", "arm", "trend", "trend_verdict", "trend_unit", "trend_per", "trend_tolerated", "trend_growth", "trend_low", "trend_high",
	"trend_late", "trend_points"}

// trends adds a row for each trend of a soak. Growth is in its unit, per what the row says.
func (t *csvTable) trends(d *result.Doc) {
	for i := range d.Scenarios {
		s := &d.Scenarios[i]
		for _, tr := range s.Trends {
			for _, name := range trendColumns {
				t.column(name)
			}
			t.rows = append(t.rows, map[string]string{
				"run": inert(d.Run.ID), "scenario": inert(s.Name), "part": inert(s.Part), "step": inert(s.Step), "arm": inert(s.Arm),
				"trend": inert(tr.Expr), "trend_verdict": inert(string(tr.Verdict)), "trend_unit": inert(tr.Unit), "trend_per": inert(string(tr.Per)),
				"trend_tolerated": number(tr.Tolerated), "trend_growth": orEmpty(tr.Slope), "trend_low": orEmpty(tr.Low), "trend_high": orEmpty(tr.High),
				"trend_late": orEmpty(tr.Late), "trend_points": strconv.Itoa(tr.Points),
			})
		}
	}
}

// orEmpty writes a figure for programs, and nothing for one that is not known.
func orEmpty(v *float64) string {
	if v == nil {
		return ""
	}
	return number(*v)
}

// trends writes what was found of each trend of a soak. It writes nothing without one.
func (m *exposition) trends() {
	var all []openTrend
	for _, c := range m.cells {
		for i, t := range c.Trends {
			of := join(c.labels, labels("trend", t.Expr))
			if repeated(c.Trends[:i], t.Expr) {
				of = join(of, labels("again", strconv.Itoa(i)))
			}
			all = append(all, openTrend{t, of})
		}
	}
	if len(all) == 0 {
		return
	}
	m.family("loadgen_trend_verdict", "stateset", "", "whether the run shows a leak")
	for _, t := range all {
		for _, v := range []loadgen.TrendVerdict{loadgen.Leak, loadgen.NoLeak, loadgen.Unknown} {
			m.sample("loadgen_trend_verdict", join(t.labels, labels("loadgen_trend_verdict", string(v))), float64(boolInt(t.Verdict == v)))
		}
	}
	for _, f := range []struct {
		name, help string
		get        func(t *result.Trend) *float64
	}{
		{"loadgen_trend_growth", "growth, in the unit of the metric and over what the trend says", func(t *result.Trend) *float64 { return t.Slope }},
		{"loadgen_trend_growth_low", "lower end of its interval", func(t *result.Trend) *float64 { return t.Low }},
		{"loadgen_trend_growth_high", "upper end of its interval", func(t *result.Trend) *float64 { return t.High }},
		{"loadgen_trend_tolerated", "growth that is tolerated", func(t *result.Trend) *float64 { return &t.Tolerated }},
	} {
		m.family(f.name, "gauge", "", f.help)
		for i := range all {
			if v := f.get(&all[i].Trend); v != nil {
				m.sample(f.name, all[i].labels, *v)
			}
		}
	}
}

// openTrend is a trend with its labels.
type openTrend struct {
	result.Trend
	labels string
}

// repeated reports whether one of the trends is the same.
func repeated(of []result.Trend, expr string) bool {
	for _, t := range of {
		if t.Expr == expr {
			return true
		}
	}
	return false
}
