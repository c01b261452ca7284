package stats

import (
	"errors"
	"math"
	"math/rand/v2"
	"testing"
)

// TestUSLReproducesPublishedFit fits the measurements of SPEC SDM91 that the R package usl brings as specsdm91. Its vignette (Möding, "Analyze
// System Scalability in R with the Universal Scalability Law") has the coefficients.
func TestUSLReproducesPublishedFit(t *testing.T) {
	loads := []Load{{1, 64.9}, {18, 995.9}, {36, 1652.4}, {72, 1853.2}, {108, 1828.9}, {144, 1775.0}, {216, 1702.2}}
	fit, err := FitUSL(loads, 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v, peak %.4f", *fit, fit.Peak())
	for _, c := range []struct {
		name            string
		got, want, near float64
	}{
		{"lambda", fit.Lambda, 89.9952330, 0.001}, {"sigma", fit.Sigma, 0.0277298490, 0.001}, {"kappa", fit.Kappa, 0.0001043606, 0.001}, {"peak", fit.Peak(), 96.52, 0.001},
	} {
		if math.Abs(c.got/c.want-1) > c.near {
			t.Errorf("%s is %v, published %v", c.name, c.got, c.want)
		}
	}
}

func TestUSLRecoversCoefficients(t *testing.T) { recoverUSL(t, 20, 0.8) }

// recoverUSL draws measurements with 5 % noise, twice at each number, and counts how often the intervals hold the truth.
func recoverUSL(t *testing.T, draws int, least float64) {
	truth := USL{Lambda: 900, Sigma: 0.06, Kappa: 0.0008}
	chance := rand.New(rand.NewPCG(5, 5))
	held := map[string]int{}
	for draw := range draws {
		var loads []Load
		for _, n := range []float64{1, 2, 4, 8, 16, 32, 64} {
			for range 2 {
				loads = append(loads, Load{n, truth.Throughput(n) * (1 + 0.05*chance.NormFloat64())})
			}
		}
		fit, err := FitUSL(loads, uint64(draw))
		if err != nil {
			t.Fatal(err)
		}
		for name, ok := range map[string]bool{
			"lambda": fit.LambdaIn.Holds(truth.Lambda), "sigma": fit.SigmaIn.Holds(truth.Sigma),
			"kappa": fit.KappaIn.Holds(truth.Kappa), "peak": fit.PeakIn.Holds(truth.Peak()),
		} {
			if ok {
				held[name]++
			}
		}
	}
	t.Log(held)
	for _, name := range []string{"lambda", "sigma", "kappa", "peak"} {
		if float64(held[name]) < least*float64(draws) {
			t.Errorf("the interval of %s held the truth in %d of %d draws", name, held[name], draws)
		}
	}
}

func TestUSLNeedsFourLoads(t *testing.T) {
	if _, err := FitUSL([]Load{{1, 10}, {2, 19}, {4, 30}, {4, 31}}, 1); !errors.Is(err, ErrFewLoads) {
		t.Errorf("three numbers at once are fitted: %v", err)
	}
	for _, wrong := range []Load{{0, 1}, {1, 0}, {math.NaN(), 1}, {1, math.Inf(1)}} {
		if _, err := FitUSL([]Load{wrong, {1, 10}, {2, 19}, {4, 30}, {8, 40}}, 1); err == nil || errors.Is(err, ErrFewLoads) {
			t.Errorf("%v is fitted: %v", wrong, err)
		}
	}
}

// TestUSLWithoutCoherenceHasNoPeak is Amdahl's law.
func TestUSLWithoutCoherenceHasNoPeak(t *testing.T) {
	u := USL{Lambda: 100, Sigma: 0.1}
	if p := u.Peak(); !math.IsInf(p, 1) {
		t.Errorf("its peak is at %v", p)
	}
	var loads []Load
	for _, n := range []float64{1, 2, 4, 8, 16, 32} {
		loads = append(loads, Load{n, u.Throughput(n)})
	}
	fit, err := FitUSL(loads, 1)
	if err != nil || fit.Kappa > 1e-6 || math.Abs(fit.Sigma-0.1) > 1e-3 || math.Abs(fit.Lambda-100) > 0.1 {
		t.Errorf("fitted %+v: %v", fit, err)
	}
}
