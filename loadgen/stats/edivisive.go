package stats

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
)

// EDivisive finds where the distribution of a series changes, in its level, its spread or its shape, without a model of it.
//
// The method is the hierarchical one of D. S. Matteson and N. A. James, "A Nonparametric Approach for Multiple Change Point Analysis of
// Multivariate Data", Journal of the American Statistical Association 109 (2014), pages 334 to 345 (arXiv:1306.4933), for one variable and
// the exponent 1: the stretch whose best division is the clearest is divided, as long as a permutation test holds the division significant.
// A permutation shuffles the values inside of each stretch that was found so far. It assumes that values inside of a stretch could have come in
// any order: a slow drift is found as steps.
type EDivisive struct {
	// MinSize is the fewest values on each side of a change. Zero is 3. With 1, a single value can be a stretch.
	MinSize int
	// Alpha is the most that the p-value of a change may be. Zero is 0.001.
	Alpha float64
	// Permutations are made for each test. Zero is as few as can show Alpha. A test ends early when it cannot become significant.
	Permutations int
	// Seed makes the permutations. The same seed and series give the same result.
	Seed uint64
}

// ChangePoint is one change in a series.
type ChangePoint struct {
	Index int     // of the first value after the change
	Q     float64 // scaled distance between the two sides, Q of Matteson and James
	P     float64 // of the permutation test
}

// ErrSeries is wrapped by Find's error for a series or settings that it cannot work on.
var ErrSeries = errors.New("cannot look for changes")

// Find lists the changes of a series in their order. A series too short for two stretches has none. The series is left as it is.
func (e EDivisive) Find(series []float64) ([]ChangePoint, error) {
	e = e.withDefaults()
	if err := e.check(series); err != nil {
		return nil, err
	}
	rnd := rand.New(rand.NewPCG(e.Seed, 0x9e3779b97f4a7c15))
	search := newDivider(e.MinSize, len(series))
	shuffled := slices.Clone(series)
	bounds := []int{0, len(series)}
	var found []ChangePoint
	for {
		at, q := search.bestOf(series, bounds)
		if at == 0 {
			break
		}
		copy(shuffled, series) // back into the stretches
		p := e.significance(search, shuffled, bounds, q, rnd)
		if p > e.Alpha {
			break
		}
		found = append(found, ChangePoint{Index: at, Q: q, P: p})
		bounds = append(bounds, at)
		slices.Sort(bounds)
	}
	slices.SortFunc(found, func(a, b ChangePoint) int { return a.Index - b.Index })
	return found, nil
}

func (e EDivisive) withDefaults() EDivisive {
	if e.MinSize == 0 {
		e.MinSize = 3
	}
	if e.Alpha == 0 {
		e.Alpha = 0.001
	}
	if e.Permutations == 0 && e.Alpha > 0 {
		e.Permutations = max(int(math.Ceil(1/e.Alpha-1e-9))-1, 1)
	}
	return e
}

func (e EDivisive) check(series []float64) error {
	switch {
	case e.MinSize < 1:
		return fmt.Errorf("%w: MinSize %d is not above 0", ErrSeries, e.MinSize)
	case !(e.Alpha > 0 && e.Alpha < 1):
		return fmt.Errorf("%w: Alpha %g is not between 0 and 1", ErrSeries, e.Alpha)
	case float64(e.Permutations+1)*e.Alpha < 1-1e-9:
		return fmt.Errorf("%w: with %d Permutations no p-value is as small as Alpha %g: use at least %.0f", ErrSeries, e.Permutations, e.Alpha, math.Ceil(1/e.Alpha)-1)
	}
	for i, x := range series {
		if math.IsNaN(x) || math.IsInf(x, 0) {
			return fmt.Errorf("%w: value %d is %g", ErrSeries, i, x)
		}
	}
	return nil
}

