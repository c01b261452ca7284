package loadgen

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

func TestParseTrend(t *testing.T) {
	for _, s := range []string{"server.goroutines<0.1 per 1000 calls", "server.rss<16MiB per hour", "exec:p99.9<1.5ms per hour", "p50<100µs per 1000 calls"} {
		trend, err := ParseTrend(s)
		if err != nil || trend.String() != s {
			t.Errorf("%s: %v, %v", s, trend, err)
		}
	}
	for s, want := range map[string]string{
		"server.rss<16MiB":                           "per what",
		"server.rss>16MiB per hour":                  "per what",
		"server.rss<16MiB per day":                   `is per "day"`,
		"server.rss<16 per hours":                    `is per "hours"`,
		"server.rss<0 per hour":                      "above 0",
		"server.cpu<5% per hour":                     `no trend of "server.cpu"`,
		"mean<1ms per hour":                          `no trend of "mean"`,
		"exec:server.fds<1 per hour":                 "leave exec: out",
		":p50<1ms per hour":                          "names no step",
		"p50<1 per hour":                             "is no duration",
		"server.goroutines<many per 1000 calls":      "is no number",
		"server.goroutines<0.1 per\n thousand calls": "per",
	} {
		if trend, err := ParseTrend(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %+v, %v, want %q", s, trend, err, want)
		}
	}
	p := openPlan(1, time.Second)
	p.Trends = []Trend{{Metric: "p50", Step: "nothing", Value: 1, Per: PerHour}, {Metric: "held", Value: 1, Per: PerHour}}
	err := ValidatePlan(p)
	if err == nil || !strings.Contains(err.Error(), `trends[0]: there is no step "nothing"`) || !strings.Contains(err.Error(), "trends[1]: no trend of") {
		t.Errorf("got %v", err)
	}
}

func TestFormatGrowth(t *testing.T) {
	for want, c := range map[string]struct {
		unit string
		v    float64
	}{
		"1.5 KiB": {"bytes", 1536}, "-2 MiB": {"bytes", -2 << 20}, "12.3 B": {"bytes", 12.345}, "0 B": {"bytes", 0},
		"1.23 ms": {"ns", 1.234e6}, "0.5 ns": {"ns", 0.5}, "12 s": {"ns", 12e9}, "-0.0123": {"", -0.01234}, "12345": {"", 12345.4}, "1000": {"", 999.9},
	} {
		if got := FormatGrowth(c.unit, c.v); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// soak makes up what a watched server would show, a level a second.
type soak struct {
	seconds int
	level   func(second int, noise *rand.Rand) float64
}

func (s soak) cells(seed uint64, callsPerSecond float64) []Cell {
	r := &Resources{}
	noise := rand.New(rand.NewPCG(seed, 42))
	for i := range s.seconds {
		r.levels.add("server.goroutines", time.Duration(i)*time.Second, s.level(i, noise))
	}
	length := time.Duration(s.seconds) * time.Second
	return []Cell{{Server: r, Windows: []Window{{Width: length, Requests: int64(callsPerSecond * length.Seconds())}}}}
}

// TestVerdicts judges a hundred soaks of each kind; TestProofVerdicts a thousand.
func TestVerdicts(t *testing.T) { verdicts(t, 100) }

// verdicts judges made-up soaks of ten minutes, at 200 calls a second. Of 1000 calls one leaks a goroutine, or none does; the rest is what a server
// does anyhow. At most one soak in a hundred that leaks no more than is tolerated may be called a leak, and at most one in a hundred that leaks as
// much as is tolerated, or more, free of leaks.
func verdicts(t *testing.T, soaks int) (report string) {
	const seconds, rate = 600, 200
	tolerated := Trend{Metric: "server.goroutines", Value: 0.1, Per: PerCalls}
	for _, c := range behaviours {
		for _, leak := range []float64{0, 0.1, 1} {
			counts := map[TrendVerdict]float64{}
			for n := range soaks {
				level := c.begin()
				s := soak{seconds, func(i int, r *rand.Rand) float64 { return level(i, r) + leak*rate/1000*float64(i) }}
				counts[judgeTrends([]Trend{tolerated}, s.cells(uint64(n), rate))[0].Verdict] += 1 / float64(soaks)
			}
			line := fmt.Sprintf("%-20s leaking %-3v in 1000 calls: leak %5.1f %%, no leak %5.1f %%, not yet known %5.1f %%\n",
				c.name, leak, 100*counts[Leak], 100*counts[NoLeak], 100*counts[Unknown])
			report += line
			switch {
			case leak < 1 && counts[Leak] > 0.0101 && (leak == 0 || c.name != longWarmUp): // that one grows faster than is tolerated
				t.Errorf("too many leaks: %s", line)
			case leak > 0 && counts[NoLeak] > 0.0101:
				t.Errorf("too few leaks: %s", line)
			case leak == 0 && counts[NoLeak] < c.clean, leak == 1 && counts[Leak] < 0.95:
				t.Errorf("too many not known: %s", line)
			}
		}
	}
	t.Log("\n" + report)
	return report
}

// longWarmUp takes longer than the part of a soak that is left out for it.
const longWarmUp = "long warm-up"

// behaviours are how many goroutines there are, by second, in servers that do not leak.
var behaviours = []struct {
	name  string
	clean float64 // the least share of them that is told to be free of leaks within ten minutes
	begin func() func(second int, r *rand.Rand) float64
}{
	{"white noise", 0.99, forgetful(func(_ int, r *rand.Rand) float64 { return 90 + 4*r.NormFloat64() })},
	{"whole numbers", 0.99, forgetful(func(_ int, r *rand.Rand) float64 { return 90 + math.Round(1.5*r.NormFloat64()) })},
	{"spikes", 0.4, forgetful(func(_ int, r *rand.Rand) float64 {
		if r.IntN(20) == 0 {
			return 90 + 200*r.ExpFloat64()
		}
		return 90 + 3*r.NormFloat64()
	})},
	{"saw-tooth of 7 s", 0.99, forgetful(sawTooth(7, 20))},
	{"saw-tooth of 90 s", 0.4, forgetful(sawTooth(90, 8))},
	{"high saw-tooth", 0, forgetful(sawTooth(90, 20))},
	{"slow wandering", 0.4, func() func(int, *rand.Rand) float64 {
		at := 0.0
		return func(_ int, r *rand.Rand) float64 {
			at = 0.95*at + 0.6*r.NormFloat64()
			return 90 + at
		}
	}},
	{"warm-up", 0.99, forgetful(func(i int, r *rand.Rand) float64 { return 90 - 40*math.Exp(-float64(i)/40) + 2*r.NormFloat64() })},
	{longWarmUp, 0, forgetful(func(i int, r *rand.Rand) float64 { return 90 - 40*math.Exp(-float64(i)/150) + 2*r.NormFloat64() })},
}

// forgetful is a behaviour that remembers nothing.
func forgetful(level func(second int, r *rand.Rand) float64) func() func(int, *rand.Rand) float64 {
	return func() func(int, *rand.Rand) float64 { return level }
}

// sawTooth climbs and falls, as a heap does from one collection to the next.
func sawTooth(period, height float64) func(int, *rand.Rand) float64 {
	return func(i int, r *rand.Rand) float64 { return 80 + height*math.Mod(float64(i)/period, 1) + r.NormFloat64() }
}
