package stats

import (
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func changes(t testing.TB, e EDivisive, series []float64) []int {
	t.Helper()
	found, err := e.Find(series)
	if err != nil {
		t.Fatal(err)
	}
	at := []int{}
	for _, c := range found {
		if c.P > e.withDefaults().Alpha || c.Q <= 0 {
			t.Errorf("a change with %+v", c)
		}
		at = append(at, c.Index)
	}
	return at
}

// otavaSeries is SEQUENCE of tests/change_point_divisive_test.py in Apache Otava, which wants changes at 5 and 8.
var otavaSeries = []float64{0.3, 2.4, 1.5, -0.9, -0.5, 99.7, 98.3, 99.1, 149.0, 149.7, 149.5, 149.1, 148.8, 150.0}

// TestEDivisivePublished has series with known changes.
func TestEDivisivePublished(t *testing.T) {
	tests := []struct {
		name   string
		e      EDivisive
		series []float64
		want   []int
	}{
		{"Apache Otava, tests/change_point_divisive_test.py", EDivisive{Alpha: 0.05, Permutations: 999}, otavaSeries, []int{5, 8}},
		{"Apache Otava and Hunter, tests/analysis_test.py, test_single_series", EDivisive{Alpha: 0.001}, []float64{
			1.02, 0.95, 0.99, 1.00, 1.12, 1.00, 1.01, 0.98, 1.01, 0.96, 0.50, 0.51, 0.48, 0.48, 0.55, 0.50, 0.49, 0.51, 0.50, 0.49}, []int{10}},
		{"James and Matteson, Journal of Statistical Software 62(7), 2015, section 4.1: estimates 1, 108, 201, 308, 401, which count from 1",
			EDivisive{MinSize: 30, Alpha: 0.05, Permutations: 499}, ecpGaussian(), []int{107, 200, 307}},
	}
	for _, test := range tests {
		if got := changes(t, test.e, test.series); !slices.Equal(got, test.want) {
			t.Errorf("%s: got %v, want %v", test.name, got, test.want)
		}
	}
}

// TestEDivisiveSteps is test_default_implementation_sanity of MongoDB's signal-processing-algorithms, tests/test_e_divisive.py.
func TestEDivisiveSteps(t *testing.T) {
	for half := 7; half < 100; half += 4 {
		series := make([]float64, 2*half)
		for i := range half {
			series[half+i] = 1
		}
		if got := changes(t, EDivisive{}, series); !slices.Equal(got, []int{half}) {
			t.Errorf("%d and %d values: got %v", half, half, got)
		}
	}
}

// ecpGaussian is Xnorm of the vignette of R's package ecp: set.seed(250); rnorm(100); rnorm(100, 0, 3); rnorm(100, 2, 1); rnorm(100, 2, 4).
func ecpGaussian() []float64 {
	r := newRGenerator(250)
	var x []float64
	for _, p := range []struct{ mean, sd float64 }{{0, 1}, {0, 3}, {2, 1}, {2, 4}} {
		for range 100 {
			x = append(x, p.mean+p.sd*r.normal())
		}
	}
	return x
}

// rGenerator gives the numbers of R's default generator: Mersenne Twister, and normal ones by inversion.
type rGenerator struct {
	state [624]uint32
	next  int
}

func newRGenerator(seed uint32) *rGenerator {
	r := &rGenerator{next: 624}
	step := func() uint32 { seed = 69069*seed + 1; return seed }
	for range 51 { // R scrambles 50 times, and the first word is the place
		step()
	}
	for i := range r.state {
		r.state[i] = step()
	}
	return r
}

func (r *rGenerator) uniform() float64 {
	const n, m = 624, 397
	if r.next == n {
		for i := range n {
			y := r.state[i]&0x80000000 | r.state[(i+1)%n]&0x7fffffff
			r.state[i] = r.state[(i+m)%n] ^ y>>1 ^ y&1*0x9908b0df
		}
		r.next = 0
	}
	y := r.state[r.next]
	r.next++
	y ^= y >> 11
	y ^= y << 7 & 0x9d2c5680
	y ^= y << 15 & 0xefc60000
	y ^= y >> 18
	return float64(y) * 2.3283064365386963e-10
}

func (r *rGenerator) normal() float64 {
	const big = 1 << 27
	u := math.Floor(big*r.uniform()) + r.uniform()
	return math.Sqrt2 * math.Erfinv(2*u/big-1)
}

func TestRGenerator(t *testing.T) {
	for seed, want := range map[uint32][]float64{1: {-0.6264538, 0.1836433, -0.8356286}, 42: {1.37095845, -0.56469817, 0.36312841}} { // as R prints rnorm(3)
		r := newRGenerator(seed)
		for i, w := range want {
			if got := r.normal(); math.Abs(got-w) > 1e-7 {
				t.Errorf("seed %d, number %d: got %v, want %v", seed, i, got, w)
			}
		}
	}
}

// slowQ is equation 5 of Matteson and James by its words, of a division of x into two.
func slowQ(x, y []float64) float64 {
	n, m := float64(len(x)), float64(len(y))
	mean := func(a, b []float64, pairs float64) float64 {
		sum := 0.0
		for _, v := range a {
			for _, w := range b {
				sum += math.Abs(v - w)
			}
		}
		if pairs == 0 {
			return 0
		}
		return sum / pairs
	}
	return n * m / (n + m) * (2*mean(x, y, n*m) - mean(x, x, n*(n-1)) - mean(y, y, m*(m-1)))
}

func TestDividerByHand(t *testing.T) {
	// 0, 0, 3, 3: between {0, 0} and {3, 3} the mean distance is 3, within it is 0. Q = 2·2/4 · (2·3 − 0 − 0) = 6.
	at, q := newDivider(2, 4).best([]float64{0, 0, 3, 3})
	if at != 2 || q != 6 {
		t.Errorf("at %d, Q %v", at, q)
	}
	// 1, 2, 6, 9: mean distance 6 between, 1 and 3 within. Q = 1 · (12 − 1 − 3) = 8.
	if at, q = newDivider(2, 4).best([]float64{1, 2, 6, 9}); at != 2 || q != 8 {
		t.Errorf("at %d, Q %v", at, q)
	}
}

func TestDividerAgainstTheDefinition(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		x := make([]float64, rnd.IntN(24))
		for i := range x {
			x[i] = float64(rnd.IntN(9)) - 4
			if i > len(x)/2 {
				x[i] += 3 * rnd.Float64()
			}
		}
		size := 1 + rnd.IntN(4)
		wantQ, any := math.Inf(-1), false
		perStart := map[int]float64{}
		for at := size; at+size <= len(x); at++ {
			best := math.Inf(-1)
			for end := at + size; end <= len(x); end++ {
				best = max(best, slowQ(x[:at], x[at:end]))
			}
			perStart[at], wantQ, any = best, max(wantQ, best), true
		}
		at, q := newDivider(size, len(x)).best(x)
		if !any {
			if at != 0 {
				t.Errorf("%v by %d: divided at %d", x, size, at)
			}
			continue
		}
		if math.Abs(q-wantQ) > 1e-9 || math.Abs(perStart[at]-wantQ) > 1e-9 {
			t.Errorf("%v by %d: at %d Q %v, want %v", x, size, at, q, wantQ)
		}
		d := newDivider(size, len(x))
		if off := 1e-9 * max(math.Abs(wantQ), 1); !d.attains(x, wantQ-off) || d.attains(x, wantQ+off) {
			t.Errorf("%v by %d: Q is %v, but attains says %v below and %v above it", x, size, wantQ, d.attains(x, wantQ-off), d.attains(x, wantQ+off))
		}
	}
}

