package gate

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/openaccess-mcp/openaccess-mcp/reports/result"
)

// Source makes streams of pairs in which both sides are the same program. Each call of the stream gives the next pair of one gate, its index included;
// whatever is random comes from chance.
type Source interface {
	Stream(chance *rand.Rand) func() result.Pair
}

// Kind is a kind of synthetic noise.
type Kind string

// The kinds of noise. All are processes over slices in the order in which they are measured; the sides of a pair are put on them by a coin.
const (
	Independent    Kind = "independent"    // normal, each slice by itself
	Autocorrelated Kind = "autocorrelated" // the machine's speed is a first-order autoregression, 0.8 from slice to slice
	HeavyTailed    Kind = "heavy-tailed"   // Student's t with 3 degrees of freedom
	Drifting       Kind = "drifting"       // the machine gets slower by half over 40 pairs, wanders, and the second side of a pair is 3 % slower
	Bimodal        Kind = "bimodal"        // a background load goes on and off, for 12 slices on average
)

// Kinds are all of them.
var Kinds = []Kind{Independent, Autocorrelated, HeavyTailed, Drifting, Bimodal}

// Synthetic is noise that is made up: some scenarios with all measures of each. Cells are correlated, since half of the variance of a slice is
// common to them.
type Synthetic struct {
	Kind      Kind
	Scenarios int                // 0 means 3
	SD        map[string]float64 // of a pair's log ratio, by measure, the common part of the machine aside; what is missing is of TypicalSD
	Calls     int64              // in a slice; 0 means 1,500
}

// TypicalSD is what a 2-core machine shows in slices of three seconds.
var TypicalSD = map[string]float64{
	result.MeasureP50: 0.03, result.MeasureP90: 0.05, result.MeasureP99: 0.10,
	result.MeasureCPU: 0.02, result.MeasureRSS: 0.01, result.MeasureSaturation: 0.03,
}

// machineLoad is how much of the machine's slowness a measure takes on.
var machineLoad = map[string]float64{
	result.MeasureP50: 1, result.MeasureP90: 1.3, result.MeasureP99: 2,
	result.MeasureCPU: 0.3, result.MeasureRSS: 0.02, result.MeasureSaturation: -1,
}

// measures are those that have figures, and what a figure is about.
var measures = []struct {
	name  string
	level float64
}{
	{result.MeasureP50, 2e6}, {result.MeasureP90, 4e6}, {result.MeasureP99, 9e6},
	{result.MeasureCPU, 400e-6}, {result.MeasureRSS, 40e6}, {result.MeasureSaturation, 3000},
}

// Stream is of Source.
func (s Synthetic) Stream(chance *rand.Rand) func() result.Pair {
	if s.Scenarios == 0 {
		s.Scenarios = 3
	}
	if s.Calls == 0 {
		s.Calls = 1500
	}
	m := &machine{Synthetic: s, chance: chance}
	m.background = chance.IntN(2) == 0
	index := 0
	return func() result.Pair {
		index++
		return m.pair(index)
	}
}

// machine is where the slices of a gate are measured, one after the other.
type machine struct {
	Synthetic
	chance     *rand.Rand
	speed      float64 // of the kind's process
	background bool
	slices     int
}

// pair measures every scenario on one side, and then on the other.
func (m *machine) pair(index int) result.Pair {
	p := result.Pair{Index: index, HeadFirst: m.chance.IntN(2) == 0}
	sides := []*result.Slice{&p.Base, &p.Head}
	if p.HeadFirst {
		sides[0], sides[1] = sides[1], sides[0]
	}
	for second, side := range sides {
		side.Figures = make([]result.Figure, 0, m.Scenarios*len(measures))
		for s := range m.Scenarios {
			m.slice(side, scenarioName(s), m.step(second))
		}
	}
	return p
}

func scenarioName(i int) string { return fmt.Sprintf("scenario-%d", i+1) }

// step lets the machine's time pass by a slice and returns how slow it is.
func (m *machine) step(second int) float64 {
	m.slices++
	switch m.Kind {
	case Autocorrelated:
		m.speed = 0.8*m.speed + 0.03*m.chance.NormFloat64()
	case Drifting:
		m.speed += 0.5/40/float64(2*m.Scenarios) + 0.004*m.chance.NormFloat64()
		return m.speed + 0.03*float64(second)
	case Bimodal:
		if m.chance.Float64() < 1.0/12 {
			m.background = !m.background
		}
		m.speed = 0
		if m.background {
			m.speed = 0.35
		}
	}
	return m.speed
}

