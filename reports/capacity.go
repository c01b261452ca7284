package reports

import (
	"fmt"
	"html/template"
	"io"
	"strings"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen/stats"
	"github.com/openaccess-mcp/openaccess-mcp/reports/chart"
	"github.com/openaccess-mcp/openaccess-mcp/reports/result"
)

// capacityPart is a part of what is said of capacity: sentences and a table.
type capacityPart struct {
	Title string
	Lines []string // without full stops
	Head  []string // the first is of text, the others of figures
	Rows  [][]string
	Chart template.HTML // for the page; empty for none
}

// capacityParts are all that there is to say. A nil c has none.
func capacityParts(c *result.Capacity) (parts []capacityPart) {
	if c == nil {
		return nil
	}
	if c.Rate > 0 {
		parts = append(parts, capacityPart{Title: "Capacity", Lines: capacityLines(c), Head: capacityHead, Rows: capacityRows(c)})
	}
	if s := c.Sweep; s != nil {
		parts = append(parts, sweepPart(c.Scenario, s))
	}
	if len(c.Vary) > 0 {
		parts = append(parts, varyPart(c))
	}
	if p := c.Plan; p != nil {
		parts = append(parts, planPart(p))
	}
	for i := range parts {
		for k, line := range parts[i].Lines {
			parts[i].Lines[k] = clean(line)
		}
		for _, row := range parts[i].Rows {
			for k := range row {
				row[k] = clean(row[k])
			}
		}
	}
	return parts
}

// capacityLines says what a search for capacity found, a sentence a line.
func capacityLines(c *result.Capacity) []string {
	lines := []string{fmt.Sprintf("%s holds %s up to %s, with 95 %% confidence between %s and %s", c.Scenario, c.Objective, perSecond(c.Rate), perSecond(c.Low), perSecond(c.High))}
	if c.High == 0 {
		lines[0] = fmt.Sprintf("%s holds %s at %s and above: nothing beyond was tried", c.Scenario, c.Objective, perSecond(c.Rate))
	}
	if c.Knee > 0 {
		lines = append(lines, fmt.Sprintf("the knee is at %s: beyond, latency grows faster than throughput", perSecond(c.Knee)))
	}
	if c.Saturated != "" {
		lines = append(lines, fmt.Sprintf("short first: %s; %s", c.Saturated, c.Why))
	}
	for _, t := range c.Profile {
		if !t.Good {
			lines = append(lines, fmt.Sprintf("at %.0f %% of it, measured last, the objective was missed: %s; something else was at work, or the answer is too high: search again",
				100*t.Rate/c.Rate, strings.Join(t.Why, ", ")))
		}
	}
	return append(lines, fmt.Sprintf("%d trials in %s", len(c.Trials)+len(c.Profile), Duration(time.Duration(c.DurationS*float64(time.Second)).Round(time.Second))))
}

func perSecond(rate float64) string { return fmt.Sprintf("%.4g/s", rate) }

// capacityHead and capacityRows are the latency below capacity.
var capacityHead = []string{"Load", "rate", "p50", "p95", "p99", "server CPU"}

func capacityRows(c *result.Capacity) (rows [][]string) {
	for _, t := range c.Profile {
		rows = append(rows, []string{
			fmt.Sprintf("%.0f %% of capacity", 100*t.Rate/c.Rate), perSecond(t.Rate), orUnknown(t.P50NS), orUnknown(t.P95NS), orUnknown(t.P99NS), fmt.Sprintf("%.0f %%", t.ServerCPU),
		})
	}
	return rows
}

// orUnknown shows a duration, and a dash for one that was not measured.
func orUnknown(ns int64) string {
	if ns == 0 {
		return "–"
	}
	return Duration(time.Duration(ns))
}

