package scenarios

import (
	"path/filepath"

	"github.com/goccy/go-yaml/ast"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
)

// faults reads where faults of the fake host are described: in place, or in a file beside the scenario's.
func (r *reader) faults(at string, n ast.Node) *loadgen.Faults {
	switch n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return &loadgen.Faults{File: r.file, Doc: n}
	case *ast.StringNode:
	default:
		r.fail(at, "want a mapping or a file, got "+kind(n), "describe the faults below it, or name a file that does")
		return nil
	}
	name := filepath.FromSlash(r.text(at, n))
	if !filepath.IsAbs(name) {
		name = filepath.Join(filepath.Dir(r.file), name)
	}
	return &loadgen.Faults{File: name}
}
