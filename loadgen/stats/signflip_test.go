package stats

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// darwin are the differences in height, in eighths of an inch, of fifteen pairs of crossed and self-fertilised Zea mays: Charles Darwin's, as in
// R. A. Fisher, The Design of Experiments, 1935, section 17.
var darwin = []float64{49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48}

// TestFlipsDarwin counts what Fisher counted in section 21: of 32,768 assignments 863 give a sum of 314 or more.
func TestFlipsDarwin(t *testing.T) {
	f := NewFlips(len(darwin), 1<<15, 0)
	r := f.StepDown([][]float64{darwin}, 0)
	if !f.Exact() || f.Count() != 32768 || r.Greater[0] != 863.0/32768 {
		t.Errorf("exact %v, %d assignments, p = %v, want 863/32768", f.Exact(), f.Count(), r.Greater[0])
	}
	if want := (32768 - 835.0) / 32768; r.Less[0] != want { // 835 give more than 314
		t.Errorf("p of as little = %v, want %v", r.Less[0], want)
	}
	drawn := NewFlips(len(darwin), 1<<14, 7)
	if p := drawn.StepDown([][]float64{darwin}, 0).Greater[0]; drawn.Exact() || math.Abs(p-863.0/32768) > 0.006 {
		t.Errorf("drawn: exact %v, p = %v, want about %v", drawn.Exact(), p, 863.0/32768)
	}
}

// TestFlipsNeverZero wants the actual assignment to count as one that gives as much (Phipson and Smyth).
func TestFlipsNeverZero(t *testing.T) {
	ones := slices.Repeat([]float64{1}, 40)
	if p := NewFlips(40, 1000, 3).StepDown([][]float64{ones}, 0).Greater[0]; p != 1.0/1000 {
		t.Errorf("p = %v, want 1/1000", p)
	}
	if p := NewFlips(10, 1024, 3).StepDown([][]float64{ones[:10]}, 0).Greater[0]; p != 1.0/1024 {
		t.Errorf("p = %v, want 1/1024", p)
	}
}

// TestStepDownByHand follows two statistics of three pairs through the eight assignments. The first is 3, −1 or −3 and 1, the second 3, 1, and so on:
// their larger one is at least 3 under the actual signs and under −++ for the second, whose terms are −1, 1, 1.
func TestStepDownByHand(t *testing.T) {
	r := NewFlips(3, 8, 0).StepDown([][]float64{{1, 1, 1}, {-1, 1, 1}}, 0)
	if r.Greater[0] != 2.0/8 || r.Greater[1] != 4.0/8 {
		t.Errorf("p = %v, want 2/8 and 4/8", r.Greater)
	}
	if r = NewFlips(3, 8, 0).StepDown([][]float64{{1, 1, 1}, {-1, 1, 1}}, 0.25); r.Critical != 3 {
		t.Errorf("critical value %v, want 3", r.Critical)
	}
}

// noise makes terms of m statistics over n pairs, some of them shifted.
func noise(chance *rand.Rand, m, n int, shift float64) [][]float64 {
	terms := make([][]float64, m)
	for c := range terms {
		square := 0.0
		for range n {
			x := chance.NormFloat64() + shift*float64(c%3)
			terms[c] = append(terms[c], x)
			square += x * x
		}
		for i := range terms[c] {
			terms[c][i] /= math.Sqrt(square)
		}
	}
	return terms
}

// TestStepDownIsClosed compares with the closed test that step-down max-T is a short cut to (R. Marcus, E. Peritz and K. R. Gabriel, Biometrika 63,
// 1976): the p-value of a hypothesis is the largest of all sets of hypotheses that hold it, each tested by its largest statistic.
func TestStepDownIsClosed(t *testing.T) {
	chance := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		const m, n = 5, 9
		terms := noise(chance, m, n, 0.8)
		got := NewFlips(n, 1<<n, 0).StepDown(terms, 0)
		for sign, ps := range map[float64][]float64{1: got.Greater, -1: got.Less} {
			for c, p := range ps {
				want := 0.0
				for set := 1; set < 1<<m; set++ {
					if set&(1<<c) != 0 {
						want = max(want, largestOf(terms, set, n, sign))
					}
				}
				if p != want {
					t.Errorf("statistic %d, sign %v: p = %v, the closed test has %v", c, sign, p, want)
				}
			}
		}
	}
}

// largestOf is the p-value of the largest statistic of a set, by trying all assignments.
func largestOf(terms [][]float64, set, n int, sign float64) float64 {
	largest := func(word int) float64 {
		most := math.Inf(-1)
		for c, ts := range terms {
			sum := 0.0
			for i, x := range ts {
				if word&(1<<i) != 0 {
					x = -x
				}
				sum += x
			}
			if set&(1<<c) != 0 {
				most = max(most, sign*sum)
			}
		}
		return most
	}
	count, actual := 0, largest(0)
	for word := range 1 << n {
		if largest(word) >= actual-1e-9 {
			count++
		}
	}
	return float64(count) / float64(int(1)<<n)
}

// TestStepDownStopsEarly wants the same decisions as when all assignments are tried.
func TestStepDownStopsEarly(t *testing.T) {
	chance := rand.New(rand.NewPCG(3, 4))
	const level = 0.002
	spared := 0
	for i := range 60 {
		terms := noise(chance, 6, 20, float64(i%4)*0.2)
		f := NewFlips(20, 1<<15, uint64(i))
		all, some := f.StepDown(terms, 0), f.StepDown(terms, level)
		if some.Count < f.Count() {
			spared++
		}
		for c := range terms {
			if (all.Greater[c] <= level) != (some.Greater[c] <= level) || (all.Less[c] <= level) != (some.Less[c] <= level) {
				t.Errorf("%d: p = %v and %v, of all assignments %v and %v", i, some.Greater[c], some.Less[c], all.Greater[c], all.Less[c])
			}
			if d := some.Greater[c] - all.Greater[c]; math.Abs(d) > 0.03 {
				t.Errorf("%d: p = %v, of all assignments %v", i, some.Greater[c], all.Greater[c])
			}
		}
	}
	if spared == 0 || spared == 60 {
		t.Errorf("%d of 60 stopped early", spared)
	}
}

// TestStepDownKeepsItsLevel draws null differences of wildly different scale, which are correlated over statistics, and counts false alarms.
func TestStepDownKeepsItsLevel(t *testing.T) {
	chance := rand.New(rand.NewPCG(5, 6))
	const level, gates = 0.05, 2000
	alarms := 0
	f := NewFlips(10, 1024, 0)
	for range gates {
		terms := make([][]float64, 8)
		for range 10 {
			common := chance.NormFloat64() * math.Exp(2*chance.NormFloat64())
			for c := range terms {
				terms[c] = append(terms[c], common+chance.NormFloat64())
			}
		}
		if slices.Min(f.StepDown(terms, 0).Greater) <= level {
			alarms++
		}
	}
	if _, high := ClopperPearson(int64(alarms), gates, 0.001); high < level || alarms > 140 {
		t.Errorf("%d false alarms of %d at a level of 5 %%", alarms, gates)
	}
}

func BenchmarkStepDown(b *testing.B) {
	terms := noise(rand.New(rand.NewPCG(1, 1)), 21, 40, 0.5)
	f := NewFlips(40, 1<<16, 1)
	for b.Loop() {
		f.StepDown(terms, 0.001)
	}
}