// significance is the share of shufflings, the series itself counted as one, that have a division as clear as q. It is above Alpha when the
// test ended early. Shuffled may hold the values of each stretch in any order.
func (e EDivisive) significance(search *divider, shuffled []float64, bounds []int, q float64, rnd *rand.Rand) float64 {
	allowed := int(math.Floor(e.Alpha*float64(e.Permutations+1)+1e-9)) - 1
	enough := q * (1 - 1e-9) // equal but for rounding is equal
	extreme := 0
	for i := range e.Permutations {
		for b := 1; b < len(bounds); b++ {
			part := shuffled[bounds[b-1]:bounds[b]]
			rnd.Shuffle(len(part), func(i, j int) { part[i], part[j] = part[j], part[i] })
		}
		if search.reaches(shuffled, bounds, enough) {
			if extreme++; extreme > allowed {
				return float64(extreme+1) / float64(i+2)
			}
		}
	}
	return float64(extreme+1) / float64(e.Permutations+1)
}

// MinRuns is the shortest series in which a change could be significant that has at most last values behind it. So many values are needed that,
// of all ways to choose which ones lie behind the change, the two that lie at the ends are a share of Alpha at most.
func (e EDivisive) MinRuns(last int) int {
	e = e.withDefaults()
	for n := 2 * e.MinSize; ; n++ {
		if k := min(last, n/2); k >= e.MinSize && 2/choose(n, k) <= e.Alpha {
			return n
		}
		if last < e.MinSize {
			return math.MaxInt
		}
	}
}

func choose(n, k int) float64 {
	c := 1.0
	for i := 1; i <= k; i++ {
		c *= float64(n-k+i) / float64(i)
	}
	return c
}

// divider finds the best division of a stretch. It keeps memory for one after another.
type divider struct {
	minSize int
	within  []float64 // of x[t:k], by k
	whole   []float64 // of x[:k], by k
	mean    []float64 // whole/k
	inverse []float64 // 1/i
}

func newDivider(minSize, n int) *divider {
	d := &divider{minSize: minSize, within: make([]float64, n+1), whole: make([]float64, n+1), mean: make([]float64, n+1), inverse: make([]float64, n+1)}
	for i := 1; i <= n; i++ {
		d.inverse[i] = 1 / float64(i)
	}
	return d
}

// bestOf is the clearest division of all stretches, 0 for none.
func (d *divider) bestOf(x []float64, bounds []int) (at int, q float64) {
	for b := 1; b < len(bounds); b++ {
		if t, v := d.best(x[bounds[b-1]:bounds[b]]); t > 0 && (at == 0 || v > q) {
			at, q = bounds[b-1]+t, v
		}
	}
	return at, q
}

// reaches says whether a stretch has a division at least as clear as q.
func (d *divider) reaches(x []float64, bounds []int, q float64) bool {
	for b := 1; b < len(bounds); b++ {
		if d.attains(x[bounds[b-1]:bounds[b]], q) {
			return true
		}
	}
	return false
}

// best divides x[:k] at t for all t and k and returns the t with the largest Q, 0 when x is too short.
//
// With w(a, b) the sum of distances between the values of x[a:b], n = t and m = k − t,
//
//	Q = 2/(n+m) · (between − m/(n−1)·w(0, t) − n/(m−1)·w(t, k)), where between = w(0, k) − w(0, t) − w(t, k)
//
// which is equation 5 of the paper with its E written out. w(t, k) grows from w(t+1, k) by the distances of x[t], so that all of them together
// take time in the square of the length. One value alone has no distances, and its term is 0.
func (d *divider) best(x []float64) (at int, q float64) {
	size, n := d.minSize, len(x)
	if n < 2*size {
		return 0, 0
	}
	d.sumWhole(x)
	within := d.within[:n+1]
	clear(within)
	for t := n - 1; t >= size; t-- {
		value, sum := x[t], 0.0
		for k := t + 1; k <= n; k++ {
			sum += math.Abs(x[k-1] - value)
			within[k] += sum
		}
		if v := d.bestEnd(t, n); at == 0 && t+size <= n || v > q {
			at, q = t, v
		}
	}
	return at, q
}

// bestEnd is the largest Q of a division at t over all ends.
func (d *divider) bestEnd(t, n int) float64 {
	whole, within, inverse := d.whole[:n+1], d.within[:n+1], d.inverse[:n+1]
	left, best := whole[t], math.Inf(-1)
	before := float64(t)
	leftShare := left * inverse[max(t-1, 1)]
	for k := t + d.minSize; k <= n; k++ {
		m := k - t
		w := within[k]
		v := inverse[k] * (whole[k] - left - w - float64(m)*leftShare - before*w*inverse[max(m-1, 1)])
		if v > best {
			best = v
		}
	}
	return 2 * best
}

