package result

import "github.com/openaccess-mcp/openaccess-mcp/loadgen"

// Capacity is what a search for capacity found. Rates are arrivals per second.
type Capacity struct {
	Scenario  string          `json:"scenario"`
	Objective string          `json:"objective"` // as it was given, such as "p99<100ms,errors<0.1%"
	Rate      float64         `json:"rate"`      // the highest that meets the objective
	Low       float64         `json:"low"`       // interval that holds it with a probability of 95 %
	High      float64         `json:"high"`      // 0 where the objective held at the highest rate that was to be tried
	Knee      float64         `json:"knee"`      // beyond it latency grows faster than throughput
	Saturated string          `json:"saturated"` // what was short first: "server CPU", "pool wait", "target" or "generator"; "" where nothing was
	Why       string          `json:"why"`       // the evidence for it, in a sentence
	DurationS float64         `json:"duration_s"`
	Profile   []CapacityTrial `json:"profile"` // at 50, 70 and 90 % of the rate
	Trials    []CapacityTrial `json:"trials"`  // those that the rate was found by, in their order
}

// CapacityTrial is one measurement at a rate.
type CapacityTrial struct {
	Rate         float64  `json:"rate"`
	DurationS    float64  `json:"duration_s"`
	Good         bool     `json:"good"`
	Calls        int64    `json:"calls"`
	Bad          float64  `json:"bad"` // share of calls that the objective counts as bad
	Achieved     float64  `json:"achieved"`
	P50NS        int64    `json:"p50_ns"` // 0 where too few calls were measured, as for the others
	P95NS        int64    `json:"p95_ns"`
	P99NS        int64    `json:"p99_ns"`
	ServerCPU    float64  `json:"server_cpu_percent"` // of one CPU
	GeneratorCPU float64  `json:"generator_cpu_percent"`
	Why          []string `json:"why,omitempty"` // of a trial that was not good
}

// NewCapacity makes the part of a result file that tells of a search.
func NewCapacity(scenario, objective string, c *loadgen.Capacity, cpus int) *Capacity {
	out := &Capacity{
		Scenario: scenario, Objective: objective, Rate: c.Rate, Low: c.Low, High: c.High, Knee: c.Knee, DurationS: c.Time.Seconds(),
		Profile: trials(c.Profile), Trials: trials(c.Trials),
	}
	out.Saturated, out.Why = c.Saturated(cpus)
	return out
}

func trials(from []loadgen.Trial) []CapacityTrial {
	out := []CapacityTrial{}
	for _, t := range from {
		out = append(out, CapacityTrial{
			Rate: t.Plan.Rate, DurationS: t.Plan.Duration.Seconds(), Good: t.Good, Calls: t.Calls, Bad: t.Bad, Achieved: t.Achieved,
			P50NS: int64(t.P50), P95NS: int64(t.P95), P99NS: int64(t.P99),
			ServerCPU: t.Resources.ServerCPU, GeneratorCPU: t.Resources.GeneratorCPU, Why: t.Why,
		})
	}
	return out
}
