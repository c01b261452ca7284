package reports

import (
	"fmt"
	"io"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/reports/result"
)

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

func (t text) capacity(c *result.Capacity) {
	if c == nil {
		return
	}
	fmt.Fprintln(t, "\nCapacity")
	for _, line := range capacityLines(c) {
		t.paragraph("  ", clean(line))
	}
	tab := table{columns: []column{{head: capacityHead[0], text: true}}}
	for _, head := range capacityHead[1:] {
		tab.columns = append(tab.columns, column{head: head})
	}
	for _, row := range capacityRows(c) {
		tab.add(row...)
	}
	tab.write(t, t.columns)
}

func mdCapacity(w io.Writer, c *result.Capacity) {
	if c == nil {
		return
	}
	fmt.Fprint(w, "\n### Capacity\n")
	mdList(w, capacityLines(c))
	t := mdTable{head: capacityHead, rows: capacityRows(c)}
	t.write(w, "Below capacity")
}
