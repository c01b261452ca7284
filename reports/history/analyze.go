package history

import (
	"cmp"
	"hash/fnv"
	"math"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen/stats"
)

// Options say what Analyze looks at. Its zero value is all runs of no branch.
type Options struct {
	Branch string
	// Base is the branch whose runs are the baseline, before those of Branch. Empty, or Branch itself, is Branch alone.
	Base string
	// Machine chooses classes of machines whose name contains it; NewestMachine the one of the branch's newest run. Empty is all.
	Machine string
	Last    int     // a change is new when its first run is one of so many last ones; zero is 10
	Most    int     // runs of a series that are looked at, the newest; zero is 500
	Alpha   float64 // of the test for a change; zero is 0.001
	// MinEffect is the least change that counts as one for the worse, as a share; zero is that of the metric. It does not replace that of errors.
	MinEffect float64
	Seed      uint64
}

// NewestMachine is for Options.Machine.
const NewestMachine = "newest"

func (o Options) withDefaults() Options {
	o.Last, o.Most, o.Alpha, o.Base = cmp.Or(o.Last, 10), cmp.Or(o.Most, 500), cmp.Or(o.Alpha, 0.001), cmp.Or(o.Base, o.Branch)
	return o
}

// Group is what Analyze found on one class of machine.
type Group struct {
	Branch, Base string
	Machine      Machine
	Runs         int // that are looked at
	Last         int
	Series       []Series // by name
}

// Series is one figure over runs.
type Series struct {
	Name
	Metric   Metric
	Points   []Point
	Changes  []Change // in their order
	Baseline Baseline // since the last change
	// Needed is how many points there must be so that a new change could be significant; more than len(Points) is too few to say.
	Needed int
	// Gone says that none of the last runs has the figure.
	Gone bool
}

// Point is a figure of one run.
type Point struct {
	Run   *Run
	Value float64
}

// Baseline is the level of a stretch.
type Baseline struct {
	N                 int
	Median, Low, High float64
}

// Change is a change point, between the runs LastGood and FirstBad, which are called so also where things got better.
type Change struct {
	Index              int // of FirstBad
	LastGood, FirstBad *Run
	Before, After      Baseline
	// Effect is after/before − 1 of the medians; for a metric without unit the difference.
	Effect float64
	P      float64
	Worse  bool // in the bad direction, and by the least effect at least
	New    bool // FirstBad is one of the last runs
}

// Range names the commits that the change came with, "" where no commit lies between.
func (c *Change) Range() string {
	if c.LastGood.Revision == c.FirstBad.Revision {
		return ""
	}
	return c.LastGood.Revision + ".." + c.FirstBad.Revision
}

// Short reports whether a series has too few points to say whether it changed lately.
func (s *Series) Short() bool { return len(s.Points) < s.Needed }

// Analyze groups runs, which are in their order, by class of machine, and looks for changes of each figure. Groups without a run of the branch
// are left out; the one with the newest run comes first.
func Analyze(runs []*Run, o Options) ([]Group, error) {
	o = o.withDefaults()
	groups := groupRuns(runs, o)
	var all errgroup.Group
	all.SetLimit(runtime.GOMAXPROCS(0))
	for g := range groups {
		for i := range groups[g].Series {
			all.Go(func() error { return groups[g].Series[i].search(o) })
		}
	}
	return groups, all.Wait()
}

func groupRuns(runs []*Run, o Options) []Group {
	byMachine := map[Machine][2][]*Run{} // of the base and of the branch
	for _, r := range runs {
		both := byMachine[r.Machine]
		switch r.Branch {
		case o.Branch:
			both[1] = append(both[1], r)
		case o.Base:
			both[0] = append(both[0], r)
		default:
			continue
		}
		byMachine[r.Machine] = both
	}
	var groups []Group
	newest := map[Machine]int64{}
	for m, both := range byMachine {
		if len(both[1]) == 0 || o.Machine != NewestMachine && !strings.Contains(m.String(), o.Machine) {
			continue
		}
		newest[m] = both[1][len(both[1])-1].Started.UnixNano()
		line := append(both[0], both[1]...)
		line = line[max(0, len(line)-o.Most):]
		groups = append(groups, Group{Branch: o.Branch, Base: o.Base, Machine: m, Runs: len(line), Last: o.Last, Series: seriesOf(line, o)})
	}
	slices.SortFunc(groups, func(a, b Group) int {
		return cmp.Or(-cmp.Compare(newest[a.Machine], newest[b.Machine]), cmp.Compare(a.Machine.String(), b.Machine.String()))
	})
	if o.Machine == NewestMachine && len(groups) > 1 {
		groups = groups[:1]
	}
	return groups
}