func sweepPart(scenario string, s *result.CapacitySweep) capacityPart {
	p := capacityPart{Title: "Throughput by concurrency", Head: []string{"At once", "throughput", "by the law", "Little", "p50", "p95", "p99", "server CPU"}}
	law := fmt.Sprintf("%s by the Universal Scalability Law: one alone does %s (%s to %s), contention %s (%s to %s), coherence %s (%s to %s), R² %.3f", scenario,
		perSecond(s.Lambda), perSecond(s.LambdaLow), perSecond(s.LambdaHigh), coefficient(s.Sigma), coefficient(s.SigmaLow), coefficient(s.SigmaHigh),
		coefficient(s.Kappa), coefficient(s.KappaLow), coefficient(s.KappaHigh), s.R2)
	p.Lines = append([]string{law}, s.Advice...)
	p.Chart = sweepChart(s)
	for _, l := range s.Levels {
		p.Rows = append(p.Rows, []string{
			fmt.Sprint(l.N), perSecond(l.Throughput), perSecond(l.Fitted), fmt.Sprintf("%.2f", l.Little), orUnknown(l.P50NS), orUnknown(l.P95NS), orUnknown(l.P99NS),
			fmt.Sprintf("%.0f %%", l.ServerCPU),
		})
	}
	return p
}

// coefficient writes one of the law, of which what no machine could show is none.
func coefficient(v float64) string {
	if v < 1e-9 {
		return "0"
	}
	return fmt.Sprintf("%.2g", v)
}

// sweepChart draws the throughputs and the law.
func sweepChart(s *result.CapacitySweep) template.HTML {
	var measured []chart.AtOnce
	for _, l := range s.Levels {
		measured = append(measured, chart.AtOnce{N: l.N, Throughput: l.Throughput})
	}
	law := stats.USL{Lambda: s.Lambda, Sigma: s.Sigma, Kappa: s.Kappa}
	return template.HTML(chart.Scalability(chart.Words{
		ID: "capacity-sweep", Title: "Throughput by calls at once", Desc: "Dots are measured, and the line is the Universal Scalability Law; the table has the figures",
	}, measured, law.Throughput))
}

// varyPart compares settings with the first.
func varyPart(c *result.Capacity) capacityPart {
	key, _, _ := strings.Cut(c.Vary[0].Setting, "=")
	p := capacityPart{Title: "What each setting buys", Head: []string{clean(key[strings.LastIndexByte(key, '.')+1:]), "capacity", "interval", "to first", "p95 at 70 %", "CPU", "memory", "short first"}}
	p.Chart = varyChart(c)
	first := &c.Vary[0]
	best := first
	var unknown []string
	for i := range c.Vary {
		v := &c.Vary[i]
		_, value, _ := strings.Cut(v.Setting, "=")
		if v.Why != "" {
			p.Rows = append(p.Rows, []string{value, none, none, none, none, none, none, none})
			unknown = append(unknown, fmt.Sprintf("nothing is known of %s: %s", v.Setting, v.Why))
			continue
		}
		if v.Low > best.High && (best.High > 0 || best.Rate == 0) { // no upper end is known where the objective held at every rate
			best = v
		}
		against := none
		if first.Rate > 0 {
			against = fmt.Sprintf("×%.2f", v.Rate/first.Rate)
		}
		p.Rows = append(p.Rows, []string{value, perSecond(v.Rate), fmt.Sprintf("%s to %s", perSecond(v.Low), perSecond(v.High)), against, orUnknown(v.P95NS),
			fmt.Sprintf("%.0f %%", v.ServerCPU), Size(float64(v.RSSBytes)), orNone(v.Saturated)})
	}
	p.Lines = []string{fmt.Sprintf("%s holds %s up to the rate given, with an interval of 95 %%", c.Scenario, c.Objective)}
	if best == first {
		p.Lines = append(p.Lines, fmt.Sprintf("no setting is clearly better than %s: their intervals overlap", first.Setting))
	} else {
		p.Lines = append(p.Lines, fmt.Sprintf("%s is the first that is clearly better than those before it", best.Setting))
	}
	p.Lines = append(p.Lines, unknown...)
	return p
}

