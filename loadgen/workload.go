package loadgen

import (
	"context"
	"fmt"
	"maps"
	"math"
	"reflect"
	"runtime"
	"slices"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen/stats"
)

// SlicePlan makes of a plan what can be measured in slices: its first arm alone, without thresholds and grades. It refuses plans whose load is
// not one rate: mixes, stages, traces and occupancies.
func SlicePlan(p *Plan) (*Plan, error) {
	e := &p.Executor
	why := ""
	switch {
	case len(p.Mix) > 0:
		why = "it is a mix of workloads"
	case e.Kind == Occupancy:
		why = "it holds a number of iterations open"
	case e.Stages != nil || e.Trace != nil:
		why = "its load changes over time"
	}
	if why != "" {
		return nil, fmt.Errorf("scenario %s cannot be measured in slices, since %s: name one with one workload at one rate", p.Name, why)
	}
	out := *p
	out.Thresholds, out.Compare = nil, nil
	out.Arms = p.Arms[:min(1, len(p.Arms))]
	if len(out.Arms) == 1 {
		out.Arms = []Arm{{Driver: p.Arms[0].Driver, ServerConfig: p.Arms[0].ServerConfig}}
	}
	return &out, nil
}

// firstArm is the configuration that the plan is measured in.
func (p *Plan) firstArm() Arm {
	if len(p.Arms) == 0 {
		return Arm{}
	}
	return p.Arms[0]
}

// sameServer reports whether two arms can share a process.
func sameServer(a, b Arm) bool {
	return reflect.DeepEqual(a.Driver, b.Driver) && reflect.DeepEqual(a.ServerConfig, b.ServerConfig)
}

// JudgedSteps names the steps whose latency stands for the plan: those that its target grades, or all that are measured.
func (p *Plan) JudgedSteps() []string {
	if p.Target != nil && len(p.Target.Steps) > 0 {
		return p.Target.Steps
	}
	var out []string
	for i := range p.Steps {
		if s := &p.Steps[i]; !s.unmeasured() && !s.Always {
			out = append(out, s.Name)
		}
	}
	return out
}

// burstLead is the time in which a burst fills the server before it counts.
const burstLead = 50 * time.Millisecond

// defaultVUs are the virtual users of a burst where the plan says none.
const defaultVUs = 16

// open is the plan at the workload's rate. Virtual users that are alone stay so: what they do cannot overlap.
func (w *Workload) open() Plan {
	p := *w.Plan
	p.Executor = Executor{Kind: Open, Rate: w.Rate, Sessions: p.Executor.Sessions, MaxInFlight: w.bound(), Warmup: w.Warmup, Duration: w.Slice}
	return p
}

func (w *Workload) bound() int {
	if e := &w.Plan.Executor; e.Kind == Closed && e.VUs == 1 {
		return 1
	}
	return w.Plan.Executor.MaxInFlight
}

// closed is the plan as fast as the server goes.
func (w *Workload) closed(d time.Duration) Plan {
	p := *w.Plan
	p.Executor = Executor{Kind: Closed, VUs: w.vus(), Sessions: p.Executor.Sessions, Warmup: burstLead, Duration: d}
	return p
}

func (w *Workload) vus() int {
	switch e := &w.Plan.Executor; {
	case w.VUs > 0:
		return w.VUs
	case e.Kind == Closed:
		return e.VUs
	default:
		return min(defaultVUs, e.maxInFlight())
	}
}

// turnTime is how long a side is loaded before the other has its turn. Machines that are shared get faster and slower from one second to the next:
// the shorter the turns, the more of that meets both sides.
const turnTime = 100 * time.Millisecond

// turn is the length of a turn: one with a few arrivals in it, and where p90 is judged with enough for one of its own.
func (w *Workload) turn() time.Duration {
	arrivals := 4.0
	if w.Expected() >= JudgedSamples(turnQuantile) {
		arrivals = 1.4 * float64(stats.MinSamples(turnQuantile))
	}
	return max(turnTime, time.Duration(arrivals/w.Rate*float64(time.Second)))
}

