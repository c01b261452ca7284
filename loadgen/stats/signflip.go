package stats

import (
	"cmp"
	"container/heap"
	"math"
	"math/bits"
	"math/rand/v2"
	"slices"
)

// Flips is a set of assignments of signs to the pairs of an experiment, with which sums over the pairs are compared: had the two sides of a pair
// been swapped, its difference would have the other sign, and where a fair coin drew the order of the sides, each assignment was as likely as the one
// that came about. The test is exact whatever the distribution of the differences and however they depend on each other; its idea is R. A. Fisher's
// (The Design of Experiments, 1935, section 21).
//
// All 2^n assignments are in the set where they are few enough. Otherwise it holds the actual one and others drawn at random, which is the +1 rule of
// B. Phipson and G. K. Smyth, "Permutation P-values Should Never Be Zero", Statistical Applications in Genetics and Molecular Biology 9 (2010): the
// p-value is right on average over the draw, and never 0. A Flips is not changed by its methods and may be used concurrently.
type Flips struct {
	n     int
	exact bool
	words []uint64 // bit i set: pair i has the other sign. The first is 0. nil where exact: they are 0 to 2^n − 1
}

// maxFlipped is the most pairs of a Flips: a word holds the signs.
const maxFlipped = 64

// NewFlips makes a set of at most limit assignments for n pairs, 1 to 64. A limit under 2 counts as 2. The seed matters only where they are drawn.
func NewFlips(n, limit int, seed uint64) *Flips {
	if n < 1 || n > maxFlipped {
		panic("stats: sign flips are of 1 to 64 pairs")
	}
	limit = max(limit, 2)
	if n < 31 && 1<<n <= limit {
		return &Flips{n: n, exact: true}
	}
	f := &Flips{n: n, words: make([]uint64, limit)}
	chance := rand.New(rand.NewPCG(seed, uint64(n)))
	for i := 1; i < limit; i++ {
		f.words[i] = chance.Uint64() >> (maxFlipped - n)
	}
	return f
}

// Count is the number of assignments, the actual one included.
func (f *Flips) Count() int {
	if f.exact {
		return 1 << f.n
	}
	return len(f.words)
}

// Exact reports whether the set holds all assignments.
func (f *Flips) Exact() bool { return f.exact }

// StepDown are p-values of several statistics at once, adjusted for their number.
type StepDown struct {
	Greater []float64 // that a statistic is as large by chance, in the order of the statistics
	Less    []float64 // that it is as small
	// Critical is what the largest of all statistics reaches by chance alone with the level that was asked for, and infinite where no assignment may.
	Critical float64
	Count    int // assignments compared
}

// StepDown tests sums over the pairs: terms[c][i] is what pair i adds to statistic c, and a pair without the figure adds 0. Statistics have to be made
// comparable before, by a scale that no sign changes, such as the root of their terms' sum of squares.
//
// P-values are adjusted by the step-down max-T procedure (P. H. Westfall and S. S. Young, Resampling-Based Multiple Testing, 1993, algorithm 4.1):
// the largest statistic is compared with the largest of all under each assignment, the second with the largest of all but the first, and so on, and
// no p-value is below that of a larger statistic. Since all statistics get the same signs, how they depend on each other is accounted for. The
// chance that any true hypothesis has a p-value of at most α is at most α. The two directions are two families.
//
// level is the p-value that decides. Where so many assignments give as much as the largest statistic of both families that none can come down to it,
// the rest is not tried: what is decided stays the same, and the p-values are a little less precise (J. Besag and P. Clifford, "Sequential Monte Carlo
// p-values", Biometrika 78, 1991). A level of 0 tries all.
func (f *Flips) StepDown(terms [][]float64, level float64) StepDown {
	m := len(terms)
	sums := make([]float64, m)
	for c, t := range terms {
		for _, x := range t {
			sums[c] += x
		}
	}
	up, down := newSteps(sums, 1), newSteps(sums, -1)
	admitted := admits(level, f.Count())
	most := topList{size: admitted}
	done := 0
	f.each(terms, func(flipped []float64) (goOn bool) {
		most.add(up.step(flipped))
		down.step(flipped)
		done++
		return f.exact || done < fewestFlips || level <= 0 || up.most() <= admitted || down.most() <= admitted
	})
	return StepDown{Greater: up.adjusted(done), Less: down.adjusted(done), Critical: most.at(admits(level, done)), Count: done}
}

