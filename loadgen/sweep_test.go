package loadgen

import (
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen/stats"
)

// pointsOf makes points that follow a law, with 1 % noise and Little's law kept.
func pointsOf(u stats.USL, change func(*SweepPoint)) (points []SweepPoint) {
	chance := rand.New(rand.NewPCG(5, 6))
	for range 3 {
		for _, n := range []int{64, 1, 2, 4, 8, 16, 32} {
			x := u.Throughput(float64(n)) * (1 + 0.01*chance.NormFloat64())
			p := SweepPoint{N: n, Throughput: x, Mean: seconds(float64(n) / x), P95: seconds(1.2 * float64(n) / x), Little: 1}
			if change != nil {
				change(&p)
			}
			points = append(points, p)
		}
	}
	return points
}

func TestSweepAdvises(t *testing.T) {
	for _, c := range []struct {
		name   string
		law    stats.USL
		change func(*SweepPoint)
		want   []string
		not    []string
	}{
		{"linear", stats.USL{Lambda: 100}, nil, []string{"still grew with 64 at once", "coherence: none is to be seen"}, []string{"contention", "Little"}},
		{"contention", stats.USL{Lambda: 100, Sigma: 0.1}, nil, []string{"contention: 0.1", "look for what one call at a time uses", "coherence: none"}, nil},
		{"coherence", stats.USL{Lambda: 100, Sigma: 0.02, Kappa: 0.002}, nil, []string{"16 at once reach", "peaks at 22 at once", "contention: 0.02"}, []string{"still grew"}},
		{"little", stats.USL{Lambda: 100}, func(p *SweepPoint) {
			if p.N == 32 {
				p.Little = 0.8
			}
		}, []string{"with 32 at once throughput times latency is 0.80 of that number"}, []string{"with 16 at once throughput"}},
		{"generator", stats.USL{Lambda: 100}, func(p *SweepPoint) { p.Generator, p.Why = p.N == 64, "late" }, []string{"with 64 at once the load generator is not to be believed: late"}, nil},
		{"errors", stats.USL{Lambda: 100}, func(p *SweepPoint) { p.Errors = 0.05 }, []string{"5 % of the calls failed"}, nil},
		{"sharp", stats.USL{Lambda: 100}, func(p *SweepPoint) { p.Throughput = min(p.Throughput, 800) * (1 + float64(p.N%3)/4) }, []string{"the law explains"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := FitSweep(pointsOf(c.law, c.change), 1)
			if err != nil {
				t.Fatal(err)
			}
			text := strings.Join(s.Advice(), "\n")
			for _, want := range c.want {
				if !strings.Contains(text, want) {
					t.Errorf("%q is not said:\n%s", want, text)
				}
			}
			for _, not := range c.not {
				if strings.Contains(text, not) {
					t.Errorf("%q is said:\n%s", not, text)
				}
			}
			if levels := s.Levels(); len(levels) != 7 || levels[0].N != 1 || levels[6].N != 64 {
				t.Errorf("levels %+v", levels)
			}
		})
	}
}

func TestSweepWithoutSuccess(t *testing.T) {
	points := pointsOf(stats.USL{Lambda: 100}, nil)
	points[0].Throughput = 0
	if _, err := FitSweep(points, 1); err == nil || !strings.Contains(err.Error(), "with 64 at once no call succeeded") {
		t.Error(err)
	}
}

// TestPointKeepsLittlesLaw measures a closed loop whose throughput and latency are known.
func TestPointKeepsLittlesLaw(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := PointOf(5, run(t, t.Context(), closedPlan(5, 10*time.Second), &fakeDriver{answer: takes(20 * time.Millisecond)}, Options{}))
		if p.N != 5 || p.Throughput < 249 || p.Throughput > 250 || p.Little < 0.99 || p.Little > 1.01 || p.Generator || !about(p.P95, 20*time.Millisecond) {
			t.Errorf("%+v", p)
		}
		think := closedPlan(5, 10*time.Second)
		think.Executor.ThinkTime = ThinkTime{20 * time.Millisecond, 20 * time.Millisecond}
		if p := PointOf(5, run(t, t.Context(), think, &fakeDriver{answer: takes(20 * time.Millisecond)}, Options{})); p.Little < 0.49 || p.Little > 0.51 {
			t.Errorf("users who wait half of the time: %+v", p)
		}
	})
}
