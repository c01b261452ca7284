package fakessh

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh/netem"
)

// ParseFaults reads a description of faults in YAML or JSON. docs/faults.md
// describes its fields. The file's name only serves the error, which is a
// [FaultsProblems]: every mistake that was found. An empty file holds no faults.
func ParseFaults(file string, data []byte) (Faults, error) {
	r := &faultsReader{file: file, at: map[string]*token.Position{}}
	return r.result("", r.document(data))
}

// FaultsFromYAML reads a description that stands inside another document, under
// field: node is what [ast] makes of it, from the file of that name.
func FaultsFromYAML(file, field string, node ast.Node) (Faults, error) {
	r := &faultsReader{file: file, at: map[string]*token.Position{}}
	return r.result(field, node)
}

func (r *faultsReader) result(at string, n ast.Node) (Faults, error) {
	var f Faults
	if n != nil && len(r.problems) == 0 {
		if t := n.GetToken(); t != nil {
			r.at[at] = t.Position
		}
		f = r.faults(at, n, 1, true)
	}
	if len(r.problems) > 0 {
		slices.SortStableFunc(r.problems, func(a, b FaultsProblem) int {
			return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
		})
		return Faults{}, r.problems
	}
	return f, nil
}

// faults reads a description; only the outermost one has a schedule.
func (r *faultsReader) faults(at string, n ast.Node, seed uint64, outermost bool) Faults {
	f := Faults{Seed: seed}
	known := fields{
		"seed":         func(at string, n ast.Node) { f.Seed = uint64(r.integer(at, n)) },
		"connect":      func(at string, n ast.Node) { f.Connect = r.connect(at, n) },
		"auth":         func(at string, n ast.Node) { f.Auth = r.auth(at, n) },
		"exec":         func(at string, n ast.Node) { f.Exec = r.exec(at, n) },
		"sftp":         func(at string, n ast.Node) { f.SFTP.Delay = r.onlyDelay(at, n) },
		"network":      func(at string, n ast.Node) { r.network(at, n, &f.Network) },
		"cut":          func(at string, n ast.Node) { f.Network.Cut = r.cut(at, n) },
		"disk":         func(at string, n ast.Node) { f.Disk = r.disk(at, n) },
		"max_sessions": func(at string, n ast.Node) { f.MaxSessions = r.count(at, n) },
		"workers":      func(at string, n ast.Node) { f.Workers = r.workers(at, n) },
	}
	if outermost {
		var changes ast.Node
		known["schedule"] = func(_ string, n ast.Node) { changes = n }
		r.mapping(at, n, known)
		if changes != nil {
			f.Schedule = r.schedule(join(at, "schedule"), changes, f.Seed)
		}
	} else {
		r.mapping(at, n, known)
	}
	r.check(at, f.Validate())
	return f
}

func (r *faultsReader) schedule(at string, n ast.Node, seed uint64) []Change {
	list, ok := n.(*ast.SequenceNode)
	if !ok {
		r.fail(at, "want a list, got "+nodeKind(n), "write one - {at: 10s, faults: {…}} line for each change")
		return nil
	}
	var out []Change
	for i, v := range list.Values {
		at := fmt.Sprintf("%s[%d]", at, i)
		if t := v.GetToken(); t != nil {
			r.at[at] = t.Position
		}
		var c Change
		r.mapping(at, v, fields{
			"at":     func(at string, n ast.Node) { c.At = r.duration(at, n) },
			"faults": func(at string, n ast.Node) { c.Faults = r.faults(at, n, seed, false) },
		}, "at", "faults")
		out = append(out, c)
	}
	return out
}

func (r *faultsReader) connect(at string, n ast.Node) (c ConnectFaults) {
	r.mapping(at, n, fields{
		"refuse":       func(at string, n ast.Node) { c.Refuse = r.share(at, n) },
		"mute":         func(at string, n ast.Node) { c.Mute = r.share(at, n) },
		"delay":        func(at string, n ast.Node) { c.Delay = r.dist(at, n) },
		"max_startups": func(at string, n ast.Node) { c.MaxStartups = r.count(at, n) },
	})
	return c
}

func (r *faultsReader) auth(at string, n ast.Node) (a AuthFaults) {
	r.mapping(at, n, fields{
		"fail":  func(at string, n ast.Node) { a.Fail = r.share(at, n) },
		"delay": func(at string, n ast.Node) { a.Delay = r.dist(at, n) },
	})
	return a
}

// onlyDelay reads a mapping with one field.
func (r *faultsReader) onlyDelay(at string, n ast.Node) (d netem.Dist) {
	r.mapping(at, n, fields{"delay": func(at string, n ast.Node) { d = r.dist(at, n) }}, "delay")
	return d
}

func (r *faultsReader) exec(at string, n ast.Node) (e ExecFaults) {
	r.mapping(at, n, fields{
		"delay":  func(at string, n ast.Node) { e.Delay = r.dist(at, n) },
		"except": func(at string, n ast.Node) { e.Except = r.word(at, n) },
	}, "delay")
	return e
}

