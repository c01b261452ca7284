package scenarios

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml/ast"
)

func TestFaultsAreCarried(t *testing.T) {
	const scenario = "name: x\noperation: ssh.exec\nexecutor: {kind: closed, vus: 1, iterations: 1}\nsteps: [{name: a, tool: ssh_exec}]\nfaults: "
	file := filepath.Join("some", "x.yaml")
	for _, test := range []struct {
		faults, file string
		inline       bool
	}{
		{"{exec: {delay: 1s}}", file, true},
		{"{}", file, true},
		{"\n  exec:\n    delay: 1s", file, true},
		{"slow.yaml", filepath.Join("some", "slow.yaml"), false},
		{"../slow.yaml", "slow.yaml", false},
		{"/etc/slow.yaml", filepath.FromSlash("/etc/slow.yaml"), false},
	} {
		p, err := Parse(file, []byte(scenario+test.faults))
		if err != nil {
			t.Errorf("%s: %v", test.faults, err)
			continue
		}
		if _, inline := p.Faults.Doc.(ast.Node); inline != test.inline || p.Faults.File != test.file {
			t.Errorf("%s: %+v", test.faults, p.Faults)
		}
	}
	for _, bad := range []string{"3", "[a]", "true"} {
		if _, err := Parse(file, []byte(scenario+bad)); err == nil || !strings.Contains(err.Error(), "faults: want a mapping or a file") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
