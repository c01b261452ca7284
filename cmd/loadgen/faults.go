package main

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
)

// faults is a description that was read and found good.
type faults struct {
	name   string // for reports: the file, or the digest of what stands inside a scenario
	faults fakessh.Faults
}

// readFaults reads the file of --faults.
func readFaults(file string) (*faults, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %v", file, unwrapped(err))
	}
	f, err := fakessh.ParseFaults(file, text)
	if err != nil {
		return nil, err
	}
	return &faults{file, f}, nil
}

// faultsOf reads what a plan says, nil where it says nothing.
func faultsOf(p *loadgen.Plan) (*faults, error) {
	if p.Faults == nil {
		return nil, nil
	}
	node, inline := p.Faults.Doc.(ast.Node)
	if !inline {
		f, err := readFaults(p.Faults.File)
		if err != nil {
			return nil, fmt.Errorf("scenario %s: faults: %w", p.Name, err)
		}
		return f, nil
	}
	f, err := fakessh.FaultsFromYAML(p.Faults.File, "faults", node)
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(f)
	if err != nil {
		return nil, fmt.Errorf("%s: faults: %w", p.Faults.File, err)
	}
	return &faults{fmt.Sprintf("sha256:%.6x", sha256.Sum256(text)), f}, nil
}

// injection says which faults hold during which plan.
type injection struct {
	always *faults // of --faults, which comes before what plans say; nil for none
	of     map[*loadgen.Plan]*faults
}

// readInjection reads all descriptions. Faults are for the fake host alone.
func (o *runOptions) readInjection(plans []*loadgen.Plan) (in injection, err error) {
	fake := o.target == "fake" && !isURL(o.server)
	if o.faults != "" {
		if !fake {
			return in, usage("--faults is for the fake host, which is not used here: drop it")
		}
		if in.always, err = readFaults(o.faults); err != nil {
			return in, usage("--faults: %w", err)
		}
	}
	in.of = map[*loadgen.Plan]*faults{}
	var bad []error
	for _, p := range plans {
		f, err := faultsOf(p)
		switch {
		case err != nil:
			bad = append(bad, err)
		case f != nil && !fake:
			bad = append(bad, fmt.Errorf("scenario %s has faults, which only the fake host knows: drop them, or use --target fake", p.Name))
		default:
			in.of[p] = f
		}
	}
	if len(bad) > 0 {
		return in, &exitError{exitUsage, errors.Join(bad...)}
	}
	return in, nil
}

// during gives the faults of a plan, nil for none.
func (in injection) during(p *loadgen.Plan) *faults {
	if in.always != nil {
		return in.always
	}
	return in.of[p]
}

// names is what the report says of all of them, "" where there are none.
func (in injection) names(plans []*loadgen.Plan) string {
	var names []string
	for _, p := range plans {
		if f := in.during(p); f != nil && !slices.Contains(names, f.name) {
			names = append(names, f.name)
		}
	}
	return strings.Join(names, ", ")
}

// apply has the faults of a plan hold, or none where it has none.
func (t *target) apply(f *faults) error {
	if t.control == nil {
		return nil
	}
	if f == nil {
		f = &faults{}
	}
	if err := t.control.setFaults(f.faults); err != nil {
		return harness("cannot set the faults of the fake host: %w", err)
	}
	return nil
}