// TestEDivisiveFalseAlarms has series without a change: a test at 5 % may divide 5 % of them. The bounds are those that a binomial of 1,000 passes
// in all but one of ten thousand cases.
func TestEDivisiveFalseAlarms(t *testing.T) {
	draws := map[string]func(*rand.Rand) float64{
		"normal":     func(r *rand.Rand) float64 { return r.NormFloat64() },
		"log-normal": func(r *rand.Rand) float64 { return math.Exp(r.NormFloat64()) },
		"Cauchy":     func(r *rand.Rand) float64 { return r.NormFloat64() / r.NormFloat64() },
		"few values": func(r *rand.Rand) float64 { return float64(r.IntN(3)) },
	}
	for name, draw := range draws {
		alarms := 0
		for seed := range uint64(1000) {
			rnd := rand.New(rand.NewPCG(seed, 7))
			x := make([]float64, 40)
			for i := range x {
				x[i] = draw(rnd)
			}
			if len(changes(t, EDivisive{Alpha: 0.05, Permutations: 99, Seed: seed}, x)) > 0 {
				alarms++
			}
		}
		if t.Logf("%s: %d of 1000", name, alarms); alarms > 78 || alarms < 20 {
			t.Errorf("%s: %d false alarms in 1000", name, alarms)
		}
	}
}

