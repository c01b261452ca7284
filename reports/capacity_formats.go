package reports

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/openaccess-mcp/openaccess-mcp/reports/result"
)

// capacityMeasured is one row for programs of what was measured for a capacity.
type capacityMeasured struct {
	part, setting string
	n             int // virtual users of a sweep
	t             *result.CapacityTrial
	low, high     float64 // of a capacity found, whose rate is that of t
}

// capacityAll lists all that was measured.
func capacityAll(c *result.Capacity) (out []capacityMeasured) {
	if c == nil {
		return nil
	}
	if c.Rate > 0 {
		out = append(out, capacityMeasured{part: "capacity", t: &result.CapacityTrial{Rate: c.Rate, Good: true, DurationS: c.DurationS}, low: c.Low, high: c.High})
	}
	for i := range c.Trials {
		out = append(out, capacityMeasured{part: "trial", t: &c.Trials[i]})
	}
	for i := range c.Profile {
		out = append(out, capacityMeasured{part: "profile", t: &c.Profile[i]})
	}
	if s := c.Sweep; s != nil {
		for _, l := range s.Levels {
			out = append(out, capacityMeasured{part: "sweep", n: l.N, t: &result.CapacityTrial{
				Good: true, Achieved: l.Throughput, P50NS: l.P50NS, P95NS: l.P95NS, P99NS: l.P99NS, ServerCPU: l.ServerCPU,
			}})
		}
	}
	for _, v := range c.Vary {
		out = append(out, capacityMeasured{part: "vary", setting: v.Setting, t: &result.CapacityTrial{
			Rate: v.Rate, Good: v.Why == "", P50NS: v.P50NS, P95NS: v.P95NS, P99NS: v.P99NS, ServerCPU: v.ServerCPU,
		}, low: v.Low, high: v.High})
	}
	if p := c.Plan; p != nil && p.Tried != nil {
		out = append(out, capacityMeasured{part: "plan", setting: strconv.Itoa(p.Tried.Servers) + " servers", t: &p.Tried.Trial})
	}
	return out
}

// capacity adds a row for all that was measured for a capacity.
func (t *csvTable) capacity(d *result.Doc) {
	for _, m := range capacityAll(d.Capacity) {
		row := map[string]string{"run": inert(d.Run.ID), "scenario": inert(d.Capacity.Scenario), "capacity_part": m.part, "setting": inert(m.setting), "good": strconv.FormatBool(m.t.Good)}
		for _, f := range []struct {
			name string
			v    float64
		}{
			{"at_once", float64(m.n)}, {"rate_per_s", m.t.Rate}, {"rate_low_per_s", m.low}, {"rate_high_per_s", m.high}, {"achieved_per_s", m.t.Achieved},
			{"calls", float64(m.t.Calls)}, {"duration_s", m.t.DurationS}, {"latency_p50_ns", float64(m.t.P50NS)}, {"latency_p95_ns", float64(m.t.P95NS)},
			{"latency_p99_ns", float64(m.t.P99NS)}, {"server_cpu_percent", m.t.ServerCPU},
		} {
			if row[f.name] = number(f.v); f.v == 0 {
				row[f.name] = ""
			}
		}
		for _, name := range capacityColumns {
			t.column(name)
		}
		t.rows = append(t.rows, row)
	}
}

var capacityColumns = []string{"run", "scenario", "capacity_part", "setting", "at_once", "rate_per_s", "rate_low_per_s", "rate_high_per_s", "good", "achieved_per_s",
	"calls", "duration_s", "latency_p50_ns", "latency_p95_ns", "latency_p99_ns", "server_cpu_percent"}

// capacity adds a case for what was found, and one for a plan that was tried.
func (s *junitSuite) capacity(c *result.Capacity) {
	if c == nil {
		return
	}
	s.add(junitCase{Name: "capacity " + clean(c.Objective), Class: clean(c.Scenario)})
	p := c.Plan
	if p == nil {
		return
	}
	jc := junitCase{Name: fmt.Sprintf("plan of %s for %s", count(p.Servers, "server"), perSecond(p.Demand)), Class: clean(c.Scenario)}
	switch {
	case p.Tried == nil:
		jc.Skipped = &junitMessage{"not tried: " + clean(p.NotTried)}
	case !p.Tried.Held:
		jc.Failure = &junitMessage{clean(strings.Join(p.Tried.Trial.Why, "; "))}
	}
	s.add(jc)
}

// capacity writes what was found. It writes nothing without a capacity.
func (m *exposition) capacity(c *result.Capacity) {
	if c == nil {
		return
	}
	of := labels("scenario", c.Scenario, "objective", c.Objective)
	gauge := func(name, help, labelled string, v float64) {
		if v != 0 {
			m.family(name, "gauge", "", help)
			m.sample(name, labelled, v)
		}
	}
	gauge("loadgen_capacity_rate", "calls a second that a server holds under the objective", of, c.Rate)
	gauge("loadgen_capacity_low_rate", "lower end of its interval", of, c.Low)
	gauge("loadgen_capacity_high_rate", "upper end of its interval", of, c.High)
	gauge("loadgen_capacity_knee_rate", "calls a second beyond which latency grows faster than throughput", of, c.Knee)
	if s := c.Sweep; s != nil {
		gauge("loadgen_scalability_lambda_rate", "throughput of one alone", of, s.Lambda)
		gauge("loadgen_scalability_contention", "share of the work that waits for its turn", of, s.Sigma)
		gauge("loadgen_scalability_coherence", "cost of each agreeing with each other", of, s.Kappa)
		gauge("loadgen_scalability_peak", "virtual users beyond which throughput falls", of, s.Peak)
		m.family("loadgen_scalability_throughput_rate", "gauge", "", "calls a second by virtual users at once")
		for _, l := range s.Levels {
			m.sample("loadgen_scalability_throughput_rate", join(of, labels("at_once", strconv.Itoa(l.N))), l.Throughput)
		}
	}
	if len(c.Vary) > 0 {
		m.family("loadgen_capacity_setting_rate", "gauge", "", "calls a second that a server holds with a setting")
		for _, v := range c.Vary {
			m.sample("loadgen_capacity_setting_rate", join(of, labels("setting", v.Setting)), v.Rate)
		}
	}
	if p := c.Plan; p != nil {
		gauge("loadgen_plan_servers", "servers that the demand takes", of, float64(p.Servers))
		gauge("loadgen_plan_demand_rate", "calls a second that are planned for", of, p.Demand)
	}
}

// benchCapacity writes a line for a capacity found, for each number of users of a sweep, and for each setting. It writes nothing without a capacity.
func benchCapacity(w io.Writer, c *result.Capacity, cores int) {
	for _, m := range capacityAll(c) {
		rate, name := m.t.Rate, ""
		switch m.part {
		case "capacity":
		case "vary":
			name = "/setting=" + benchName(m.setting)
		case "sweep":
			name, rate = "/at_once="+strconv.Itoa(m.n), m.t.Achieved
		default:
			continue
		}
		fmt.Fprintf(w, "BenchmarkCapacity/scenario=%s%s-%d\t1\t%s ops/s", benchName(c.Scenario), name, max(cores, 1), number(rate))
		if m.part == "sweep" && m.t.P50NS > 0 {
			fmt.Fprintf(w, "\t%d p50-ns", m.t.P50NS)
		}
		fmt.Fprintln(w)
	}
}
