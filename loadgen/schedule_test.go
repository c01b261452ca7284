package loadgen

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen/stats"
)

// taken returns the arrivals that are due before d.
func taken(s schedule, d time.Duration) []time.Duration {
	var out []time.Duration
	for {
		at, ok := s.next()
		if !ok || at >= d {
			return out
		}
		out = append(out, at)
	}
}

func TestPoissonGapsAreExponential(t *testing.T) {
	const rate, want = 250.0, 96
	passed := 0
	for seed := range uint64(100) {
		e := Executor{Kind: Open, Rate: rate, Arrivals: Poisson}
		at := taken(e.schedule(0, seed, 0), 40*time.Second)
		gaps := make([]float64, len(at))
		before := time.Duration(0)
		for i := range at {
			gaps[i], before = (at[i] - before).Seconds(), at[i]
		}
		if _, p := stats.KolmogorovSmirnov(gaps, func(x float64) float64 { return -math.Expm1(-rate * x) }); p >= 0.01 {
			passed++
		}
		if n := float64(len(at)); math.Abs(n-40*rate) > 5*math.Sqrt(40*rate) {
			t.Errorf("seed %d: %v arrivals in 40 s at %v", seed, n, rate)
		}
	}
	if passed < want {
		t.Errorf("the gaps of %d of 100 seeds pass the test at 1 %%, want %d", passed, want)
	}
}

// TestPoissonRamp maps the arrivals back through the area under the rate, where they must be evenly distributed.
func TestPoissonRamp(t *testing.T) {
	stages := []Stage{{400, 20 * time.Second}, {400, 5 * time.Second}, {50, 0}, {0, 15 * time.Second}}
	e := Executor{Kind: Open, Arrivals: Poisson, Start: 10, Stages: stages}
	rate := e.ramp(0)
	total := rate.area(40)
	passed := 0
	for seed := range uint64(100) {
		at := taken(e.schedule(0, seed, 0), time.Minute)
		where := make([]float64, len(at))
		for i := range at {
			where[i] = rate.area(at[i].Seconds()) / total
		}
		if _, p := stats.KolmogorovSmirnov(where, func(x float64) float64 { return x }); p >= 0.01 {
			passed++
		}
	}
	if passed < 96 {
		t.Errorf("the arrivals of %d of 100 seeds follow the ramp, want 96", passed)
	}
}

func TestSameSeedSameArrivals(t *testing.T) {
	e := Executor{Kind: Open, Rate: 100, Arrivals: Poisson}
	a, b := e.schedule(0, 7, 1), e.schedule(0, 7, 1)
	other, stream := e.schedule(0, 8, 1), e.schedule(0, 7, 2)
	same := 0
	for range 1000 {
		x, _ := a.next()
		if y, _ := b.next(); x != y {
			t.Fatalf("%v and %v from one seed", x, y)
		}
		for _, s := range []schedule{other, stream} {
			if y, _ := s.next(); x == y {
				same++
			}
		}
	}
	if same > 0 {
		t.Errorf("%d arrivals agree between seeds or streams", same)
	}
}

// TestConstantArrivalsDoNotDrift looks at ten minutes and at a hundred days of rates that have no finite binary form.
func TestConstantArrivalsDoNotDrift(t *testing.T) {
	for _, rate := range []float64{0.3, 7, 33.3, 200, 1999.9, 10_000} {
		for _, after := range []time.Duration{10 * time.Minute, 2400 * time.Hour} {
			i := int64(rate * after.Seconds())
			s := &constant{rate: rate, i: i}
			at, _ := s.next()
			if off := math.Abs(at.Seconds() - float64(i)/rate); off > 2e-9*after.Hours()+1e-9 {
				t.Errorf("rate %v: arrival %d is %v s off", rate, i, off)
			}
		}
	}
}

func TestTraceReplays(t *testing.T) {
	e := Executor{Kind: Open, Trace: []time.Duration{0, 5, 5, 9}}
	if got := taken(e.schedule(time.Hour, 1, 1), time.Hour); len(got) != 4 || got[1] != 5 || got[2] != 5 || got[3] != 9 {
		t.Errorf("%v", got)
	}
}

