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

	Sweep *CapacitySweep `json:"sweep,omitempty"` // over concurrency, instead of a search
	Plan  *CapacityPlan  `json:"plan,omitempty"`  // of servers for a demand

	Vary []CapacityVariant `json:"vary,omitempty"` // searches with settings of the server, instead of one
}

// CapacityVariant is what a search found with a setting of the server.
type CapacityVariant struct {
	Setting   string  `json:"setting"` // such as "connection_pooling.max_ssh_connections=5"
	Rate      float64 `json:"rate"`    // 0 where the objective was met at no rate, as Low and High
	Low       float64 `json:"low"`
	High      float64 `json:"high"`
	P50NS     int64   `json:"p50_ns"` // at 70 % of the rate, as the others
	P95NS     int64   `json:"p95_ns"`
	P99NS     int64   `json:"p99_ns"`
	ServerCPU float64 `json:"server_cpu_percent"`
	RSSBytes  int64   `json:"rss_bytes"`
	Saturated string  `json:"saturated"`
	Why       string  `json:"why,omitempty"` // nothing is known of the rate
}

// CapacityPlan is how many servers carry a demand and how each is set.
type CapacityPlan struct {
	Demand      float64             `json:"demand"`   // calls per second
	Headroom    float64             `json:"headroom"` // share of it
	Survive     int                 `json:"survive"`  // servers that may be lost
	Servers     int                 `json:"servers"`  // those included
	ServersLow  int                 `json:"servers_low"`
	ServersHigh int                 `json:"servers_high"`
	Whole       CapacityPrediction  `json:"whole"`   // with all servers
	Reduced     CapacityPrediction  `json:"reduced"` // without those that may be lost
	Settings    []CapacitySetting   `json:"settings"`
	AtOnce      int                 `json:"at_once"` // calls at the host at once of a server
	RSSBytes    int64               `json:"rss_bytes"`
	Tried       *CapacityPlanResult `json:"tried,omitempty"`
	NotTried    string              `json:"not_tried,omitempty"` // why
}

// CapacityPrediction is what each server does, with latencies in nanoseconds and their intervals, which come of that of the capacity.
type CapacityPrediction struct {
	Rate   float64 `json:"rate"`
	Share  float64 `json:"share"` // of what a server holds
	P50    int64   `json:"p50_ns"`
	P50Low int64   `json:"p50_low_ns"`
	P50Hi  int64   `json:"p50_high_ns"`
	P95    int64   `json:"p95_ns"`
	P95Low int64   `json:"p95_low_ns"`
	P95Hi  int64   `json:"p95_high_ns"`
}

// CapacitySetting is a key of the server's configuration.
type CapacitySetting struct {
	Key      string `json:"key"`
	Use      int    `json:"use"`
	InEffect int    `json:"in_effect"` // while the capacity was measured
}

// CapacityPlanResult is what came of a plan that was tried: all servers behind the gateway, of which those that may be lost were killed half way.
type CapacityPlanResult struct {
	Servers int           `json:"servers"`
	Killed  int           `json:"killed"`
	Held    bool          `json:"held"` // the objective
	Errors  float64       `json:"errors"`
	Trial   CapacityTrial `json:"trial"`
}

// NewPlan makes the part of a result file that tells of a plan.
func NewPlan(p *loadgen.ServerPlan) *CapacityPlan {
	predicted := func(x loadgen.Predicted) CapacityPrediction {
		return CapacityPrediction{
			Rate: x.Rate, Share: x.Share, P50: int64(x.P50.At), P50Low: int64(x.P50.Low), P50Hi: int64(x.P50.High),
			P95: int64(x.P95.At), P95Low: int64(x.P95.Low), P95Hi: int64(x.P95.High),
		}
	}
	use, was := p.Use, p.InEffect
	return &CapacityPlan{
		Demand: p.Rate, Headroom: p.Headroom, Survive: p.Survive, Servers: p.Servers, ServersLow: p.ServersLow, ServersHigh: p.ServersHigh,
		Whole: predicted(p.Whole), Reduced: predicted(p.Reduced), AtOnce: p.AtOnce, RSSBytes: p.RSS,
		Settings: []CapacitySetting{
			{"resource_limits.max_per_profile", use.MaxPerProfile, was.MaxPerProfile},
			{"resource_limits.max_concurrent_operations", use.MaxOperations, was.MaxOperations},
			{"connection_pooling.max_ssh_connections", use.MaxSSHConnections, was.MaxSSHConnections},
			{"resource_limits.max_memory_mb", use.MaxMemoryMB, was.MaxMemoryMB},
		},
	}
}

