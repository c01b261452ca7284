package netem

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"
)

// Kind names a distribution.
type Kind string

// The distributions, with the fields of Dist that each has.
const (
	KindFixed       Kind = "fixed"       // Value
	KindNormal      Kind = "normal"      // Mean, StdDev; cut off at zero
	KindLogNormal   Kind = "log-normal"  // Median, Sigma
	KindExponential Kind = "exponential" // Mean
	KindBimodal     Kind = "bimodal"     // Low, High, Share of High
)

// MaxDelay bounds what a Dist draws.
const MaxDelay = time.Hour

// Dist is a distribution of durations. The zero value is always zero. [Fixed] and its siblings make others; Kind says which fields count.
type Dist struct {
	Kind   Kind
	Value  time.Duration
	Mean   time.Duration
	StdDev time.Duration
	Median time.Duration
	Sigma  float64 // of the logarithm
	Low    time.Duration
	High   time.Duration
	Share  float64 // 0 to 1
}

// Fixed is always d.
func Fixed(d time.Duration) Dist { return Dist{Kind: KindFixed, Value: d} }

// Normal is normally distributed; what would be negative is zero.
func Normal(mean, stddev time.Duration) Dist {
	return Dist{Kind: KindNormal, Mean: mean, StdDev: stddev}
}

// LogNormal has a logarithm that is normally distributed, with sigma as its standard deviation.
func LogNormal(median time.Duration, sigma float64) Dist {
	return Dist{Kind: KindLogNormal, Median: median, Sigma: sigma}
}

// Exponential is the time between events that happen at random, mean apart.
func Exponential(mean time.Duration) Dist { return Dist{Kind: KindExponential, Mean: mean} }

// Bimodal is high with the chance share, else low.
func Bimodal(share float64, low, high time.Duration) Dist {
	return Dist{Kind: KindBimodal, Share: share, Low: low, High: high}
}

// Draw takes one duration, from zero to MaxDelay. The same source gives the same durations.
func (d Dist) Draw(r *rand.Rand) time.Duration {
	var v float64
	switch d.Kind {
	case KindFixed:
		return clamp(float64(d.Value))
	case KindNormal:
		v = float64(d.Mean) + r.NormFloat64()*float64(d.StdDev)
	case KindLogNormal:
		v = float64(d.Median) * math.Exp(d.Sigma*r.NormFloat64())
	case KindExponential:
		v = float64(d.Mean) * r.ExpFloat64()
	case KindBimodal:
		v = float64(d.Low)
		if r.Float64() < d.Share {
			v = float64(d.High)
		}
	}
	return clamp(v)
}

func clamp(v float64) time.Duration {
	return time.Duration(min(max(v, 0), float64(MaxDelay)))
}

// Validate finds what has no meaning, among it fields that the kind does not have. The error is one of [FieldError].
func (d Dist) Validate() error {
	want, ok := map[Kind]Dist{
		"":              {},
		KindFixed:       {Value: d.Value},
		KindNormal:      {Mean: d.Mean, StdDev: d.StdDev},
		KindLogNormal:   {Median: d.Median, Sigma: d.Sigma},
		KindExponential: {Mean: d.Mean},
		KindBimodal:     {Low: d.Low, High: d.High, Share: d.Share},
	}[d.Kind]
	if !ok {
		return &FieldError{"kind", fmt.Sprintf("%q is not known", d.Kind), "use fixed, normal, log-normal, exponential or bimodal"}
	}
	for _, f := range []struct {
		name      string
		got, want time.Duration
	}{
		{"value", d.Value, want.Value}, {"mean", d.Mean, want.Mean}, {"stddev", d.StdDev, want.StdDev},
		{"median", d.Median, want.Median}, {"low", d.Low, want.Low}, {"high", d.High, want.High},
	} {
		switch {
		case f.got != f.want:
			return &FieldError{f.name, fmt.Sprintf("means nothing to a %s distribution", d.name()), "remove it"}
		case f.got < 0 || f.got > MaxDelay:
			return &FieldError{f.name, fmt.Sprintf("%v is out of range", f.got), fmt.Sprintf("use 0s to %v", MaxDelay)}
		}
	}
	return d.validateNumbers(want)
}

func (d Dist) validateNumbers(want Dist) error {
	switch {
	case d.Sigma != want.Sigma:
		return &FieldError{"sigma", fmt.Sprintf("means nothing to a %s distribution", d.name()), "remove it"}
	case d.Share != want.Share:
		return &FieldError{"share", fmt.Sprintf("means nothing to a %s distribution", d.name()), "remove it"}
	case !(d.Sigma >= 0 && d.Sigma <= 10):
		return &FieldError{"sigma", fmt.Sprintf("%v is out of range", d.Sigma), "use 0 to 10"}
	case !(d.Share >= 0 && d.Share <= 1):
		return &FieldError{"share", fmt.Sprintf("%v is no share", d.Share), "use 0% to 100%"}
	}
	return nil
}

func (d Dist) name() string {
	if d.Kind == "" {
		return "missing"
	}
	return string(d.Kind)
}
