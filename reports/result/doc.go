// Package result is the on-disk form of a measurement: result.json, schema "openaccess.loadgen/result/v1".
//
// Start with Doc, which is the file. FromRun makes one from what the load generator measured, Write and Read move it, and
// Doc.Findings says what did not hold. Renderers, gates and histories work on a Doc and never on the run itself.
package result

import (
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
)

// Schema names the version of the file's layout.
const Schema = "openaccess.loadgen/result/v1"

// Doc is one result file. Durations are integer nanoseconds unless a name ends in _s, sizes bytes, rates per second.
type Doc struct {
	Schema      string       `json:"schema"`
	Run         Run          `json:"run"`
	Scenarios   []Scenario   `json:"scenarios"`
	Ratios      []Ratio      `json:"ratios,omitempty"` // of arms to the first of their scenario
	Generator   Generator    `json:"generator"`
	Gate        *Gate        `json:"gate,omitempty"`
	Capacity    *Capacity    `json:"capacity,omitempty"`
	Calibration *Calibration `json:"calibration,omitempty"` // certificate given to the run
	Verdict     Verdict      `json:"verdict"`
}

// Run says what was run, when, where and against what.
type Run struct {
	ID        string    `json:"id"`
	Started   time.Time `json:"started"`
	DurationS float64   `json:"duration_s"`
	Seed      uint64    `json:"seed"`
	Git       string    `json:"git,omitempty"` // revision that the load generator was built from
	Command   string    `json:"command"`       // runs the same again, quoted for a POSIX shell
	Host      Host      `json:"host"`
	Server    Server    `json:"server"`
	Target    Target    `json:"target"`
	Shard     string    `json:"shard,omitempty"` // "i/n" where the load was split
	Split     *Split    `json:"split,omitempty"` // what a shard knows of the whole
}

// Split is what the shards of a run have in common, so that they can be merged and the whole be judged.
type Split struct {
	Plan        string       `json:"plan"`       // SHA-256 that all of them have
	Start       time.Time    `json:"start"`      // of the load
	Thresholds  []string     `json:"thresholds"` // of the whole, as ParseThreshold reads them
	Target      *SplitTarget `json:"target,omitempty"`
	Interrupted bool         `json:"interrupted,omitempty"` // the figures are of what ran until then
}

// SplitTarget is the row of the targets table that grades the whole.
type SplitTarget struct {
	Operation    string   `json:"operation"`
	Statistic    string   `json:"statistic"`
	Steps        []string `json:"steps"` // that are judged; empty for all
	TargetNS     int64    `json:"target_ns"`
	AcceptableNS int64    `json:"acceptable_ns"`
}

// Host is the machine that the load generator ran on.
type Host struct {
	CPU   string `json:"cpu"`
	Cores int    `json:"cores"`
	OS    string `json:"os"`
	Go    string `json:"go"`
}

// Server is what was measured.
type Server struct {
	Version   string `json:"version,omitempty"`
	Path      string `json:"path,omitempty"` // of the binary, or the URL
	Transport string `json:"transport"`      // "stdio", "http" or "inprocess"
	PID       int    `json:"pid,omitempty"`
	Config    string `json:"config,omitempty"` // the configuration file given to the run
}

// Target is what the server worked on.
type Target struct {
	Kind   string `json:"kind"` // "fake", "profiles", or "remote" where the server at a URL has its own
	Faults string `json:"faults,omitempty"`
}

