package main

import (
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
)

// overrides are the flags that change what a scenario says.
type overrides struct {
	rate             float64
	vus              int
	duration, warmup time.Duration
	maxLateness      time.Duration
	seed             uint64
	arms             []string

	changed func(flag string) bool // whether a flag was given
}

func (o *overrides) flags(f *pflag.FlagSet) {
	f.Float64Var(&o.rate, "rate", 0, "arrivals per second of scenarios with the open executor")
	f.IntVar(&o.vus, "vus", 0, "virtual users of scenarios with the closed executor")
	f.DurationVar(&o.duration, "duration", 0, "measured time of each scenario and arm")
	f.DurationVar(&o.warmup, "warmup", 0, "time before it that is not measured")
	f.DurationVar(&o.maxLateness, "max-lateness", 0, "p99 of how late calls may be sent by the open executor before the run is not valid (default 10ms)")
	f.Uint64Var(&o.seed, "seed", 0, "seed of payloads and arrivals")
	f.StringArrayVar(&o.arms, "arm", nil, "measure only the arm `NAME` of scenarios that have it (repeatable)")
}

// apply changes the plans and refuses a flag that would change none of them.
func (o *overrides) apply(plans []*loadgen.Plan) error {
	if o.changed("rate") {
		if !(o.rate > 0) {
			return usage("--rate %g is not above 0: give arrivals per second", o.rate)
		}
		if !each(plans, func(e *loadgen.Executor) bool { return e.Rate > 0 }, func(e *loadgen.Executor) { e.Rate = o.rate }) {
			return usage("--rate replaces the rate of an open executor, which %s does not have: %s", names(plans), instead(plans))
		}
	}
	if o.changed("vus") {
		if o.vus < 1 {
			return usage("--vus %d is not above 0: give the number of virtual users", o.vus)
		}
		if !each(plans, func(e *loadgen.Executor) bool { return e.VUs > 0 }, func(e *loadgen.Executor) { e.VUs = o.vus }) {
			return usage("--vus replaces the virtual users of a closed executor, which %s does not have: %s", names(plans), instead(plans))
		}
	}
	if o.changed("duration") && o.duration <= 0 {
		return usage("--duration %v is not above 0: give a time such as 15s", o.duration)
	}
	if o.changed("duration") && !each(plans, timed, func(e *loadgen.Executor) { e.Duration = o.duration }) {
		return usage("--duration means nothing to %s, whose stages say how long each takes: drop it", names(plans))
	}
	if o.changed("warmup") && o.warmup < 0 {
		return usage("--warmup %v is negative: give 0s or more", o.warmup)
	}
	if o.changed("max-lateness") && o.maxLateness <= 0 {
		return usage("--max-lateness %v is not above 0: give a time such as 10ms", o.maxLateness)
	}
	for _, p := range plans {
		if o.changed("max-lateness") {
			p.MaxLateness = o.maxLateness
		}
		if o.changed("warmup") {
			p.Executor.Warmup = o.warmup
		}
		if o.changed("seed") {
			p.Seed = o.seed
		}
	}
	return o.selectArms(plans)
}

// each changes the plans' own executors that a flag fits, and reports whether there is any. Those of a mix's parts stay as they are.
func each(plans []*loadgen.Plan, fits func(*loadgen.Executor) bool, change func(*loadgen.Executor)) bool {
	any := false
	for _, p := range plans {
		if fits(&p.Executor) {
			change(&p.Executor)
			any = true
		}
	}
	return any
}

// timed reports whether an executor's measured time can be changed.
func timed(e *loadgen.Executor) bool { return e.Stages == nil }

// instead says what sets the load of plans that a flag does not fit.
func instead(plans []*loadgen.Plan) string {
	e := &plans[0].Executor
	switch {
	case e.Stages != nil:
		return "its stages set the load, which the scenario alone can change"
	case e.Trace != nil:
		return "its trace sets the load, which the scenario alone can change"
	case e.Kind == loadgen.Closed:
		return "use --vus"
	case e.Kind == loadgen.Open:
		return "use --rate"
	case e.Kind == loadgen.Occupancy:
		return "its holders set the load, which the scenario alone can change"
	}
	return "each part of its mix has an executor of its own, which the scenario alone can change"
}

// selectArms leaves the arms that --arm names. A plan that has none of them keeps all of its own.
func (o *overrides) selectArms(plans []*loadgen.Plan) error {
	var known []string
	for _, p := range plans {
		var kept []loadgen.Arm
		for _, a := range p.Arms {
			known = append(known, a.Name)
			if slices.Contains(o.arms, a.Name) {
				kept = append(kept, a)
			}
		}
		if len(kept) > 0 {
			before := *p
			p.Arms = kept
			keepComparable(p, &before)
		}
	}
	for _, name := range o.arms {
		if !slices.Contains(known, name) {
			return usage("--arm %q is not known: the arms of %s are %s", name, names(plans), orNone(known))
		}
	}
	return nil
}

func names(plans []*loadgen.Plan) string {
	var out []string
	for _, p := range plans {
		out = append(out, p.Name)
	}
	return strings.Join(out, ", ")
}

func orNone(list []string) string {
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, ", ")
}
