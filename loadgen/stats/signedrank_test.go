package stats

import (
	"math"
	"testing"
)

// TestSignedRankTable compares with Wilcoxon's signed-rank distribution as tabled in M. Hollander and D. A. Wolfe, Nonparametric Statistical Methods,
// table A.4: the chance that the statistic is at least x.
func TestSignedRankTable(t *testing.T) {
	for _, tt := range []struct {
		n, x int
		want float64
	}{
		{3, 6, 0.125}, {5, 15, 0.031}, {5, 14, 0.062}, {7, 26, 0.023}, {9, 40, 0.020}, {10, 45, 0.042}, {10, 47, 0.024}, {10, 50, 0.010}, {10, 52, 0.005},
		{12, 61, 0.046}, {15, 90, 0.047}, {15, 95, 0.024},
	} {
		p := 0.0
		for _, chance := range SignedRank(tt.n)[tt.x:] {
			p += chance
		}
		if math.Abs(p-tt.want) > 0.0005001 {
			t.Errorf("n %d: chance of at least %d = %.4f, want %v", tt.n, tt.x, p, tt.want)
		}
	}
	sum := 0.0
	for _, chance := range SignedRank(200) {
		sum += chance
	}
	if math.Abs(sum-1) > 1e-12 {
		t.Errorf("chances for 200 add up to %v", sum)
	}
}

// TestHodgesLehmannExample is examples 3.1, 3.3 and 3.4 of Hollander and Wolfe: nine patients' depression before and after a tranquilliser.
func TestHodgesLehmannExample(t *testing.T) {
	before := []float64{1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30}
	after := []float64{0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29}
	diff := make([]float64, len(before))
	for i := range diff {
		diff[i] = after[i] - before[i]
	}
	s := HodgesLehmann(diff, 0.02)
	for _, v := range []struct {
		name      string
		got, want float64
	}{{"estimate", s.Estimate, -0.46}, {"low", s.Low, -0.786}, {"high", s.High, -0.010}, {"confidence", s.Confidence, 0.961}} {
		if math.Abs(v.got-v.want) > 0.0005 {
			t.Errorf("%s %v, want %v", v.name, v.got, v.want)
		}
	}
}

func TestHodgesLehmannEdges(t *testing.T) {
	if s := HodgesLehmann(nil, 0.01); !math.IsNaN(s.Estimate) || s.Confidence != 0 {
		t.Errorf("of nothing: %+v", s)
	}
	if s := HodgesLehmann([]float64{1, 2, 3}, 0.01); s.Estimate != 2 || s.Low != 1 || s.High != 3 || s.Confidence != 0 {
		t.Errorf("of too little for an interval: %+v", s)
	}
	if s := HodgesLehmann([]float64{1, 2, 3, 4, 5, 6, 7, 8}, 0.005); s.Confidence != 1-2.0/256 || s.Low != 1 || s.High != 8 {
		t.Errorf("of just enough: %+v", s)
	}
	if s := HodgesLehmann([]float64{4}, 0.5); s.Estimate != 4 || s.Low != 4 || s.High != 4 {
		t.Errorf("of one: %+v", s)
	}
}

// TestHodgesLehmannShrugs sees one wild value move the estimate little.
func TestHodgesLehmannShrugs(t *testing.T) {
	values := []float64{0.01, -0.02, 0.005, 0.015, -0.01, 0, 0.02, -0.005, 0.01, 5}
	if s := HodgesLehmann(values, 0.01); math.Abs(s.Estimate) > 0.02 {
		t.Errorf("estimate %v", s.Estimate)
	}
}