// Expected is how many arrivals a slice measures at least: a tenth of every turn is not measured.
func (w *Workload) Expected() int64 { return int64(0.88 * w.Rate * w.Slice.Seconds()) }

// throughput is the iterations per second that succeeded, by their first step.
func throughput(r *Result, arm string) float64 {
	if cells := ofArm(r.Cells, arm); len(cells) > 0 {
		return cells[0].AchievedRate
	}
	return 0
}

func newSlice(r *Result, arm string) Slice {
	s := Slice{ErrorCodes: map[string]int64{}}
	judged := r.Plan.JudgedSteps()
	cells := ofArm(r.Cells, arm)
	for i := range cells {
		c := &cells[i]
		s.Requests += c.Requests + c.Dropped
		s.Errors += c.errorCount() + c.Dropped
		for code, n := range c.Errors {
			s.ErrorCodes[code] += n
		}
		if slices.Contains(judged, c.Step) {
			s.Steps = append(s.Steps, StepSlice{c.Step, c.Latency, c.turns})
		}
		if u := c.Server; u != nil {
			if u.CPUSPerOp != nil {
				s.CPUPerOp = *u.CPUSPerOp
			}
			if u.RSSPeakBytes != nil {
				s.RSS = *u.RSSPeakBytes
			}
		}
	}
	if !r.Generator.Valid {
		s.Late = r.Generator.Why[0]
	}
	return s
}

// turnQuantile is the percentile that is taken of every turn.
const turnQuantile = 0.9

// Percentile is that of a step's latency, if there are ten times the samples that it takes to say anything. It is 0 otherwise. That of p90 is of a
// typical turn, the geometric mean of the middle half of the turns' own: a disturbance of the machine that is shorter than a slice spoils a turn or two,
// and would spoil the tenth of all calls that p90 is about.
func (s *StepSlice) Percentile(q float64) time.Duration {
	if s.Latency.Count() < JudgedSamples(q) {
		return 0
	}
	if q == turnQuantile {
		return s.typical(q)
	}
	v, _ := s.Latency.Percentile(q)
	return v
}

// minTurns is how many turns make one of them typical.
const minTurns = 4

// typical is the mean of the logarithms of the turns' percentiles, those between their quartiles alone. Turns with too few samples do not count.
func (s *StepSlice) typical(q float64) time.Duration {
	var logs []float64
	for _, t := range s.Turns {
		if v, ok := t.Percentile(q); ok && v > 0 {
			logs = append(logs, math.Log(float64(v)))
		}
	}
	if len(logs) < minTurns {
		return 0
	}
	slices.Sort(logs)
	cut := len(logs) / 4
	logs = logs[cut : len(logs)-cut]
	sum := 0.0
	for _, l := range logs {
		sum += l
	}
	return time.Duration(math.Exp(sum / float64(len(logs))))
}

// JudgedSamples is how many samples a percentile needs to be compared: ten times those that it needs to be shown.
func JudgedSamples(q float64) int64 { return 10 * stats.MinSamples(q) }

// Probed is what a short look at the base found about a workload.
type Probed struct {
	Saturation float64       // iterations per second that the base sustains
	Noise      float64       // standard deviation of ln of the ratio of p50 between two slices of NoiseSlice, one after the other
	NoiseSlice time.Duration // 0 when it was not looked for
}

// Bounds of a probe.
const (
	probeWarmup  = 300 * time.Millisecond
	probeClosed  = 700 * time.Millisecond
	probeSlice   = 400 * time.Millisecond
	probeSlices  = 6
	probeLoad    = 0.4 // of the saturation
	probeGrowth  = 1.9 // times as much have twice the users to do
	probeUnclear = 1.5 // and from here on they may, if tried again
)