// slice measures one scenario.
func (m *machine) slice(to *result.Slice, scenario string, slowness float64) {
	common := m.draw()
	for _, f := range measures {
		sd, ok := m.SD[f.name]
		if !ok {
			sd = TypicalSD[f.name]
		}
		x := machineLoad[f.name]*slowness + sd/2*(common*sign(machineLoad[f.name])+m.draw()) // two slices: sd²/4·2·2 = sd²
		to.Figures = append(to.Figures, result.Figure{Scenario: scenario, Measure: f.name, Value: f.level * math.Exp(x), N: m.Calls})
	}
	rate := 0.0003
	if m.background && m.Kind == Bimodal {
		rate = 0.002
	}
	failed := m.poisson(rate * float64(m.Calls))
	if m.chance.Float64() < 0.02 {
		failed += 3 + m.chance.Int64N(20) // failures come in bursts
	}
	to.Errors = append(to.Errors, result.ErrorCount{Scenario: scenario, Failed: min(failed, m.Calls), Total: m.Calls})
}

func sign(x float64) float64 { return math.Copysign(1, x) }

// draw is a random number of variance 1.
func (m *machine) draw() float64 {
	z := m.chance.NormFloat64()
	if m.Kind != HeavyTailed {
		return z
	}
	square := 0.0
	for range 3 {
		x := m.chance.NormFloat64()
		square += x * x
	}
	return z / math.Sqrt(square) // t of 3 degrees is z/√(square/3), of variance 3
}

func (m *machine) poisson(mean float64) int64 {
	limit, product := math.Exp(-mean), m.chance.Float64()
	k := int64(0)
	for product > limit {
		product *= m.chance.Float64()
		k++
	}
	return k
}

// Recorded is noise that was measured: null gates, each a run of pairs whose two sides were the same program. A stream is put together from blocks of
// consecutive pairs of gates with the same cells, so that what makes neighbours alike is kept, and every pair gets a coin of its own for which of its
// slices is head: as fair for a null pair as the coin that was thrown when it was measured.
type Recorded struct {
	gates [][]result.Pair
	alike map[string][]int // gates by their cells
	kinds []string         // cells of each gate
}

// recordedBlock is how many consecutive pairs stay together.
const recordedBlock = 5

// Record makes noise of null gates, of which there has to be one, and none of them empty.
func Record(gates [][]result.Pair) *Recorded {
	r := &Recorded{gates: gates, alike: map[string][]int{}}
	for i, ps := range gates {
		kind := fmt.Sprint(slices.SortedFunc(slices.Values(cellsOf(ps)), func(a, b result.Cell) int { return strings.Compare(a.String(), b.String()) }))
		r.kinds = append(r.kinds, kind)
		r.alike[kind] = append(r.alike[kind], i)
	}
	return r
}

// cellsOf are all cells of a gate, in the order in which they come.
func cellsOf(ps []result.Pair) (out []result.Cell) {
	for i := range ps {
		for _, f := range ps[i].Base.Figures {
			if !slices.Contains(out, f.Cell()) {
				out = append(out, f.Cell())
			}
		}
	}
	return out
}

// Cells are those that any of the gates measured.
func (r *Recorded) Cells() []result.Cell { return cellsOf(slices.Concat(r.gates...)) }

// Of is the noise of those gates alone that measured a cell, one of Cells.
func (r *Recorded) Of(c result.Cell) *Recorded {
	var of [][]result.Pair
	for _, ps := range r.gates {
		if slices.Contains(cellsOf(ps), c) {
			of = append(of, ps)
		}
	}
	return Record(of)
}

// Stream is of Source.
func (r *Recorded) Stream(chance *rand.Rand) func() result.Pair {
	alike := r.alike[r.kinds[chance.IntN(len(r.gates))]]
	var from []result.Pair
	at, left, index := 0, 0, 0
	return func() result.Pair {
		if left == 0 || at == len(from) {
			from = r.gates[alike[chance.IntN(len(alike))]]
			at, left = chance.IntN(max(1, len(from)-recordedBlock+1)), recordedBlock
		}
		p := from[at]
		at, left, index = at+1, left-1, index+1
		p.Index = index
		if chance.IntN(2) == 0 {
			p = swapped(p)
		}
		return p
	}
}

// swapped has the sides of a pair change their names.
func swapped(p result.Pair) result.Pair {
	p.Base, p.Head, p.HeadFirst = p.Head, p.Base, !p.HeadFirst
	if p.Control != nil {
		p.Control = &result.Control{Base: p.Control.Head, Head: p.Control.Base}
	}
	return p
}
