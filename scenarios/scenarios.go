// Package scenarios holds the workloads and the performance-targets table as YAML, and reads them into load generator plans.
//
// Start with Load, which takes the name of an embedded scenario (List names them) or the path of a file. Targets gives the
// table that grades the embedded ones. The grammar is in parse.go; schema.json states the same for editors.
package scenarios

import (
	"embed"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
)

// The embedded tables, which are no scenarios.
const (
	targetsFile = "targets.yaml"
	groupsFile  = "groups.yaml"
)

//go:embed *.yaml
var embedded embed.FS

// Schema is the JSON Schema of a scenario file, draft 2020-12.
//
//go:embed schema.json
var Schema []byte

// ErrUnknown is wrapped by Load's error for a name that no embedded scenario has.
var ErrUnknown = errors.New("unknown scenario")

// List names the embedded scenarios in alphabetical order.
func List() []string {
	entries, err := embedded.ReadDir(".")
	if err != nil {
		panic(err) // embedded at build time
	}
	var names []string
	for _, e := range entries {
		if !isTable(e.Name()) {
			names = append(names, strings.TrimSuffix(e.Name(), ".yaml"))
		}
	}
	return names
}

// Load reads the embedded scenario of that name, or the file if ref has a folder or ends in .yaml, .yml or .json. An embedded
// scenario carries its row of the targets table. Mistakes in a file come back as Problems.
func Load(ref string) (*loadgen.Plan, error) {
	if isPath(ref) {
		data, err := readFile(ref)
		if err != nil {
			return nil, err
		}
		return Parse(ref, data)
	}
	data, err := embedded.ReadFile(ref + ".yaml")
	if err != nil || isTable(ref+".yaml") {
		return nil, unknownScenario(ref)
	}
	p, err := parse(&reader{file: ref + ".yaml", embedded: true}, data)
	if err != nil {
		return nil, err
	}
	for _, row := range Targets() {
		if row.Scenario == p.Name {
			p.Target = &row.Target
		}
	}
	return p, nil
}

func isTable(file string) bool { return file == targetsFile || file == groupsFile }

func unknownScenario(ref string) error {
	known := List()
	for _, g := range Groups() {
		known = append(known, g.Name)
	}
	remedy := fmt.Sprintf("known are %s; a file is named by its path, such as ./%s.yaml", strings.Join(known, ", "), ref)
	if w := nearest(ref, known); w != "" {
		remedy = fmt.Sprintf("did you mean %q?", w)
	}
	return fmt.Errorf("%w %q: %s", ErrUnknown, ref, remedy)
}

func isPath(ref string) bool {
	switch filepath.Ext(ref) {
	case ".yaml", ".yml", ".json":
		return true
	}
	return strings.ContainsAny(ref, `/\`)
}

// readFile reads no more of a file than Parse accepts, and a byte to show that there is more.
func readFile(name string) ([]byte, error) {
	data, err := readBounded(name, maxFile)
	if err != nil {
		return nil, fmt.Errorf("cannot read scenario: %w", err)
	}
	return data, nil
}

// readBounded reads a file up to a byte beyond a number of bytes.
func readBounded(name string, most int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return nil, err
	}
	return data, nil
}
