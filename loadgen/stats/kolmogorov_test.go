package stats

import (
	"math"
	"math/rand/v2"
	"testing"
)

func uniform(x float64) float64 { return min(max(x, 0), 1) }

// shifted is an evenly spread sample of n whose largest distance from the uniform distribution is d.
func shifted(n int, d float64) []float64 {
	out := make([]float64, n)
	for i := range out {
		out[i] = float64(i+1)/float64(n) - d
	}
	return out
}

// TestKolmogorovSmirnovTable compares with the exact critical values of the two-sided test in L. H. Miller, "Table of Percentage Points of
// Kolmogorov Statistics", Journal of the American Statistical Association 51 (1956), pages 111 to 121.
func TestKolmogorovSmirnovTable(t *testing.T) {
	for n, row := range map[int]map[float64]float64{
		10:  {0.10: 0.36866, 0.05: 0.40925, 0.02: 0.45662, 0.01: 0.48893},
		20:  {0.10: 0.26473, 0.05: 0.29408, 0.02: 0.32866, 0.01: 0.35241},
		40:  {0.10: 0.18913, 0.05: 0.21012, 0.02: 0.23494, 0.01: 0.25205},
		100: {0.10: 0.12067, 0.05: 0.13403, 0.02: 0.14987, 0.01: 0.16081},
	} {
		for alpha, critical := range row {
			d, p := KolmogorovSmirnov(shifted(n, critical), uniform)
			if math.Abs(d-critical) > 1e-12 || math.Abs(p-alpha) > 0.1*alpha {
				t.Errorf("n %d: distance %v, want %v; chance %v, want %v", n, d, critical, p, alpha)
			}
		}
	}
}

// TestKolmogorovSmirnovCounts sees the test refuse as often as its level says where the distribution is right, and always where it is wrong.
func TestKolmogorovSmirnovCounts(t *testing.T) {
	chance := rand.New(rand.NewPCG(1, 2))
	right, wrong := 0, 0
	for range 2000 {
		sample := make([]float64, 500)
		for i := range sample {
			sample[i] = chance.Float64()
		}
		if _, p := KolmogorovSmirnov(sample, uniform); p < 0.05 {
			right++
		}
		if _, p := KolmogorovSmirnov(sample, func(x float64) float64 { return uniform(x * x) }); p < 0.01 {
			wrong++
		}
	}
	if right < 70 || right > 130 || wrong != 2000 {
		t.Errorf("of 2000 samples %d fail at 5 %% and %d against another distribution, want about 100 and all", right, wrong)
	}
}

func TestKolmogorovSmirnovEdges(t *testing.T) {
	if d, p := KolmogorovSmirnov(nil, uniform); d != 0 || p != 1 {
		t.Errorf("nothing: %v, %v", d, p)
	}
	sample := []float64{0.9, 0.1}
	if d, _ := KolmogorovSmirnov(sample, uniform); math.Abs(d-0.4) > 1e-12 || sample[0] != 0.9 {
		t.Errorf("distance %v, want 0.4; sample %v", d, sample)
	}
	if p := kolmogorovTail(1.6276); math.Abs(p-0.01) > 1e-5 {
		t.Errorf("the limit's 1 %% point gives %v", p)
	}
}