func (r *faultsReader) network(at string, n ast.Node, s *netem.Shape) {
	r.mapping(at, n, fields{
		"delay":     func(at string, n ast.Node) { s.Delay = r.dist(at, n) },
		"jitter":    func(at string, n ast.Node) { s.Jitter = r.duration(at, n) },
		"bandwidth": func(at string, n ast.Node) { s.Bandwidth = r.size(at, n, true) },
		"corrupt":   func(at string, n ast.Node) { s.Corrupt = r.share(at, n) },
		"stall": func(at string, n ast.Node) {
			r.mapping(at, n, fields{
				"every": func(at string, n ast.Node) { s.Stall.Every = r.duration(at, n) },
				"for":   func(at string, n ast.Node) { s.Stall.For = r.duration(at, n) },
				"at":    func(at string, n ast.Node) { s.Stall.At = r.duration(at, n) },
			}, "for")
		},
	})
}

func (r *faultsReader) cut(at string, n ast.Node) (c netem.Cut) {
	c.Share = 1
	r.mapping(at, n, fields{
		"share":       func(at string, n ast.Node) { c.Share = r.share(at, n) },
		"after":       func(at string, n ast.Node) { c.After = r.dist(at, n) },
		"after_bytes": func(at string, n ast.Node) { c.AfterBytes = r.size(at, n, false) },
		"silent":      func(at string, n ast.Node) { c.Silent = r.truth(at, n) },
	})
	if c.Share == 0 { // which means all to netem
		return netem.Cut{}
	}
	return c
}

func (r *faultsReader) disk(at string, n ast.Node) (d DiskFaults) {
	r.mapping(at, n, fields{
		"capacity":  func(at string, n ast.Node) { d.Capacity = r.size(at, n, false) },
		"read":      func(at string, n ast.Node) { d.Read = r.dist(at, n) },
		"write":     func(at string, n ast.Node) { d.Write = r.dist(at, n) },
		"bandwidth": func(at string, n ast.Node) { d.Bandwidth = r.size(at, n, true) },
	})
	return d
}

func (r *faultsReader) workers(at string, n ast.Node) (w Workers) {
	r.mapping(at, n, fields{
		"count":   func(at string, n ast.Node) { w.Count = r.count(at, n) },
		"service": func(at string, n ast.Node) { w.Service = r.dist(at, n) },
	}, "count", "service")
	return w
}

// distFields are what each kind of distribution must have.
var distFields = map[netem.Kind][]string{
	netem.KindFixed:       {"value"},
	netem.KindNormal:      {"mean", "stddev"},
	netem.KindLogNormal:   {"median", "sigma"},
	netem.KindExponential: {"mean"},
	netem.KindBimodal:     {"share", "low", "high"},
}

// dist reads a duration, or a mapping with a kind.
func (r *faultsReader) dist(at string, n ast.Node) netem.Dist {
	switch n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
	default:
		d := netem.Fixed(r.duration(at, n))
		if err := d.Validate(); err != nil {
			r.fail(at, fmt.Sprintf("%v is too long", d.Value), fmt.Sprintf("use %v at most", netem.MaxDelay))
		}
		return d
	}
	var d netem.Dist
	var given []string
	length := func(to *time.Duration) func(at string, n ast.Node) {
		return func(at string, n ast.Node) { *to = r.duration(at, n) }
	}
	before := len(r.problems)
	known := fields{
		"kind":  func(_ string, n ast.Node) { d.Kind = netem.Kind(scalar(n)) },
		"value": length(&d.Value), "mean": length(&d.Mean), "stddev": length(&d.StdDev), "median": length(&d.Median),
		"low": length(&d.Low), "high": length(&d.High),
		"sigma": func(at string, n ast.Node) { d.Sigma = r.number(at, n) },
		"share": func(at string, n ast.Node) { d.Share = r.share(at, n) },
	}
	for key, read := range known {
		known[key] = func(at string, n ast.Node) { given = append(given, key); read(at, n) }
	}
	r.mapping(at, n, known, "kind")
	if len(r.problems) > before {
		return netem.Dist{}
	}
	r.checkDist(at, d, given)
	return d
}

// checkDist wants a distribution to have the fields of its kind, and no others.
func (r *faultsReader) checkDist(at string, d netem.Dist, given []string) {
	want, ok := distFields[d.Kind]
	if !ok {
		r.fail(at+".kind", fmt.Sprintf("%q is not known", d.Kind), "use fixed, normal, log-normal, exponential or bimodal")
		return
	}
	for _, field := range want {
		if !slices.Contains(given, field) {
			r.fail(at+"."+field, "is missing", fmt.Sprintf("a %s distribution has %s", d.Kind, strings.Join(want, ", ")))
		}
	}
	for _, field := range given {
		if field != "kind" && !slices.Contains(want, field) {
			r.fail(at+"."+field, fmt.Sprintf("means nothing to kind %s", d.Kind), "it has "+strings.Join(want, ", "))
		}
	}
	r.check(at, d.Validate())
}
