package loadgen

import "time"

// Resources is what the server's processes used while an arm was measured, seen from outside (the kernel's accounts) and, where the server has
// the tool server_stats, as the server says itself. It is the arm's, so every cell of the arm has the same. A figure that was not measured is
// nil: the kernel's accounts are read on Linux alone, and only of processes that the driver knows and this user may look at.
type Resources struct {
	Processes     int             // how many were seen
	CPUSPerOp     *float64        // seconds of CPU, user and system, children that have ended included, per call that ended in the measured time
	CPUPercent    *float64        // of one CPU, so two busy ones are 200
	RSSPeakBytes  *int64          // most resident memory in the measured time, all processes together
	VMSBytes      *int64          // most virtual memory
	Threads       *int64          // most threads
	FDs           *int64          // most open descriptors
	Sockets       *int64          // most of them that were sockets
	NetBytesPerOp *float64        // in and out; only for processes in a network namespace that this process does not share, loopback left out
	Goroutines    *int64          // most goroutines
	HeapBytes     *int64          // most heap in use
	GCCycles      *int64          // garbage collections in the measured time
	GCPauseP99    *time.Duration  // pauses of garbage collections since the server started
	CacheHits     *int64          // calls that the response cache answered since the server started, warm-up included
	CacheMisses   *int64          // calls that it had to run, likewise
	CacheShared   *int64          // calls that got the result of one that ran at the same time, likewise
	Series        *ResourceSeries // nil where nothing was read from outside

	levels levels // for the plan's trends
}

// ResourceSeries is the use of CPU and memory over time. At most 300 stretches of equal width remain; the width doubles as a run goes on.
// Stretch i starts i widths after the beginning of the measured time; in an arm that is measured in slices only the slices count.
type ResourceSeries struct {
	Width      time.Duration
	CPUPercent []float64 // of one CPU
	RSSBytes   []int64   // most in the stretch
}