// fewestFlips is how many assignments are tried before the rest may be spared.
const fewestFlips = 1 << 13

// admits is how many of count assignments, the actual one included, may give as much for a p-value of at most level.
func admits(level float64, count int) int { return int(level * float64(count) * (1 + 1e-12)) }

// flipTable is how many pairs share a table of their sums.
const flipTable = 8

// each calls do with the sums under every assignment, the actual one first, until it returns false. The sums of eight pairs under all 256 assignments are looked up.
func (f *Flips) each(terms [][]float64, do func(sums []float64) (goOn bool)) {
	m := len(terms)
	var tables [][]float64 // for every eight pairs: the sums of all statistics, m for each assignment
	for from := 0; from < f.n; from += flipTable {
		tables = append(tables, flipSums(terms, from, min(flipTable, f.n-from)))
	}
	sums := make([]float64, m)
	for i := range f.Count() {
		word := uint64(i)
		if !f.exact {
			word = f.words[i]
		}
		row := int(word&(1<<flipTable-1)) * m
		copy(sums, tables[0][row:row+m])
		for _, table := range tables[1:] {
			word >>= flipTable
			row := int(word&(1<<flipTable-1)) * m
			for c, x := range table[row : row+m] {
				sums[c] += x
			}
		}
		if !do(sums) {
			return
		}
	}
}

// flipSums are the sums over n pairs of all statistics under all 2^n assignments.
func flipSums(terms [][]float64, from, n int) []float64 {
	m := len(terms)
	out := make([]float64, m<<n)
	for c, t := range terms {
		for _, x := range t[from : from+n] {
			out[c] += x
		}
		for word := 1; word < 1<<n; word++ {
			out[word*m+c] = out[(word&(word-1))*m+c] - 2*t[from+bits.TrailingZeros(uint(word))]
		}
	}
	return out
}

// steps counts, in one direction, how often assignments give as much as the actual one.
type steps struct {
	sign  float64
	order []int     // statistics by their actual value, smallest first
	bound []float64 // actual value in that order, less what rounding may do
	count []int     // in that order
}

// tie is how far sums of terms of about 1 may differ by rounding alone.
const tie = 1e-9

func newSteps(sums []float64, sign float64) *steps {
	s := &steps{sign: sign, order: make([]int, len(sums)), bound: make([]float64, len(sums)), count: make([]int, len(sums))}
	for c := range sums {
		s.order[c] = c
	}
	slices.SortStableFunc(s.order, func(a, b int) int { return cmp.Compare(sign*sums[a], sign*sums[b]) })
	for k, c := range s.order {
		s.bound[k] = sign*sums[c] - tie*max(1, math.Abs(sums[c]))
	}
	return s
}

// step counts one assignment and returns the largest statistic.
func (s *steps) step(sums []float64) float64 {
	most := math.Inf(-1)
	for k, c := range s.order {
		most = max(most, s.sign*sums[c])
		if most >= s.bound[k] {
			s.count[k]++
		}
	}
	return most
}

// most is how many assignments gave as much as the largest statistic.
func (s *steps) most() int {
	if len(s.count) == 0 {
		return 0
	}
	return s.count[len(s.count)-1]
}

func (s *steps) adjusted(of int) []float64 {
	out := make([]float64, len(s.order))
	p := 0.0
	for k := len(s.order) - 1; k >= 0; k-- {
		p = max(p, float64(s.count[k])/float64(of))
		out[s.order[k]] = p
	}
	return out
}

// topList keeps the largest values that it was given.
type topList struct {
	size   int
	values minHeap
}

func (t *topList) add(x float64) {
	switch {
	case len(t.values) < t.size:
		heap.Push(&t.values, x)
	case t.size > 0 && x > t.values[0]:
		t.values[0] = x
		heap.Fix(&t.values, 0)
	}
}

// at is the kth largest, counted from 1, and infinite for none.
func (t *topList) at(k int) float64 {
	if k < 1 || k > len(t.values) {
		return math.Inf(1)
	}
	slices.SortFunc(t.values, func(a, b float64) int { return cmp.Compare(b, a) })
	return t.values[k-1]
}

// minHeap has its smallest value first.
type minHeap []float64

func (h minHeap) Len() int           { return len(h) }
func (h minHeap) Less(i, j int) bool { return h[i] < h[j] }
func (h minHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *minHeap) Push(x any)        { *h = append(*h, x.(float64)) }
func (h *minHeap) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}
