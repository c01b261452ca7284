package reports

import (
	"cmp"

	"github.com/openaccess-mcp/openaccess-mcp/reports/result"
)

// distributions are those of a cell that formats for programs write, under the names of the result file.
var distributions = []struct {
	name string
	get  func(s *result.Scenario) *result.Distribution
}{
	{"latency", func(s *result.Scenario) *result.Distribution { return s.Latency }},
	{"service", func(s *result.Scenario) *result.Distribution { return s.Service }},
	{"failed", func(s *result.Scenario) *result.Distribution { return s.Failed }},
	{"lateness", func(s *result.Scenario) *result.Distribution { return s.Lateness }},
	{"first_progress", func(s *result.Scenario) *result.Distribution { return s.FirstProgress }},
}

type percentile struct {
	name, quantile string
	value          *int64
}

func percentilesOf(d *result.Distribution) []percentile {
	return []percentile{
		{"p50", "0.5", d.P50}, {"p75", "0.75", d.P75}, {"p90", "0.9", d.P90}, {"p95", "0.95", d.P95}, {"p99", "0.99", d.P99}, {"p999", "0.999", d.P999},
	}
}

// dist, used and grade stand in for what a cell does not have.
func dist(d *result.Distribution) *result.Distribution { return cmp.Or(d, &result.Distribution{}) }

func used(s *result.Scenario) *result.Resources { return cmp.Or(s.Server, &result.Resources{}) }

func grade(s *result.Scenario) *result.Grade { return cmp.Or(s.Grade, &result.Grade{}) }
