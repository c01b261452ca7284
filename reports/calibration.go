package reports

import (
	"bufio"
	"fmt"
	"io"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/reports/result"
)

// Calibration writes a certificate for a terminal of 100 columns.
func Calibration(w io.Writer, c *result.Calibration) error {
	t := text{bufio.NewWriter(w), textWidth}
	fmt.Fprintf(t, "Calibration: %s\n", calibrated(c))
	for _, why := range c.Why {
		t.paragraph("  - ", why)
	}
	fmt.Fprintf(t, "  %s, %s\n  %s\n", c.Made.Format(time.RFC3339), hostLine(c.Host), programLine(c))

	pacer := table{columns: []column{{head: "Pacer", text: true}, {head: "late p50"}, {head: "late p99"}, {head: "CPU, of a core"}}}
	for _, p := range c.Pacer {
		pacer.add(fmt.Sprintf("%g/s", p.Rate), Duration(time.Duration(p.LatenessP50NS)), Duration(time.Duration(p.LatenessP99NS)), fmt.Sprintf("%.0f %%", p.CPUPercent))
	}
	pacer.write(t, t.columns)

	floor := table{columns: []column{{head: "Floor", text: true}, {head: "p50"}, {head: "p95"}, {head: "p99"}}}
	for _, f := range c.Floors {
		floor.add(f.Driver, Duration(time.Duration(f.P50NS)), Duration(time.Duration(f.P95NS)), Duration(time.Duration(f.P99NS)))
	}
	floor.write(t, t.columns)

	checks := table{columns: []column{{head: "Injected", text: true}, {head: "driver", text: true}, {head: "", text: true}, {head: "recorded"}, {head: "with floor"}, {head: "reported"}, {head: "off by"}}}
	for _, k := range c.Checks {
		checks.add(k.Delay, k.Driver, k.Statistic, Duration(time.Duration(k.RecordedNS)), Duration(time.Duration(k.ExpectedNS)),
			Duration(time.Duration(k.ReportedNS)), fmt.Sprintf("%+.2f %%", 100*k.Deviation))
	}
	checks.write(t, t.columns)
	return t.Flush()
}

// calibrated says in a few words what a certificate certifies.
func calibrated(c *result.Calibration) string {
	verdict := "held"
	if !c.OK {
		verdict = "failed"
	}
	return fmt.Sprintf("%s, percentiles within %.2f %% of the delays injected (%g %% allowed), %g/s for %g s each",
		verdict, 100*c.Worst(), 100*c.Within, c.Rate, c.DurationS)
}

func hostLine(h result.Host) string {
	return fmt.Sprintf("%s, %d cores, %s, %s", h.CPU, h.Cores, h.OS, h.Go)
}

func programLine(c *result.Calibration) string {
	if c.Git == "" {
		return "loadgen " + c.Version
	}
	return fmt.Sprintf("loadgen %s, %s", c.Version, c.Git)
}
