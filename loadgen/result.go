package loadgen

import (
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen/stats"
)

// Result is what one Run measured.
type Result struct {
	Plan        *Plan
	Started     time.Time
	StartAt     time.Time // as Options had it
	Elapsed     time.Duration
	Interrupted bool              // the context ended first; the cells hold what ran until then
	Aborted     string            // the threshold that ended the run and how it was missed; the cells hold what ran until then
	Cells       []Cell            // one per arm, part and measured step, in that order; one for an unmeasured step too if it failed
	Ratios      []Ratio           // of each arm's cells to those of the first arm, where there are several
	Thresholds  []ThresholdResult // of the first arm; one for each step that a threshold speaks of
	Trends      []TrendResult     // of the first arm; one for each step that a trend of a latency speaks of
	Grade       *Grade            // nil when the plan has no Target
	Generator   GeneratorHealth
}

// Cell is the measurement of one step under one arm. It holds the calls of every iteration whose intended start lies in the measured time,
// also those that ended after it; the rest, warm-up included, is left out.
type Cell struct {
	Step         string
	Arm          string
	Part         string // of the plan's Mix; empty without one
	Driver       DriverInfo
	OfferedRate  float64          // open: arrivals per second that the schedule held; closed: 0
	AchievedRate float64          // successes that ended inside the measured time, per second of it
	Requests     int64            // successes and errors; an open executor's Requests and Dropped make up its schedule
	Dropped      int64            // arrivals not sent because MaxInFlight was reached
	Errors       map[string]int64 // by code; empty when none
	Bytes        int64
	Measured     time.Duration               // the plan's Duration, or less when the run stopped early
	Latency      *stats.Histogram            // successes, from Intended
	Service      *stats.Histogram            // successes, from Start
	Failed       *stats.Histogram            // errors, from Intended
	Lateness     *stats.Histogram            // all, Start − Intended
	Timing       map[string]*stats.Histogram // "queue", "dial", "channel", "remote"

	// FirstProgress holds the successes that told progress, from Intended to the first notification of it.
	FirstProgress *stats.Histogram
	Cancelled     int64 // successes that are so because the client cancelled them, as Step.CancelAfter wants

	Reused       int64             // successes whose connection was open already
	ErrorSamples map[string]string // one message for each error code, for the report
	Windows      []Window
	turns        []*stats.Histogram // Latency by the arm's turns, of slices alone
	Held         *int64             // the fewest iterations of an occupancy that were held at once; nil but for the step that takes
	Server       *Resources         // of the whole arm; nil where nothing about the server is known
}

// errorCount is the number of calls that failed.
func (c *Cell) errorCount() int64 {
	var n int64
	for _, v := range c.Errors {
		n += v
	}
	return n
}

// Ratio compares a cell with the one of the same part and step under the first arm.
type Ratio struct {
	Step, Part string
	Arm, Base  string
	Statistic  string  // "p50", "p95" or "p99" of the latency, or "rate"
	Ratio      float64 // the arm's value over the base's, above 0
}

// Window is a stretch of measured time, for charts over time. Widths are equal; the width doubles so that at most 300 remain.
type Window struct {
	Start              time.Duration
	Width              time.Duration
	Requests           int64
	Errors             int64
	P50, P95, P99, Max time.Duration
	Held               int64        // the fewest iterations of an occupancy that were held at once
	Latency            stats.Coarse // of successes
}

// Band is a grade.
type Band string

// The bands of the targets table.
const (
	BandTarget     Band = "target"
	BandAcceptable Band = "acceptable"
	BandPoor       Band = "poor"
	BandNoData     Band = "no-data"
)

// Grade is a row of the targets table as measured.
type Grade struct {
	Statistic string
	Step      string // the step that decided
	Value     time.Duration
	Band      Band
	Why       string // one sentence
}

// ThresholdResult is a threshold as measured.
type ThresholdResult struct {
	Expr    string
	Step    string
	Part    string
	Value   string // formatted, "no data" where nothing was measured; with a window, the worst one's and when that was
	OK      bool
	Start   time.Duration // of the worst window, from the start of the measured time
	Aborted bool          // missing it ended the run
}

// GeneratorHealth says whether the generator itself can be believed.
type GeneratorHealth struct {
	CPU         time.Duration // user and system time of this process during the run
	GCPauseP99  time.Duration
	LatenessP99 time.Duration // of the arrivals of open executors, all arms; p95, p90, p75 or p50 where they are too few for p99
	CPUPerCall  time.Duration // CPU under load per call that ended, warm-up included
	CPUWait     float64       // share of the time under load that a thread of it which wants to run every few milliseconds had to wait for a CPU, 0 to 1
	Throttled   time.Duration // how long the CPU quota of its cgroup held it, all CPUs added up; 0 where it is not known
	MaxStall    time.Duration // longest time under load in which nothing of the generator ran, as when it was stopped
	Stalled     time.Duration // all such times together
	Valid       bool
	Why         []string // reasons when not Valid
}
