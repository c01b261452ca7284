package loadgen

import (
	"fmt"
	"strings"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen/stats"
)

// Objective is what a service promises its users, as shares of calls: at most so many slower than a bound, at most so many failed.
type Objective struct {
	latencies []latencyObjective
	errors    float64 // share of calls that may fail; negative where nothing is said of them
}

// latencyObjective lets a share of calls be slower than bound.
type latencyObjective struct {
	expr    string
	allowed float64
	bound   time.Duration
}

// errorsAllowed is the share of calls that may fail where an objective says nothing of them: the same as makes a grade poor.
const errorsAllowed = 0.01

// ParseObjective reads conditions with commas between them, such as p99<100ms,errors<0.1%: percentiles of the latency and the share of errors. At
// least one is of the latency, since without a bound on it any queue is short enough.
func ParseObjective(s string) (*Objective, error) {
	o := &Objective{errors: -1}
	for part := range strings.SplitSeq(s, ",") {
		part = strings.TrimSpace(part)
		if rest, ok := strings.CutPrefix(part, "errors"); ok && !strings.HasPrefix(rest, ".") {
			part = "error_rate" + rest
		}
		t, err := ParseThreshold(part)
		if err != nil {
			return nil, err
		}
		q, quantile := parseQuantile(t.Metric)
		switch {
		case t.Op != "<" && t.Op != "<=" || t.Window != 0 || t.Step != "":
			return nil, fmt.Errorf("objective %q: a condition has < or <=, no step and no window: write it as in p99<100ms,errors<0.1%%", part)
		case quantile:
			o.latencies = append(o.latencies, latencyObjective{t.String(), 1 - q, time.Duration(t.Value)})
		case t.Metric == "error_rate":
			o.errors = t.Value / 100
		default:
			return nil, fmt.Errorf("objective %q: %s is neither a percentile of the latency nor errors: write it as in p99<100ms,errors<0.1%%", part, t.Metric)
		}
	}
	if len(o.latencies) == 0 {
		return nil, fmt.Errorf("objective %q has no bound on the latency: add one, such as p99<100ms", s)
	}
	return o, nil
}

// Allowed is the smallest share of calls that may be too slow. It says how long a trial has to be.
func (o *Objective) Allowed() float64 {
	least := 1.0
	for _, l := range o.latencies {
		least = min(least, l.allowed)
	}
	return least
}

// Bound is the shortest latency that the objective speaks of.
func (o *Objective) Bound() time.Duration {
	least := stats.MaxValue
	for _, l := range o.latencies {
		least = min(least, l.bound)
	}
	return least
}

// judge fills in what a trial's cells, all of its steps, say of the objective. Calls that were dropped were too slow. Bad is the share of bad
// calls of the condition that is met worst, scaled so that Allowed is what it may be.
func (o *Objective) judge(t *Trial, cells []Cell) {
	worst := 0.0
	miss := func(ratio float64, format string, args ...any) {
		if worst = max(worst, ratio); ratio > 1 {
			t.Why = append(t.Why, fmt.Sprintf(format, args...))
		}
	}
	for i := range cells {
		c := &cells[i]
		due := c.Requests + c.Dropped
		if due == 0 {
			continue
		}
		t.Calls = max(t.Calls, due)
		for _, l := range o.latencies {
			slow := float64(c.Latency.Above(l.bound)+c.Dropped) / float64(due)
			miss(slow/l.allowed, "%s: %s was missed, %.3g %% of the calls were slower or dropped", c.Step, l.expr, 100*slow)
		}
		allowed := o.errors
		if allowed < 0 {
			allowed = errorsAllowed
		}
		failed := float64(c.errorCount()) / float64(due)
		miss(failed/max(allowed, 1e-6), "%s: %.3g %% of the calls failed, more than %.3g %%", c.Step, 100*failed, 100*allowed)
	}
	t.Bad = min(1, worst*o.Allowed())
	if t.Calls == 0 {
		t.Bad, t.Why = 1, append(t.Why, "nothing was measured")
	}
}

