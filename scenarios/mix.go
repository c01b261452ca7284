package scenarios

import (
	"errors"
	"fmt"
	"path/filepath"
	"reflect"

	"github.com/goccy/go-yaml/ast"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
)

// mix reads the parts of a plan. What those that name a scenario need around their steps goes to the plan.
func (r *reader) mix(at string, n ast.Node, p *loadgen.Plan) []loadgen.Part {
	if r.part {
		r.fail(at, "a part of a mix is no mix itself", "name its scenarios in the mix")
		return nil
	}
	return collect(r, at, n, func(at string, n ast.Node) loadgen.Part {
		m := loadgen.Part{}
		scenario, weighed := "", false
		r.object(at, n, nil, object{
			"name":     func(at string, n ast.Node) { m.Name = r.match(at, n, nameForm, nameRemedy) },
			"scenario": func(at string, n ast.Node) { scenario = r.text(at, n) },
			"steps":    func(at string, n ast.Node) { m.Steps = collect(r, at, n, r.step) },
			"weight": func(at string, n ast.Node) {
				m.Weight, weighed = r.rate(at, n), true
			},
			"start":         func(at string, n ast.Node) { m.Start = r.duration(at, n, 0) },
			"max_in_flight": func(at string, n ast.Node) { m.MaxInFlight = int(r.integer(at, n, 1)) },
			"executor": func(at string, n ast.Node) {
				e := r.executor(at, n)
				m.Executor = &e
			},
		})
		if m.Executor == nil && !weighed {
			m.Weight = 1
		}
		switch {
		case scenario != "" && m.Steps != nil:
			r.fail(join(at, "steps"), "the part names a scenario too", "keep one of scenario and steps")
		case scenario != "":
			r.take(at, scenario, &m, p)
		case m.Steps == nil && !r.problems.covers(join(at, "steps")):
			r.fail(join(at, "scenario"), "is missing", "name the scenario whose steps the part takes, or give it steps")
		}
		return m
	})
}

// take gives a part the steps of a scenario, and the plan what goes around them.
func (r *reader) take(at, scenario string, m *loadgen.Part, p *loadgen.Plan) {
	q, err := r.loadPart(scenario)
	if err != nil {
		r.fail(join(at, "scenario"), err.Error(), "")
		return
	}
	m.Steps = q.Steps
	if m.Name == "" {
		m.Name = q.Name
	}
	for _, f := range q.Files {
		p.Files = merge(r, at, p.Files, f, f.Name, func(o loadgen.File) string { return o.Name })
	}
	for _, f := range q.Feeds {
		p.Feeds = merge(r, at, p.Feeds, f, f.Name, func(o loadgen.Feed) string { return o.Name })
	}
	p.Setup, p.Teardown = addSteps(p.Setup, q.Setup), addSteps(p.Teardown, q.Teardown)
}

// merge adds what a part needs to what the plan has, unless it is there already.
func merge[T any](r *reader, at string, all []T, one T, name string, nameOf func(T) string) []T {
	for _, o := range all {
		if nameOf(o) == name {
			if !reflect.DeepEqual(o, one) {
				r.fail(join(at, "scenario"), fmt.Sprintf("another scenario of the mix has a different %s", name), "rename it in one of them")
			}
			return all
		}
	}
	return append(all, one)
}

func addSteps(all, more []loadgen.Step) []loadgen.Step {
	for _, s := range more {
		known := false
		for _, o := range all {
			known = known || reflect.DeepEqual(o, s)
		}
		if !known {
			all = append(all, s)
		}
	}
	return all
}

// loadPart reads the scenario of a part: an embedded one, or a file beside the plan's own.
func (r *reader) loadPart(ref string) (*loadgen.Plan, error) {
	if isPath(ref) {
		if r.embedded {
			return nil, errors.New("an embedded scenario has no files beside it: name an embedded one")
		}
		name := filepath.FromSlash(ref)
		if !filepath.IsAbs(name) {
			name = filepath.Join(filepath.Dir(r.file), name)
		}
		data, err := readFile(name)
		if err != nil {
			return nil, err
		}
		return parse(&reader{file: name, part: true}, data)
	}
	data, err := embedded.ReadFile(ref + ".yaml")
	if err != nil || isTable(ref+".yaml") {
		return nil, unknownScenario(ref)
	}
	return parse(&reader{file: ref + ".yaml", embedded: true, part: true}, data)
}
