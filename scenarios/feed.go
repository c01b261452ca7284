package scenarios

import (
	"path/filepath"

	"github.com/goccy/go-yaml/ast"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
)

// feed reads where the rows of a feed come from: exactly one of csv, json and generate.
func (r *reader) feed(at string, n ast.Node) loadgen.Feed {
	var f loadgen.Feed
	file := func(kind loadgen.FeedKind) func(at string, n ast.Node) {
		return func(at string, n ast.Node) {
			r.only(at, &f, kind)
			f.Path = r.beside(at, n)
		}
	}
	r.object(at, n, []string{"name"}, object{
		"name": func(at string, n ast.Node) {
			f.Name = r.match(at, n, variableForm, "use lower-case letters, digits and underscores")
		},
		"csv":   file(loadgen.FeedCSV),
		"json":  file(loadgen.FeedJSON),
		"order": func(at string, n ast.Node) { f.Order = loadgen.FeedOrder(r.oneOf(at, n, "sequential", "random")) },
		"generate": func(at string, n ast.Node) {
			r.only(at, &f, loadgen.FeedGenerate)
			f.Generate = r.generate(at, n)
		},
	})
	if f.Kind == "" && !r.problems.covers(at) {
		r.fail(at, "the feed has no data", "give it csv: FILE, json: FILE or generate:")
	}
	return f
}

// only notes a feed's kind, which it may have but once.
func (r *reader) only(at string, f *loadgen.Feed, kind loadgen.FeedKind) {
	if f.Kind != "" {
		r.fail(at, "the feed has "+string(f.Kind)+" already", "keep one of csv, json and generate")
	}
	f.Kind = kind
}

// beside reads the path of a file, which begins at the folder of the scenario's file.
func (r *reader) beside(at string, n ast.Node) string {
	name := filepath.FromSlash(r.text(at, n))
	switch {
	case name == "":
		return ""
	case r.embedded:
		r.fail(at, "an embedded scenario has no files beside it", "generate the data")
		return ""
	case filepath.IsAbs(name):
		return name
	}
	return filepath.Join(filepath.Dir(r.file), name)
}

func (r *reader) generate(at string, n ast.Node) *loadgen.Generate {
	g := &loadgen.Generate{}
	whole := func(to *int64) func(at string, n ast.Node) {
		return func(at string, n ast.Node) { *to = r.integer(at, n, -1<<53) }
	}
	r.object(at, n, []string{"kind"}, object{
		"kind":     func(at string, n ast.Node) { g.Kind = r.oneOf(at, n, "sequence", "integer", "string", "choice") },
		"from":     whole(&g.From),
		"step":     whole(&g.Step),
		"min":      whole(&g.Min),
		"max":      whole(&g.Max),
		"length":   func(at string, n ast.Node) { g.Length = int(r.integer(at, n, 1)) },
		"alphabet": func(at string, n ast.Node) { g.Alphabet = r.text(at, n) },
		"values":   func(at string, n ast.Node) { g.Values = collect(r, at, n, r.scalar) },
	})
	r.generated(at, n, g.Kind)
	return g
}

// generators are the fields of each kind, required ones marked.
var generators = map[string]map[string]bool{
	"sequence": {"from": false, "step": false},
	"integer":  {"min": true, "max": true},
	"string":   {"length": true, "alphabet": false},
	"choice":   {"values": true},
}

// generated notes fields that another kind has, and those that are missing.
func (r *reader) generated(at string, n ast.Node, kind string) {
	own := generators[kind]
	if own == nil {
		return
	}
	for _, key := range []string{"from", "step", "min", "max", "length", "alphabet", "values"} {
		required, known := own[key]
		switch {
		case has(n, key) && !known:
			r.fail(join(at, key), "a generator of kind "+kind+" has no "+key, "leave it out, or use another kind")
		case required && !has(n, key) && !r.meant[join(at, key)]:
			r.fail(join(at, key), "is missing", "add it")
		}
	}
}
