package loadgen

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
)

// program is a plan compiled: its arguments and checks parsed, ready to be run without any further mistake.
type program struct {
	files           []fileSet
	setup, teardown []step
	parts           []*part
	loads           []workload
	holds           time.Duration // how long an iteration may pause in Hold steps
}

// step is a Step compiled.
type step struct {
	name       string
	action     action
	saves      []save
	needs      []int // saved variables in it, by their place
	always     bool
	unmeasured bool
}

// action is what a step does.
type action interface {
	// render prepares one call, ahead of its measurement.
	render(v *vars) any
	// perform makes the call that render prepared.
	perform(ctx context.Context, s Session, rendered any) answer
	uses(variable string) bool
	String() string
}

// save keeps a value of a reply for later steps.
type save struct {
	from  fieldPath
	place int // in vars.saved
}

// judge is an action whose answer is checked after its measurement.
type judge interface {
	judge(a *answer, rendered any)
}

// run makes the call that the action has rendered, and settles it.
func (st *step) run(ctx context.Context, s Session, rendered any, v *vars) answer {
	a := st.action.perform(ctx, s, rendered)
	st.settle(&a, rendered, v)
	return a
}

// settle checks an answer, and keeps what later steps need of it.
func (st *step) settle(a *answer, rendered any, v *vars) {
	if !a.cut.IsZero() {
		return
	}
	if j, ok := st.action.(judge); ok && a.outcome == "" {
		j.judge(a, rendered)
	}
	for i := 0; i < len(st.saves) && a.outcome == ""; i++ {
		if value, why := st.saves[i].from.scalar(a.data); why != "" {
			a.outcome, a.message = CodeCheckFailed, why
		} else {
			v.saved[st.saves[i].place] = value
		}
	}
}

// ready reports whether every variable in the step has been saved, and the session that it ends was opened.
func (st *step) ready(v *vars) bool {
	if s, ok := st.action.(*sessionStep); ok && s.what != SessionOpen && v.user.own == nil {
		return false
	}
	return !slices.ContainsFunc(st.needs, func(i int) bool { return v.saved[i] == nil })
}

func (prog *program) uses(name string) bool {
	lists := [][]step{prog.setup, prog.teardown}
	for _, pt := range prog.parts {
		lists = append(lists, pt.steps)
	}
	for _, list := range lists {
		if slices.ContainsFunc(list, func(st step) bool { return st.action.uses(name) }) {
			return true
		}
	}
	return false
}

// Uses reports whether any step of the plan holds the variable, such as "echo_host". It is false for a plan that ValidatePlan refuses.
func (p *Plan) Uses(variable string) bool {
	prog, err := compilePlan(p)
	return err == nil && prog.uses(variable)
}

// iteration compiles the steps of a part, each of which may use what those before it save. list is the path of their list.
func (c *planCompiler) iteration(list string, steps []Step, e *Executor, files []fileSet) (out []step, saved int) {
	if len(steps) == 0 {
		c.add(list, "the plan does nothing", "add at least one step")
		return nil, 0
	}
	if first := &steps[0]; e.Kind == Open && first.unmeasured() {
		c.add(list+"[0]", "an open executor measures from the schedule, and its first step is not measured",
			"begin with a measured step, or use the closed executor")
	}
	c.sessions(list, steps)
	out = make([]step, len(steps))
	sc := scope{saved: map[string]int{}, feeds: c.known}
	for i := range steps {
		path := fmt.Sprintf("%s[%d]", list, i)
		out[i] = c.step(path, &steps[i], sc, files)
		c.save(path, &steps[i], &out[i], sc)
	}
	return out, len(sc.saved)
}

// unmeasured reports whether the step has no cell.
func (s *Step) unmeasured() bool { return s.Unmeasured || s.Write != nil || s.Hold != 0 }

