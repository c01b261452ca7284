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
	limit   []float64 // of attains, by k
	inverse []float64 // 1/i, and 0 for 0: one value alone has no distances
}

func newDivider(minSize, n int) *divider {
	d := &divider{minSize: minSize, within: make([]float64, n+1), whole: make([]float64, n+1), limit: make([]float64, n+1), inverse: make([]float64, n+1)}
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
// always to find none. So it takes four t at a time, whose sums do not wait for each other, and compares instead of looking for the largest: with the
// terms of Q put together,
//
//	Q = 2·(k−1)/k · (w(0, k)/(k−1) − w(0, t)/(t−1) − w(t, k)/(m−1))
//
// is at least q where w(t, k)/(m−1) is at most limit(k) − w(0, t)/(t−1), and limit(k) knows no t.
func (d *divider) attains(x []float64, q float64) bool {
	size, n := d.minSize, len(x)
	if n < 2*size {
		return false
	}
	d.sumWhole(x)
	for k := 1; k <= n; k++ {
		d.limit[k] = (d.whole[k] - q*float64(k)/2) * d.inverse[k-1]
	}
	clear(d.within[:n+1])
	t := n - 1
	for ; t-3 >= size; t -= 4 {
		if d.fourAttain(x, t) {
			return true
		}
	}
	for ; t >= size; t-- {
		if d.oneAttains(x, t) {
			return true
		}
	}
	return false
}

// fourAttain looks at the divisions at t to t − 3, and makes within of t − 3 out of that of t + 1.
func (d *divider) fourAttain(x []float64, t int) bool {
	n := len(x)
	var sum, left [4]float64 // of the distances of x[t−j] to what comes behind it; and w(0, t−j)/(t−j−1)
	for j := range left {
		left[j] = d.whole[t-j] * d.inverse[t-j-1]
	}
	from := min(t+d.minSize, n+1) // the first k that leaves enough behind all four
	for k := t - 2; k < from; k++ {
		w := d.within[k]
		for j := range sum {
			if k > t-j {
				sum[j] += math.Abs(x[k-1] - x[t-j])
				if w += sum[j]; k >= t-j+d.minSize && w*d.inverse[k-t+j-1] <= d.limit[k]-left[j] {
					return true
				}
			}
		}
		d.within[k] = w
	}
	values := x[from-1:]
	within, limit, behind := d.within[from:][:len(values)], d.limit[from:][:len(values)], d.inverse[from-t-1:][:len(values)+3]
	x0, x1, x2, x3 := x[t], x[t-1], x[t-2], x[t-3]
	s0, s1, s2, s3 := sum[0], sum[1], sum[2], sum[3]
	l0, l1, l2, l3 := left[0], left[1], left[2], left[3]
	least := min(l0, l1, l2, l3)
	for i, v := range values {
		s0 += math.Abs(v - x0)
		s1 += math.Abs(v - x1)
		s2 += math.Abs(v - x2)
		s3 += math.Abs(v - x3)
		w0 := within[i] + s0
		w1 := w0 + s1
		w2 := w1 + s2
		within[i] = w2 + s3
		most := limit[i]
		if w0*behind[i+3]+least > most { // no other w is less, and no other share
			continue
		}
		if w0*behind[i]+l0 <= most || w1*behind[i+1]+l1 <= most || w2*behind[i+2]+l2 <= most || (w2+s3)*behind[i+3]+l3 <= most {
			return true
		}
	}
	return false
}

// oneAttains looks at the divisions at t alone, and makes within of t out of that of t + 1.
func (d *divider) oneAttains(x []float64, t int) bool {
	sum, left := 0.0, d.whole[t]*d.inverse[t-1]
	for k := t + 1; k <= len(x); k++ {
		sum += math.Abs(x[k-1] - x[t])
		d.within[k] += sum
		if k >= t+d.minSize && d.within[k]*d.inverse[k-t-1] <= d.limit[k]-left {
			return true
		}
	}
	return false
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
