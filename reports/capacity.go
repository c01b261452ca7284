package reports

import (
	"fmt"
	"io"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/reports/result"
)

// capacityPart is a part of what is said of capacity: sentences and a table.
type capacityPart struct {
	Title string
	Lines []string // without full stops
	Head  []string // the first is of text, the others of figures
	Rows  [][]string
}

// capacityParts are all that there is to say. A nil c has none.
func capacityParts(c *result.Capacity) (parts []capacityPart) {
	if c == nil {
		return nil
	}
	if c.Rate > 0 {
		parts = append(parts, capacityPart{"Capacity", capacityLines(c), capacityHead, capacityRows(c)})
	}
	if s := c.Sweep; s != nil {
		parts = append(parts, sweepPart(c.Scenario, s))
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
	law := fmt.Sprintf("%s by the Universal Scalability Law: one alone does %s (%s to %s), contention %.2g (%.2g to %.2g), coherence %.2g (%.2g to %.2g), R² %.3f", scenario,
		perSecond(s.Lambda), perSecond(s.LambdaLow), perSecond(s.LambdaHigh), s.Sigma, s.SigmaLow, s.SigmaHigh, s.Kappa, s.KappaLow, s.KappaHigh, s.R2)
	p.Lines = append([]string{law}, s.Advice...)
	for _, l := range s.Levels {
		p.Rows = append(p.Rows, []string{
			fmt.Sprint(l.N), perSecond(l.Throughput), perSecond(l.Fitted), fmt.Sprintf("%.2f", l.Little), orUnknown(l.P50NS), orUnknown(l.P95NS), orUnknown(l.P99NS),
			fmt.Sprintf("%.0f %%", l.ServerCPU),
		})
	}
	return p
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
