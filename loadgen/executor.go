package loadgen

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"
)

// maxVUs bounds virtual users and holders: each has a goroutine.
const maxVUs = maxSlots

func (e *Executor) maxInFlight() int {
	if e.MaxInFlight == 0 {
		return DefaultMaxInFlight
	}
	return e.MaxInFlight
}

// concurrency is how many iterations may be under way at once.
func (e *Executor) concurrency() int {
	switch e.Kind {
	case Closed:
		n := int(math.Round(e.ramp(0).highest()))
		if e.Stages != nil {
			n = e.shard.share(n)
		}
		return n
	case Occupancy:
		return e.Holders
	}
	return e.maxInFlight()
}

// sessions is how many MCP sessions the executor's calls share.
func (e *Executor) sessions(d *ArmDriver) int {
	switch {
	case e.Sessions > 0:
		return e.Sessions
	case d != nil && d.Sessions == "shared":
		return 1
	case e.Kind == Closed:
		return e.concurrency()
	}
	return min(max(1, e.shard.share(DefaultSessions)), e.concurrency())
}

// length is the measured time: as it says itself, or as its stages or its trace take. It is 0 where iterations alone end it.
func (e *Executor) length() time.Duration {
	switch {
	case e.Stages != nil:
		var d time.Duration
		for _, s := range e.Stages {
			d += s.Duration
		}
		return d
	case e.Duration == 0 && len(e.Trace) > 0:
		return e.Trace[len(e.Trace)-1] - e.Warmup + 1 // the last arrival is part of it
	}
	return e.Duration
}

// counted reports whether a number of iterations may end it.
func (e *Executor) counted() bool { return e.Iterations > 0 || e.IterationsPerVU > 0 }

// executor finds the mistakes of an executor. One of a part has the plan's warm-up and, unless it sets one, its duration.
func (c *planCompiler) executor(path string, e *Executor, ofPart bool) {
	before := len(c.errs)
	switch e.Kind {
	case Closed:
		c.closedExecutor(path, e)
	case Open:
		c.openExecutor(path, e)
	case Occupancy:
		c.occupancy(path, e)
	default:
		c.add(path+".kind", fmt.Sprintf("unknown executor %q", e.Kind), "use open, closed or occupancy")
	}
	c.strangers(path, e)
	if e.Sessions < 0 {
		c.add(path+".sessions", "the number of sessions is negative", "leave sessions out or set it to 1 or more")
	}
	if e.Warmup < 0 {
		c.add(path+".warmup", "the warm-up is negative", "set it to 0s or more")
	} else if ofPart && e.Warmup > 0 {
		c.add(path+".warmup", "a part warms up with the plan", "set the warm-up in the plan's executor")
	}
	c.time(path, e, ofPart)
	if len(c.errs) == before && e.Kind == Open && !ofPart {
		c.arrives(path, e)
	}
}

// time finds what is wrong with how long an executor measures.
func (c *planCompiler) time(path string, e *Executor, ofPart bool) {
	switch {
	case e.Stages != nil && e.Duration != 0:
		c.add(path+".duration", "the stages say how long it takes", "leave duration out")
	case e.Stages != nil:
		c.stages(path, e)
	case e.Duration < 0, e.Duration == 0 && e.Trace == nil && !e.counted() && !ofPart:
		c.add(path+".duration", fmt.Sprintf("nothing is measured in %v", e.Duration), "set a duration such as 15s")
	}
}

func (c *planCompiler) stages(path string, e *Executor) {
	if len(e.Stages) == 0 {
		c.add(path+".stages", "there is no stage", "add one, or leave stages out")
		return
	}
	before := len(c.errs)
	most, unit := float64(maxRate), "arrivals per second"
	if e.Kind == Closed {
		most, unit = maxVUs, "virtual users"
	}
	level := func(at string, v float64) {
		switch {
		case !(v >= 0 && v <= most):
			c.add(at, fmt.Sprintf("%v %s are out of range", v, unit), fmt.Sprintf("use 0 to %v", most))
		case e.Kind == Closed && v != math.Trunc(v):
			c.add(at, fmt.Sprintf("there are no %v virtual users", v), "use a whole number")
		}
	}
	level(path+".start", e.Start)
	for i, s := range e.Stages {
		at := fmt.Sprintf("%s.stages[%d]", path, i)
		level(at+".target", s.Target)
		if s.Duration < 0 {
			c.add(at+".duration", "the duration is negative", "set it to 0s for a jump, or more")
		}
	}
	switch {
	case len(c.errs) > before:
	case e.length() <= 0:
		c.add(path+".stages", "the stages take no time", "give one a duration")
	case e.ramp(0).highest() == 0:
		c.add(path+".stages", "no stage rises above 0", "set a target above 0")
	}
}

func (c *planCompiler) closedExecutor(path string, e *Executor) {
	if e.Stages == nil && (e.VUs < 1 || e.VUs > maxVUs) {
		c.add(path+".vus", fmt.Sprintf("a closed executor needs virtual users, not %d", e.VUs), fmt.Sprintf("set vus to 1 to %d, or use stages", maxVUs))
	} else if e.Stages != nil && e.VUs != 0 {
		c.add(path+".vus", "the stages say how many virtual users there are", "leave vus out; start is what the first stage begins with")
	}
	if e.Iterations < 0 {
		c.add(path+".iterations", "the number of iterations is negative", "leave iterations out or set it to 1 or more")
	}
	if e.IterationsPerVU < 0 {
		c.add(path+".iterations_per_vu", "the number of iterations is negative", "leave iterations_per_vu out or set it to 1 or more")
	} else if e.IterationsPerVU > 0 && e.Stages != nil {
		c.add(path+".iterations_per_vu", "virtual users that come and go do not count their iterations", "use vus, or leave iterations_per_vu out")
	}
	if t := e.ThinkTime; t.Min < 0 || t.Max < t.Min {
		c.add(path+".think_time", fmt.Sprintf("%v to %v is no pause", t.Min, t.Max), "set min to 0s or more, and max to min or more")
	}
}

