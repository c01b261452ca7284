// Package history keeps the figures of runs in a database and finds since when they have changed.
//
// Start with Open, which gives a Store in a SQLite file or in PostgreSQL. FromDoc makes a Run of a result, Store.Add keeps it, Store.Runs gives
// what was kept. Analyze (analyze.go) puts runs of one branch on one class of machine side by side, a Series for each figure, and finds their
// change points; Text, Markdown and HTML (render.go, page.go) write that down. WriteLines and ReadLines move runs as JSON lines.
//
// How the database looks is in schema.go.
package history

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/reports/result"
)

// Schema names the version of a line of an export.
const Schema = "openaccess.loadgen/history/v1"

// Run is what a history keeps of one result.
type Run struct {
	Schema   string    `json:"schema"`
	ID       string    `json:"id"`
	Started  time.Time `json:"started"`
	Branch   string    `json:"branch"`
	Revision string    `json:"revision"`
	Machine  Machine   `json:"machine"`
	Figures  []Figure  `json:"figures"` // sorted, each name once
}

// Machine is a class of machines: figures are compared inside of one only.
type Machine struct {
	CPU   string `json:"cpu"`
	Cores int    `json:"cores"`
	OS    string `json:"os"`
}

// String is such as "Example CPU, 2 cores, linux/amd64".
func (m Machine) String() string {
	cores := "cores"
	if m.Cores == 1 {
		cores = "core"
	}
	return fmt.Sprintf("%s, %d %s, %s", m.CPU, m.Cores, cores, m.OS)
}

// Figure is one number of a run.
type Figure struct {
	Name
	Value float64 `json:"value"` // nanoseconds, seconds, bytes or operations per second, as the metric says
}

// Name tells the figures of a run apart. Runs under another load have other names: their figures are not comparable.
type Name struct {
	Cell   string `json:"cell"`   // scenario, part, step and arm
	Load   string `json:"load"`   // such as "stdio, open 200/s, fake"
	Metric string `json:"metric"` // one of Metrics
}

func (n Name) String() string { return fmt.Sprintf("%s (%s) %s", n.Cell, n.Load, n.Metric) }

func compareNames(a, b Name) int {
	return cmp.Or(cmp.Compare(a.Cell, b.Cell), cmp.Compare(a.Load, b.Load), cmp.Compare(metricRank(a.Metric), metricRank(b.Metric)),
		cmp.Compare(a.Metric, b.Metric))
}

// Metric is a kind of figure.
type Metric struct {
	Name      string
	Unit      string  // "ns", "s", "bytes", "/s" or "" for a share
	MoreIsBad bool    // else less is
	MinEffect float64 // the least change, as a share, that counts as one for the worse
}

// Metrics are the kinds that are kept. Those of the ends of a distribution and of memory vary more, so that a change must be larger to count.
var Metrics = []Metric{
	{"p50", "ns", true, 0.02}, {"p90", "ns", true, 0.03}, {"p95", "ns", true, 0.03}, {"p99", "ns", true, 0.05},
	{"throughput", "/s", false, 0.02}, {"cpu", "s", true, 0.02}, {"rss", "bytes", true, 0.02}, {"errors", "", true, 0.001},
}

func metricRank(name string) int {
	return slices.IndexFunc(Metrics, func(m Metric) bool { return m.Name == name })
}

// What FromDoc and Store refuse wraps one of these.
var (
	// ErrUnfit is for a result that may not become part of a history.
	ErrUnfit = errors.New("the result cannot be kept")
	// ErrDiffers is for a run that is kept already with other content.
	ErrDiffers = errors.New("another run of that id is kept already")
)

