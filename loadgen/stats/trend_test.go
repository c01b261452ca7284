package stats

import (
	"math"
	"math/rand/v2"
	"testing"
)

// TestTheilSenPublished has the cloud seeding of Hollander and Wolfe, Nonparametric Statistical Methods, 2nd edition, example 9.1: double ratios in
// five years, whose slope is −0.056, and Gilbert's rule for the ranks of the interval's ends.
func TestTheilSenPublished(t *testing.T) {
	x, y := []float64{1, 2, 3, 4, 5}, []float64{1.26, 1.27, 1.12, 1.16, 1.03}
	s, ok := TheilSen(x, y, 0.9)
	if !ok || math.Abs(s.Slope+0.05625) > 1e-12 || s.Points != 5 {
		t.Fatalf("%+v", s)
	}
	// S has the variance 5·4·15/18, so at 90 % the ends are the slopes of rank (10−6.71)/2, rounded outwards: the first and the last.
	slopes := []float64{-0.15, -0.13, -0.08, -0.07, -0.0575, -0.055, -0.045, -1. / 30, 0.01, 0.04}
	if low, high := senEnds(slopes, 1.6449*math.Sqrt(kendallVariance(y))); low != -0.15 || high != 0.04 {
		t.Errorf("Sen's interval is %g to %g", low, high)
	}
	if low, high := senEnds(slopes, 3); low != -0.08 || high != -1./30 {
		t.Errorf("Sen's interval is %g to %g", low, high)
	}
	if s.Low > -0.149999 || s.High < 0.039999 || math.IsNaN(s.Low+s.High) {
		t.Errorf("interval %g to %g", s.Low, s.High)
	}
}

// TestLeastSquaresError has the standard error of the slope of Anscombe's first set, "Graphs in Statistical Analysis", The American Statistician 27,
// 1973: 0.118.
func TestLeastSquaresError(t *testing.T) {
	x := []float64{10, 8, 13, 9, 11, 14, 6, 4, 12, 7, 5}
	y := []float64{8.04, 6.95, 7.58, 8.81, 8.33, 9.96, 7.24, 4.26, 10.84, 4.82, 5.68}
	if _, spread := (Slope{Slope: 0.50009}).leaves(x, y); math.Abs(spread-0.1179) > 0.0001 {
		t.Errorf("standard error %g", spread)
	}
}

func TestTheilSenEdges(t *testing.T) {
	x := make([]float64, 40)
	flat, line, wild := make([]float64, 40), make([]float64, 40), make([]float64, 40)
	for i := range x {
		x[i], flat[i], line[i] = float64(i), 7, 3*float64(i)
		wild[i] = line[i]
		if i%5 == 2 {
			wild[i] = 1e6
		}
	}
	if s, ok := TheilSen(x, flat, 0.99); !ok || s.Slope != 0 || math.Abs(s.Low) > 1e-12 || math.Abs(s.High) > 1e-12 || s.Inflation != 1 {
		t.Errorf("flat: %+v", s)
	}
	if s, _ := TheilSen(x, line, 0.99); s.Slope != 3 || math.Abs(s.Low-3) > 1e-12 || math.Abs(s.High-3) > 1e-12 {
		t.Errorf("line: %+v", s)
	}
	if s, _ := TheilSen(x, wild, 0.99); s.Slope != 3 {
		t.Errorf("a fifth of the values are wild: %+v", s)
	}
	rare := make([]float64, 40) // a level that shifts by little, and a few spikes: the shift is correlated, the spikes are not
	for i := range rare {
		rare[i] = 34 + float64(i/20)
		if i%9 == 4 {
			rare[i] += 15
		}
	}
	if s, _ := TheilSen(x, rare, 0.99); s.High > 1 || s.Low < -1 {
		t.Errorf("spikes over a step: %+v", s)
	}
	step := make([]float64, 40)
	for i := 36; i < 40; i++ {
		step[i] = 10
	}
	if s, _ := TheilSen(x, step, 0.99); s.Slope != 0 || s.High < 10./40 {
		t.Errorf("a step near the end may be the first of many: %+v", s)
	}
	if _, ok := TheilSen(x[:2], line[:2], 0.99); ok {
		t.Error("two values have a slope")
	}
}

// TestKendallVariance has the values of Gilbert's formula without and with ties: two, and three alike.
func TestKendallVariance(t *testing.T) {
	for want, y := range map[float64][]float64{
		125:               {1, 2, 3, 4, 5, 6, 7, 8, 9, 10},
		125 - 1:           {1, 1, 3, 4, 5, 6, 7, 8, 9, 10},
		125 - 4.0 + 1.0/3: {1, 2, 3, 3, 3, 6, 7, 8, 9, 10},
	} {
		if got := kendallVariance(y); math.Abs(got-want) > 1e-9 {
			t.Errorf("%v: %g, want %g", y, got, want)
		}
	}
}

// TestTheilSenCovers draws series with a known slope, and noise that is independent, heavy-tailed, or alike from one value to the next.
func TestTheilSenCovers(t *testing.T) {
	const draws, n, slope = 400, 50, 0.02
	for _, c := range []struct {
		name          string
		memory, cover float64
		heavy         bool
	}{{"independent", 0, 0.985, false}, {"heavy tails", 0, 0.985, true}, {"autoregressive, 0.3", 0.3, 0.975, false}, {"autoregressive, 0.6", 0.6, 0.965, false}, {"autoregressive, 0.9", 0.9, 0.96, false}, {"random walk", 1, 0.88, false}} {
		rnd := rand.New(rand.NewPCG(1, 2))
		held := 0
		x, y := make([]float64, n), make([]float64, n)
		for range draws {
			noise := 0.0
			for i := range y {
				step := rnd.NormFloat64()
				if c.heavy {
					step /= math.Sqrt(rnd.ExpFloat64() + 0.01)
				}
				noise = c.memory*noise + step
				x[i], y[i] = float64(i), slope*float64(i)+noise
			}
			if s, _ := TheilSen(x, y, 0.99); s.Low <= slope && slope <= s.High {
				held++
			}
		}
		t.Logf("%s: %.1f %%", c.name, 100*float64(held)/draws)
		if share := float64(held) / draws; share < c.cover {
			t.Errorf("%s: the interval holds the slope in %.1f %% of the draws, want %.1f %%", c.name, 100*share, 100*c.cover)
		}
	}
}
