package loadgen

import (
	"fmt"
	"path/filepath"
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

// program is a plan compiled: its arguments and checks parsed, ready to be called without any further mistake.
type program struct {
	setup, steps, teardown []step
}

type step struct {
	name   string
	tool   string
	args   template
	checks []check
}

// planCompiler gathers mistakes while it compiles.
type planCompiler struct {
	errs PlanErrors
}

func (c *planCompiler) add(path, msg, remedy string) {
	c.errs = append(c.errs, &PlanError{path, msg, remedy})
}

func compilePlan(p *Plan) (*program, error) {
	var c planCompiler
	if p.Name == "" {
		c.add("name", "the plan has no name", "name the scenario, such as ssh-exec")
	}
	c.executor(&p.Executor)
	c.files(p.Files)
	prog := &program{setup: c.steps("setup", p.Setup), steps: c.steps("steps", p.Steps), teardown: c.steps("teardown", p.Teardown)}
	if len(p.Steps) == 0 {
		c.add("steps", "the plan calls nothing", "add at least one step")
	}
	known := map[string]bool{}
	for i, s := range p.Steps {
		if s.Name != "" && known[s.Name] {
			c.add(fmt.Sprintf("steps[%d].name", i), fmt.Sprintf("step %q occurs twice", s.Name), "give each step its own name")
		}
		known[s.Name] = true
	}
	c.arms(p.Arms)
	c.thresholds(p.Thresholds, known)
	c.target(p.Target, known)
	if len(c.errs) > 0 {
		return nil, c.errs
	}
	return prog, nil
}

func (c *planCompiler) executor(e *Executor) {
	switch e.Kind {
	case Closed:
		if e.VUs < 1 {
			c.add("executor.vus", fmt.Sprintf("a closed executor needs virtual users, not %d", e.VUs), "set vus to 1 or more")
		}
		if e.Rate != 0 {
			c.add("executor.rate", "a closed executor has no rate", "leave rate out, or use the open executor")
		}
		if e.MaxInFlight != 0 {
			c.add("executor.max_in_flight", "a closed executor has as many calls in flight as vus", "leave max_in_flight out")
		}
	case Open:
		c.openExecutor(e)
	default:
		c.add("executor.kind", fmt.Sprintf("unknown executor %q", e.Kind), "use closed or open")
	}
	if e.Sessions < 0 {
		c.add("executor.sessions", "the number of sessions is negative", "leave sessions out or set it to 1 or more")
	}
	if e.Iterations < 0 {
		c.add("executor.iterations", "the number of iterations is negative", "leave iterations out or set it to 1 or more")
	}
	if e.Warmup < 0 {
		c.add("executor.warmup", "the warm-up is negative", "set it to 0s or more")
	}
	if e.Duration < 0 || e.Duration == 0 && e.Iterations <= 0 {
		c.add("executor.duration", fmt.Sprintf("nothing is measured in %v", e.Duration), "set a duration such as 15s")
	}
}

func (c *planCompiler) openExecutor(e *Executor) {
	switch {
	case !(e.Rate > 0 && e.Rate <= maxRate):
		c.add("executor.rate", fmt.Sprintf("an open executor cannot run at rate %v", e.Rate),
			fmt.Sprintf("set rate to the arrivals per second, above 0 and up to %d", maxRate))
	case e.Duration > 0 && e.Warmup >= 0 && arrivals(e.Rate, e.Warmup+e.Duration) == arrivals(e.Rate, e.Warmup):
		c.add("executor.rate", fmt.Sprintf("no arrival falls in the measured %v at rate %v", e.Duration, e.Rate), "raise the rate or the duration")
	}
	if e.MaxInFlight < 0 || e.MaxInFlight > maxSlots {
		c.add("executor.max_in_flight", fmt.Sprintf("%d is out of range", e.MaxInFlight), fmt.Sprintf("use 1 to %d, or leave it out", maxSlots))
	}
	if e.VUs != 0 {
		c.add("executor.vus", "an open executor has no virtual users", "leave vus out, or use the closed executor")
	}
	if e.Iterations > 0 {
		c.add("executor.iterations", "an open executor runs by duration", "leave iterations out, or use the closed executor")
	}
}

func (c *planCompiler) files(files []File) {
	seen := map[string]bool{}
	for i, f := range files {
		path := fmt.Sprintf("files[%d]", i)
		switch {
		case f.Name == "":
			c.add(path+".name", "the file has no name", "name it")
		case !filepath.IsLocal(f.Name):
			c.add(path+".name", fmt.Sprintf("%q leads out of the work directory", f.Name), "use a relative path without ..")
		case seen[filepath.Clean(f.Name)]:
			c.add(path+".name", fmt.Sprintf("file %q occurs twice", f.Name), "give each file its own name")
		}
		seen[filepath.Clean(f.Name)] = true
		if f.Size < 0 {
			c.add(path+".size", "the size is negative", "set it to 0 or more bytes")
		}
	}
}

func (c *planCompiler) steps(list string, steps []Step) []step {
	out := make([]step, len(steps))
	for i, s := range steps {
		path := fmt.Sprintf("%s[%d]", list, i)
		if s.Name == "" {
			c.add(path+".name", "the step has no name", "name it; its figures are reported under the name")
		}
		if s.Tool == "" {
			c.add(path+".tool", "the step calls no tool", "name one, such as ssh_exec")
		}
		args := s.Args
		if args == nil {
			args = map[string]any{}
		}
		out[i] = step{name: s.Name, tool: s.Tool, args: compileTemplate(path+".args", args, func(path string, err *textError) {
			c.add(path, err.msg, err.remedy)
		})}
		for j, ch := range s.Checks {
			compiled, at, msg, remedy := compileCheck(ch)
			if at != "" {
				c.add(fmt.Sprintf("%s.checks[%d].%s", path, j, at), msg, remedy)
			}
			out[i].checks = append(out[i].checks, compiled)
		}
	}
	return out
}

func (c *planCompiler) arms(arms []Arm) {
	seen := map[string]bool{}
	for i, a := range arms {
		path := fmt.Sprintf("arms[%d].name", i)
		if a.Name == "" && len(arms) > 1 {
			c.add(path, "the arm has no name", "name each arm where there are several")
		} else if seen[a.Name] {
			c.add(path, fmt.Sprintf("arm %q occurs twice", a.Name), "give each arm its own name")
		}
		seen[a.Name] = true
	}
}

func (c *planCompiler) thresholds(ts []Threshold, steps map[string]bool) {
	for i, t := range ts {
		path := fmt.Sprintf("thresholds[%d]", i)
		if err := t.check(); err != nil {
			c.add(path, err.Error(), "write one like p95<100ms")
		} else if t.Step != "" && !steps[t.Step] {
			c.add(path, fmt.Sprintf("there is no step %q", t.Step), "name a step of the plan, or leave the step out to judge all")
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
			c.add(fmt.Sprintf("target.steps[%d]", i), fmt.Sprintf("there is no step %q", s), "name a step of the plan")
		}
	}
	if t.Target <= 0 {
		c.add("target.target", fmt.Sprintf("no latency is below %v", t.Target), "set a duration above 0")
	}
	if t.Acceptable < max(t.Target, time.Nanosecond) {
		c.add("target.acceptable", fmt.Sprintf("%v is shorter than the target of %v", t.Acceptable, t.Target), "set it to the target or longer")
	}
}