// Scenario is one cell: a step of a scenario under one arm. A row of the targets table that was not run is one without a driver.
type Scenario struct {
	Name         string                   `json:"name"`
	Operation    string                   `json:"operation"`
	Part         string                   `json:"part,omitempty"` // of a mix
	Step         string                   `json:"step,omitempty"`
	Arm          string                   `json:"arm,omitempty"`
	Driver       string                   `json:"driver,omitempty"`
	Executor     string                   `json:"executor,omitempty"`
	InFlight     int                      `json:"in_flight,omitempty"`    // closed: virtual users; occupancy: holders; open: the bound
	Held         *int64                   `json:"held,omitempty"`         // occupancy: the fewest iterations that were held at once
	OfferedRate  float64                  `json:"offered_rate,omitempty"` // open executor only
	AchievedRate float64                  `json:"achieved_rate"`
	Requests     int64                    `json:"requests"`
	Dropped      int64                    `json:"dropped"`
	Errors       map[string]int64         `json:"errors"`                  // by code
	ErrorSamples map[string]string        `json:"error_samples,omitempty"` // one message for each code
	Throughput   Throughput               `json:"throughput"`
	Latency      *Distribution            `json:"latency,omitempty"`  // successes, from the intended start
	Service      *Distribution            `json:"service,omitempty"`  // successes, from the actual send
	Failed       *Distribution            `json:"failed,omitempty"`   // errors, from the intended start
	Lateness     *Distribution            `json:"lateness,omitempty"` // actual send − intended, all
	Timing       map[string]*Distribution `json:"timing,omitempty"`   // "queue", "dial", "channel", "remote", as the server says
	Server       *Resources               `json:"server,omitempty"`

	// FirstProgress holds the successes that told progress, from the intended start to the first notification of it.
	FirstProgress *Distribution `json:"first_progress,omitempty"`
	Cancelled     int64         `json:"cancelled,omitempty"` // successes that the client cancelled, as the scenario wants

	Grade      *Grade      `json:"grade,omitempty"`
	Thresholds []Threshold `json:"thresholds,omitempty"`
	Trends     []Trend     `json:"trends,omitempty"`
	Windows    []Window    `json:"windows,omitempty"`
}

// Ratio is a figure of a cell over that of the same step under the scenario's first arm, the base.
type Ratio struct {
	Name      string  `json:"name"` // of the scenario
	Part      string  `json:"part,omitempty"`
	Step      string  `json:"step"`
	Arm       string  `json:"arm"`
	Base      string  `json:"base"`
	Statistic string  `json:"statistic"` // "p50", "p95" or "p99" of the latency, or "rate"
	Ratio     float64 `json:"ratio"`
}

// Throughput counts successes.
type Throughput struct {
	OpsPerS   float64 `json:"ops_per_s"`
	BytesPerS float64 `json:"bytes_per_s"`
}

// Distribution is a set of durations. A percentile that has too few samples behind it is nil, never a guess; with no samples at
// all, so are Min, Max and Mean.
type Distribution struct {
	Unit string `json:"unit"` // always "ns"
	N    int64  `json:"n"`
	P50  *int64 `json:"p50"`
	P75  *int64 `json:"p75"`
	P90  *int64 `json:"p90"`
	P95  *int64 `json:"p95"`
	P99  *int64 `json:"p99"`
	P999 *int64 `json:"p999"`
	Min  *int64 `json:"min"`
	Max  *int64 `json:"max"`
	Mean *int64 `json:"mean"`
	HDR  string `json:"hdr"` // HdrHistogram, V2 compressed, base64; stats.Decode reads it
}

// Resources is what the server's processes used while the cell's arm was measured: every cell of an arm has the same, the first the series as
// well. A figure that was not measured is absent..
type Resources struct {
	CPUSPerOp     *float64 `json:"cpu_s_per_op,omitempty"`
	CPUPercent    *float64 `json:"cpu_percent,omitempty"`
	RSSPeakBytes  *int64   `json:"rss_peak_bytes,omitempty"`
	VMSBytes      *int64   `json:"vms_bytes,omitempty"`
	Threads       *int64   `json:"threads,omitempty"`
	Goroutines    *int64   `json:"goroutines,omitempty"`
	FDs           *int64   `json:"fds,omitempty"`
	Sockets       *int64   `json:"sockets,omitempty"`
	NetBytesPerOp *float64 `json:"net_bytes_per_op,omitempty"`
	HeapBytes     *int64   `json:"heap_bytes,omitempty"`      // as the server says
	GCCycles      *int64   `json:"gc_cycles,omitempty"`       // likewise, in the measured time
	GCPauseP99NS  *int64   `json:"gc_pause_p99_ns,omitempty"` // likewise, since its start
	CacheHits     *int64   `json:"cache_hits,omitempty"`      // calls that its response cache answered, likewise; with those below all that asked it
	CacheMisses   *int64   `json:"cache_misses,omitempty"`
	CacheShared   *int64   `json:"cache_shared,omitempty"` // calls that got the result of one that ran at the same time
	Processes     int      `json:"processes,omitempty"`    // that the figures are of
	Series        *Series  `json:"series,omitempty"`
}

