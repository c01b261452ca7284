package gate

import (
	"context"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"text/tabwriter"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen/stats"
	"github.com/openaccess-mcp/openaccess-mcp/reports/result"
)

// Injection makes head worse in a simulation: the figures of a cell are multiplied by Factor. For MeasureErrors a share of Factor of the calls that
// had not failed fails as well.
type Injection struct {
	Cell   result.Cell
	Factor float64
}

// Simulation is a number of gates on noise.
type Simulation struct {
	Name    string
	Gates   int
	Options Options // Seed is of the gates; the flips of each gate have a seed of their own
	Noise   Source
	Inject  []Injection // none: null gates
}

// Rates is what a simulation found.
type Rates struct {
	Name      string
	Gates     int
	Verdicts  map[result.GateVerdict]int // of whole gates
	Pairs     int                        // used, of all gates
	Looks     []int                      // pairs of each look
	Regressed []int                      // gates that regressed at each look or earlier
	Caught    []int                      // gates in which some injected cell did
	Passed    int                        // gates that called some injected cell equivalent or improved, at any look
}

// Run simulates the gates on all processors. The same simulation gives the same rates.
func (s Simulation) Run() (Rates, error) { return s.RunContext(context.Background()) }

// RunContext is Run that ends with ctx's cause when ctx ends.
func (s Simulation) RunContext(ctx context.Context) (Rates, error) {
	r := Rates{Name: s.Name, Gates: s.Gates, Verdicts: map[result.GateVerdict]int{}, Looks: withDefaults(s.Options).Looks}
	r.Regressed, r.Caught = make([]int, len(r.Looks)), make([]int, len(r.Looks))
	workers := runtime.GOMAXPROCS(0)
	errs := make([]error, workers)
	var mu sync.Mutex
	var all sync.WaitGroup
	for w := range workers {
		all.Go(func() {
			for i := w; i < s.Gates && errs[w] == nil; i += workers {
				var one outcome
				if errs[w] = context.Cause(ctx); errs[w] != nil {
					return
				}
				if one, errs[w] = s.gate(uint64(i)); errs[w] == nil {
					mu.Lock()
					r.add(one)
					mu.Unlock()
				}
			}
		})
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			return Rates{}, err
		}
	}
	return r, nil
}

// outcome is one gate.
type outcome struct {
	gate   result.Gate
	caught bool // an injected cell regressed at the end
	passed bool // an injected cell passed at some look
}

// gate runs gate i to its end.
func (s Simulation) gate(i uint64) (outcome, error) {
	opts := s.Options
	opts.Seed = s.Options.Seed + i
	j, err := New(opts)
	if err != nil {
		return outcome{}, err
	}
	next := s.Noise.Stream(rand.New(rand.NewPCG(s.Options.Seed, i)))
	var out outcome
	for look := 0; ; {
		p := next()
		inject(&p, s.Inject)
		if err := j.Add(p); err != nil {
			return outcome{}, err
		}
		g, done := j.Look()
		if g.Look > look {
			look = g.Look
			out.read(&g, s.Inject)
		}
		if done {
			return out, nil
		}
	}
}

// read notes what a look found.
func (o *outcome) read(g *result.Gate, injected []Injection) {
	o.gate = *g
	o.gate.Pairs = nil
	for i := range g.Cells {
		c := &g.Cells[i]
		if !slices.ContainsFunc(injected, func(x Injection) bool { return x.Cell == c.Cell }) {
			continue
		}
		switch c.Verdict {
		case result.GateRegressed:
			o.caught = true
		case result.GateEquivalent, result.GateImproved:
			o.passed = true
		}
	}
}

func (r *Rates) add(o outcome) {
	r.Verdicts[o.gate.Verdict]++
	r.Pairs += o.gate.Used
	for k := max(o.gate.Look-1, 0); k < len(r.Looks); k++ {
		if o.gate.Verdict == result.GateRegressed {
			r.Regressed[k]++
		}
		if o.caught {
			r.Caught[k]++
		}
	}
	if o.passed {
		r.Passed++
	}
}

// inject makes head worse. The pair's own slices are left as they are, since other streams may share them.
func inject(p *result.Pair, injections []Injection) {
	if len(injections) == 0 {
		return
	}
	p.Head = result.Slice{Figures: slices.Clone(p.Head.Figures), Errors: slices.Clone(p.Head.Errors)}
	for _, x := range injections {
		for i := range p.Head.Figures {
			if f := &p.Head.Figures[i]; f.Cell() == x.Cell {
				f.Value *= x.Factor
			}
		}
		for i := range p.Head.Errors {
			if e := &p.Head.Errors[i]; x.Cell.Measure == result.MeasureErrors && e.Scenario == x.Cell.Scenario {
				e.Failed += int64(math.Round(x.Factor * float64(e.Total-e.Failed)))
			}
		}
	}
}

// Share is a count over all gates with its interval of 95 %.
func (r *Rates) Share(count int) (share, low, high float64) {
	low, high = stats.ClopperPearson(int64(count), int64(r.Gates), 0.025)
	return float64(count) / float64(max(r.Gates, 1)), low, high
}

// WriteRates writes a table of simulations.
func WriteRates(w io.Writer, all []Rates) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "simulation\tgates\tregressed (95 % interval)\tby look\tcaught by look\tinjected passed\timproved\tequivalent\tinconclusive\tpairs")
	for i := range all {
		r := &all[i]
		share, low, high := r.Share(r.Verdicts[result.GateRegressed])
		fmt.Fprintf(t, "%s\t%d\t%s (%s to %s)\t%s\t%s\t%s\t%s\t%s\t%s\t%.1f\n", r.Name, r.Gates, percent(share), percent(low), percent(high), r.perLook(r.Regressed),
			r.perLook(r.Caught), percent(float64(r.Passed)/float64(r.Gates)), r.verdict(result.GateImproved), r.verdict(result.GateEquivalent),
			r.verdict(result.GateInconclusive), float64(r.Pairs)/float64(r.Gates))
	}
	return t.Flush()
}

func (r *Rates) verdict(v result.GateVerdict) string {
	return percent(float64(r.Verdicts[v]) / float64(r.Gates))
}

func (r *Rates) perLook(counts []int) string {
	out := ""
	for k, n := range counts {
		if k > 0 {
			out += " / "
		}
		out += percent(float64(n) / float64(r.Gates))
	}
	return out
}

func percent(share float64) string { return fmt.Sprintf("%.2f %%", 100*share) }
