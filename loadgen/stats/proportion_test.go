package stats

import (
	"math"
	"testing"
)

// TestFisherExact has the lady tasting tea (R. A. Fisher, The Design of Experiments, 1935, chapter 2): with all of four and four cups told apart 1/70, with
// one of each kind mistaken 17/70. The convictions of twins are Fisher's of 1962, as in the manual of R's fisher.test: 0.0004652.
func TestFisherExact(t *testing.T) {
	for _, tt := range []struct {
		a, na, b, nb int64
		want         float64
	}{
		{4, 4, 0, 4, 1.0 / 70}, {3, 4, 1, 4, 17.0 / 70}, {10, 13, 2, 17, 0.0004652},
		{0, 10, 0, 10, 1}, {0, 10, 5, 10, 1}, {5, 5, 5, 5, 1}, {0, 0, 0, 0, 1},
	} {
		if got := FisherExact(tt.a, tt.na, tt.b, tt.nb); math.Abs(got-tt.want) > 5e-8 {
			t.Errorf("%+v: p = %v, want %v", tt, got, tt.want)
		}
	}
	if p := FisherExact(300, 30_000, 200, 30_000); p < 1e-7 || p > 1e-5 {
		t.Errorf("of many: p = %v, the normal approximation has about 3e-6", p)
	}
}

// TestClopperPearson compares with figures in closed form and with R's binom.test.
func TestClopperPearson(t *testing.T) {
	for _, tt := range []struct {
		k, n      int64
		low, high float64
	}{
		{0, 10, 0, 1 - math.Pow(0.025, 0.1)}, {10, 10, math.Pow(0.025, 0.1), 1}, {5, 10, 0.1871, 0.8129}, {1, 20, 0.001265, 0.2487}, {0, 0, 0, 1},
		{682, 925, 0.7076683, 0.7654066}, // Mendel's peas, the example of binom.test's manual
	} {
		low, high := ClopperPearson(tt.k, tt.n, 0.025)
		if math.Abs(low-tt.low) > 5e-5 || math.Abs(high-tt.high) > 5e-5 {
			t.Errorf("%d of %d: %v to %v, want %v to %v", tt.k, tt.n, low, high, tt.low, tt.high)
		}
	}
}

// TestShareDifference holds Newcombe's interval of 56/70 − 48/80 by method 10, 0.0524 to 0.3339, and is not much wider.
func TestShareDifference(t *testing.T) {
	estimate, low, high := ShareDifference(56, 70, 48, 80, 0.025)
	if math.Abs(estimate-0.2) > 1e-12 || low > 0.0524 || low < 0.03 || high < 0.3339 || high > 0.36 {
		t.Errorf("%v, %v to %v", estimate, low, high)
	}
	if _, low, high := ShareDifference(0, 0, 1, 5, 0.025); low != -1 || high != 1 {
		t.Errorf("of nothing: %v to %v", low, high)
	}
	if e, low, high := ShareDifference(0, 15_000, 0, 15_000, 0.005); e != 0 || high > 0.0004 || low != -high {
		t.Errorf("without events: %v, %v to %v", e, low, high)
	}
}
