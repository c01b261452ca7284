package result

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
	"github.com/openaccess-mcp/openaccess-mcp/loadgen/stats"
)

// ErrShards is wrapped by Merge's error for results that are not the shards of one run, all of them and each once.
var ErrShards = errors.New("not the shards of one run")

// split notes what a shard knows of the whole.
func (r *Run) split(of *loadgen.Result) error {
	p := of.Plan
	if p.Shard == (loadgen.Shard{}) {
		return nil
	}
	if r.Shard != "" {
		return errors.New("a load that is split is of one scenario")
	}
	digest, err := p.Digest()
	if err != nil {
		return err
	}
	r.Shard = p.Shard.String()
	r.Split = &Split{Plan: digest, Start: of.StartAt.UTC(), Thresholds: []string{}, Interrupted: of.Interrupted}
	for _, t := range p.Thresholds {
		r.Split.Thresholds = append(r.Split.Thresholds, t.String())
	}
	if t := p.Target; t != nil {
		r.Split.Target = &SplitTarget{
			Operation: t.Operation, Statistic: t.Statistic, Steps: append([]string{}, t.Steps...), TargetNS: int64(t.Target), AcceptableNS: int64(t.Acceptable),
		}
	}
	return nil
}

// judged is the part of the plan that judges the whole.
func (s *Split) judged(name string) (*loadgen.Plan, error) {
	p := &loadgen.Plan{Name: name}
	for _, expr := range s.Thresholds {
		t, err := loadgen.ParseThreshold(expr)
		if err != nil {
			return nil, err
		}
		p.Thresholds = append(p.Thresholds, t)
	}
	if t := s.Target; t != nil {
		p.Target = &loadgen.Target{
			Operation: t.Operation, Statistic: t.Statistic, Steps: t.Steps, Target: time.Duration(t.TargetNS), Acceptable: time.Duration(t.AcceptableNS),
		}
	}
	return p, nil
}

// Merge makes one result of the shards of a run, in whatever order they are given: the same shards give the same result. Histograms and counters add
// up exactly; rates are the sums of the shards' rates. What the server used is the sum over several servers, and over one server, which all shards
// saw, the most that one of them saw. Thresholds and the target are judged on the whole; failOn is as in Meta. The shards are left as they are.
func Merge(shards []*Doc, failOn loadgen.Band) (*Doc, error) {
	shards, err := inOrder(shards)
	if err != nil {
		return nil, err
	}
	first := shards[0]
	d := &Doc{Schema: Schema, Run: first.Run, Scenarios: []Scenario{}, Generator: Generator{Valid: true, Why: []string{}}}
	d.Run.ID, d.Run.Shard, d.Run.Split = first.Run.ID+"-merged", "", nil
	oneServer := true
	end := time.Time{}
	for _, s := range shards {
		oneServer = oneServer && s.Run.Server == first.Run.Server
		d.Run.Started = minTime(d.Run.Started, s.Run.Started)
		if at := s.Run.end(); at.After(end) {
			end = at
		}
		d.Generator.join(s)
	}
	d.Run.DurationS = end.Sub(d.Run.Started).Seconds()
	var cells []loadgen.Cell
	for _, like := range everyCell(shards) {
		s, c, err := mergeCells(shards, like, oneServer)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", like.title(), err)
		}
		d.Scenarios, cells = append(d.Scenarios, s), append(cells, c)
	}
	if err := d.judgeWhole(first.Run.Split, cells, failOn); err != nil {
		return nil, err
	}
	return d, d.fit(maxBytes)
}

func (r *Run) end() time.Time {
	return r.Started.Add(time.Duration(r.DurationS * float64(time.Second)))
}

