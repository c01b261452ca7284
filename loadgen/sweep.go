package loadgen

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen/stats"
)

// SweepPoint is what a closed loop of N virtual users measured.
type SweepPoint struct {
	N          int
	Throughput float64 // successes of the first step per second
	Little     float64 // throughput times mean latency over N: 1 by Little's law, less where users wait for something that is not measured
	Mean       time.Duration
	P50        time.Duration // 0 where too little was measured, as P95 and P99
	P95        time.Duration
	P99        time.Duration
	Errors     float64 // share of calls
	Generator  bool    // the generator was not to be believed
	Why        string  // of that
	Resources  TrialResources
}

// LittleOff is by how much SweepPoint.Little may be off 1 in a point that is to be believed.
const LittleOff = 0.05

// PointOf reads a point from a closed run.
func PointOf(n int, r *Result) SweepPoint {
	p := SweepPoint{N: n}
	if len(r.Cells) == 0 {
		return p
	}
	c := &r.Cells[0]
	p.Throughput, p.Mean = c.AchievedRate, c.Latency.Mean()
	for q, to := range map[float64]*time.Duration{0.5: &p.P50, 0.95: &p.P95, 0.99: &p.P99} {
		*to, _ = c.Latency.Percentile(q)
	}
	for i := range r.Cells { // an iteration has all steps, one after another
		p.Little += r.Cells[i].AchievedRate * r.Cells[i].Latency.Mean().Seconds() / float64(n)
		p.Errors = max(p.Errors, float64(r.Cells[i].errorCount())/float64(max(1, r.Cells[i].Requests)))
	}
	if p.Generator = !r.Generator.Valid; p.Generator {
		p.Why = r.Generator.Why[0]
	}
	p.Resources = trialResources(c, r)
	return p
}

// Sweep is a scalability law fitted to points.
type Sweep struct {
	Points []SweepPoint // of each N one for every repeat
	Fit    *stats.USLFit
}

// FitSweep fits the Universal Scalability Law to points at four numbers or more. The same seed gives the same intervals.
func FitSweep(points []SweepPoint, seed uint64) (*Sweep, error) {
	points = slices.Clone(points)
	slices.SortStableFunc(points, func(a, b SweepPoint) int { return cmp.Compare(a.N, b.N) })
	var loads []stats.Load
	for _, p := range points {
		if p.Throughput <= 0 {
			return nil, fmt.Errorf("with %d at once no call succeeded", p.N)
		}
		loads = append(loads, stats.Load{N: float64(p.N), Throughput: p.Throughput})
	}
	fit, err := stats.FitUSL(loads, seed)
	return &Sweep{points, fit}, err
}

// Level is the points of one N taken together.
type Level struct {
	N          int
	Throughput float64 // median of the repeats, as all others
	Fitted     float64 // by the law
	Little     float64
	Mean       time.Duration
	P50        time.Duration
	P95        time.Duration
	P99        time.Duration
	ServerCPU  float64 // percent of one CPU
}

// Levels takes repeats together, by N.
func (s *Sweep) Levels() (out []Level) {
	for i := 0; i < len(s.Points); {
		j := i
		for j < len(s.Points) && s.Points[j].N == s.Points[i].N {
			j++
		}
		same := s.Points[i:j]
		of := func(f func(SweepPoint) float64) float64 { return medianOf(same, f) }
		out = append(out, Level{
			N: same[0].N, Throughput: of(func(p SweepPoint) float64 { return p.Throughput }), Fitted: s.Fit.Throughput(float64(same[0].N)),
			Little: of(func(p SweepPoint) float64 { return p.Little }), Mean: time.Duration(of(func(p SweepPoint) float64 { return float64(p.Mean) })),
			P50: time.Duration(of(func(p SweepPoint) float64 { return float64(p.P50) })), P95: time.Duration(of(func(p SweepPoint) float64 { return float64(p.P95) })),
			P99: time.Duration(of(func(p SweepPoint) float64 { return float64(p.P99) })), ServerCPU: of(func(p SweepPoint) float64 { return p.Resources.ServerCPU }),
		})
		i = j
	}
	return out
}

