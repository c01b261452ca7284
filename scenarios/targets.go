package scenarios

import (
	"fmt"
	"slices"

	"github.com/goccy/go-yaml/ast"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
)

// Row is a row of the targets table.
type Row struct {
	Scenario string // that measures it
	Planned  bool   // its operation does not work yet: it reads no-data and is left out of the default run
	Target   loadgen.Target
}

// Targets returns the project's targets table in its order. The rows are the caller's to change.
func Targets() []Row {
	data, err := embedded.ReadFile(targetsFile)
	if err != nil {
		panic(err) // embedded at build time
	}
	rows, err := parseTargets(targetsFile, data)
	if err != nil {
		panic(fmt.Sprintf("embedded targets table: %v", err)) // a test reads it
	}
	return rows
}

// Defaults names the scenarios that measure the rows which work, in the table's order.
func Defaults() []string {
	var names []string
	for _, row := range Targets() {
		if !row.Planned && !slices.Contains(names, row.Scenario) {
			names = append(names, row.Scenario)
		}
	}
	return names
}

func parseTargets(file string, data []byte) ([]Row, error) {
	r := &reader{file: file}
	body := r.parse(data)
	if body == nil {
		return nil, r.problems
	}
	r.note("", body)
	var rows []Row
	r.object("", body, []string{"targets"}, object{
		"targets": func(at string, n ast.Node) { rows = collect(r, at, n, r.row) },
	})
	if len(r.problems) > 0 {
		return nil, r.problems
	}
	return rows, nil
}

func (r *reader) row(at string, n ast.Node) Row {
	var row Row
	fields := r.bands(&row.Target)
	fields["operation"] = func(at string, n ast.Node) { row.Target.Operation = r.operation(at, n) }
	fields["scenario"] = func(at string, n ast.Node) { row.Scenario = r.match(at, n, nameForm, nameRemedy) }
	fields["status"] = func(at string, n ast.Node) { row.Planned = r.oneOf(at, n, "working", "planned") == "planned" }
	r.object(at, n, []string{"operation", "scenario", "status", "statistic", "target", "acceptable"}, fields)
	if t := row.Target; len(r.problems) == 0 && t.Acceptable < t.Target {
		r.fail(join(at, "acceptable"), "is less than target", "an acceptable latency is at least the target")
	}
	return row
}
