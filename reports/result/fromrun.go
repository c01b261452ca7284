package result

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
	"github.com/openaccess-mcp/openaccess-mcp/loadgen/stats"
)

// Meta is what a result file says beside the measurement. Its zero value is usable.
type Meta struct {
	ID      string
	Git     string
	Command string
	Path    string // of the server's program, empty to take what its driver says
	Config  string // server configuration file given to the run
	Host    Host
	Target  Target
	Planned []Planned    // rows of the targets table to be shown without data
	Broken  []string     // sentences about scenarios that could not be run
	FailOn  loadgen.Band // BandAcceptable fails whatever misses its target; otherwise only what is poor fails

	Calibration *Calibration // certificate of the load generator, nil for none
}

// Planned is a row of the targets table whose scenario was not run.
type Planned struct {
	Scenario string
	Target   loadgen.Target
	Why      string
}

// FromRun makes the result file of runs made one after another, with its verdict.
func FromRun(meta Meta, runs []*loadgen.Result) (*Doc, error) {
	d := &Doc{
		Schema:    Schema,
		Run:       Run{ID: meta.ID, Git: meta.Git, Command: meta.Command, Host: meta.Host, Target: meta.Target},
		Scenarios: []Scenario{},
		Generator: Generator{Valid: true, Why: []string{}},
	}
	d.Run.Server.Config, d.Run.Server.Path, d.Calibration = meta.Config, meta.Path, meta.Calibration
	for _, r := range runs {
		if err := d.add(r); err != nil {
			return nil, fmt.Errorf("scenario %s: %v", r.Plan.Name, err)
		}
	}
	for _, p := range meta.Planned {
		d.Scenarios = append(d.Scenarios, planned(p))
	}
	d.judge(meta, runs)
	if err := d.fit(maxBytes); err != nil {
		return nil, err
	}
	return d, nil
}

func (d *Doc) add(r *loadgen.Result) error {
	if d.Run.Started.IsZero() {
		d.Run.Started = r.Started.UTC()
		d.Run.Seed = r.Plan.Seed
	}
	if err := d.Run.split(r); err != nil {
		return err
	}
	d.Run.DurationS = r.Started.Add(r.Elapsed).Sub(d.Run.Started).Seconds()
	first := len(d.Scenarios)
	for i := range r.Cells {
		s, err := scenario(r.Plan, &r.Cells[i])
		if err != nil {
			return err
		}
		s.Server = resources(r.Cells[i].Server)
		if i > 0 && s.Server != nil && r.Cells[i-1].Arm == s.Arm {
			s.Server.Series = nil // once for each arm is enough
		}
		d.Scenarios = append(d.Scenarios, s)
		d.Run.Server.learn(r.Cells[i].Driver)
	}
	attach(d.Scenarios[first:], r)
	for _, v := range r.Ratios {
		d.Ratios = append(d.Ratios, Ratio{Name: r.Plan.Name, Part: v.Part, Step: v.Step, Arm: v.Arm, Base: v.Base, Statistic: v.Statistic, Ratio: v.Ratio})
	}
	d.Generator.add(r.Plan.Name, r.Generator)
	return nil
}

func (s *Server) learn(i loadgen.DriverInfo) {
	if s.Transport == "" {
		s.Version, s.Path, s.Transport, s.PID = i.ServerVersion, cmp.Or(s.Path, i.Address), i.Kind, i.PID
	}
}

func (g *Generator) add(name string, h loadgen.GeneratorHealth) {
	g.CPUS += h.CPU.Seconds()
	g.GCPauseP99NS = max(g.GCPauseP99NS, int64(h.GCPauseP99))
	g.LatenessP99NS = max(g.LatenessP99NS, int64(h.LatenessP99))
	g.CPUSPerCall = max(g.CPUSPerCall, h.CPUPerCall.Seconds())
	g.CPUWait = max(g.CPUWait, h.CPUWait)
	g.ThrottledNS += int64(h.Throttled)
	g.MaxStallNS = max(g.MaxStallNS, int64(h.MaxStall))
	g.Valid = g.Valid && h.Valid
	for _, why := range h.Why {
		g.Why = append(g.Why, name+": "+why)
	}
}

func scenario(p *loadgen.Plan, c *loadgen.Cell) (Scenario, error) {
	kind, atOnce := p.PacedBy(c.Part)
	s := Scenario{
		Name: p.Name, Operation: p.Operation, Part: c.Part, Step: c.Step, Arm: c.Arm,
		Driver: c.Driver.Kind, Executor: string(kind), InFlight: atOnce, Held: c.Held,
		OfferedRate: c.OfferedRate, AchievedRate: finite(c.AchievedRate),
		Requests: c.Requests, Dropped: c.Dropped, Errors: map[string]int64{}, ErrorSamples: c.ErrorSamples,
		Throughput: Throughput{OpsPerS: finite(c.AchievedRate), BytesPerS: perSecond(c.Bytes, c.Measured)},
		Windows:    windows(c.Windows),
	}
	if s.Driver == "" {
		s.Driver = "unknown"
	}
	s.Cancelled = c.Cancelled
	maps.Copy(s.Errors, c.Errors)
	return s, s.distributions(c)
}