// Series is a server's use over measured time in at most 300 stretches of equal width.
type Series struct {
	WidthNS    int64     `json:"width_ns"`
	CPUPercent []float64 `json:"cpu_percent"` // of one CPU
	RSSBytes   []int64   `json:"rss_bytes"`
}

// Grade is a row of the targets table as measured. Its bands travel with it so that a report needs no other file.
type Grade struct {
	Statistic    string       `json:"statistic"`
	ValueNS      *int64       `json:"value_ns"` // nil without data
	Band         loadgen.Band `json:"band"`
	Why          string       `json:"why"`
	TargetNS     int64        `json:"target_ns"`
	AcceptableNS int64        `json:"acceptable_ns"`
}

// Threshold is one that the scenario set, as measured.
type Threshold struct {
	Expr    string `json:"expr"`
	Value   string `json:"value"`
	OK      bool   `json:"ok"`
	StartNS int64  `json:"start_ns,omitempty"` // of the worst window, where it has a window that does not begin with the measured time
	Aborted bool   `json:"aborted,omitempty"`  // missing it ended the run
}

// Trend is the growth of something that should stay as it is, as measured. Slope, Low, High, Late and Tolerated are in Unit, per Per.
type Trend struct {
	Expr       string               `json:"expr"`
	Metric     string               `json:"metric"`
	Verdict    loadgen.TrendVerdict `json:"verdict"`
	Why        string               `json:"why"`
	Unit       string               `json:"unit,omitempty"` // "ns", "bytes", or absent for a plain count
	Per        loadgen.Per          `json:"per"`
	Tolerated  float64              `json:"tolerated"`
	Slope      *float64             `json:"slope"` // nil without data, as for all below
	Low        *float64             `json:"low"`   // interval that holds the growth with the confidence below
	High       *float64             `json:"high"`
	Late       *float64             `json:"late"` // growth in the later half
	Confidence float64              `json:"confidence"`
	Points     int                  `json:"points"`  // that the line goes through
	FromNS     int64                `json:"from_ns"` // of the measured time, what was judged
	ToNS       int64                `json:"to_ns"`
}

// Window is a stretch of measured time.
type Window struct {
	StartNS  int64  `json:"start_ns"`
	WidthNS  int64  `json:"width_ns"`
	Requests int64  `json:"requests"`
	Errors   int64  `json:"errors,omitempty"`
	P50      int64  `json:"p50"`
	P95      int64  `json:"p95"`
	P99      int64  `json:"p99"`
	Max      int64  `json:"max"`
	Held     int64  `json:"held,omitempty"` // occupancy: the fewest iterations that were held at once
	Hist     string `json:"hist,omitempty"` // latency in at most 32 buckets; Histogram reads it
}

// Generator says whether the load generator itself can be believed.
type Generator struct {
	CPUS          float64  `json:"cpu_s"`
	GCPauseP99NS  int64    `json:"gc_pause_p99_ns"`
	LatenessP99NS int64    `json:"lateness_p99_ns"`
	CPUSPerCall   float64  `json:"cpu_s_per_call,omitempty"` // the most of the scenarios
	CPUWait       float64  `json:"cpu_wait"`                 // share of the time under load that it waited for a CPU, the most of the scenarios
	ThrottledNS   int64    `json:"throttled_ns,omitempty"`   // how long a CPU quota held it back
	MaxStallNS    int64    `json:"max_stall_ns"`             // longest time under load in which nothing of it ran
	Valid         bool     `json:"valid"`
	Why           []string `json:"why"`
}

// Verdict is the last word: whether all held, and a sentence for each thing that did not.
type Verdict struct {
	OK     bool     `json:"ok"`
	Failed []string `json:"failed"`
}

// Ran reports whether the cell was measured, rather than being a row that was left out.
func (s *Scenario) Ran() bool { return s.Driver != "" }

// ErrorCount is the number of calls that failed.
func (s *Scenario) ErrorCount() int64 {
	var n int64
	for _, c := range s.Errors {
		n += c
	}
	return n
}