// TrialOf judges a run as a trial. The run's plan has one open executor.
func TrialOf(o *Objective, r *Result) Trial {
	var t Trial
	o.judge(&t, r.Cells)
	if len(r.Cells) == 0 {
		return t
	}
	c := &r.Cells[0]
	t.Mean = c.Latency.Mean()
	for q, to := range map[float64]*time.Duration{0.5: &t.P50, 0.95: &t.P95, 0.99: &t.P99} {
		*to, _ = c.Latency.Percentile(q)
	}
	// Calls under way when the measured time ends are as many as Little's law has it, and not missing. Failed ones are judged as such.
	t.Achieved = c.AchievedRate
	if c.Measured > 0 {
		t.Achieved += (c.OfferedRate*min(t.Mean, o.Bound()).Seconds() + float64(c.errorCount())) / c.Measured.Seconds()
	}
	t.Achieved = min(t.Achieved, c.OfferedRate)
	if t.Achieved < MinAchieved*c.OfferedRate {
		t.Why = append(t.Why, fmt.Sprintf("of %.4g calls offered a second %.4g were achieved", c.OfferedRate, t.Achieved))
	}
	t.Generator = !r.Generator.Valid
	t.Why = append(t.Why, r.Generator.Why...)
	t.Good = len(t.Why) == 0
	t.Resources = trialResources(c, r)
	return t
}

func trialResources(c *Cell, r *Result) (out TrialResources) {
	if c.Server != nil && c.Server.CPUPercent != nil {
		out.ServerCPU = *c.Server.CPUPercent
	}
	if c.Server != nil && c.Server.RSSPeakBytes != nil {
		out.RSS = *c.Server.RSSPeakBytes
	}
	if r.Elapsed > 0 {
		out.GeneratorCPU = 100 * r.Generator.CPU.Seconds() / r.Elapsed.Seconds()
	}
	out.Wait = c.Timing["queue"].Mean() + c.Timing["dial"].Mean() + c.Timing["channel"].Mean()
	out.Remote = c.Timing["remote"].Mean()
	return out
}

// What can saturate.
const (
	SaturatedGenerator = "generator"
	SaturatedCPU       = "server CPU"
	SaturatedPool      = "pool wait"
	SaturatedTarget    = "target"
)

// busyCPU is the share of a machine's CPUs from which on they are what is short.
const busyCPU = 0.85

// Saturated says what was short first, with a sentence of evidence, on a machine with so many CPUs. It compares the mildest overload that was
// tried with the load at half of capacity. Where no trial was overloaded it says nothing.
func (c *Capacity) Saturated(cpus int) (what, why string) {
	if c.Generator {
		return SaturatedGenerator, "the load generator could not be believed in most of the trials beyond the rate given"
	}
	var over, half *Trial
	for i := range c.Trials {
		t := &c.Trials[i]
		if !t.Good && !t.Generator && t.Plan.Rate >= c.Rate && (over == nil || t.Plan.Rate < over.Plan.Rate) {
			over = t
		}
	}
	if len(c.Profile) > 0 {
		half = &c.Profile[0]
	}
	if over == nil || half == nil {
		return "", ""
	}
	r := over.Resources
	if all := r.ServerCPU + r.GeneratorCPU; r.ServerCPU > 0 && all > busyCPU*100*float64(cpus) {
		return SaturatedCPU, fmt.Sprintf("at %.4g/s the server took %.0f %% of a CPU and the load generator %.0f %%, of %d CPUs", over.Plan.Rate, r.ServerCPU, r.GeneratorCPU, cpus)
	}
	wait, remote := r.Wait-half.Resources.Wait, r.Remote-half.Resources.Remote
	grew := fmt.Sprintf("from %.4g/s to %.4g/s a call's mean wait in the server for its turn, a connection and a channel went from %s to %s, and its mean time at the host from %s to %s",
		half.Plan.Rate, over.Plan.Rate, briefly(half.Resources.Wait), briefly(r.Wait), briefly(half.Resources.Remote), briefly(r.Remote))
	if wait > remote {
		return SaturatedPool, grew
	}
	return SaturatedTarget, grew
}

func briefly(d time.Duration) string { return formatMeasured(unitDuration, float64(d)) }