func (s *Scenario) distributions(c *loadgen.Cell) (err error) {
	for _, d := range []struct {
		to   **Distribution
		from *stats.Histogram
	}{{&s.Latency, c.Latency}, {&s.Service, c.Service}, {&s.Failed, c.Failed}, {&s.Lateness, c.Lateness}} {
		if *d.to, err = NewDistribution(d.from); err != nil {
			return err
		}
	}
	if c.FirstProgress.Count() > 0 {
		if s.FirstProgress, err = NewDistribution(c.FirstProgress); err != nil {
			return err
		}
	}
	for name, h := range c.Timing {
		if h.Count() == 0 {
			continue
		}
		if s.Timing == nil {
			s.Timing = map[string]*Distribution{}
		}
		if s.Timing[name], err = NewDistribution(h); err != nil {
			return err
		}
	}
	return nil
}

// NewDistribution sums a histogram up. A nil histogram gives one without samples.
func NewDistribution(h *stats.Histogram) (*Distribution, error) {
	text, err := h.Encode()
	if err != nil {
		return nil, err
	}
	d := &Distribution{Unit: "ns", N: h.Count(), HDR: text}
	for _, p := range d.percentiles() {
		if v, ok := h.Percentile(p.q); ok {
			*p.to = ns(v)
		}
	}
	if d.N > 0 {
		d.Min, d.Max, d.Mean = ns(h.Min()), ns(h.Max()), ns(h.Mean())
	}
	return d, nil
}

type percentile struct {
	q  float64
	to **int64
}

func (d *Distribution) percentiles() []percentile {
	return []percentile{{0.5, &d.P50}, {0.75, &d.P75}, {0.9, &d.P90}, {0.95, &d.P95}, {0.99, &d.P99}, {0.999, &d.P999}}
}

// attach puts grade, thresholds and trends on the cells of the first arm that they were measured on.
func attach(cells []Scenario, r *loadgen.Result) {
	if len(cells) == 0 {
		return
	}
	on := func(part, step string) *Scenario {
		for i := range cells {
			if cells[i].Arm == cells[0].Arm && cells[i].Part == part && cells[i].Step == step {
				return &cells[i]
			}
		}
		return &cells[0]
	}
	if r.Grade != nil {
		g := &Grade{Statistic: r.Grade.Statistic, Band: r.Grade.Band, Why: r.Grade.Why}
		if g.Band != loadgen.BandNoData && r.Grade.Value > 0 {
			g.ValueNS = ns(r.Grade.Value)
		}
		if t := r.Plan.Target; t != nil {
			g.TargetNS, g.AcceptableNS = int64(t.Target), int64(t.Acceptable)
		}
		on("", r.Grade.Step).Grade = g
	}
	for _, t := range r.Thresholds {
		s := on(t.Part, t.Step)
		s.Thresholds = append(s.Thresholds, Threshold{Expr: t.Expr, Value: t.Value, OK: t.OK, StartNS: int64(t.Start), Aborted: t.Aborted})
	}
	for i := range r.Trends {
		s := on(r.Trends[i].Part, r.Trends[i].Step)
		s.Trends = append(s.Trends, newTrend(&r.Trends[i]))
	}
}

// newTrend leaves out what is not bounded, since JSON has no infinity.
func newTrend(r *loadgen.TrendResult) Trend {
	t := Trend{
		Expr: r.Trend.String(), Metric: r.Trend.Metric, Verdict: r.Verdict, Why: r.Why, Unit: r.Trend.Unit(), Per: r.Trend.Per,
		Tolerated: r.Trend.Value, Confidence: loadgen.TrendConfidence, Points: r.Points, FromNS: int64(r.From), ToNS: int64(r.To),
	}
	if math.IsInf(r.Low, 0) || math.IsInf(r.High, 0) {
		return t
	}
	t.Slope, t.Low, t.High, t.Late = &r.Slope, &r.Low, &r.High, &r.Late
	return t
}

func resources(r *loadgen.Resources) *Resources {
	if r == nil {
		return nil
	}
	out := &Resources{
		CPUSPerOp: r.CPUSPerOp, CPUPercent: r.CPUPercent, RSSPeakBytes: r.RSSPeakBytes, VMSBytes: r.VMSBytes, Threads: r.Threads,
		Goroutines: r.Goroutines, FDs: r.FDs, Sockets: r.Sockets, NetBytesPerOp: r.NetBytesPerOp, HeapBytes: r.HeapBytes, GCCycles: r.GCCycles,
		Processes: r.Processes, CacheHits: r.CacheHits, CacheMisses: r.CacheMisses, CacheShared: r.CacheShared,
	}
	if r.GCPauseP99 != nil {
		out.GCPauseP99NS = ns(*r.GCPauseP99)
	}
	if s := r.Series; s != nil {
		out.Series = &Series{WidthNS: int64(s.Width), CPUPercent: make([]float64, len(s.CPUPercent)), RSSBytes: s.RSSBytes}
		for i, v := range s.CPUPercent {
			out.Series.CPUPercent[i] = math.Round(10*v) / 10
		}
	}
	return out
}

func planned(p Planned) Scenario {
	statistic := p.Target.Statistic
	if statistic == "" {
		statistic = "p95"
	}
	return Scenario{
		Name: p.Scenario, Operation: p.Target.Operation, Errors: map[string]int64{},
		Grade: &Grade{
			Statistic: statistic, Band: loadgen.BandNoData, Why: p.Why,
			TargetNS: int64(p.Target.Target), AcceptableNS: int64(p.Target.Acceptable),
		},
	}
}

func perSecond(n int64, d time.Duration) float64 {
	return finite(float64(n) / d.Seconds())
}

// finite keeps a rate over no time at all out of the file, since JSON has neither infinity nor NaN.
func finite(v float64) float64 {
	if math.IsInf(v, 0) || math.IsNaN(v) {
		return 0
	}
	return v
}

func ns(d time.Duration) *int64 {
	v := int64(d)
	return &v
}