// attains reports whether x has a division at least as clear as q, as best would find it. It is what a permutation test spends its time in, nearly
// always to find none. So it takes two t at a time, whose sums do not wait for each other, and compares instead of looking for the largest.
func (d *divider) attains(x []float64, q float64) bool {
	size, n := d.minSize, len(x)
	if n < 2*size {
		return false
	}
	d.sumWhole(x)
	for k := 1; k <= n; k++ {
		d.mean[k] = d.whole[k] * d.inverse[k]
	}
	clear(d.within[:n+1])
	t := n - 1
	for ; t > size; t -= 2 {
		if d.pairAttains(x, t, q/2) {
			return true
		}
	}
	if t < size {
		return false
	}
	d.grow(x, t)
	return d.bestEnd(t, n) >= q
}

// grow makes within of t out of that of t + 1.
func (d *divider) grow(x []float64, t int) {
	sum := 0.0
	for k := t + 1; k <= len(x); k++ {
		sum += math.Abs(x[k-1] - x[t])
		d.within[k] += sum
	}
}

// pairAttains reports whether a division at t or at t − 1 has half a Q of at least the given one, and makes within of t − 1 out of that of t + 1.
func (d *divider) pairAttains(x []float64, t int, half float64) bool {
	n := len(x)
	first, second := x[t], x[t-1]
	sum1, sum2 := 0.0, 0.0 // of the distances of x[t] and of x[t−1] to what comes behind them
	left1, left2 := d.whole[t], d.whole[t-1]
	share1, share2 := left1*d.inverse[max(t-1, 1)], left2*d.inverse[max(t-2, 1)]
	before1, before2 := float64(t), float64(t-1)
	near := min(t+d.minSize, n+1) // up to here a side is too short
	for k := t + 1; k < near; k++ {
		sum1 += math.Abs(x[k-1] - first)
		sum2 += math.Abs(x[k-1] - second)
		d.within[k] += sum1 + sum2
	}
	// of k = near − 1 the division at t − 1 is long enough
	if k := near - 1; k-t+1 >= d.minSize && k <= n && d.half(k, left2, share2, before2, d.within[k], k-t+1) >= half {
		return true
	}
	values, within, mean, inverse := x[near-1:n], d.within[near:n+1], d.mean[near:n+1], d.inverse
	scale := inverse[near : n+1]
	behind := inverse[near-t-1:][:len(values)+1] // 1/(m−1) for the m behind t
	m := float64(near - t)
	for i, value := range values {
		sum1 += math.Abs(value - first)
		sum2 += math.Abs(value - second)
		w1 := within[i] + sum1
		w2 := w1 + sum2
		within[i] = w2
		v1 := mean[i] - scale[i]*(left1+w1+m*share1+before1*w1*behind[i])
		v2 := mean[i] - scale[i]*(left2+w2+(m+1)*share2+before2*w2*behind[i+1])
		if v1 >= half || v2 >= half {
			return true
		}
		m++
	}
	return false
}

// half is half of Q for a division whose left side has the sum left, leftShare for each value but one, and whose right side of m values has w.
func (d *divider) half(k int, left, leftShare, before, w float64, m int) float64 {
	return d.mean[k] - d.inverse[k]*(left+w+float64(m)*leftShare+before*w*d.inverse[max(m-1, 1)])
}

// sumWhole fills in w(0, k) for all k.
func (d *divider) sumWhole(x []float64) {
	d.whole[0] = 0
	for k, value := range x {
		before := x[:k]
		var a, b, c, e float64 // sums that do not wait for each other
		for len(before) >= 4 {
			a += math.Abs(value - before[0])
			b += math.Abs(value - before[1])
			c += math.Abs(value - before[2])
			e += math.Abs(value - before[3])
			before = before[4:]
		}
		for _, other := range before {
			a += math.Abs(value - other)
		}
		d.whole[k+1] = d.whole[k] + (a + b + c + e)
	}
}
