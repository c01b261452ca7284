package loadgen

import (
	"fmt"
	"math"
	"runtime"
	"runtime/metrics"
	"sync"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen/stats"
)

// Bounds beyond which a generator's own figures are not to be believed.
const (
	// MaxLatenessP99 bounds GeneratorHealth.LatenessP99, how late an open executor sends its calls, unless Plan.MaxLateness says otherwise.
	MaxLatenessP99 = 10 * time.Millisecond
	// MinIssuedShare is the share of an open executor's arrivals that must be issued before the measured time ends.
	MinIssuedShare = 0.99
	// MaxCPUWait bounds GeneratorHealth.CPUWait where an executor is open. It adds up how long each thread of the generator was ready to run and
	// had no CPU, and divides by the time under load and by GOMAXPROCS, the number of threads that Go runs at once: it is the share of their time
	// that the generator's processors spent waiting for one of the machine's. The sum over threads alone would grow with every thread
	// that wakes for a microsecond, and the pacing thread's own wait with the rate; both would condemn runs whose calls left in time. What
	// the pacing thread waits shows where it does harm, in the lateness.
	MaxCPUWait = 0.1
	// MaxCPUWaitClosed bounds it where all executors are closed. They have no schedule to miss, and on a machine that the server shares they
	// keep every CPU busy, so only a generator that waits more than it runs is refused.
	MaxCPUWaitClosed = 0.5
	// MaxStalledShare bounds the share of the time under load in which nothing of the generator ran at all, of whatever executor.
	MaxStalledShare = 0.1
)

// health watches the generator while it runs.
type health struct {
	bound    time.Duration // of the lateness
	kernel   bool          // the kernel's accounts are of the clock that the run uses
	cpu      time.Duration // when the run began
	pauses   *metrics.Float64Histogram
	lateness stats.Histogram // open executor, all arms
	due      int64           // arrivals in the schedule of the measured time, all arms
	issued   int64           // of them, how many were sent or dropped before it ended
	calls    int64           // ended under load

	load   machineTime // under load, all arms
	stalls stallWatch
}

// machineTime is what the machine gave to this process.
type machineTime struct{ elapsed, cpu, wait, throttled time.Duration }

// startHealth begins to watch. kernel is false in a test whose clock the kernel does not know.
func startHealth(p *Plan, kernel bool) *health {
	h := &health{bound: p.MaxLateness, kernel: kernel, cpu: processCPU(), pauses: gcPauses()}
	if h.bound == 0 {
		h.bound = MaxLatenessP99
	}
	return h
}

// underLoad watches until the function that it returns is called. Only one such stretch may be open at a time.
func (h *health) underLoad() (end func()) {
	began := time.Now()
	before := h.machine()
	stop := h.stalls.start()
	return func() {
		stop()
		after := h.machine()
		h.load.elapsed += time.Since(began)
		h.load.cpu += after.cpu - before.cpu
		h.load.wait += max(0, after.wait-before.wait) // threads that end take their account along
		h.load.throttled += max(0, after.throttled-before.throttled)
	}
}

func (h *health) machine() machineTime {
	if !h.kernel {
		return machineTime{}
	}
	wait, _ := threadWait()
	return machineTime{cpu: processCPU(), wait: wait, throttled: throttled()}
}

// report judges the run so far.
func (h *health) report() GeneratorHealth {
	g := GeneratorHealth{CPU: processCPU() - h.cpu, GCPauseP99: pauseP99(h.pauses, gcPauses()), Throttled: h.load.throttled}
	if h.calls > 0 {
		g.CPUPerCall = h.load.cpu / time.Duration(h.calls)
	}
	g.MaxStall, g.Stalled = h.stalls.longest, h.stalls.total
	g.CPUWait = h.load.waitShare(runtime.GOMAXPROCS(0))
	g.Why = h.judge(&g)
	g.Valid = len(g.Why) == 0
	return g
}

func (m *machineTime) waitShare(processors int) float64 {
	if m.elapsed <= 0 {
		return 0
	}
	return min(1, m.wait.Seconds()/m.elapsed.Seconds()/float64(processors))
}

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

const (
	stallTick = 20 * time.Millisecond
	// minStall is the shortest stall that counts: twice as long as Go lets one goroutine run while others wait.
	minStall = 20 * time.Millisecond
)

// stallWatch finds times in which nothing of this process ran: a goroutine that wants to wake every stallTick wakes late. It sees what
// the lateness of a schedule may miss: a stop between two arrivals, or under a closed executor.
type stallWatch struct {
	longest, total time.Duration // read them when stopped
}

// start watches until stop is called.
func (s *stallWatch) start() (stop func()) {
	quit := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		timer := time.NewTimer(stallTick)
		defer timer.Stop()
		last := time.Now()
		for {
			select {
			case <-quit:
				return
			case <-timer.C:
				now := time.Now()
				s.woke(now.Sub(last) - stallTick)
				last = now
				timer.Reset(stallTick)
			}
		}
	})
	return func() {
		close(quit)
		wg.Wait()
	}
}

// woke takes how late a wake-up was. The stall was at least as long.
func (s *stallWatch) woke(late time.Duration) {
	if late < minStall {
		return
	}
	s.longest = max(s.longest, late)
	s.total += late
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