// Probe finds the rate of each workload: 40 % of what the base sustains in a closed loop of one user for every two CPUs, or of twice as many for as long as
// these do at least 1.9 times as much, the better of two trials of each: work that waits for a host leaves the CPUs to others. Server, generator and host
// share the CPUs. At half as much again they are nearly full: p90 is then queueing, four times p50, and differs by 20 % between two slices of the
// same program, so that no regression of it could be seen. It also measures how much two slices of the same process differ.
func (p *Pairs) Probe(ctx context.Context) (found []Probed, err error) {
	base := &side{open: p.Base, name: "base"}
	defer func() {
		if closeErr := base.close(); err == nil {
			err = closeErr
		}
	}()
	found = make([]Probed, len(p.Workloads))
	for i := range p.Workloads {
		p.note(-1, p.Workloads[i].Plan.Name)
		if found[i], err = p.probe(ctx, &p.Workloads[i], base); err != nil {
			return nil, err
		}
	}
	return found, nil
}

func (p *Pairs) probe(ctx context.Context, w *Workload, base *side) (Probed, error) {
	found := Probed{NoiseSlice: probeSlice}
	var err error
	if found.Saturation, err = p.saturation(ctx, w, base); err != nil {
		return found, err
	}
	w.Rate = probeLoad * found.Saturation
	found.Noise, err = p.noise(ctx, w, base)
	return found, err
}

// saturation is what the base does in a closed loop of as many users as pay. Whether twice the users pay is not left to two trials where a third may
// answer otherwise: what disturbs a trial makes it do less, so that the better of two counts.
func (p *Pairs) saturation(ctx context.Context, w *Workload, base *side) (float64, error) {
	most := w.vus()
	users := min(max(1, runtime.NumCPU()/2), most)
	found, why, err := p.sustained(ctx, w, base, users)
	if err == nil && found == 0 {
		err = fmt.Errorf("the base did none of scenario %s: %s", w.Plan.Name, why)
	}
	for ; err == nil && 2*users <= most; users *= 2 {
		var more, again float64
		if more, _, err = p.sustained(ctx, w, base, 2*users); err != nil {
			return 0, err
		}
		if more >= probeGrowth*found {
			again, _, err = p.sustained(ctx, w, base, users)
			found = max(found, again)
		} else if more >= probeUnclear*found {
			again, _, err = p.sustained(ctx, w, base, 2*users)
			more = max(more, again)
		}
		if more < probeGrowth*found {
			break
		}
		found = more
	}
	return found, err
}

// sustained is what some users get out of the base in a closed loop, in iterations per second, and why it is none, where it is.
func (p *Pairs) sustained(ctx context.Context, w *Workload, base *side, users int) (perSecond float64, why string, err error) {
	plan := w.closed(probeClosed)
	plan.Executor.Warmup, plan.Executor.VUs = probeWarmup, users
	r, err := p.run(ctx, plan.between([]*side{base}, 0, p.Seed), []*side{base})
	if err != nil {
		return 0, "", err
	}
	return throughput(r, base.name), firstError(r), nil
}

// noise measures slices of one process one after another.
func (p *Pairs) noise(ctx context.Context, w *Workload, base *side) (float64, error) {
	short := *w
	short.Slice, short.Warmup = max(probeSlice, time.Duration(12/w.Rate*float64(time.Second))), burstLead
	var before, sum float64
	for n := range probeSlices {
		plan := short.open()
		r, err := p.run(ctx, plan.between([]*side{base}, 0, p.Seed), []*side{base})
		if err != nil {
			return 0, err
		}
		now := middle(newSlice(r, base.name))
		if n > 0 && now > 0 && before > 0 {
			d := math.Log(now / before)
			sum += d * d
		}
		before = now
	}
	return math.Sqrt(sum / (probeSlices - 1)), nil
}

// middle adds up the medians of the judged steps.
func middle(s Slice) (sum float64) {
	for i := range s.Steps {
		v, _ := s.Steps[i].Latency.Percentile(0.5)
		sum += float64(v)
	}
	return sum
}

// firstError is one message of a call that failed.
func firstError(r *Result) string {
	for i := range r.Cells {
		for _, code := range slices.Sorted(maps.Keys(r.Cells[i].ErrorSamples)) {
			return code + ": " + r.Cells[i].ErrorSamples[code]
		}
	}
	return "no call ended in time"
}
