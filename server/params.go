package server

import (
	"fmt"
	"io/fs"
	"math"
	"slices"
	"strconv"
	"strings"
)

// params reads a call's arguments by name, collecting what is wrong with them. Each reader takes the advertised name first, then the
// aliases that are accepted besides. done reports everything wrong at once, unknown names included.
type params struct {
	args  map[string]any
	known []string
	errs  []string
}

func (p *params) take(names []string) (any, bool) {
	if p.known == nil {
		p.known = make([]string, 0, 16) // as many as most tools have
	}
	p.known = append(p.known, names...)
	var found any
	var as string
	for _, n := range names {
		v, ok := p.args[n]
		if !ok || v == nil {
			continue
		}
		if as != "" {
			p.fail("%s and %s mean the same; give one", as, n)
		}
		found, as = v, n
	}
	return found, as != ""
}

func (p *params) fail(format string, args ...any) {
	p.errs = append(p.errs, fmt.Sprintf(format, args...))
}

func (p *params) str(names ...string) string {
	v, ok := p.take(names)
	if !ok {
		return ""
	}
	s, ok := v.(string)
	if !ok {
		p.fail("%s must be a string, not %T", names[0], v)
	}
	return s
}

func (p *params) required(names ...string) string {
	s := p.str(names...)
	if s == "" && len(p.errs) == 0 {
		p.fail("%s is required", names[0])
	}
	return s
}

func (p *params) boolean(def bool, names ...string) bool {
	v, ok := p.take(names)
	if !ok {
		return def
	}
	b, ok := v.(bool)
	if !ok {
		p.fail("%s must be true or false, not %v", names[0], v)
	}
	return b
}

// number reads a number from low to high.
func (p *params) number(def, low, high float64, names ...string) float64 {
	v, ok := p.take(names)
	if !ok {
		return def
	}
	n, ok := v.(float64)
	if !ok {
		p.fail("%s must be a number, not %T", names[0], v)
		return def
	}
	if math.IsNaN(n) || n < low || n > high {
		p.fail("%s must be from %v to %v, not %v", names[0], low, high, n)
	}
	return n
}

// fileMode reads permission bits written in octal.
func (p *params) fileMode(names ...string) *fs.FileMode {
	s := p.str(names...)
	if s == "" {
		return nil
	}
	n, err := strconv.ParseUint(strings.TrimPrefix(s, "0o"), 8, 32)
	if err != nil || n > 0o777 {
		p.fail("%s must be octal permission bits such as 0644, not %q", names[0], s)
		return nil
	}
	m := fs.FileMode(n)
	return &m
}

// done returns what is wrong with the arguments, or nil.
func (p *params) done() error {
	var unknown []string
	for name := range p.args {
		if !slices.Contains(p.known, name) {
			unknown = append(unknown, name)
		}
	}
	slices.Sort(unknown)
	for _, name := range unknown {
		p.fail("unknown parameter %q; known are %s", name, strings.Join(p.known, ", "))
	}
	if len(p.errs) == 0 {
		return nil
	}
	return &callError{CodeInvalidParameters, strings.Join(p.errs, "; ")}
}