// TestEDivisiveDetection has a step of 10 % in noise of 3 % after 40 values, and more and more values behind it.
func TestEDivisiveDetection(t *testing.T) {
	for _, test := range []struct{ behind, found, near int }{{5, 60, 55}, {10, 95, 90}} {
		found, near := 0, 0
		for seed := range uint64(100) {
			rnd := rand.New(rand.NewPCG(seed, 8))
			x := make([]float64, 40+test.behind)
			for i := range x {
				x[i] = 0.03 * rnd.NormFloat64()
				if i >= 40 {
					x[i] += math.Log(1.1)
				}
			}
			if at := changes(t, EDivisive{Seed: seed}, x); len(at) > 0 {
				found++
				if d := at[len(at)-1] - 40; d >= -1 && d <= 1 {
					near++
				}
			}
		}
		if t.Logf("%d behind: found %d, within a run %d of 100", test.behind, found, near); found < test.found || near < test.near {
			t.Errorf("%d behind: found %d, within a run %d of 100", test.behind, found, near)
		}
	}
}

func TestEDivisiveEdges(t *testing.T) {
	for _, x := range [][]float64{nil, {1}, {1, 2, 3, 4, 5}, slices.Repeat([]float64{7}, 60), slices.Repeat([]float64{0.1, 0.2, 0.3}, 20)} {
		if at := changes(t, EDivisive{}, x); len(at) > 0 {
			t.Errorf("%v: changes at %v", x, at)
		}
	}
	for _, test := range []struct {
		e EDivisive
		x []float64
	}{{EDivisive{}, []float64{1, math.NaN()}}, {EDivisive{}, []float64{math.Inf(1)}}, {EDivisive{MinSize: -1}, nil}, {EDivisive{Alpha: 1}, nil},
		{EDivisive{Alpha: -1}, nil}, {EDivisive{Alpha: 0.01, Permutations: 50}, nil}} {
		if _, err := test.e.Find(test.x); !errors.Is(err, ErrSeries) {
			t.Errorf("%+v on %v: %v", test.e, test.x, err)
		}
	}
	before := slices.Clone(otavaSeries)
	first, again := changes(t, EDivisive{Seed: 3}, otavaSeries), changes(t, EDivisive{Seed: 3}, otavaSeries)
	if !slices.Equal(first, again) || !slices.Equal(before, otavaSeries) {
		t.Error("a second search differs, or the series was changed")
	}
}

func TestMinRuns(t *testing.T) {
	for _, test := range []struct {
		e          EDivisive
		last, want int
	}{
		{EDivisive{}, 100, 14},        // 14 over 7 is 3432, 13 over 6 is 1716
		{EDivisive{}, 3, 24},          // 24 over 3 is 2024
		{EDivisive{}, 2, math.MaxInt}, // no change may lie so late
	} {
		if got := test.e.MinRuns(test.last); got != test.want {
			t.Errorf("%+v, last %d: got %d, want %d", test.e, test.last, got, test.want)
		}
	}
}

func BenchmarkEDivisive(b *testing.B) {
	rnd := rand.New(rand.NewPCG(1, 1))
	x := make([]float64, 500)
	for i := range x {
		x[i] = rnd.NormFloat64() + float64(i/200)
	}
	for b.Loop() {
		changes(b, EDivisive{}, x)
	}
}