// varyChart draws the capacities as changes of the first, which must be known.
func varyChart(c *result.Capacity) template.HTML {
	first := c.Vary[0].Rate
	if first <= 0 {
		return ""
	}
	var effects []chart.Effect
	for _, v := range c.Vary {
		if v.Why != "" {
			continue
		}
		high := v.High
		if high == 0 {
			high = v.Rate
		}
		setting := clean(v.Setting)
		e := chart.Effect{Name: Fit(setting[strings.LastIndexByte(setting, '.')+1:], 32), Said: perSecond(v.Rate), At: v.Rate/first - 1, Low: v.Low/first - 1, High: high/first - 1, Ink: chart.InkAcceptable}
		if v.Low > c.Vary[0].High && c.Vary[0].High > 0 {
			e.Ink = chart.InkTarget
		}
		effects = append(effects, e)
	}
	low, high := 0.0, 0.05 // settings may differ manifold, so that all of it is shown
	for _, e := range effects {
		low, high = min(low, 1.05*e.Low), max(high, 1.05*e.High)
	}
	return template.HTML(chart.Forest(chart.Words{
		ID: "capacity-vary", Title: "Capacity by setting", Desc: "How much more each setting holds than the first, with the interval; the table has the figures",
	}, effects, low, high))
}

func planPart(p *result.CapacityPlan) capacityPart {
	out := capacityPart{Title: fmt.Sprintf("Servers for %s", perSecond(p.Demand)), Head: []string{"Setting of each server", "use", "measured with"}}
	say := func(format string, args ...any) { out.Lines = append(out.Lines, fmt.Sprintf(format, args...)) }
	say("%s with %.0f %% to spare and %s to lose: %s (%d to %d over the interval of one server's capacity)", perSecond(p.Demand), 100*p.Headroom, count(p.Survive, "server"),
		count(p.Servers, "server"), p.ServersLow, p.ServersHigh)
	predicted := func(who string, x result.CapacityPrediction) {
		say("%s each does %s, %.0f %% of what it holds, with a p50 of %s (%s to %s) and a p95 of %s (%s to %s)", who, perSecond(x.Rate), 100*x.Share,
			orUnknown(x.P50), orUnknown(x.P50Low), orUnknown(x.P50Hi), orUnknown(x.P95), orUnknown(x.P95Low), orUnknown(x.P95Hi))
	}
	predicted("with all servers", p.Whole)
	if p.Survive > 0 {
		predicted(fmt.Sprintf("with %d lost", p.Survive), p.Reduced)
	}
	say("a server has up to %d calls at the host at once then", p.AtOnce)
	if p.RSSBytes > 0 {
		say("memory: the server measured took %s, so that %d take %s", Size(float64(p.RSSBytes)), p.Servers, Size(float64(p.Servers)*float64(p.RSSBytes)))
	}
	switch t := p.Tried; {
	case t != nil:
		verdict := "the objective held"
		if !t.Held {
			verdict = "the objective was missed: " + strings.Join(t.Trial.Why, "; ")
		}
		say("tried here with %s behind the gateway, of which %d killed half way: %s, with %s of %s, a p50 of %s, a p95 of %s and %.2g %% errors", count(t.Servers, "server"),
			t.Killed, verdict, perSecond(t.Trial.Achieved), perSecond(t.Trial.Rate), orUnknown(t.Trial.P50NS), orUnknown(t.Trial.P95NS), 100*t.Errors)
	case p.NotTried != "":
		say("the plan was not tried: %s", p.NotTried)
	}
	for _, s := range p.Settings {
		out.Rows = append(out.Rows, []string{s.Key, fmt.Sprint(s.Use), fmt.Sprint(s.InEffect)})
	}
	return out
}

func (t text) capacity(c *result.Capacity) {
	for _, p := range capacityParts(c) {
		fmt.Fprintln(t, "\n"+p.Title)
		for _, line := range p.Lines {
			t.paragraph("  ", line)
		}
		if len(p.Head) == 0 {
			continue
		}
		tab := table{columns: []column{{head: p.Head[0], text: true}}}
		for _, head := range p.Head[1:] {
			tab.columns = append(tab.columns, column{head: head})
		}
		for _, row := range p.Rows {
			tab.add(row...)
		}
		tab.write(t, t.columns)
	}
}

func mdCapacity(w io.Writer, c *result.Capacity) {
	for _, p := range capacityParts(c) {
		fmt.Fprintf(w, "\n### %s\n", p.Title)
		mdList(w, p.Lines)
		t := mdTable{head: p.Head, rows: p.Rows}
		t.write(w, p.Title)
	}
}
