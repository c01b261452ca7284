package loadgen

import (
	"fmt"
	"math"
	"runtime/metrics"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen/stats"
)

// Bounds beyond which a generator's own figures are not to be believed.
const (
	// MaxLatenessP99 bounds GeneratorHealth.LatenessP99, how late an open executor sends its calls, unless Plan.MaxLateness says otherwise.
	MaxLatenessP99 = 10 * time.Millisecond
	// MinIssuedShare is the share of an open executor's arrivals that must be issued before the measured time ends.
	MinIssuedShare = 0.99
	// MaxCPUWait bounds GeneratorHealth.CPUWait where an executor is open, and MaxCPUWaitClosed where all are closed: those have no schedule to
	// miss, and on a machine that the server shares they keep every CPU busy.
	MaxCPUWait       = 0.1
	MaxCPUWaitClosed = 0.5
	// MaxStalledShare bounds GeneratorHealth.Stalled as a share of the time under load. It speaks for closed executors: of an open one the
	// lateness suffers long before.
	MaxStalledShare = 0.25
)

// health watches the generator while it runs.
type health struct {
	bound    time.Duration // of the lateness
	cpu      time.Duration // when the run began
	pauses   *metrics.Float64Histogram
	lateness stats.Histogram // open executor, all arms
	due      int64           // arrivals in the schedule of the measured time, all arms
	issued   int64           // of them, how many were sent or dropped before it ended
	calls    int64           // ended under load

	load  machineTime // under load, all arms
	probe probe
}

// machineTime is what the machine gave to this process.
type machineTime struct{ elapsed, cpu, throttled time.Duration }

// startHealth begins to watch.
func startHealth(p *Plan) *health {
	h := &health{bound: p.MaxLateness, cpu: processCPU(), pauses: gcPauses()}
	if h.bound == 0 {
		h.bound = MaxLatenessP99
	}
	return h
}

// underLoad watches until the function that it returns is called. Only one such stretch may be open at a time.
func (h *health) underLoad() (end func()) {
	began := time.Now()
	before := h.machine()
	stop := h.probe.start()
	return func() {
		stop()
		after := h.machine()
		h.load.elapsed += time.Since(began)
		h.load.cpu += after.cpu - before.cpu
		h.load.throttled += max(0, after.throttled-before.throttled)
	}
}

func (h *health) machine() machineTime {
	if !kernelTime {
		return machineTime{}
	}
	return machineTime{cpu: processCPU(), throttled: throttled()}
}

// report judges the run so far.
func (h *health) report() GeneratorHealth {
	g := GeneratorHealth{CPU: processCPU() - h.cpu, GCPauseP99: pauseP99(h.pauses, gcPauses()), Throttled: h.load.throttled}
	if h.calls > 0 {
		g.CPUPerCall = h.load.cpu / time.Duration(h.calls)
	}
	g.MaxStall, g.Stalled = h.probe.longest, h.probe.stalled
	if h.load.elapsed > 0 {
		g.CPUWait = min(1, h.probe.wait.Seconds()/h.load.elapsed.Seconds())
	}
	g.Why = h.judge(&g)
	g.Valid = len(g.Why) == 0
	return g
}

// minJudged is the time under load from which on waits and stalls are judged: in less, a single one decides.
const minJudged = time.Second

// judge says why the generator is not to be believed, and fills in the lateness.
func (h *health) judge(g *GeneratorHealth) (why []string) {
	var statistic string
	if statistic, g.LatenessP99 = latest(&h.lateness); g.LatenessP99 > h.bound {
		why = append(why, fmt.Sprintf("calls were sent %s late at %s, more than %v",
			formatMeasured(unitDuration, float64(g.LatenessP99)), statistic, h.bound))
	}
	if share := float64(h.issued) / float64(max(h.due, 1)); h.due > 0 && share < MinIssuedShare {
		why = append(why, fmt.Sprintf("only %.1f %% of the arrivals were issued in time, less than %.0f %%", 100*share, 100*MinIssuedShare))
	}
	bound := MaxCPUWaitClosed
	if h.due > 0 {
		bound = MaxCPUWait
	}
	if h.load.elapsed < minJudged {
		return why
	}
	if g.CPUWait > bound {
		text := fmt.Sprintf("it waited for a CPU %.0f %% of the time, more than %.0f %%", 100*g.CPUWait, 100*bound)
		if g.Throttled > 0 {
			text += fmt.Sprintf(", held back by its cgroup's CPU quota for %s", formatMeasured(unitDuration, float64(g.Throttled)))
		}
		why = append(why, text)
	}
	if share := g.Stalled.Seconds() / max(h.load.elapsed.Seconds(), 1e-9); share > MaxStalledShare {
		why = append(why, fmt.Sprintf("it did not run at all for %.0f %% of the time, more than %.0f %%, once for %s",
			100*share, 100*MaxStalledShare, formatMeasured(unitDuration, float64(g.MaxStall))))
	}
	return why
}

// latest is the 99th percentile of the lateness, or the highest one below it that the samples allow: a single late call among a few dozen
// must not condemn the rest.
func latest(lateness *stats.Histogram) (statistic string, value time.Duration) {
	for _, statistic := range []string{"p99", "p95", "p90", "p75", "p50"} {
		q, _ := parseQuantile(statistic)
		if v, ok := lateness.Percentile(q); ok {
			return statistic, v
		}
	}
	return "most", lateness.Max()
}

// gcPauses counts the runtime's stop-the-world pauses for garbage collection by length since the process started.
func gcPauses() *metrics.Float64Histogram {
	s := []metrics.Sample{{Name: "/sched/pauses/total/gc:seconds"}}
	metrics.Read(s)
	if s[0].Value.Kind() != metrics.KindFloat64Histogram {
		return nil
	}
	return s[0].Value.Float64Histogram()
}

// pauseP99 is the upper bound of the bucket that holds the 99th percentile of the pauses between two readings, 0 when there were none.
func pauseP99(before, after *metrics.Float64Histogram) time.Duration {
	if before == nil || after == nil || len(before.Counts) != len(after.Counts) {
		return 0
	}
	var total uint64
	for i := range after.Counts {
		total += after.Counts[i] - before.Counts[i]
	}
	rank, seen := uint64(math.Ceil(0.99*float64(total))), uint64(0)
	for i := range after.Counts {
		if seen += after.Counts[i] - before.Counts[i]; total > 0 && seen >= rank {
			bound := after.Buckets[i+1]
			if math.IsInf(bound, 1) {
				bound = after.Buckets[i]
			}
			return time.Duration(bound * float64(time.Second))
		}
	}
	return 0
}
