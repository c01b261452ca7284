package result

import (
	"fmt"
	"slices"
	"strings"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
)

// Kind sorts findings by what they call for.
type Kind int

// The kinds of findings.
const (
	Missed       Kind = iota // a target or threshold was missed, or every call failed
	Inconclusive             // too little was measured to say
	Unbelievable             // the load generator itself was too late or too busy
)

// Finding is one thing that did not hold.
type Finding struct {
	Kind Kind
	Text string // a sentence without its full stop
}

// Findings lists what did not hold. With BandAcceptable for failOn, whatever misses its target fails; with any other value only
// what is poor. An interrupt is known to FromRun alone and stands in the verdict.
func (d *Doc) Findings(failOn loadgen.Band) []Finding {
	var out []Finding
	for _, why := range d.Generator.Why {
		if !d.Generator.Valid {
			out = append(out, Finding{Unbelievable, "the generator cannot be believed: " + why})
		}
	}
	if !d.Generator.Valid && len(out) == 0 {
		out = append(out, Finding{Unbelievable, "the generator cannot be believed"})
	}
	for i := range d.Scenarios {
		s := &d.Scenarios[i]
		if !s.Ran() {
			continue
		}
		if d.Generator.Valid && s.overran() && (i == 0 || !s.sameLoad(&d.Scenarios[i-1])) {
			out = append(out, Finding{Missed, fmt.Sprintf("%s: the server could not keep up: %d arrivals found %d in flight, the bound, and of %.4g offered per second %.4g were achieved",
				s.title(), s.Dropped, s.InFlight, s.OfferedRate, s.AchievedRate)})
		}
		out = append(out, s.findings(failOn)...)
	}
	return out
}

func (s *Scenario) findings(failOn loadgen.Band) []Finding {
	var out []Finding
	missed := func(format string, args ...any) {
		out = append(out, Finding{Missed, s.title() + ": " + fmt.Sprintf(format, args...)})
	}
	errs := s.ErrorCount()
	dead := s.Requests > 0 && errs == s.Requests
	switch {
	case dead:
		missed("all %d calls failed: %s", s.Requests, s.firstError())
	case s.Requests == 0 && s.Dropped == 0 && s.Grade == nil:
		out = append(out, Finding{Inconclusive, s.title() + ": nothing was measured"})
	}
	if g := s.Grade; g != nil {
		switch {
		case g.Band == loadgen.BandPoor, g.Band == loadgen.BandAcceptable && failOn == loadgen.BandAcceptable:
			missed("%s is %s: %s", g.Statistic, g.Band, g.Why)
		case g.Band == loadgen.BandNoData && !dead:
			out = append(out, Finding{Inconclusive, s.title() + ": no grade: " + g.Why})
		}
	}
	for _, t := range s.Thresholds {
		switch {
		case t.Aborted:
			missed("threshold %s ended the run with %s", t.Expr, t.Value)
		case !t.OK:
			missed("threshold %s failed with %s", t.Expr, t.Value)
		}
	}
	for _, t := range s.Trends {
		switch t.Verdict {
		case loadgen.Leak:
			missed("leak: %s: %s", t.Metric, t.Why)
		case loadgen.Unknown:
			out = append(out, Finding{Inconclusive, s.title() + ": whether " + t.Metric + " grows is not yet known: " + t.Why})
		}
	}
	return out
}

// minAchieved is the share of the offered rate that a server must achieve, or else it could not keep up.
const minAchieved = 0.99

// overran reports whether an open executor offered more than the server took: arrivals met the bound on those in flight.
func (s *Scenario) overran() bool {
	return s.OfferedRate > 0 && s.Dropped > 0 && s.AchievedRate < minAchieved*s.OfferedRate
}

// sameLoad reports whether two cells are steps of the same iterations, which are dropped together.
func (s *Scenario) sameLoad(o *Scenario) bool {
	return s.Name == o.Name && s.Part == o.Part && s.Arm == o.Arm
}

// firstError is the most frequent code and its message.
func (s *Scenario) firstError() string {
	var codes []string
	for c := range s.Errors {
		codes = append(codes, c)
	}
	slices.SortFunc(codes, func(a, b string) int {
		if s.Errors[a] != s.Errors[b] {
			return int(s.Errors[b] - s.Errors[a])
		}
		return strings.Compare(a, b)
	})
	if msg := s.ErrorSamples[codes[0]]; msg != "" {
		return codes[0] + ": " + msg
	}
	return codes[0]
}

func (s *Scenario) title() string {
	parts := []string{s.Name}
	if s.Step != "" {
		parts = append(parts, s.Step)
	}
	if s.Arm != "" {
		parts = append(parts, "("+s.Arm+")")
	}
	return strings.Join(parts, " ")
}

func (d *Doc) judge(meta Meta, runs []*loadgen.Result) {
	d.Verdict = Verdict{Failed: append([]string{}, meta.Broken...)}
	for _, f := range d.Findings(meta.FailOn) {
		d.Verdict.Failed = append(d.Verdict.Failed, f.Text)
	}
	for _, r := range runs {
		if r.Interrupted {
			d.Verdict.Failed = append(d.Verdict.Failed, r.Plan.Name+": interrupted; the figures are of what ran until then")
		}
	}
	d.Verdict.OK = len(d.Verdict.Failed) == 0
}
