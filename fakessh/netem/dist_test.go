package netem

import (
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const ms = time.Millisecond

func phi(x float64) float64 { return math.Erfc(-x/math.Sqrt2) / 2 }

// TestDraw compares draws with the distribution they claim by the Kolmogorov–Smirnov test at the 1 % level, at fixed seeds.
func TestDraw(t *testing.T) {
	for _, test := range []struct {
		name string
		dist Dist
		cdf  func(x float64) float64 // of milliseconds
	}{
		{"normal", Normal(50*ms, 5*ms), func(x float64) float64 { return phi((x - 50) / 5) }},
		{"log-normal", LogNormal(20*ms, 0.5), func(x float64) float64 { return phi(math.Log(x/20) / 0.5) }},
		{"exponential", Exponential(10 * ms), func(x float64) float64 { return 1 - math.Exp(-x/10) }},
	} {
		failed := 0
		for seed := range uint64(100) {
			if ks(test.dist, seed, test.cdf) > 1.63 {
				failed++
			}
		}
		if failed > 4 {
			t.Errorf("%s: %d of 100 seeds fail the test", test.name, failed)
		}
	}
}

// ks returns the greatest distance between the draws' distribution and cdf, times the root of their number.
func ks(d Dist, seed uint64, cdf func(float64) float64) float64 {
	const n = 2000
	r := rand.New(rand.NewPCG(seed, 0))
	draws := make([]float64, n)
	for i := range draws {
		draws[i] = float64(d.Draw(r)) / float64(ms)
	}
	slices.Sort(draws)
	greatest := 0.0
	for i, x := range draws {
		f := cdf(x)
		greatest = max(greatest, math.Abs(f-float64(i)/n), math.Abs(float64(i+1)/n-f))
	}
	return greatest * math.Sqrt(n)
}

func TestDrawOfFewValues(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 0))
	if got := Fixed(5 * ms).Draw(r); got != 5*ms {
		t.Errorf("fixed gives %v", got)
	}
	if got := (Dist{}).Draw(r); got != 0 {
		t.Errorf("the zero value gives %v", got)
	}
	counts := map[time.Duration]int{}
	for range 100_000 {
		counts[Bimodal(0.02, 10*ms, 200*ms).Draw(r)]++
	}
	if high := counts[200*ms]; len(counts) != 2 || high < 1850 || high > 2150 {
		t.Errorf("bimodal gives %v, want 2 %% at 200ms", counts)
	}
	for range 1000 {
		if d := Normal(0, time.Second).Draw(r); d < 0 {
			t.Fatalf("normal gives %v", d)
		}
		if d := LogNormal(time.Hour, 10).Draw(r); d > MaxDelay {
			t.Fatalf("log-normal gives %v", d)
		}
	}
}

func TestValidate(t *testing.T) {
	for _, test := range []struct {
		err  error
		want string // field; empty for none
	}{
		{Dist{}.Validate(), ""},
		{Fixed(0).Validate(), ""},
		{LogNormal(20*ms, 0.5).Validate(), ""},
		{Dist{Kind: "gamma"}.Validate(), "kind"},
		{Dist{Mean: ms}.Validate(), "mean"},
		{Dist{Kind: KindFixed, Mean: ms}.Validate(), "mean"},
		{Dist{Kind: KindNormal, Sigma: 1}.Validate(), "sigma"},
		{Dist{Kind: KindNormal, Share: 1}.Validate(), "share"},
		{Fixed(-ms).Validate(), "value"},
		{Exponential(2 * time.Hour).Validate(), "mean"},
		{LogNormal(ms, math.NaN()).Validate(), "sigma"},
		{Bimodal(1.1, ms, ms).Validate(), "share"},
		{Shape{}.Validate(), ""},
		{Shape{Jitter: -1}.Validate(), "jitter"},
		{Shape{Bandwidth: -1}.Validate(), "bandwidth"},
		{Shape{Corrupt: math.NaN()}.Validate(), "corrupt"},
		{Shape{Delay: Fixed(-1)}.Validate(), "delay.value"},
		{Shape{Stall: Stall{Every: time.Second}}.Validate(), "stall.for"},
		{Shape{Stall: Stall{Every: time.Second, For: time.Second}}.Validate(), "stall.every"},
		{Shape{Stall: Stall{For: time.Second, At: -1}}.Validate(), "stall.at"},
		{Shape{Stall: Stall{For: time.Second}}.Validate(), ""},
		{Shape{Cut: Cut{Share: 0.1}}.Validate(), "cut.after"},
		{Shape{Cut: Cut{Share: 2, AfterBytes: 1}}.Validate(), "cut.share"},
		{Shape{Cut: Cut{AfterBytes: -1}}.Validate(), "cut.after_bytes"},
		{Shape{Cut: Cut{After: Dist{Kind: "x"}}}.Validate(), "cut.after.kind"},
	} {
		var field *FieldError
		switch {
		case test.want == "" && test.err != nil:
			t.Errorf("%v, want none", test.err)
		case test.want != "" && (!errors.As(test.err, &field) || field.Field != test.want):
			t.Errorf("%v, want one about %s", test.err, test.want)
		}
	}
}