func minTime(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// judgeWhole judges what no shard could.
func (d *Doc) judgeWhole(split *Split, cells []loadgen.Cell, failOn loadgen.Band) error {
	plan, err := split.judged(d.Scenarios[0].Name)
	if err != nil {
		return err
	}
	cpu := -1.0
	if d.Run.DurationS > 0 {
		cpu = 100 * d.Generator.CPUS / d.Run.DurationS
	}
	r := &loadgen.Result{Plan: plan}
	r.Thresholds, r.Grade = plan.Judge(cells, cpu)
	attach(d.Scenarios, r)
	d.judge(Meta{FailOn: failOn}, nil)
	return nil
}

// inOrder sorts the shards by their number and makes sure that they belong together and are all there.
func inOrder(docs []*Doc) ([]*Doc, error) {
	if len(docs) == 0 {
		return nil, fmt.Errorf("%w: there is none", ErrShards)
	}
	byIndex := map[int]*Doc{}
	count := 0
	for _, d := range docs {
		s, err := loadgen.ParseShard(d.Run.Shard)
		switch {
		case d.Run.Shard == "" || d.Run.Split == nil || len(d.Scenarios) == 0:
			return nil, fmt.Errorf("%w: run %s was made without --shard", ErrShards, d.Run.ID)
		case err != nil:
			return nil, fmt.Errorf("%w: run %s: %v", ErrShards, d.Run.ID, err)
		case d.Run.Split.Interrupted:
			return nil, fmt.Errorf("%w: shard %s was interrupted: run all of them again", ErrShards, d.Run.Shard)
		case count != 0 && s.Count != count:
			return nil, fmt.Errorf("%w: one is of %d shards, and one of %d", ErrShards, count, s.Count)
		case byIndex[s.Index] != nil:
			return nil, fmt.Errorf("%w: shard %s is there twice, as run %s and run %s: give each once", ErrShards, s, byIndex[s.Index].Run.ID, d.Run.ID)
		}
		count, byIndex[s.Index] = s.Count, d
	}
	var missing []string
	var out []*Doc
	for i := 1; i <= count; i++ {
		if byIndex[i] == nil {
			missing = append(missing, loadgen.Shard{Index: i, Count: count}.String())
			continue
		}
		out = append(out, byIndex[i])
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("%w: shard %s is missing: give all %d", ErrShards, strings.Join(missing, ", "), count)
	}
	for _, d := range out[1:] {
		if err := out[0].belongs(d); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// belongs says what tells another shard from one of the same run.
func (d *Doc) belongs(o *Doc) error {
	a, b := d.Run.Split, o.Run.Split
	differ := func(what string, one, other any) error {
		return fmt.Errorf("%w: shard %s has %s %v, shard %s has %v", ErrShards, d.Run.Shard, what, one, o.Run.Shard, other)
	}
	switch {
	case d.Scenarios[0].Name != o.Scenarios[0].Name:
		return differ("scenario", d.Scenarios[0].Name, o.Scenarios[0].Name)
	case d.Run.Seed != o.Run.Seed:
		return differ("seed", d.Run.Seed, o.Run.Seed)
	case a.Plan != b.Plan:
		return fmt.Errorf("%w: shards %s and %s ran different plans: give all the same scenario file and flags", ErrShards, d.Run.Shard, o.Run.Shard)
	case !a.Start.Equal(b.Start):
		return differ("start", a.Start.Format(time.RFC3339Nano), b.Start.Format(time.RFC3339Nano))
	case d.Run.Target != o.Run.Target:
		return differ("target", d.Run.Target, o.Run.Target)
	}
	return nil
}

// join adds what a shard says of its generator.
func (g *Generator) join(s *Doc) {
	o := s.Generator
	g.CPUS += o.CPUS
	g.GCPauseP99NS = max(g.GCPauseP99NS, o.GCPauseP99NS)
	g.LatenessP99NS = max(g.LatenessP99NS, o.LatenessP99NS)
	g.CPUSPerCall = max(g.CPUSPerCall, o.CPUSPerCall)
	g.CPUWait = max(g.CPUWait, o.CPUWait)
	g.ThrottledNS += o.ThrottledNS
	g.MaxStallNS = max(g.MaxStallNS, o.MaxStallNS)
	g.Valid = g.Valid && o.Valid
	for _, why := range o.Why {
		g.Why = append(g.Why, "shard "+s.Run.Shard+": "+why)
	}
}

// find is the cell of a shard that measured the same as one of another; nil where it has none.
func (d *Doc) find(c *Scenario) *Scenario {
	for i := range d.Scenarios {
		if s := &d.Scenarios[i]; s.Name == c.Name && s.Part == c.Part && s.Step == c.Step && s.Arm == c.Arm {
			return s
		}
	}
	return nil
}

// everyCell lists the cells that any shard has: a step that is not measured has one only where it failed.
func everyCell(shards []*Doc) (out []Scenario) {
	seen := &Doc{}
	for _, d := range shards {
		for i := range d.Scenarios {
			if seen.find(&d.Scenarios[i]) == nil {
				seen.Scenarios = append(seen.Scenarios, d.Scenarios[i])
			}
		}
	}
	return seen.Scenarios
}

// mergeCells adds up what the shards have of a cell.
func mergeCells(shards []*Doc, like Scenario, oneServer bool) (Scenario, loadgen.Cell, error) {
	out := like
	out.Errors, out.ErrorSamples, out.Thresholds, out.Grade = map[string]int64{}, nil, nil, nil
	out.Requests, out.Dropped, out.Cancelled, out.InFlight, out.Held = 0, 0, 0, 0, nil
	out.OfferedRate, out.AchievedRate, out.Throughput = 0, 0, Throughput{}
	out.Windows, out.Server = nil, nil
	all := newPool()
	for _, d := range shards {
		s := d.find(&like)
		if s == nil {
			continue
		}
		out.count(s)
		if err := all.add(s); err != nil {
			return out, loadgen.Cell{}, fmt.Errorf("shard %s: %w", d.Run.Shard, err)
		}
		if err := out.mergeWindows(s.Windows); err != nil {
			return out, loadgen.Cell{}, fmt.Errorf("shard %s: %w", d.Run.Shard, err)
		}
		out.Server = joinResources(out.Server, s.Server, oneServer)
	}
	if err := all.fill(&out); err != nil {
		return out, loadgen.Cell{}, err
	}
	return out, all.cell(&out), nil
}

// count adds the counters and rates of a shard.
func (s *Scenario) count(o *Scenario) {
	s.Requests, s.Dropped, s.Cancelled, s.InFlight = s.Requests+o.Requests, s.Dropped+o.Dropped, s.Cancelled+o.Cancelled, s.InFlight+o.InFlight
	s.OfferedRate, s.AchievedRate = s.OfferedRate+o.OfferedRate, s.AchievedRate+o.AchievedRate
	s.Throughput.OpsPerS, s.Throughput.BytesPerS = s.Throughput.OpsPerS+o.Throughput.OpsPerS, s.Throughput.BytesPerS+o.Throughput.BytesPerS
	for code, n := range o.Errors {
		s.Errors[code] += n
	}
	for code, text := range o.ErrorSamples {
		if s.ErrorSamples == nil {
			s.ErrorSamples = map[string]string{}
		}
		if s.ErrorSamples[code] == "" {
			s.ErrorSamples[code] = text
		}
	}
	if o.Held != nil {
		held := *o.Held
		if s.Held != nil {
			held += *s.Held
		}
		s.Held = &held
	}
}

// pool gathers the histograms of a cell.
type pool struct {
	latency, service, failed, lateness, progress stats.Histogram
	timing                                       map[string]*stats.Histogram
}

func newPool() *pool { return &pool{timing: map[string]*stats.Histogram{}} }

func (p *pool) add(s *Scenario) error {
	for name := range s.Timing {
		if p.timing[name] == nil {
			p.timing[name] = &stats.Histogram{}
		}
	}
	from := map[*stats.Histogram]*Distribution{
		&p.latency: s.Latency, &p.service: s.Service, &p.failed: s.Failed, &p.lateness: s.Lateness, &p.progress: s.FirstProgress,
	}
	for name, d := range s.Timing {
		from[p.timing[name]] = d
	}
	for to, d := range from {
		if d == nil {
			continue
		}
		h, err := d.Histogram()
		if err != nil {
			return err
		}
		to.Merge(h)
	}
	return nil
}

// fill puts the sums into a cell that has the kinds of distributions already.
func (p *pool) fill(s *Scenario) error {
	s.Timing = nil
	return s.distributions(p.raw())
}

func (p *pool) raw() *loadgen.Cell {
	return &loadgen.Cell{Latency: &p.latency, Service: &p.service, Failed: &p.failed, Lateness: &p.lateness, FirstProgress: &p.progress, Timing: p.timing}
}

// cell is what thresholds and targets are judged on.
func (p *pool) cell(s *Scenario) loadgen.Cell {
	c := p.raw()
	c.Step, c.Part, c.Arm = s.Step, s.Part, s.Arm
	c.Requests, c.Dropped, c.Errors, c.Held, c.Cancelled = s.Requests, s.Dropped, s.Errors, s.Held, s.Cancelled
	c.OfferedRate, c.AchievedRate = s.OfferedRate, s.AchievedRate
	c.Measured = 1000 * time.Second // of what only the rate is known
	c.Bytes = int64(math.Round(s.Throughput.BytesPerS * c.Measured.Seconds()))
	if r := s.Server; r != nil {
		c.Server = &loadgen.Resources{
			CPUSPerOp: r.CPUSPerOp, CPUPercent: r.CPUPercent, RSSPeakBytes: r.RSSPeakBytes, FDs: r.FDs, Goroutines: r.Goroutines, Threads: r.Threads,
			Sockets: r.Sockets, HeapBytes: r.HeapBytes,
		}
	}
	return *c
}

// mergeWindows adds windows that begin with the same measured time, of whatever width.
func (s *Scenario) mergeWindows(more []Window) error {
	if len(s.Windows) == 0 || len(more) == 0 {
		s.Windows = slices.Concat(s.Windows, more)
		return nil
	}
	have, err := s.Windows, error(nil)
	for have[0].WidthNS < more[0].WidthNS && err == nil {
		have, err = halve(have)
	}
	for more[0].WidthNS < have[0].WidthNS && err == nil {
		more, err = halve(more)
	}
	if err != nil || have[0].WidthNS != more[0].WidthNS {
		return errors.Join(err, fmt.Errorf("windows of %d and %d ns cannot be merged", have[0].WidthNS, more[0].WidthNS))
	}
	out := slices.Clone(have)
	for i := range more {
		if i == len(out) {
			out = append(out, more[i:]...)
			break
		}
		held := out[i].Held + more[i].Held
		if err := out[i].merge(&more[i]); err != nil {
			return err
		}
		out[i].Held = held
	}
	s.Windows = out
	return nil
}

// joinResources joins what two shards say of one server, or of one each. The series, which no two took at the same moments, is left out.
func joinResources(a, b *Resources, oneServer bool) *Resources {
	if a == nil || b == nil {
		if a == nil {
			a = b
		}
		if a != nil {
			c := *a
			c.Series = nil
			return &c
		}
		return nil
	}
	out := *a
	for _, f := range []struct {
		to    **int64
		other *int64
	}{
		{&out.RSSPeakBytes, b.RSSPeakBytes}, {&out.VMSBytes, b.VMSBytes}, {&out.Threads, b.Threads}, {&out.Goroutines, b.Goroutines}, {&out.FDs, b.FDs},
		{&out.Sockets, b.Sockets}, {&out.HeapBytes, b.HeapBytes}, {&out.GCCycles, b.GCCycles}, {&out.CacheHits, b.CacheHits},
		{&out.CacheMisses, b.CacheMisses}, {&out.CacheShared, b.CacheShared},
	} {
		*f.to = join(*f.to, f.other, oneServer)
	}
	out.GCPauseP99NS = join(out.GCPauseP99NS, b.GCPauseP99NS, true)
	out.CPUPercent = join(out.CPUPercent, b.CPUPercent, oneServer)
	out.CPUSPerOp = perOp(out.CPUSPerOp, b.CPUSPerOp, oneServer)
	out.NetBytesPerOp = perOp(out.NetBytesPerOp, b.NetBytesPerOp, oneServer)
	if !oneServer {
		out.Processes += b.Processes
	}
	return &out
}

// join is the greater of two figures of one server, and the sum of those of two.
func join[T int64 | float64](a, b *T, same bool) *T {
	if a == nil || b == nil {
		if a == nil {
			return b
		}
		return a
	}
	v := *a + *b
	if same {
		v = max(*a, *b)
	}
	return &v
}

// perOp joins a figure per operation: each shard has put all that one server used on its own operations, or what its server used.
func perOp(a, b *float64, same bool) *float64 {
	if a == nil || b == nil || !same {
		return join(a, b, true)
	}
	v := 0.0
	if *a > 0 && *b > 0 {
		v = 1 / (1 / *a + 1 / *b)
	}
	return &v
}

// MergedCommand is the command that merges files again, those of the shards in order.
func MergedCommand(docs []*Doc, files []string) []string {
	names := map[string]string{}
	for i, d := range docs {
		names[d.Run.Shard] = files[i]
	}
	order := slices.SortedFunc(maps.Keys(names), func(a, b string) int {
		x, _ := loadgen.ParseShard(a)
		y, _ := loadgen.ParseShard(b)
		return x.Index - y.Index
	})
	out := []string{"merge"}
	for _, shard := range order {
		out = append(out, names[shard])
	}
	return out
}
