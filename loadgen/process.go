package loadgen

import (
	"slices"
	"time"
)

// processUsage is what the kernel says of one process now. A figure that it does not tell is −1, or 0 for a time.
type processUsage struct {
	cpu      time.Duration // user and system, since the start
	children time.Duration // likewise of children that have ended and were waited for
	rss      int64
	rssPeak  int64 // since the start
	vms      int64
	threads  int64
	fds      int64
	sockets  int64
	net      int64 // in and out
}

// accounts adds up what a changing set of processes uses while it is running, and nothing while it is not. The zero value is ready for use.
type accounts struct {
	running bool
	since   time.Time     // of the last reading, while running
	elapsed time.Duration // run in all
	each    map[int]processUsage
	seen    map[int]bool

	cpu                                   time.Duration
	net                                   int64 // −1 once one process does not tell
	peak, vms, threads, fds, sockets, rss int64 // rss is the last; the others the most
	series                                resourceTimeline
	levels                                levels
}

// resume starts counting from this reading.
func (a *accounts) resume(now time.Time, readings map[int]processUsage) {
	a.running, a.since = true, now
	a.each = readings
	a.most(readings, nil)
}

// read counts what was used since the last reading. A process that is new started in between. percent is the share of one CPU that all
// used.
func (a *accounts) read(now time.Time, readings map[int]processUsage) (percent float64) {
	if !a.running {
		return 0
	}
	var cpu time.Duration
	for pid, u := range readings {
		before := a.each[pid]
		cpu += max(0, u.cpu-before.cpu) + max(0, u.children-before.children)
		if u.net < 0 || a.net < 0 {
			a.net = -1
		} else {
			a.net += u.net - before.net
		}
	}
	a.most(readings, a.each)
	a.each = readings
	length := now.Sub(a.since)
	a.series.add(a.elapsed, length, cpu, a.rss)
	a.cpu += cpu
	a.elapsed += length
	a.since = now
	if length <= 0 {
		return 0
	}
	return 100 * cpu.Seconds() / length.Seconds()
}

func (a *accounts) pause(now time.Time, readings map[int]processUsage) {
	a.read(now, readings)
	a.running = false
}

// most keeps the largest figures. The kernel's own mark of the most memory is exact, but tells of this run only where it has risen in it.
func (a *accounts) most(now, before map[int]processUsage) {
	var rss, peak, vms, threads, fds, sockets int64
	if a.seen == nil {
		a.seen = map[int]bool{}
	}
	for pid, u := range now {
		a.seen[pid] = true
		rss += u.rss
		if b, ok := before[pid]; ok && u.rssPeak > b.rssPeak {
			peak += u.rssPeak
		} else {
			peak += u.rss
		}
		vms += u.vms
		threads += u.threads
		fds += u.fds
		sockets += u.sockets
	}
	a.rss = rss
	for name, v := range map[string]int64{"server.rss": rss, "server.threads": threads, "server.fds": fds, "server.sockets": sockets} {
		if v > 0 && before != nil {
			a.levels.add(name, a.elapsed, float64(v))
		}
	}
	a.peak, a.vms, a.threads = max(a.peak, peak), max(a.vms, vms), max(a.threads, threads)
	a.fds, a.sockets = max(a.fds, fds), max(a.sockets, sockets)
}

// report fills in what was read. ops is how many calls ended while it ran.
func (a *accounts) report(r *Resources, ops int64) {
	if len(a.seen) == 0 {
		return
	}
	r.Processes = len(a.seen)
	if a.elapsed > 0 {
		r.CPUPercent = known(100 * a.cpu.Seconds() / a.elapsed.Seconds())
	}
	if ops > 0 {
		r.CPUSPerOp = known(a.cpu.Seconds() / float64(ops))
		if a.net >= 0 {
			r.NetBytesPerOp = known(float64(a.net) / float64(ops))
		}
	}
	r.RSSPeakBytes, r.VMSBytes, r.Threads = known(a.peak), known(a.vms), known(a.threads)
	if a.fds > 0 {
		r.FDs, r.Sockets = known(a.fds), known(a.sockets)
	}
	r.Series = a.series.list()
	r.levels.merge(a.levels)
}

func known[T any](v T) *T { return &v }

// readProcesses asks for each process once. One that has ended, or may not be looked at, is left out.
func readProcesses(pids []int) map[int]processUsage {
	out := map[int]processUsage{}
	for _, pid := range pids {
		if u, err := readProcess(pid); err == nil {
			out[pid] = u
		}
	}
	return out
}

// resourceTimeline is the use of CPU and memory by stretch of running time. The zero value is empty.
type resourceTimeline struct {
	width time.Duration
	each  []resourceStretch
}

type resourceStretch struct {
	covered, cpu time.Duration
	rss          int64
}

// add counts what was used over length from at on. A reading that crosses the end of its stretch counts in the one it began in.
func (t *resourceTimeline) add(at, length, cpu time.Duration, rss int64) {
	if t.width == 0 {
		t.width = windowWidth
	}
	for at/t.width >= maxWindows {
		t.double()
	}
	i := int(at / t.width)
	if i >= len(t.each) {
		t.each = append(t.each, make([]resourceStretch, i+1-len(t.each))...)
	}
	s := &t.each[i]
	s.covered += length
	s.cpu += cpu
	s.rss = max(s.rss, rss)
}

func (t *resourceTimeline) double() {
	t.width *= 2
	half := make([]resourceStretch, 0, maxWindows)
	for pair := range slices.Chunk(t.each, 2) {
		s := pair[0]
		for _, o := range pair[1:] {
			s = resourceStretch{s.covered + o.covered, s.cpu + o.cpu, max(s.rss, o.rss)}
		}
		half = append(half, s)
	}
	t.each = half
}

func (t *resourceTimeline) list() *ResourceSeries {
	out := &ResourceSeries{Width: t.width}
	for _, s := range t.each {
		percent := 0.0
		if s.covered > 0 {
			percent = 100 * s.cpu.Seconds() / s.covered.Seconds()
		}
		out.CPUPercent = append(out.CPUPercent, percent)
		out.RSSBytes = append(out.RSSBytes, s.rss)
	}
	return out
}