func medianOf[T any](list []T, f func(T) float64) float64 {
	var v []float64
	for _, x := range list {
		v = append(v, f(x))
	}
	slices.Sort(v)
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

// What advice is drawn from.
const (
	enoughShare = 0.95 // of the highest throughput, which a concurrency reaches that is enough
	goodFit     = 0.95 // share of variance that the law explains where it may be read
	seenShare   = 0.01 // of the throughput at the highest N, which a coefficient costs that is worth a word
)

// Enough is the lowest N that reaches 95 % of the highest throughput.
func (s *Sweep) Enough() Level {
	levels := s.Levels()
	most := slices.MaxFunc(levels, func(a, b Level) int { return cmp.Compare(a.Throughput, b.Throughput) })
	return levels[slices.IndexFunc(levels, func(l Level) bool { return l.Throughput >= enoughShare*most.Throughput })]
}

// Advice says in sentences, without their full stops, what the points and the law mean for whoever sets the number of clients.
func (s *Sweep) Advice() (out []string) {
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	levels, enough := s.Levels(), s.Enough()
	last := levels[len(levels)-1]
	if enough.N == last.N {
		say("throughput still grew with %d at once, the most that was tried: sweep further", last.N)
	} else {
		say("%d at once reach %.4g/s with a p95 of %s: let no more calls be in flight, since beyond them latency grows and throughput hardly does", enough.N, enough.Throughput, briefly(enough.P95))
	}
	n := float64(last.N)
	contention, coherence := s.Fit.Sigma*(n-1), s.Fit.Kappa*n*(n-1)
	if contention > seenShare && s.Fit.SigmaIn.Low*(n-1) > seenShare/2 {
		say("contention: %.2g of each call's work waits for its turn (%.2g to %.2g), so that without end of clients there were %.4g/s at most: look for what one call at a time uses, such as a bound on connections, the target's workers or the CPUs",
			s.Fit.Sigma, s.Fit.SigmaIn.Low, s.Fit.SigmaIn.High, s.Fit.Lambda/s.Fit.Sigma)
	}
	switch peak := s.Fit.Peak(); {
	case coherence <= seenShare || s.Fit.KappaIn.Low*n*(n-1) <= seenShare/2:
		say("coherence: none is to be seen: throughput does not fall up to %d at once", last.N)
	case peak > 2*n:
		say("coherence: %.2g (%.2g to %.2g), with which throughput would peak beyond what was tried", s.Fit.Kappa, s.Fit.KappaIn.Low, s.Fit.KappaIn.High)
	default:
		say("coherence: %.2g (%.2g to %.2g), with which throughput peaks at %.0f at once (%.0f to %.0f) and falls beyond: bound what is in flight below that",
			s.Fit.Kappa, s.Fit.KappaIn.Low, s.Fit.KappaIn.High, peak, s.Fit.PeakIn.Low, s.Fit.PeakIn.High)
	}
	if s.Fit.R2 < goodFit {
		say("the law explains %.0f %% of what was measured: a hard limit, such as a fixed number of workers, bends the curve more sharply than the law can; trust the table", 100*s.Fit.R2)
	}
	return append(out, s.doubts(levels)...)
}

// doubts says which points are not to be believed.
func (s *Sweep) doubts(levels []Level) (out []string) {
	for _, l := range levels {
		if math.Abs(l.Little-1) > LittleOff {
			out = append(out, fmt.Sprintf("with %d at once throughput times latency is %.2f of that number, where Little's law wants 1: the clients spent the rest elsewhere, such as waiting for a CPU of their own", l.N, l.Little))
		}
	}
	for _, p := range s.Points {
		if p.Generator {
			out = append(out, fmt.Sprintf("with %d at once the load generator is not to be believed: %s", p.N, p.Why))
			break
		}
	}
	for _, p := range s.Points {
		if p.Errors > errorsAllowed {
			out = append(out, fmt.Sprintf("with %d at once %.3g %% of the calls failed", p.N, 100*p.Errors))
			break
		}
	}
	return out
}
