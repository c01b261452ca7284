package scenarios

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
)

var (
	nameForm      = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]*$`)
	operationForm = regexp.MustCompile(`^[a-z0-9_]+(\.[a-z0-9_]+)*$`)
	fieldForm     = regexp.MustCompile(`^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$`)
	durationForm  = regexp.MustCompile(`^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$`)
	variableForm  = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)
	fileForm      = regexp.MustCompile(`^[A-Za-z0-9_%$][A-Za-z0-9_.%${}-]*(/[A-Za-z0-9_%$][A-Za-z0-9_.%${}-]*)*$`)
	sizeForm      = regexp.MustCompile(`^([0-9]{1,9})(B|KiB|MiB|GiB)$`)
)

var sizeUnits = map[string]int64{"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}

const (
	nameRemedy  = "use letters, digits, dots, dashes and underscores"
	fieldRemedy = "use the dotted path of a field in the result's data, such as exit_code"
	fileRemedy  = "use letters, digits, dots, dashes and underscores, with / between folders, ${vu} and a number such as %03d"
)

// Parse reads one scenario. The file's name only serves the errors, which are Problems: every mistake that was found, each
// with line, column, field and remedy. YAML and JSON are both read. Data feeds are read from files beside it.
func Parse(file string, data []byte) (*loadgen.Plan, error) {
	return parse(&reader{file: file}, data)
}

func parse(r *reader, data []byte) (*loadgen.Plan, error) {
	body := r.parse(data)
	if body == nil {
		return nil, r.problems
	}
	r.note("", body)
	p := r.plan(body)
	r.validate(p)
	if len(r.problems) > 0 {
		r.problems.sortByLine()
		return nil, r.problems
	}
	return p, nil
}

// validate adds what the load generator finds wrong with the plan and the reader did not.
func (r *reader) validate(p *loadgen.Plan) {
	var found loadgen.PlanErrors
	errors.As(loadgen.ValidatePlan(p), &found)
	known := r.problems
	for _, e := range found {
		if !known.covers(e.Path) && !r.meant[e.Path] {
			r.fail(e.Path, e.Msg, e.Remedy)
		}
	}
}

func (r *reader) plan(n ast.Node) *loadgen.Plan {
	p := &loadgen.Plan{Seed: 1}
	var mix ast.Node
	r.object("", n, []string{"name", "operation", "executor"}, object{
		"name":         func(at string, n ast.Node) { p.Name = r.match(at, n, nameForm, nameRemedy) },
		"operation":    func(at string, n ast.Node) { p.Operation = r.operation(at, n) },
		"description":  func(at string, n ast.Node) { p.Description = r.text(at, n) },
		"seed":         func(at string, n ast.Node) { p.Seed = uint64(r.integer(at, n, 0)) },
		"executor":     func(at string, n ast.Node) { p.Executor = r.planExecutor(at, n) },
		"feeds":        func(at string, n ast.Node) { p.Feeds = collect(r, at, n, r.feed) },
		"files":        func(at string, n ast.Node) { p.Files = collect(r, at, n, r.localFile) },
		"setup":        func(at string, n ast.Node) { p.Setup = collect(r, at, n, r.step) },
		"steps":        func(at string, n ast.Node) { p.Steps = collect(r, at, n, r.step) },
		"teardown":     func(at string, n ast.Node) { p.Teardown = collect(r, at, n, r.step) },
		"mix":          func(at string, n ast.Node) { mix = n },
		"slice":        func(at string, n ast.Node) { p.Slice = r.duration(at, n, time.Millisecond) },
		"arms":         func(at string, n ast.Node) { p.Arms = collect(r, at, n, r.arm) },
		"max_lateness": func(at string, n ast.Node) { p.MaxLateness = r.duration(at, n, time.Microsecond) },
		"thresholds":   func(at string, n ast.Node) { p.Thresholds = collect(r, at, n, r.threshold) },
		"trends":       func(at string, n ast.Node) { p.Trends = collect(r, at, n, r.trend) },
		"compare":      func(at string, n ast.Node) { p.Compare = collect(r, at, n, r.comparison) },
		"faults":       func(at string, n ast.Node) { p.Faults = r.faults(at, n) },
		"target":       func(at string, n ast.Node) { p.Target = r.target(at, n) },
	})
	if mix != nil { // read last, since its scenarios bring files and setup along
		p.Mix = r.mix("mix", mix, p)
	} else {
		r.require("steps", "add it, or a mix")
		r.require("executor.kind", "add it")
	}
	if p.Target != nil {
		p.Target.Operation = p.Operation
	}
	return p
}

// require notes a field that is missing where that is not told already.
func (r *reader) require(path, remedy string) {
	if r.at[path] == nil && !r.meant[path] && !r.problems.covers(path) {
		r.fail(path, "is missing", remedy)
	}
}

// collect reads a list of at least one item.
func collect[T any](r *reader, at string, n ast.Node, item func(at string, n ast.Node) T) []T {
	var out []T
	r.list(at, n, 1, func(at string, n ast.Node) { out = append(out, item(at, n)) })
	return out
}

func (r *reader) operation(at string, n ast.Node) string {
	return r.match(at, n, operationForm, "use the dotted operation, such as ssh.exec")
}

func (r *reader) localFile(at string, n ast.Node) loadgen.File {
	var f loadgen.File
	r.object(at, n, []string{"name", "size"}, object{
		"name":  func(at string, n ast.Node) { f.Name = r.match(at, n, fileForm, fileRemedy) },
		"size":  func(at string, n ast.Node) { f.Size = r.size(at, n) },
		"count": func(at string, n ast.Node) { f.Count = int(r.integer(at, n, 1)) },
	})
	return f
}

// size reads bytes, as a whole number or with a binary unit.
func (r *reader) size(at string, n ast.Node) int64 {
	if _, ok := n.(*ast.IntegerNode); ok {
		return r.integer(at, n, 0)
	}
	before := len(r.problems)
	m := sizeForm.FindStringSubmatch(r.match(at, n, sizeForm, "write bytes, or a number and KiB, MiB or GiB, such as 1MiB"))
	if len(r.problems) > before {
		return 0
	}
	v, _ := strconv.ParseInt(m[1], 10, 64) // nine digits at most
	return v * sizeUnits[m[2]]
}

func (r *reader) step(at string, n ast.Node) loadgen.Step {
	var s loadgen.Step
	r.object(at, n, []string{"name"}, object{
		"name":   func(at string, n ast.Node) { s.Name = r.match(at, n, nameForm, nameRemedy) },
		"tool":   func(at string, n ast.Node) { s.Tool = r.match(at, n, nameForm, nameRemedy) },
		"args":   func(at string, n ast.Node) { s.Args = r.mapping(at, n) },
		"checks": func(at string, n ast.Node) { s.Checks = collect(r, at, n, r.check) },
		"save":   func(at string, n ast.Node) { s.Save = r.saves(at, n) },
		"tcp":    func(at string, n ast.Node) { s.TCP = r.tcp(at, n) },
		"write":  func(at string, n ast.Node) { s.Write = r.write(at, n) },
		"session": func(at string, n ast.Node) {
			s.Session = loadgen.SessionStep(r.oneOf(at, n, string(loadgen.SessionOpen), string(loadgen.SessionClose), string(loadgen.SessionAbandon)))
		},
		"hold":         func(at string, n ast.Node) { s.Hold = r.duration(at, n, time.Millisecond) },
		"always":       func(at string, n ast.Node) { s.Always = r.truth(at, n) },
		"measured":     func(at string, n ast.Node) { s.Unmeasured = !r.truth(at, n) },
		"cancel_after": func(at string, n ast.Node) { s.CancelAfter = r.duration(at, n, time.Millisecond) },
		"progress":     func(at string, n ast.Node) { s.Progress = r.truth(at, n) },
	})
	return s
}

// saves reads which variables a step gives to those after it.
func (r *reader) saves(at string, n ast.Node) map[string]string {
	out, before := map[string]string{}, len(r.problems)
	for name, v := range r.mapping(at, n) {
		at := join(at, name)
		field, ok := v.(string)
		switch {
		case !variableForm.MatchString(name):
			r.fail(at, fmt.Sprintf("%q cannot name a variable", name), "use lower-case letters, digits and underscores")
		case !ok || !fieldForm.MatchString(field):
			r.fail(at, "names no field", fieldRemedy)
		}
		out[name] = field
	}
	if len(out) == 0 && len(r.problems) == before {
		r.fail(at, "saves nothing", "write name: field lines below it")
	}
	return out
}

func (r *reader) tcp(at string, n ast.Node) *loadgen.TCP {
	t := &loadgen.TCP{}
	r.object(at, n, []string{"address", "bytes"}, object{
		"address": func(at string, n ast.Node) { t.Address = r.text(at, n) },
		"bytes":   func(at string, n ast.Node) { t.Bytes = r.size(at, n) },
	})
	return t
}

func (r *reader) write(at string, n ast.Node) *loadgen.Write {
	w := &loadgen.Write{}
	r.object(at, n, []string{"file"}, object{
		"file":  func(at string, n ast.Node) { w.File = r.match(at, n, fileForm, fileRemedy) },
		"count": func(at string, n ast.Node) { w.Count = int(r.integer(at, n, 1)) },
	})
	return w
}

func (r *reader) check(at string, n ast.Node) loadgen.Check {
	var c loadgen.Check
	required := []string{"field", "value"}
	if has(n, "file_equal") {
		required = nil
	}
	r.object(at, n, required, object{
		"field": func(at string, n ast.Node) { c.Field = r.match(at, n, fieldForm, fieldRemedy) },
		"op": func(at string, n ast.Node) {
			c.Op = r.oneOf(at, n, "==", "!=", "contains", ">=", "<=", "matches", "sha256", "length")
		},
		"value":      func(at string, n ast.Node) { c.Value = r.scalar(at, n) },
		"file_equal": func(at string, n ast.Node) { c.FileEqual = r.fileEqual(at, n) },
	})
	if c.Op == "" && c.FileEqual == nil {
		c.Op = "=="
	}
	return c
}

func (r *reader) fileEqual(at string, n ast.Node) *loadgen.FileEqual {
	f := &loadgen.FileEqual{}
	r.object(at, n, []string{"local", "with"}, object{
		"local": func(at string, n ast.Node) { f.Local = r.text(at, n) },
		"with":  func(at string, n ast.Node) { f.With = r.text(at, n) },
	})
	return f
}

// has reports whether a mapping has a key.
func has(n ast.Node, key string) bool {
	values := []*ast.MappingValueNode{}
	switch m := n.(type) {
	case *ast.MappingNode:
		values = m.Values
	case *ast.MappingValueNode:
		values = append(values, m)
	}
	return slices.ContainsFunc(values, func(v *ast.MappingValueNode) bool { return v.Key.String() == key })
}

// scalar reads text, a number or a truth value.
func (r *reader) scalar(at string, n ast.Node) any {
	switch n.(type) {
	case *ast.SequenceNode, *ast.MappingNode, *ast.MappingValueNode:
		r.fail(at, "want text, a number or a truth value, got "+kind(n), "compare one field at a time")
		return nil
	}
	return r.value(at, n)
}

func (r *reader) arm(at string, n ast.Node) loadgen.Arm {
	var a loadgen.Arm
	r.object(at, n, []string{"name"}, object{
		"name":          func(at string, n ast.Node) { a.Name = r.match(at, n, nameForm, nameRemedy) },
		"driver":        func(at string, n ast.Node) { a.Driver = r.armDriver(at, n) },
		"server_config": func(at string, n ast.Node) { a.ServerConfig = r.mapping(at, n) },
	})
	return a
}

func (r *reader) armDriver(at string, n ast.Node) *loadgen.ArmDriver {
	d := &loadgen.ArmDriver{}
	r.object(at, n, nil, object{
		"kind":      func(at string, n ast.Node) { d.Kind = r.oneOf(at, n, loadgen.DriverKinds...) },
		"protocol":  func(at string, n ast.Node) { d.Protocol = r.oneOf(at, n, loadgen.Protocols...) },
		"sessions":  func(at string, n ast.Node) { d.Sessions = r.oneOf(at, n, loadgen.SessionUses...) },
		"read_rate": func(at string, n ast.Node) { d.ReadRate = r.size(at, n) },

		"transport":   func(at string, n ast.Node) { d.Transport = r.oneOf(at, n, loadgen.Transports...) },
		"connections": func(at string, n ast.Node) { d.Connections = int(r.integer(at, n, 1)) },
	})
	return d
}

// comparison reads what the first arm is to show beside others.
func (r *reader) comparison(at string, n ast.Node) loadgen.Comparison {
	var c loadgen.Comparison
	r.object(at, n, []string{"metric", "arms"}, object{
		"metric": func(at string, n ast.Node) { c.Metric = r.text(at, n) },
		"arms":   func(at string, n ast.Node) { c.Arms = r.texts(at, n) },
		"times":  func(at string, n ast.Node) { c.Times = r.factor(at, n) },
		"plus":   func(at string, n ast.Node) { c.Plus = r.duration(at, n, time.Nanosecond) },
	})
	return c
}

// threshold reads its text, or a mapping with that and what comes of missing it.
func (r *reader) threshold(at string, n ast.Node) loadgen.Threshold {
	switch n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
	default:
		return r.thresholdText(at, n)
	}
	var t loadgen.Threshold
	var abort bool
	var after time.Duration
	before := len(r.problems)
	r.object(at, n, []string{"expr"}, object{
		"expr":  func(at string, n ast.Node) { t = r.thresholdText(at, n) },
		"abort": func(at string, n ast.Node) { abort = r.truth(at, n) },
		"after": func(at string, n ast.Node) { after = r.duration(at, n, 0) },
	})
	r.meant[at] = len(r.problems) > before // what is wrong with it was told
	t.Abort, t.After = abort, after
	return t
}

func (r *reader) thresholdText(at string, n ast.Node) loadgen.Threshold {
	before := len(r.problems)
	s := r.text(at, n)
	if len(r.problems) > before {
		return loadgen.Threshold{}
	}
	t, err := loadgen.ParseThreshold(s)
	if err != nil {
		r.fail(at, err.Error(), "")
	}
	return t
}

// trend reads the growth that is tolerated.
func (r *reader) trend(at string, n ast.Node) loadgen.Trend {
	before := len(r.problems)
	s := r.text(at, n)
	if len(r.problems) > before {
		return loadgen.Trend{}
	}
	t, err := loadgen.ParseTrend(s)
	if err != nil {
		r.fail(at, err.Error(), "")
	}
	return t
}

// target reads the bands of a scenario that is graded.
func (r *reader) target(at string, n ast.Node) *loadgen.Target {
	t := &loadgen.Target{}
	r.object(at, n, []string{"target", "acceptable"}, r.bands(t))
	return t
}

func (r *reader) bands(t *loadgen.Target) object {
	return object{
		"statistic":  func(at string, n ast.Node) { t.Statistic = r.oneOf(at, n, "p50", "p90", "p95", "p99") },
		"steps":      func(at string, n ast.Node) { t.Steps = r.texts(at, n) },
		"target":     func(at string, n ast.Node) { t.Target = r.duration(at, n, time.Nanosecond) },
		"acceptable": func(at string, n ast.Node) { t.Acceptable = r.duration(at, n, time.Nanosecond) },
	}
}