// toolCalls compiles Plan.Setup and Plan.Teardown.
func (c *planCompiler) toolCalls(list string, steps []Step) []step {
	out := make([]step, len(steps))
	for i := range steps {
		s, path := &steps[i], fmt.Sprintf("%s[%d]", list, i)
		for _, f := range []struct {
			name string
			set  bool
		}{{"tcp", s.TCP != nil}, {"write", s.Write != nil}, {"session", s.Session != ""}, {"hold", s.Hold != 0}, {"save", len(s.Save) > 0}, {"always", s.Always},
			{"measured", s.Unmeasured}, {"cancel_after", s.CancelAfter != 0}, {"progress", s.Progress}} {
			if f.set {
				c.add(path+"."+f.name, list+" takes plain tool calls", "leave it out, or move the step to steps")
			}
		}
		out[i] = c.step(path, s, scope{}, nil)
	}
	return out
}

func (c *planCompiler) step(path string, s *Step, sc scope, files []fileSet) step {
	if s.Name == "" {
		c.add(path+".name", "the step has no name", "name it; its figures are reported under the name")
	}
	st := step{name: s.Name, always: s.Always, unmeasured: s.unmeasured()}
	var does []string
	for _, a := range []struct {
		name    string
		set     bool
		compile func() action
	}{
		{"tool", s.Tool != "", func() action { return c.toolCall(path, s, sc) }},
		{"tcp", s.TCP != nil, func() action { return c.tcp(path, s, sc) }},
		{"write", s.Write != nil, func() action { return c.write(path, s, files) }},
		{"session", s.Session != "", func() action { return c.session(path, s) }},
		{"hold", s.Hold != 0, func() action { return c.hold(path, s) }},
	} {
		if a.set {
			does, st.action = append(does, a.name), a.compile()
		}
	}
	switch len(does) {
	case 0:
		c.add(path+".tool", "the step does nothing", "name a tool, such as ssh_exec, or give it tcp, write, session or hold")
	case 1:
	default:
		c.add(path, "the step does several things", "keep one of "+strings.Join(does, ", "))
	}
	if st.action == nil {
		return st
	}
	for name, place := range sc.saved {
		if st.action.uses(name) {
			st.needs = append(st.needs, place)
		}
	}
	if s.Tool == "" && (len(s.Args) > 0 || len(s.Checks) > 0 || len(s.Save) > 0) {
		c.add(path, "only a tool call has args, checks and save", "leave them out")
	}
	if s.Tool == "" && (s.CancelAfter != 0 || s.Progress) {
		c.add(path, "only a tool call has cancel_after and progress", "leave them out")
	}
	return st
}

var variableForm = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)

// save adds what a step saves to its compiled form and to the scope of those after it.
func (c *planCompiler) save(path string, s *Step, st *step, sc scope) {
	for _, name := range slices.Sorted(maps.Keys(s.Save)) {
		at := path + ".save." + name
		_, unknown := sc.find(name)
		switch {
		case !variableForm.MatchString(name):
			c.add(at, fmt.Sprintf("%q cannot name a variable", name), "use lower-case letters, digits and underscores")
		case unknown == nil || sc.feeds[name] != nil:
			c.add(at, fmt.Sprintf("there is a variable ${%s} already", name), "give it a name of its own")
		case s.Save[name] == "":
			c.add(at, "names no field", "name one of the result's data, such as tunnel_id")
		default:
			sc.saved[name] = len(sc.saved)
			st.saves = append(st.saves, save{newFieldPath(s.Save[name]), sc.saved[name]})
		}
	}
}

// names finds steps of a part that share one, and notes what thresholds and the target may speak of: measured steps, parts, and a step of a
// part as PART.STEP.
func (c *planCompiler) names(list, part string, steps []Step, measured map[string]bool) {
	known := map[string]bool{}
	for i := range steps {
		name := steps[i].Name
		if name != "" && known[name] {
			c.add(fmt.Sprintf("%s[%d].name", list, i), fmt.Sprintf("step %q occurs twice", name), "give each step its own name")
		}
		known[name] = true
		if !steps[i].unmeasured() {
			measured[name] = true
			if part != "" {
				measured[part], measured[part+"."+name] = true, true
			}
		}
	}
}