// randomRamp has jumps, plateaus at zero and stages of all lengths.
func randomRamp(chance *rand.Rand) (start float64, lead time.Duration, stages []Stage) {
	level := func() float64 { return float64(chance.IntN(4)) * chance.Float64() * 100 }
	length := func() time.Duration {
		return time.Duration(chance.IntN(4)) * time.Duration(chance.Int64N(int64(2*time.Second)))
	}
	for range 1 + chance.IntN(5) {
		stages = append(stages, Stage{level(), length()})
	}
	return level(), length(), stages
}

// slowLevel is the level at t, found by walking through the stages.
func slowLevel(start float64, lead time.Duration, stages []Stage, t float64) float64 {
	if t < lead.Seconds() {
		return start
	}
	t -= lead.Seconds()
	level := start
	for _, s := range stages {
		d := s.Duration.Seconds()
		if t < d {
			return level + (s.Target-level)*t/d
		}
		t, level = t-d, s.Target
	}
	return level
}

// TestRampAgainstIntegration compares the arrivals of random ramps with a numeric integration of the rate, which errs a
// little at each jump.
func TestRampAgainstIntegration(t *testing.T) {
	chance := rand.New(rand.NewPCG(3, 4))
	for range 60 {
		start, lead, stages := randomRamp(chance)
		total := lead
		for _, s := range stages {
			total += s.Duration
		}
		e := Executor{Kind: Open, Start: start, Stages: stages}
		got := taken(e.schedule(lead, 1, 1), total)
		const step = 1e-4
		area, i := 0.0, 0
		for k := 0; float64(k)*step < total.Seconds(); k++ {
			now := (float64(k) + 0.5) * step
			level := slowLevel(start, lead, stages, now)
			for i < len(got) && got[i].Seconds() < float64(k+1)*step {
				if level > 1 && math.Abs(area-float64(i)) > level*step*1.5+0.05 {
					t.Fatalf("start %v lead %v stages %v: arrival %d at %v where the rate adds up to %v", start, lead, stages, i, got[i], area)
				}
				i++
			}
			area += level * step
		}
		if math.Abs(area-float64(len(got))) > 1.05 {
			t.Errorf("start %v lead %v stages %v: %d arrivals, want %v", start, lead, stages, len(got), area)
		}
	}
}

func TestRampInverse(t *testing.T) {
	chance := rand.New(rand.NewPCG(5, 6))
	for range 500 {
		r := newRamp(randomRamp(chance))
		end := r[len(r)-1].from
		for range 20 {
			at := chance.Float64() * end
			a := r.area(at)
			if back := r.when(a); r.at(at) > 1e-3 && math.Abs(back-at) > 1e-6 || back < at-1e-6 {
				t.Fatalf("%+v: at %v the area is %v, which comes back as %v", r, at, a, back)
			}
			level := chance.Float64() * r.highest()
			if when := r.reaches(level, at); !math.IsInf(when, 1) && (when < at || r.at(when) < level-1e-6) {
				t.Fatalf("%+v: reaches %v at %v, where it is %v", r, level, when, r.at(when))
			}
			for probe := at; probe < min(r.reaches(level, at), end); probe += end / 50 {
				if r.at(probe) > level+1e-6 {
					t.Fatalf("%+v: is at %v at %v, and reaches %v later only", r, r.at(probe), probe, level)
				}
			}
		}
	}
}

func TestRampEnds(t *testing.T) {
	up := newRamp(0, time.Second, []Stage{{10, 10 * time.Second}, {0, 0}})
	for a, want := range map[float64]float64{0: 1, 0.5: 2, 49.999999: 11, 50: math.Inf(1), 51: math.Inf(1)} {
		if got := up.when(a); math.Abs(got-want) > 1e-6 && got != want {
			t.Errorf("when %v: %v, want %v", a, got, want)
		}
	}
	if seconds(math.Inf(1)) != forever || seconds(1e300) != forever || seconds(1.5) != 1500*time.Millisecond {
		t.Error("seconds")
	}
}
