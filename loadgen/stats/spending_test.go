package stats

import (
	"math"
	"testing"

	"gonum.org/v1/gonum/stat/distuv"
)

func TestSpend(t *testing.T) {
	for _, gamma := range []float64{-4, 0, 1, 3.5} {
		if a, b := Spend(0.005, 0, gamma), Spend(0.005, 1, gamma); a != 0 || math.Abs(b-0.005) > 1e-15 {
			t.Errorf("gamma %v spends %v at once and %v in all", gamma, a, b)
		}
	}
	if a := Spend(0.05, 0.25, 0); a != 0.0125 {
		t.Errorf("evenly: %v", a)
	}
	if a := Spend(0.05, 2, 1); math.Abs(a-0.05) > 1e-15 {
		t.Errorf("beyond the end: %v", a)
	}
}

// TestSpendBoundaries puts spending functions through the numerical integration of P. Armitage, C. K. McPherson and B. C. Rowe (Journal of the Royal
// Statistical Society A 132, 1969) and finds the boundaries that are published for them. The first two rows are Lan and DeMets's own functions, of which
// the boundaries are in D. M. Reboussin, D. L. DeMets, K. Kim and K. K. G. Lan, Controlled Clinical Trials 21 (2000), and check the integration; the
// third is Spend, with the boundaries of the standard design of R's package gsDesign.
func TestSpendBoundaries(t *testing.T) {
	normal := distuv.UnitNormal
	fleming := func(alpha, t float64) float64 { return 2 * normal.Survival(normal.Quantile(1-alpha/2)/math.Sqrt(t)) }
	pocock := func(alpha, t float64) float64 { return alpha * math.Log1p((math.E-1)*t) }
	for _, tt := range []struct {
		name  string
		spend func(alpha, t float64) float64
		want  []float64
	}{
		{"O'Brien and Fleming's kind", fleming, []float64{4.8769, 3.3569, 2.6803, 2.2898, 2.0310}},
		{"Pocock's kind", pocock, []float64{2.4380, 2.4268, 2.4101, 2.3966, 2.3859}},
		{"Hwang, Shih and DeCani, -4", func(alpha, t float64) float64 { return Spend(alpha, t, -4) }, []float64{3.0107, 2.5465, 1.9992}},
	} {
		got := boundaries(tt.spend, 0.025, len(tt.want))
		for k, want := range tt.want {
			if math.Abs(got[k]-want) > 0.006 {
				t.Errorf("%s: boundaries %.4f, want %v", tt.name, got, tt.want)
				break
			}
		}
	}
}

// boundaries are the values that a standard normal statistic has to exceed at equally spaced looks.
func boundaries(spend func(alpha, t float64) float64, alpha float64, looks int) []float64 {
	const step, half = 0.02, 400
	sd := 1 / math.Sqrt(float64(looks)) // of an increment
	move := make([]float64, 4*half+1)   // its chance by steps
	for i := range move {
		d := float64(i-2*half) * step / sd
		move[i] = step * math.Exp(-d*d/2) / (sd * math.Sqrt(2*math.Pi))
	}
	chance := make([]float64, 2*half+1) // of the sum of increments
	chance[half] = 1
	var out []float64
	spent := 0.0
	for k := 1; k <= looks; k++ {
		next := make([]float64, len(chance))
		for i := range next {
			for j, p := range chance {
				next[i] += p * move[i-j+2*half]
			}
		}
		t := float64(k) / float64(looks)
		due := spend(alpha, t) - spent
		spent += due
		i, tail := len(next)-1, 0.0
		for ; tail+next[i] < due; i-- {
			tail += next[i]
			next[i] = 0
		}
		inside := (due - tail) / next[i]
		next[i] *= 1 - inside
		out = append(out, (float64(i-half)+0.5-inside)*step/math.Sqrt(t))
		chance = next
	}
	return out
}