// seriesOf puts each figure of runs into its series.
func seriesOf(runs []*Run, o Options) []Series {
	byName := map[Name]*Series{}
	late := runs[max(0, len(runs)-o.Last)]
	isLate := false
	for _, r := range runs {
		isLate = isLate || r == late
		for _, f := range r.Figures {
			s := byName[f.Name]
			if s == nil {
				s = &Series{Name: f.Name, Metric: Metrics[metricRank(f.Name.Metric)], Gone: true}
				byName[f.Name] = s
			}
			s.Points = append(s.Points, Point{r, f.Value})
			s.Gone = s.Gone && !isLate
		}
	}
	out := make([]Series, 0, len(byName))
	for _, s := range byName {
		out = append(out, *s)
	}
	slices.SortFunc(out, func(a, b Series) int { return compareNames(a.Name, b.Name) })
	return out
}

// search finds the changes. What is above zero is taken by its logarithm, since noise and changes are in proportion.
func (s *Series) search(o Options) error {
	values := make([]float64, len(s.Points))
	for i, p := range s.Points {
		values[i] = p.Value
	}
	scaled := values
	if slices.Min(values) > 0 {
		scaled = make([]float64, len(values))
		for i, v := range values {
			scaled[i] = math.Log(v)
		}
	}
	e := stats.EDivisive{Alpha: o.Alpha, Seed: o.Seed ^ s.seed()}
	found, err := e.Find(scaled)
	if err != nil {
		return err
	}
	s.Needed = e.MinRuns(o.Last)
	bounds := []int{0}
	for _, c := range found {
		bounds = append(bounds, c.Index)
	}
	bounds = append(bounds, len(values))
	for i, c := range found {
		s.Changes = append(s.Changes, s.change(c, newBaseline(values[bounds[i]:c.Index]), newBaseline(values[c.Index:bounds[i+2]]), o))
	}
	s.Baseline = newBaseline(values[bounds[len(bounds)-2]:])
	return nil
}

func (s *Series) seed() uint64 {
	h := fnv.New64a()
	h.Write([]byte(s.Name.String()))
	return h.Sum64()
}

func (s *Series) change(c stats.ChangePoint, before, after Baseline, o Options) Change {
	out := Change{Index: c.Index, LastGood: s.Points[c.Index-1].Run, FirstBad: s.Points[c.Index].Run, Before: before, After: after, P: c.P,
		New: c.Index >= len(s.Points)-o.Last}
	least := s.Metric.MinEffect
	switch {
	case s.Metric.Unit == "":
		out.Effect = after.Median - before.Median
		if out.Effect == 0 { // such as rare errors: the medians stay at 0
			out.Effect = mean(s.Points[c.Index:c.Index+after.N]) - mean(s.Points[c.Index-before.N:c.Index])
		}
	default:
		out.Effect = after.Median/before.Median - 1
		if o.MinEffect > 0 {
			least = o.MinEffect
		}
	}
	bad := out.Effect
	if !s.Metric.MoreIsBad {
		bad = -bad
	}
	out.Worse = bad >= least
	return out
}

func mean(points []Point) float64 {
	sum := 0.0
	for _, p := range points {
		sum += p.Value
	}
	return sum / float64(len(points))
}

func newBaseline(values []float64) Baseline {
	v := slices.Sorted(slices.Values(values))
	n := len(v)
	return Baseline{N: n, Median: (v[(n-1)/2] + v[n/2]) / 2, Low: v[0], High: v[n-1]}
}

// Finding is a series with a change.
type Finding struct {
	Series *Series
	Change *Change
}

// New lists the changes for the worse that are new.
func (g *Group) New() []Finding {
	return g.findings(func(c *Change) bool { return c.New && c.Worse })
}

// All lists all changes.
func (g *Group) All() []Finding { return g.findings(func(*Change) bool { return true }) }

func (g *Group) findings(want func(*Change) bool) []Finding {
	var out []Finding
	for i := range g.Series {
		s := &g.Series[i]
		for j := range s.Changes {
			if c := &s.Changes[j]; want(c) && !s.Gone {
				out = append(out, Finding{s, c})
			}
		}
	}
	return out
}

// Short lists the series that have too few points and are still measured.
func (g *Group) Short() []*Series {
	var out []*Series
	for i := range g.Series {
		if s := &g.Series[i]; s.Short() && !s.Gone {
			out = append(out, s)
		}
	}
	return out
}
