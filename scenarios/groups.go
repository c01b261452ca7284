package scenarios

import (
	"fmt"
	"slices"

	"github.com/goccy/go-yaml/ast"
)

// Group is a name for several embedded scenarios that belong together.
type Group struct {
	Name      string
	Scenarios []string
}

// Groups returns the embedded groups in their order.
func Groups() []Group {
	data, err := embedded.ReadFile(groupsFile)
	if err != nil {
		panic(err) // embedded at build time
	}
	groups, err := parseGroups(groupsFile, data)
	if err != nil {
		panic(fmt.Sprintf("embedded groups: %v", err)) // a test reads it
	}
	return groups
}

// Expand puts the scenarios of a group where its name stands.
func Expand(names []string) []string {
	var out []string
	groups := Groups()
	for _, name := range names {
		at := slices.IndexFunc(groups, func(g Group) bool { return g.Name == name })
		if at < 0 {
			out = append(out, name)
			continue
		}
		out = append(out, groups[at].Scenarios...)
	}
	return out
}

func parseGroups(file string, data []byte) ([]Group, error) {
	r := &reader{file: file}
	body := r.parse(data)
	if body == nil {
		return nil, r.problems
	}
	r.note("", body)
	var groups []Group
	r.object("", body, []string{"groups"}, object{
		"groups": func(at string, n ast.Node) { groups = collect(r, at, n, r.group) },
	})
	if len(r.problems) > 0 {
		return nil, r.problems
	}
	return groups, nil
}

func (r *reader) group(at string, n ast.Node) Group {
	var g Group
	r.object(at, n, []string{"name", "scenarios"}, object{
		"name":      func(at string, n ast.Node) { g.Name = r.match(at, n, nameForm, nameRemedy) },
		"scenarios": func(at string, n ast.Node) { g.Scenarios = r.texts(at, n) },
	})
	return g
}
