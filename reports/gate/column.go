package gate

import (
	"math"
	"slices"

	"github.com/openaccess-mcp/openaccess-mcp/reports/result"
)

// column is what the used pairs hold of one cell. A pair that lacks it has not-a-numbers.
type column struct {
	cell       result.Cell
	diff       []float64 // how much worse head is: of logarithms, or of shares for errors
	base, head []float64 // figures, or shares
	counts     []counted // errors only
}

// counted are the calls of both sides.
type counted struct{ base, head result.ErrorCount }

// worse is −1 for a measure that is better when it is higher, and else 1.
func worse(c result.Cell) float64 {
	if c.Measure == result.MeasureSaturation {
		return -1
	}
	return 1
}

// columns sorts pairs by cells: scenarios in the order in which they came, measures in that of their constants.
type columns struct {
	all   []*column
	index map[result.Cell]int
	pairs int
}

// add takes the figures of one more pair.
func (cs *columns) add(p *result.Pair) {
	for _, s := range []*result.Slice{&p.Base, &p.Head} {
		for i := range s.Figures {
			cs.column(s.Figures[i].Cell())
		}
		for i := range s.Errors {
			cs.column(result.Cell{Scenario: s.Errors[i].Scenario, Measure: result.MeasureErrors})
		}
	}
	for _, c := range cs.all {
		c.grow()
	}
	cs.figures(p.Base.Figures, func(c *column, v float64) { c.base[cs.pairs] = v })
	cs.figures(p.Head.Figures, func(c *column, v float64) { c.head[cs.pairs] = v })
	cs.errors(p.Base.Errors, func(c *column, e result.ErrorCount) { c.counts[cs.pairs].base = e })
	cs.errors(p.Head.Errors, func(c *column, e result.ErrorCount) { c.counts[cs.pairs].head = e })
	for _, c := range cs.all {
		c.settle(cs.pairs)
	}
	cs.pairs++
}

func (cs *columns) column(c result.Cell) *column {
	if i, ok := cs.index[c]; ok {
		return cs.all[i]
	}
	col := &column{cell: c}
	for range cs.pairs {
		col.grow()
	}
	if cs.index == nil {
		cs.index = map[result.Cell]int{}
	}
	cs.index[c] = len(cs.all)
	cs.all = append(cs.all, col)
	return col
}

// figures hands over those that have enough samples behind them.
func (cs *columns) figures(figures []result.Figure, to func(*column, float64)) {
	for i := range figures {
		if c := figures[i].Cell(); figures[i].N >= c.MinSamples() {
			to(cs.column(c), figures[i].Value)
		}
	}
}

func (cs *columns) errors(counts []result.ErrorCount, to func(*column, result.ErrorCount)) {
	for _, e := range counts {
		to(cs.column(result.Cell{Scenario: e.Scenario, Measure: result.MeasureErrors}), e)
	}
}

// grow makes room for a pair.
func (c *column) grow() {
	c.diff, c.base, c.head = append(c.diff, math.NaN()), append(c.base, math.NaN()), append(c.head, math.NaN())
	if c.cell.Measure == result.MeasureErrors {
		c.counts = append(c.counts, counted{})
	}
}

// settle works out the difference of pair i.
func (c *column) settle(i int) {
	if c.cell.Measure != result.MeasureErrors {
		c.diff[i] = worse(c.cell) * math.Log(c.head[i]/c.base[i])
		return
	}
	if e := &c.counts[i]; e.base.Total > 0 && e.head.Total > 0 {
		c.base[i], c.head[i] = share(e.base), share(e.head)
		c.diff[i] = c.head[i] - c.base[i]
	}
}

func share(e result.ErrorCount) float64 { return float64(e.Failed) / float64(e.Total) }

// totals adds up the calls of the first n pairs that both sides have.
func (c *column) totals(n int) (sum counted) {
	for _, e := range c.counts[:n] {
		if e.base.Total > 0 && e.head.Total > 0 {
			sum.base.Failed, sum.base.Total = sum.base.Failed+e.base.Failed, sum.base.Total+e.base.Total
			sum.head.Failed, sum.head.Total = sum.head.Failed+e.head.Failed, sum.head.Total+e.head.Total
		}
	}
	return sum
}

// known are the differences of the first n pairs that there are.
func (c *column) known(n int) []float64 { return known(c.diff[:n]) }

func known(values []float64) []float64 {
	out := make([]float64, 0, len(values))
	for _, v := range values {
		if !math.IsNaN(v) {
			out = append(out, v)
		}
	}
	return out
}

// terms are what the first n pairs add to the cell's statistic, Σd/√(Σd²+n·s²) of its differences d, where s is the smallest effect that counts. No
// sign changes the denominator. Without s this would order as Student's t does; s keeps a cell that hardly varies, and so is of nearly one size by luck,
// from taking the largest value of all with a change that does not matter, as in V. G. Tusher, R. Tibshirani and G. Chu, PNAS 98 (2001), pages
// 5116 to 5121.
func (c *column) terms(n int, s float64) []float64 {
	sum, k := 0.0, 0
	for _, d := range c.diff[:n] {
		if !math.IsNaN(d) {
			sum += d * d
			k++
		}
	}
	scale := math.Sqrt(sum + float64(k)*s*s)
	out := make([]float64, n)
	for i, d := range c.diff[:n] {
		if !math.IsNaN(d) && scale > 0 {
			out[i] = d / scale
		}
	}
	return out
}

func median(values []float64) float64 {
	v := known(values)
	if len(v) == 0 {
		return math.NaN()
	}
	slices.Sort(v)
	return v[(len(v)-1)/2]/2 + v[len(v)/2]/2
}

// deviation is the standard deviation of at least two values, else not a number.
func deviation(values []float64) float64 {
	n := float64(len(values))
	if n < 2 {
		return math.NaN()
	}
	mean, sum := 0.0, 0.0
	for _, v := range values {
		mean += v / n
	}
	for _, v := range values {
		sum += (v - mean) * (v - mean)
	}
	return math.Sqrt(sum / (n - 1))
}