func (c *planCompiler) openExecutor(path string, e *Executor) {
	switch {
	case e.Trace != nil && (e.Rate != 0 || e.Stages != nil || e.Arrivals != ""):
		c.add(path+".trace", "the trace says when arrivals come", "leave out rate, stages and arrivals, or the trace")
	case e.Trace != nil:
		c.trace(path, e)
	case e.Stages != nil && e.Rate != 0:
		c.add(path+".rate", "the stages say how many arrivals there are", "leave rate out; start is what the first stage begins with")
	case e.Stages == nil && !(e.Rate > 0 && e.Rate <= maxRate):
		c.add(path+".rate", fmt.Sprintf("an open executor cannot run at rate %v", e.Rate),
			fmt.Sprintf("set rate to the arrivals per second, above 0 and up to %d", maxRate))
	}
	if a := e.Arrivals; a != "" && a != Constant && a != Poisson {
		c.add(path+".arrivals", fmt.Sprintf("unknown arrivals %q", a), "use constant or poisson")
	}
	if e.MaxInFlight < 0 || e.MaxInFlight > maxSlots {
		c.add(path+".max_in_flight", fmt.Sprintf("%d is out of range", e.MaxInFlight), fmt.Sprintf("use 1 to %d, or leave it out", maxSlots))
	}
}

func (c *planCompiler) trace(path string, e *Executor) {
	switch {
	case len(e.Trace) == 0:
		c.add(path+".trace", "the trace has no arrival", "add one")
	case e.Trace[0] < 0 || !slices.IsSorted(e.Trace):
		c.add(path+".trace", "the offsets do not ascend from 0", "sort them")
	case e.length() <= 0:
		c.add(path+".trace", fmt.Sprintf("the trace ends with the warm-up of %v", e.Warmup), "shorten the warm-up")
	}
}

// arrives makes sure that an open executor has something to measure.
func (c *planCompiler) arrives(path string, e *Executor) {
	end := e.Warmup + e.length()
	switch {
	case e.Trace != nil:
		i, _ := slices.BinarySearch(e.Trace, e.Warmup)
		if i == len(e.Trace) || e.Trace[i] >= end {
			c.add(path+".trace", fmt.Sprintf("no arrival falls in the measured %v", e.length()), "raise the duration or lower the warm-up")
		}
	case e.Stages == nil && e.Arrivals != Poisson && arrivals(e.Rate, end) == arrivals(e.Rate, e.Warmup):
		c.add(path+".rate", fmt.Sprintf("no arrival falls in the measured %v at rate %v", e.Duration, e.Rate), "raise the rate or the duration")
	}
}

func (c *planCompiler) occupancy(path string, e *Executor) {
	if e.Holders < 1 || e.Holders > maxVUs {
		c.add(path+".holders", fmt.Sprintf("an occupancy needs holders, not %d", e.Holders), fmt.Sprintf("set holders to 1 to %d", maxVUs))
	}
}

// strangers finds settings that mean nothing to the executor's kind.
func (c *planCompiler) strangers(path string, e *Executor) {
	for _, f := range []struct {
		name string
		set  bool
		of   []ExecutorKind
	}{
		{"vus", e.VUs != 0, []ExecutorKind{Closed}},
		{"rate", e.Rate != 0, []ExecutorKind{Open}},
		{"arrivals", e.Arrivals != "", []ExecutorKind{Open}},
		{"stages", e.Stages != nil, []ExecutorKind{Open, Closed}},
		{"trace", e.Trace != nil, []ExecutorKind{Open}},
		{"think_time", e.ThinkTime != (ThinkTime{}), []ExecutorKind{Closed}},
		{"holders", e.Holders != 0, []ExecutorKind{Occupancy}},
		{"max_in_flight", e.MaxInFlight != 0, []ExecutorKind{Open}},
		{"iterations", e.Iterations != 0, []ExecutorKind{Closed}},
		{"iterations_per_vu", e.IterationsPerVU != 0, []ExecutorKind{Closed}},
	} {
		known := e.Kind == Closed || e.Kind == Open || e.Kind == Occupancy
		if f.set && known && !slices.Contains(f.of, e.Kind) {
			c.add(path+"."+f.name, fmt.Sprintf("%s %s executor has no %s", article(e.Kind), e.Kind, cmp.Or(spoken[f.name], f.name)),
				fmt.Sprintf("leave it out, or use the %s executor", f.of[0]))
		}
	}
	if e.Start != 0 && e.Stages == nil {
		c.add(path+".start", "there is no stage to begin", "add stages, or leave start out")
	}
}

// spoken names settings as people do, where that differs.
var spoken = map[string]string{"vus": "virtual users", "max_in_flight": "bound on what is in flight", "think_time": "think time"}

func article(k ExecutorKind) string {
	if k == Closed {
		return "a"
	}
	return "an"
}