// Try notes what came of trying the plan.
func (p *CapacityPlan) Try(t loadgen.Trial, errors float64, killed int) {
	p.Tried = &CapacityPlanResult{Servers: p.Servers, Killed: killed, Held: t.Good, Errors: errors, Trial: trials([]loadgen.Trial{t})[0]}
}

// CapacitySweep is throughput by concurrency, and the Universal Scalability Law fitted to it. Intervals hold with a probability of 95 %.
type CapacitySweep struct {
	Repeats    int             `json:"repeats"` // of each level
	Levels     []CapacityLevel `json:"levels"`
	Lambda     float64         `json:"lambda"` // throughput of one alone
	LambdaLow  float64         `json:"lambda_low"`
	LambdaHigh float64         `json:"lambda_high"`
	Sigma      float64         `json:"sigma"` // contention
	SigmaLow   float64         `json:"sigma_low"`
	SigmaHigh  float64         `json:"sigma_high"`
	Kappa      float64         `json:"kappa"` // coherence
	KappaLow   float64         `json:"kappa_low"`
	KappaHigh  float64         `json:"kappa_high"`
	Peak       float64         `json:"peak"`      // concurrency beyond which throughput falls; 0 where it never does
	PeakLow    float64         `json:"peak_low"`  // likewise
	PeakHigh   float64         `json:"peak_high"` // likewise
	R2         float64         `json:"r2"`        // share of the throughputs' variance that the law explains
	Advice     []string        `json:"advice"`    // sentences without their full stops
}

// CapacityLevel is what was measured with a number of virtual users at once: the medians of the repeats.
type CapacityLevel struct {
	N          int     `json:"n"`
	Throughput float64 `json:"throughput"`
	Fitted     float64 `json:"fitted"` // by the law
	Little     float64 `json:"little"` // throughput times mean latency over n, which is 1 by Little's law
	MeanNS     int64   `json:"mean_ns"`
	P50NS      int64   `json:"p50_ns"` // 0 where too few calls were measured, as for the others
	P95NS      int64   `json:"p95_ns"`
	P99NS      int64   `json:"p99_ns"`
	ServerCPU  float64 `json:"server_cpu_percent"` // of one CPU
}

// NewSweep makes the part of a result file that tells of a sweep.
func NewSweep(s *loadgen.Sweep) *CapacitySweep {
	f := s.Fit
	out := &CapacitySweep{
		Lambda: f.Lambda, LambdaLow: f.LambdaIn.Low, LambdaHigh: f.LambdaIn.High, Sigma: f.Sigma, SigmaLow: f.SigmaIn.Low, SigmaHigh: f.SigmaIn.High,
		Kappa: f.Kappa, KappaLow: f.KappaIn.Low, KappaHigh: f.KappaIn.High, Peak: finite(f.Peak()), PeakLow: finite(f.PeakIn.Low), PeakHigh: finite(f.PeakIn.High),
		R2: finite(f.R2), Advice: s.Advice(),
	}
	for _, l := range s.Levels() {
		out.Levels = append(out.Levels, CapacityLevel{
			N: l.N, Throughput: l.Throughput, Fitted: l.Fitted, Little: l.Little, MeanNS: int64(l.Mean), P50NS: int64(l.P50), P95NS: int64(l.P95), P99NS: int64(l.P99),
			ServerCPU: l.ServerCPU,
		})
	}
	out.Repeats = len(s.Points) / max(1, len(out.Levels))
	return out
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
