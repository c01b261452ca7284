package stats

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"gonum.org/v1/gonum/optimize"
)

// USL is Gunther's Universal Scalability Law: with n at once, the throughput is Lambda·n / (1 + Sigma·(n−1) + Kappa·n·(n−1)).
// (Gunther, Guerrilla Capacity Planning, 2007, chapter 4.)
type USL struct {
	Lambda float64 // throughput of one alone, per second, above 0
	Sigma  float64 // contention: share of the work that waits for its turn, 0 or more
	Kappa  float64 // coherence: what it costs for each to agree with each other, 0 or more
}

// Throughput is what the law has with n at once, per second.
func (u USL) Throughput(n float64) float64 {
	return u.Lambda * n / (1 + u.Sigma*(n-1) + u.Kappa*n*(n-1))
}

// Peak is the concurrency beyond which throughput falls, infinite where it never does.
func (u USL) Peak() float64 {
	if u.Kappa == 0 {
		return math.Inf(1)
	}
	return math.Sqrt(max(1-u.Sigma, 0) / u.Kappa)
}

// Load is a throughput measured with a number at once.
type Load struct {
	N          float64 // 1 or more
	Throughput float64 // per second, above 0
}

// Interval is where a figure lies with a probability.
type Interval struct{ Low, High float64 }

// Holds reports whether v lies inside.
func (i Interval) Holds(v float64) bool { return i.Low <= v && v <= i.High }

// USLFit is a law fitted to measurements, with the intervals of its coefficients, which hold them with a probability of 95 %.
type USLFit struct {
	USL
	LambdaIn, SigmaIn, KappaIn, PeakIn Interval
	R2                                 float64 // share of the throughputs' variance that the law explains
}

// ErrFewLoads is wrapped by FitUSL's error when there are too few measurements to tell three coefficients.
var ErrFewLoads = errors.New("too few loads")

// uslDraws is the number of bootstrap samples behind an interval.
const uslDraws = 200

// FitUSL fits the law by least squares, with no coefficient below 0. The intervals are those of a bootstrap of residuals, relative ones, since
// what varies from one repeat to the next varies with the throughput (Davison and Hinkley, Bootstrap Methods and their Application, 1997,
// section 7.3): so each load may be measured once or several times. The same seed gives the same intervals. Loads at four numbers or more are
// needed, or else the error wraps ErrFewLoads.
func FitUSL(loads []Load, seed uint64) (*USLFit, error) {
	var at []float64
	for _, l := range loads {
		if !(l.N >= 1 && l.Throughput > 0) || math.IsInf(l.N, 0) || math.IsInf(l.Throughput, 0) {
			return nil, fmt.Errorf("a throughput of %v with %v at once cannot be fitted", l.Throughput, l.N)
		}
		if !slices.Contains(at, l.N) {
			at = append(at, l.N)
		}
	}
	if len(at) < 4 {
		return nil, fmt.Errorf("%w: %d different numbers at once, at least 4 are needed", ErrFewLoads, len(at))
	}
	u, err := leastSquares(loads, guess(loads))
	if err != nil {
		return nil, err
	}
	fit := &USLFit{USL: u, R2: u.explained(loads)}
	return fit, fit.bootstrap(loads, seed)
}

// guess is a law to start from: no contention, and a peak about where the most was measured.
func guess(loads []Load) USL {
	top := slices.MaxFunc(loads, func(a, b Load) int { return int(math.Copysign(1, a.Throughput-b.Throughput)) })
	first := slices.MinFunc(loads, func(a, b Load) int { return int(math.Copysign(1, a.N-b.N)) })
	return USL{Lambda: first.Throughput / first.N, Sigma: 0.05, Kappa: 0.5 / (top.N * top.N)}
}

// leastSquares starts from a law. It searches logarithms and square roots, so that no coefficient gets below 0.
func leastSquares(loads []Load, start USL) (USL, error) {
	of := func(x []float64) USL { return USL{math.Exp(x[0]), x[1] * x[1], x[2] * x[2]} }
	problem := optimize.Problem{Func: func(x []float64) (sum float64) {
		u := of(x)
		for _, l := range loads {
			off := (u.Throughput(l.N) - l.Throughput) / start.Lambda
			sum += off * off
		}
		return sum
	}}
	x := []float64{math.Log(start.Lambda), math.Sqrt(max(start.Sigma, 1e-6)), math.Sqrt(max(start.Kappa, 1e-9))}
	for range 2 { // a simplex that has collapsed is laid out anew
		r, err := optimize.Minimize(problem, x, &optimize.Settings{Converger: &optimize.FunctionConverge{Absolute: 1e-9, Iterations: 30}, MajorIterations: 1000}, &optimize.NelderMead{SimplexSize: 0.02})
		if err != nil {
			return USL{}, fmt.Errorf("fit of the scalability law: %v", err)
		}
		x = r.X
	}
	return of(x), nil
}

// explained is the share of variance.
func (u USL) explained(loads []Load) float64 {
	mean := 0.0
	for _, l := range loads {
		mean += l.Throughput / float64(len(loads))
	}
	left, all := 0.0, 0.0
	for _, l := range loads {
		left += (l.Throughput - u.Throughput(l.N)) * (l.Throughput - u.Throughput(l.N))
		all += (l.Throughput - mean) * (l.Throughput - mean)
	}
	return 1 - left/all
}

// bootstrap fits made-up measurements, each what the law says with the residual of another, and takes their coefficients' percentiles.
func (f *USLFit) bootstrap(loads []Load, seed uint64) error {
	n := float64(len(loads))
	grow := math.Sqrt(n / max(n-3, 1)) // what the fit has taken from the residuals
	residuals := make([]float64, len(loads))
	for i, l := range loads {
		residuals[i] = grow * (l.Throughput/f.Throughput(l.N) - 1)
	}
	chance := rand.New(rand.NewPCG(seed, uint64(len(loads))))
	drawn := make([][]float64, 4)
	made := make([]Load, len(loads))
	for range uslDraws {
		for i, l := range loads {
			made[i] = Load{l.N, f.Throughput(l.N) * max(1+residuals[chance.IntN(len(residuals))], 0.01)}
		}
		u, err := leastSquares(made, f.USL)
		if err != nil {
			return err
		}
		for k, v := range []float64{u.Lambda, u.Sigma, u.Kappa, u.Peak()} {
			drawn[k] = append(drawn[k], v)
		}
	}
	for k, to := range []*Interval{&f.LambdaIn, &f.SigmaIn, &f.KappaIn, &f.PeakIn} {
		slices.Sort(drawn[k])
		*to = Interval{drawn[k][uslDraws/40], drawn[k][uslDraws-1-uslDraws/40]}
	}
	return nil
}
