package loadgen

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// PlanError is one mistake in a Plan.
type PlanError struct {
	Path   string // where it is, such as "steps[0].args.command" or "executor.rate"
	Msg    string // what is wrong
	Remedy string // what to do about it
}

// Error joins the three parts.
func (e *PlanError) Error() string {
	return fmt.Sprintf("%s: %s: %s", e.Path, e.Msg, e.Remedy)
}

// PlanErrors are all the mistakes in a Plan, in its order.
type PlanErrors []*PlanError

// Error has a line for each mistake.
func (es PlanErrors) Error() string {
	lines := make([]string, len(es))
	for i, e := range es {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap lets errors.As find a *PlanError.
func (es PlanErrors) Unwrap() []error {
	out := make([]error, len(es))
	for i, e := range es {
		out[i] = e
	}
	return out
}

// ValidatePlan finds what would keep a plan from running. The error is nil or of type PlanErrors. Paths use the plan's field names in
// lower case with underscores, such as executor.max_in_flight.
func ValidatePlan(p *Plan) error {
	_, err := compilePlan(p)
	return err
}

// planCompiler gathers mistakes while it compiles.
type planCompiler struct {
	plan  *Plan
	known map[string]*feed
	errs  PlanErrors
}

func (c *planCompiler) add(path, msg, remedy string) {
	c.errs = append(c.errs, &PlanError{path, msg, remedy})
}

func compilePlan(p *Plan) (*program, error) {
	c := planCompiler{plan: p}
	if p.Name == "" {
		c.add("name", "the plan has no name", "name the scenario, such as ssh-exec")
	}
	if p.MaxLateness < 0 {
		c.add("max_lateness", fmt.Sprintf("%v is negative", p.MaxLateness), "set 10ms or so, or leave it out")
	}
	c.known = c.feeds(p.Feeds)
	prog := &program{files: c.files(p.Files)}
	prog.setup, prog.teardown = c.toolCalls("setup", p.Setup), c.toolCalls("teardown", p.Teardown)
	c.mix(prog)
	measured := map[string]bool{}
	c.names("steps", "", p.Steps, measured)
	for i := range p.Mix {
		c.names(fmt.Sprintf("mix[%d].steps", i), p.Mix[i].Name, p.Mix[i].Steps, measured)
	}
	c.arms(p)
	c.shard(p)
	c.thresholds(p.Thresholds, measured)
	c.trends(p.Trends, measured)
	c.comparisons(p)
	c.target(p.Target, measured)
	if len(c.errs) > 0 {
		return nil, c.errs
	}
	return prog, nil
}

func (c *planCompiler) arms(p *Plan) {
	seen := map[string]bool{}
	for i, a := range p.Arms {
		path := fmt.Sprintf("arms[%d].name", i)
		if a.Name == "" && len(p.Arms) > 1 {
			c.add(path, "the arm has no name", "name each arm where there are several")
		} else if seen[a.Name] {
			c.add(path, fmt.Sprintf("arm %q occurs twice", a.Name), "give each arm its own name")
		}
		seen[a.Name] = true
		if a.Driver != nil {
			c.armDriver(fmt.Sprintf("arms[%d].driver", i), a.Driver)
		}
	}
	if p.Slice < 0 || p.Slice > 0 && p.Slice < minSlice {
		c.add("slice", fmt.Sprintf("%v is no time to measure in", p.Slice), fmt.Sprintf("use %v or more", minSlice))
	}
}

func (c *planCompiler) armDriver(path string, d *ArmDriver) {
	for _, f := range []struct {
		name, value string
		known       []string
	}{
		{"kind", d.Kind, DriverKinds},
		{"protocol", d.Protocol, Protocols},
		{"sessions", d.Sessions, SessionUses},
		{"transport", d.Transport, Transports},
	} {
		if f.value != "" && !slices.Contains(f.known, f.value) {
			c.add(path+"."+f.name, fmt.Sprintf("unknown %s %q", f.name, f.value), "use one of "+strings.Join(f.known, ", "))
		}
	}
	if d.ReadRate < 0 {
		c.add(path+".read_rate", "the rate is negative", "set it to bytes per second, or leave it out")
	}
	if d.Connections < 0 || d.Connections > maxConnections {
		c.add(path+".connections", fmt.Sprintf("%d is no number of connections", d.Connections), fmt.Sprintf("use 1 to %d, or leave it out", maxConnections))
	}
}

func (c *planCompiler) thresholds(ts []Threshold, measured map[string]bool) {
	for i, t := range ts {
		path := fmt.Sprintf("thresholds[%d]", i)
		m, _ := findMetric(t.Metric)
		if err := t.check(); err != nil {
			c.add(path, err.Error(), "write one like p95<100ms")
		} else if t.Step != "" && !measured[t.Step] {
			c.add(path, fmt.Sprintf("there is no step %q that is measured", t.Step), "name one of the plan, or leave the step out to judge all")
		} else if d := c.plan.Executor.planned(); t.Window > d && d > 0 {
			c.add(path, fmt.Sprintf("no window of %v fits into the measured %v", formatDuration(t.Window), formatDuration(d)),
				"shorten the window or measure longer")
		}
		switch {
		case t.Abort && !m.live && m.unit != unitNone:
			c.add(path+".abort", fmt.Sprintf("%s is known only at the end, so it cannot end the run", t.Metric), "leave abort out, or limit another metric")
		case t.After < 0:
			c.add(path+".after", fmt.Sprintf("%v is before the measured time", t.After), "set it to 0s or more")
		case t.After > 0 && !t.Abort:
			c.add(path+".after", "it delays the end of the run, which this threshold does not ask for", "add abort: true, or leave after out")
		}
	}
}

func (c *planCompiler) target(t *Target, steps map[string]bool) {
	if t == nil {
		return
	}
	if t.Statistic != "" {
		if _, ok := parseQuantile(t.Statistic); !ok {
			c.add("target.statistic", fmt.Sprintf("unknown statistic %q", t.Statistic), "use a percentile such as p95")
		}
	}
	for i, s := range t.Steps {
		if !steps[s] {
			c.add(fmt.Sprintf("target.steps[%d]", i), fmt.Sprintf("there is no step %q that is measured", s), "name one of the plan")
		}
	}
	if t.Target <= 0 {
		c.add("target.target", fmt.Sprintf("no latency is below %v", t.Target), "set a duration above 0")
	}
	if t.Acceptable < max(t.Target, time.Nanosecond) {
		c.add("target.acceptable", fmt.Sprintf("%v is shorter than the target of %v", t.Acceptable, t.Target), "set it to the target or longer")
	}
}
