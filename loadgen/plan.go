package loadgen

import "time"

// Plan is one workload, ready to run: what to call, how arrivals are paced, and what the result is judged by.
// Package scenarios makes plans from YAML; a program may also build one by hand.
type Plan struct {
	Name        string // scenario name, such as "ssh-exec"
	Operation   string // dotted operation, such as "ssh.exec"
	Description string
	Seed        uint64 // drives payloads and arrivals; the same seed gives the same run
	Executor    Executor
	Feeds       []Feed        // data that iterations take row by row
	Files       []File        // local files made in the work directory before the first call
	Setup       []Step        // run before each arm's warm-up, once for each profile if it names ${profile}; tool calls only; a failure ends the run
	Steps       []Step        // one iteration is all of them in order; after a failed one only those that are marked Always follow
	Mix         []Part        // several workloads at once, instead of Steps
	Teardown    []Step        // run after each arm's last call as Setup is, also after an interrupt
	Arms        []Arm         // configurations compared in alternating slices of one run; none means one arm named ""
	Slice       time.Duration // measured time of an arm before the next has its turn, where there are several; 0 means DefaultSlice
	Thresholds  []Threshold   // judged on the first arm
	Trends      []Trend       // growth that the first arm must not show, as a soak asks
	Compare     []Comparison  // what the first arm has to show beside the others
	MaxLateness time.Duration // bound on the p99 of how late open executors send, beyond which the run is not valid; 0 means MaxLatenessP99
	Shard       Shard         // the part of the load that this generator takes; the zero value takes all
	Faults      *Faults       // what shall go wrong at the fake host; nil changes nothing
	Target      *Target       // the row of the targets table that grades this plan; nil leaves it ungraded

	mirrored bool // the arms' first turns come in their order, and each round in the reverse of that before, instead of being drawn
}

// ExecutorKind says who decides when the next iteration starts.
type ExecutorKind string

const (
	// Closed loops VUs virtual users, each starting its next iteration when its last has ended.
	Closed ExecutorKind = "closed"
	// Open starts iterations on a schedule fixed in advance, however slow the server is.
	Open ExecutorKind = "open"
	// Occupancy holds Holders iterations open at once: the steps before the always-steps take, the always-steps give back at the end.
	Occupancy ExecutorKind = "occupancy"
)

// Arrivals says how the arrivals of an open executor are spread.
type Arrivals string

const (
	// Constant arrivals are evenly spaced. It is what "" means.
	Constant Arrivals = "constant"
	// Poisson arrivals come independently of each other: their gaps are exponential, drawn from the plan's seed.
	Poisson Arrivals = "poisson"
)

// Executor paces a plan.
type Executor struct {
	Kind            ExecutorKind
	VUs             int             // closed: virtual users, at least 1
	Rate            float64         // open: intended arrivals per second, above 0
	Arrivals        Arrivals        // open: "" means Constant
	Stages          []Stage         // open: the rate, closed: the virtual users as they change over the measured time; replaces Rate or VUs, and Duration
	Start           float64         // what the first stage starts from, and what the warm-up runs at
	Trace           []time.Duration // open: when arrivals come, from the start of the warm-up, ascending; replaces Rate
	ThinkTime       ThinkTime       // closed: pause of a virtual user between its iterations
	Holders         int             // occupancy: iterations held open at once, at least 1; taken evenly over the warm-up
	MaxInFlight     int             // open: an arrival that finds this many under way is dropped and counted; 0 means DefaultMaxInFlight
	Sessions        int             // MCP sessions that the calls share; 0 means one for each virtual user, or DefaultSessions otherwise
	Iterations      int64           // closed: stop after this many measured ones in all; 0 means by Duration alone
	IterationsPerVU int64           // closed: each virtual user stops after this many measured ones; 0 means by Duration alone
	Warmup          time.Duration   // not measured, comes before Duration
	Duration        time.Duration   // measured; with Iterations or IterationsPerVU, 0 sets no limit of time; with Stages or Trace, 0 means their length

	shard Shard // that VUs, Holders, Iterations, MaxInFlight and Sessions are the share of
}

// Stage changes an executor's rate or virtual users evenly from where the stage before it ended. With a Duration of 0 it jumps.
type Stage struct {
	Target   float64 // arrivals per second, or virtual users, at its end
	Duration time.Duration
}

// ThinkTime is a pause drawn evenly from Min to Max by the plan's seed. The zero value is no pause.
type ThinkTime struct{ Min, Max time.Duration }

// What an Executor's zero fields mean.
const (
	DefaultMaxInFlight = 1000
	DefaultSessions    = 8
)

// DefaultSlice is what a Plan's zero Slice means.
const DefaultSlice = 2 * time.Second

// Part is one workload of a mix. Without an Executor of its own it takes its share by Weight of the plan's arrivals or iterations, each
// drawn by the plan's seed; with one it runs beside them from Start on.
type Part struct {
	Name        string        // names the part in the result; unique in the plan
	Weight      float64       // share of the plan's executor relative to the other parts', above 0
	Start       time.Duration // after the start of the measured time; before it the part has no arrivals
	MaxInFlight int           // an arrival of the part that finds this many of it under way is dropped and counted; 0 means no limit of its own
	Executor    *Executor     // nil shares the plan's
	Steps       []Step
}