// FromDoc makes a run of a result. An empty revision is that of the result. The error wraps ErrUnfit and names the field.
func FromDoc(d *result.Doc, branch, revision string) (*Run, error) {
	unfit := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s", ErrUnfit, fmt.Sprintf(format, args...))
	}
	revision = cmp.Or(revision, d.Run.Git)
	h := d.Run.Host
	switch {
	case d.Run.ID == "" || d.Run.Started.IsZero():
		return nil, unfit("run.id or run.started is empty; use a result.json that loadgen run --out wrote")
	case branch == "":
		return nil, unfit("no branch is given; use --branch")
	case revision == "":
		return nil, unfit("run.git is empty, so that a change could not be laid to a commit; use --rev")
	case d.Run.Shard != "":
		return nil, unfit("run.shard is %q, a part of a run; merge the shards first", d.Run.Shard)
	case !d.Generator.Valid:
		return nil, unfit("generator.valid is false: %s; measure again on a quieter machine", strings.Join(d.Generator.Why, "; "))
	case h.CPU == "" || h.Cores == 0 || h.OS == "":
		return nil, unfit("run.host lacks cpu, cores or os, so that its class of machine is not known; measure again")
	}
	r := &Run{Schema: Schema, ID: d.Run.ID, Started: d.Run.Started.UTC(), Branch: branch, Revision: revision, Machine: Machine{h.CPU, h.Cores, h.OS}}
	for i := range d.Scenarios {
		if s := &d.Scenarios[i]; s.Ran() {
			r.Figures = append(r.Figures, figures(s, d.Run.Target.Kind)...)
		}
	}
	if len(r.Figures) == 0 {
		return nil, unfit("scenarios holds no figure; measure for longer")
	}
	slices.SortFunc(r.Figures, func(a, b Figure) int { return compareNames(a.Name, b.Name) })
	if err := r.check(); err != nil {
		return nil, unfit("%v", err)
	}
	return r, nil
}

// figures are those of a cell that were measured. Latency counts from the intended start, as targets are graded. How much an open executor
// achieves says nothing of the server while it keeps up, and so only that of others is kept.
func figures(s *result.Scenario, target string) []Figure {
	name := Name{Cell: cellName(s), Load: loadOf(s, target)}
	var out []Figure
	add := func(metric string, v float64) {
		name.Metric = metric
		out = append(out, Figure{name, v})
	}
	if d := s.Latency; d != nil {
		for _, p := range []struct {
			metric string
			value  *int64
		}{{"p50", d.P50}, {"p90", d.P90}, {"p95", d.P95}, {"p99", d.P99}} {
			if p.value != nil {
				add(p.metric, float64(*p.value))
			}
		}
	}
	if s.Executor != "open" && s.Throughput.OpsPerS > 0 {
		add("throughput", s.Throughput.OpsPerS)
	}
	if r := s.Server; r != nil {
		if r.CPUSPerOp != nil {
			add("cpu", *r.CPUSPerOp)
		}
		if r.RSSPeakBytes != nil {
			add("rss", float64(*r.RSSPeakBytes))
		}
	}
	if s.Requests > 0 {
		add("errors", float64(s.ErrorCount())/float64(s.Requests))
	}
	return out
}

func cellName(s *result.Scenario) string {
	parts := []string{s.Name}
	for _, p := range []string{s.Part, s.Step, s.Arm} {
		if p != "" {
			parts = append(parts, p)
		}
	}
	return strings.Join(parts, "/")
}

func loadOf(s *result.Scenario, target string) string {
	load := fmt.Sprintf("%s %d", s.Executor, s.InFlight)
	if s.Executor == "open" {
		load = fmt.Sprintf("open %g/s", s.OfferedRate)
	}
	return fmt.Sprintf("%s, %s, %s", s.Driver, load, target)
}

// check finds what a run may not be, and names the field.
func (r *Run) check() error {
	switch {
	case r.Schema != Schema:
		return fmt.Errorf("schema is %q, not %q", r.Schema, Schema)
	case r.ID == "" || r.Branch == "" || r.Revision == "":
		return errors.New("id, branch or revision is empty")
	case r.Started.IsZero():
		return errors.New("started is missing")
	case r.Machine.CPU == "" || r.Machine.Cores < 1 || r.Machine.OS == "":
		return errors.New("machine lacks cpu, cores or os")
	case len(r.Figures) == 0:
		return errors.New("figures is empty")
	}
	seen := map[Name]bool{}
	for i, f := range r.Figures {
		switch {
		case f.Cell == "" || metricRank(f.Metric) < 0:
			return fmt.Errorf("figures[%d] has the cell %q and the metric %q, which is not known", i, f.Cell, f.Metric)
		case math.IsNaN(f.Value) || math.IsInf(f.Value, 0) || f.Value < 0:
			return fmt.Errorf("figures[%d].value is %g", i, f.Value)
		case seen[f.Name]:
			return fmt.Errorf("figures[%d]: %s is there twice", i, f.Name)
		}
		seen[f.Name] = true
	}
	return nil
}

// same reports whether two runs say the same.
func (r *Run) same(o *Run) bool {
	return r.ID == o.ID && r.Started.Equal(o.Started) && r.Branch == o.Branch && r.Revision == o.Revision && r.Machine == o.Machine &&
		slices.Equal(sorted(r.Figures), sorted(o.Figures))
}

func sorted(f []Figure) []Figure {
	return slices.SortedFunc(slices.Values(f), func(a, b Figure) int { return compareNames(a.Name, b.Name) })
}
