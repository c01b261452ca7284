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
	// MaxLatenessP99 bounds GeneratorHealth.LatenessP99, how late an open executor sends its calls.
	MaxLatenessP99 = 10 * time.Millisecond
	// MinIssuedShare is the share of an open executor's arrivals that must be issued before the measured time ends.
	MinIssuedShare = 0.99
)

// health watches the generator while it runs.
type health struct {
	cpu      time.Duration
	pauses   *metrics.Float64Histogram
	lateness stats.Histogram // open executor, all arms
	due      int64           // arrivals in the schedule of the measured time, all arms
	issued   int64           // of them, how many were sent or dropped before it ended
}

func startHealth() *health {
	return &health{cpu: processCPU(), pauses: gcPauses()}
}

// report judges the run so far.
func (h *health) report() GeneratorHealth {
	g := GeneratorHealth{Valid: true, CPU: processCPU() - h.cpu, GCPauseP99: pauseP99(h.pauses, gcPauses())}
	var statistic string
	if statistic, g.LatenessP99 = latest(&h.lateness); g.LatenessP99 > MaxLatenessP99 {
		g.Why = append(g.Why, fmt.Sprintf("calls were sent %s late at %s, more than %v",
			formatMeasured(unitDuration, float64(g.LatenessP99)), statistic, MaxLatenessP99))
	}
	if share := float64(h.issued) / float64(max(h.due, 1)); h.due > 0 && share < MinIssuedShare {
		g.Why = append(g.Why, fmt.Sprintf("only %.1f %% of the arrivals were issued in time, less than %.0f %%", 100*share, 100*MinIssuedShare))
	}
	g.Valid = len(g.Why) == 0
	return g
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