// File is a local file made before the run, filled with bytes drawn from the plan's seed. Its modification time lies in the past and is the
// same in every run.
type File struct {
	Name  string // inside the work directory; may hold ${vu}, which makes a copy for each virtual user, and with Count a number such as %03d
	Size  int64  // bytes
	Count int    // this many files, numbered from 0 where Name has its number; 0 means one file, whose name has none
}

// Step is one action of an iteration: exactly one of Tool, TCP, Write, Session and Hold says which.
//
// String values inside Args may hold variables. ${profile}, ${vu}, ${iteration}, ${workdir} and ${remote_dir} are always there; ${echo_host},
// ${echo_port}, ${vpn_peer} and ${inside_profile} where Options.Vars has them; and those that an earlier step of the iteration saved. $${ stands
// for a plain ${. ${iteration} is unique within an arm. ${vu} is 0 to VUs−1 when closed; when open it is the lowest number that no other
// iteration under way has, so two calls at the same time never share it. A string that is nothing but one saved variable, or one of
// Options.Vars, stands for the value itself, so that a number stays one.
type Step struct {
	Name    string // names the result's cell; unique in the plan
	Tool    string // advertised MCP tool name, such as "ssh_exec"
	Args    map[string]any
	Checks  []Check           // all must hold, or the call counts as error CHECK_FAILED
	Save    map[string]string // variables for the steps after this one, each from a dotted path inside the reply's data
	TCP     *TCP              // instead of Tool: bytes sent to an address and expected back
	Write   *Write            // instead of Tool: local files that change; never measured
	Session SessionStep       // instead of Tool: an MCP session of the iteration's own
	Hold    time.Duration     // instead of Tool: a pause; never measured

	// CancelAfter, unless 0, makes the client cancel the tool call so long after its start. A call so cut is a success, and the step after
	// it is intended for the moment of the cancel: its latency is from cancel to release. A call that ends sooner is judged as any other.
	CancelAfter time.Duration
	Progress    bool // asks the tool for progress, so that Cell.FirstProgress is measured

	// What follows is for Plan.Steps alone.

	Always     bool // runs also when an earlier step failed or an interrupt cut it, unless a variable in it was never saved: to clean up
	Unmeasured bool // has no cell in the result, except when it failed
}

// SessionStep is what a step does with the MCP session of its iteration.
type SessionStep string

const (
	// SessionOpen gives the iteration a session of its own, which its calls use from then on. Its cell measures the handshake.
	SessionOpen SessionStep = "open"
	// SessionClose says goodbye to the server and waits for it to be done.
	SessionClose SessionStep = "close"
	// SessionAbandon drops the session without a goodbye, as a client does that crashes.
	SessionAbandon SessionStep = "abandon"
)

// TCP is an exchange over a connection of its own: all bytes are sent, and the same are expected back.
type TCP struct {
	Address string // host:port, may hold variables
	Bytes   int64  // sent, drawn from the plan's seed and the iteration; as many are read back and compared
}

// Write gives files new bytes of the same length, drawn from the plan's seed and the iteration, and a modification time two seconds later.
type Write struct {
	File  string // Name of one of the plan's Files
	Count int    // how many of them, drawn by chance; 0 means all
}

// Check compares one field of a result's data with a wanted value, or two local files once the call has ended. Checks are no part of the
// measured time.
type Check struct {
	Field string // dotted path inside the envelope's data, such as "exit_code"
	Op    string // "==", "!=", "contains", ">=", "<=", "matches" (RE2), "sha256" of the text, or "length" of text in bytes or of a list
	Value any    // a text may hold variables, except the pattern of matches

	FileEqual *FileEqual // instead of all others
}

// FileEqual wants two local files to hold the same bytes. The names may hold variables; a relative one begins at the work directory.
type FileEqual struct {
	Local string
	With  string // what Local has to be like
}

// Arm is one configuration of a comparison: of the server, of the way to it, or of both.
type Arm struct {
	Name         string
	Driver       *ArmDriver     // nil takes the run's own driver
	ServerConfig map[string]any // merged over the configuration file given to the run; nil changes nothing
}

// The values that an ArmDriver's fields may have.
var (
	DriverKinds = []string{"stdio", "http", "inprocess", "raw-ssh", "mcp-noop", "mcp-library"}
	Protocols   = []string{"2025-11-25", "2026-07-28"}
	SessionUses = []string{"shared", "per-vu", "per-call"}
	Transports  = []string{"stdio", "http"}
)

// maxConnections bounds ArmDriver.Connections.
const maxConnections = 1000

// ArmDriver is the way to the server that an arm takes. A zero field leaves what the run has.
type ArmDriver struct {
	Kind     string // "stdio", "http", "inprocess", "raw-ssh", "mcp-noop" or "mcp-library"
	Protocol string // MCP version: "2025-11-25" or "2026-07-28"
	Sessions string // "shared", "per-vu" or "per-call"
	ReadRate int64  // bytes per second that a slow reader takes of the server's replies; 0 reads as fast as they come

	Transport   string // of mcp-noop and mcp-library: "stdio" or "http"
	Connections int    // of raw-ssh, to each host; 0 is its default
}

// Target is a row of the targets table: the bands by which a statistic of the latency is graded.
type Target struct {
	Operation  string        // row name in the table, such as "sftp.transfer"
	Statistic  string        // "p50", "p90", "p95", "p99"; empty means p95
	Steps      []string      // steps that are judged, the worst of them; empty means all
	Target     time.Duration // below this the row meets its target
	Acceptable time.Duration // at or below this the row is acceptable, beyond it poor
}
