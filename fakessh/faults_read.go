package fakessh

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh/netem"
)

// Bounds on a description: its size in bytes, and how many brackets are open
// at once, for each of which the YAML parser recurses.
const (
	maxFaultsFile = 64 << 10
	maxBrackets   = 64
)

// FaultsProblem is one mistake in a description of faults.
type FaultsProblem struct {
	File   string // as it was named to ParseFaults
	Line   int    // from 1; 0 when the whole file is meant
	Column int    // from 1
	Field  string // path of the field, such as "exec.delay"; empty for the whole file
	Msg    string // what is wrong
	Remedy string // what to write instead
}

// Error gives file:line:column, the field, the mistake and the remedy on one
// line.
func (p FaultsProblem) Error() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", p.Line, p.Column)
	}
	b.WriteString(": ")
	if p.Field != "" {
		b.WriteString(p.Field + ": ")
	}
	b.WriteString(p.Msg + "; " + p.Remedy)
	return b.String()
}

// FaultsProblems is every mistake of a description, in the order of its lines.
type FaultsProblems []FaultsProblem

// Error gives one mistake a line.
func (ps FaultsProblems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// faultsReader turns YAML into Faults. It never stops at a mistake: it notes it
// and goes on.
type faultsReader struct {
	file     string
	at       map[string]*token.Position // where each field stands
	problems FaultsProblems
}

func (r *faultsReader) fail(field, msg, remedy string) {
	p := FaultsProblem{File: r.file, Field: field, Msg: msg, Remedy: remedy}
	for f := field; ; f = f[:max(strings.LastIndexAny(f, ".["), 0)] {
		if pos := r.at[f]; pos != nil {
			p.Line, p.Column = pos.Line, pos.Column
		}
		if p.Line > 0 || f == "" {
			break
		}
	}
	r.problems = append(r.problems, p)
}

// check notes what validation has found below a field, unless a mistake there
// is known already.
func (r *faultsReader) check(field string, err error) {
	var e *netem.FieldError
	if !errors.As(err, &e) {
		return
	}
	path := join(field, e.Field)
	for _, p := range r.problems {
		if p.Field == path || strings.HasPrefix(p.Field, path+".") || strings.HasPrefix(path, p.Field+".") {
			return
		}
	}
	r.fail(path, e.Msg, e.Remedy)
}

func join(outer, field string) string {
	if outer == "" {
		return field
	}
	return outer + "." + field
}

// document returns the one document of a file, nil after noting why there is
// none, or where it is empty.
func (r *faultsReader) document(data []byte) ast.Node {
	if len(data) > maxFaultsFile {
		r.fail("", fmt.Sprintf("the file has %d bytes", len(data)), fmt.Sprintf("keep it under %d", maxFaultsFile))
		return nil
	}
	open := 0
	for _, c := range data {
		switch c {
		case '[', '{':
			open++
		case ']', '}':
			open = max(open-1, 0)
		}
		if open > maxBrackets {
			r.fail("", fmt.Sprintf("more than %d brackets are open at once", maxBrackets), "nest less")
			return nil
		}
	}
	f, err := parser.ParseBytes(data, 0)
	if err != nil {
		r.syntax(err)
		return nil
	}
	var body ast.Node
	for _, d := range f.Docs {
		switch {
		case d.Body == nil:
		case body != nil:
			r.fail("", "a second YAML document begins", "keep one document in a file")
			return nil
		default:
			body = d.Body
		}
	}
	return body
}

func (r *faultsReader) syntax(err error) {
	p := FaultsProblem{File: r.file, Msg: err.Error(), Remedy: "write keys and values in YAML"}
	var ye yaml.Error
	if errors.As(err, &ye) {
		p.Msg = ye.GetMessage()
		if t := ye.GetToken(); t != nil && t.Position != nil {
			p.Line, p.Column = t.Position.Line, t.Position.Column
		}
	}
	p.Msg = "not valid YAML: " + strings.Join(strings.Fields(p.Msg), " ")
	r.problems = append(r.problems, p)
}

// fields maps each key of a mapping to what reads its value.
type fields map[string]func(at string, n ast.Node)

// mapping reads a mapping: unknown keys are mistakes, and so are missing ones
// of required.
func (r *faultsReader) mapping(at string, n ast.Node, known fields, required ...string) {
	var values []*ast.MappingValueNode
	switch m := n.(type) {
	case *ast.MappingNode:
		values = m.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{m}
	default:
		r.fail(at, "want a mapping, got "+nodeKind(n), "write key: value lines below it")
		return
	}
	seen := map[string]bool{}
	for _, v := range values {
		key, ok := v.Key.(*ast.StringNode)
		if !ok {
			r.fail(at, "a key must be a plain word, not "+v.Key.String(), "write no anchors, aliases and merge keys")
			continue
		}
		field := join(at, key.Value)
		seen[key.Value] = true
		r.at[field] = key.GetToken().Position
		if _, scalar := v.Value.(ast.ScalarNode); scalar && v.Value.GetToken() != nil {
			r.at[field] = v.Value.GetToken().Position
		}
		read := known[key.Value]
		switch _, null := v.Value.(*ast.NullNode); {
		case read == nil:
			r.at[field] = key.GetToken().Position
			r.fail(field, "unknown field", "known here: "+strings.Join(keysOf(known), ", "))
		case null:
			r.fail(field, "has no value", "give it one or remove the line")
		default:
			read(field, v.Value)
		}
	}
	for _, key := range required {
		if !seen[key] {
			r.fail(join(at, key), "is missing", "add it")
		}
	}
}

func keysOf(m fields) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func nodeKind(n ast.Node) string {
	switch n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	case *ast.StringNode, *ast.LiteralNode:
		return "text"
	case *ast.IntegerNode, *ast.FloatNode:
		return "a number"
	case *ast.BoolNode:
		return "true or false"
	case *ast.AnchorNode, *ast.AliasNode:
		return "an anchor or alias"
	}
	return strings.ToLower(n.Type().String())
}

// scalar returns a text or number as it is written, "" for something else.
func scalar(n ast.Node) string {
	switch s := n.(type) {
	case *ast.StringNode:
		return s.Value
	case *ast.IntegerNode, *ast.FloatNode:
		return n.GetToken().Value
	}
	return ""
}

func (r *faultsReader) integer(at string, n ast.Node) int64 {
	v, err := strconv.ParseInt(scalar(n), 10, 64)
	if err != nil || v < 0 || v > 1<<53 {
		r.fail(at, written(n)+" is no whole number from 0 to 2^53", "write one such as 10")
		return 0
	}
	return v
}

// count reads a whole number above zero.
func (r *faultsReader) count(at string, n ast.Node) int {
	before := len(r.problems)
	v := r.integer(at, n)
	if len(r.problems) == before && (v < 1 || v > math.MaxInt32) {
		r.fail(at, fmt.Sprintf("%d is out of range", v), "use 1 or more, or leave it out")
	}
	return int(v)
}

// word reads a name without spaces.
func (r *faultsReader) word(at string, n ast.Node) string {
	s, ok := n.(*ast.StringNode)
	if !ok || s.Value == "" || strings.ContainsAny(s.Value, " \t\n") {
		r.fail(at, "want the name of a command, got "+nodeKind(n), "write its first word, as in except: true in quotes")
		return ""
	}
	return s.Value
}

func (r *faultsReader) truth(at string, n ast.Node) bool {
	b, ok := n.(*ast.BoolNode)
	if !ok {
		r.fail(at, written(n)+" is neither true nor false", "write true or false")
		return false
	}
	return b.Value
}

func (r *faultsReader) number(at string, n ast.Node) float64 {
	v, err := strconv.ParseFloat(scalar(n), 64)
	if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
		r.fail(at, written(n)+" is no number", "write one such as 0.5")
		return 0
	}
	return v
}

// share reads a number from 0 to 1, or a percentage.
func (r *faultsReader) share(at string, n ast.Node) float64 {
	text, percent := strings.CutSuffix(scalar(n), "%")
	v, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	if percent {
		v /= 100
	}
	if err != nil || !(v >= 0 && v <= 1) {
		r.fail(at, written(n)+" is no share", "write 0% to 100%, or a number from 0 to 1")
		return 0
	}
	return v
}

var (
	durationForm = regexp.MustCompile(`^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$`)
	sizeForm     = regexp.MustCompile(`^([0-9]{1,15})(B|KiB|MiB|GiB)?(/s)?$`)
)

var sizeUnits = map[string]int64{"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}

func (r *faultsReader) duration(at string, n ast.Node) time.Duration {
	text := scalar(n)
	d, err := time.ParseDuration(text)
	if err != nil || !durationForm.MatchString(text) {
		r.fail(at, written(n)+" is no duration", "write a number and a unit, such as 1s or 20ms")
		return 0
	}
	return d
}

// size reads bytes, or bytes a second, above zero.
func (r *faultsReader) size(at string, n ast.Node, perSecond bool) int64 {
	m := sizeForm.FindStringSubmatch(scalar(n))
	example := "10MiB"
	if perSecond {
		example += "/s"
	}
	if m == nil || !perSecond && m[3] != "" {
		r.fail(at, written(n)+" is no number of bytes", "write one such as "+example)
		return 0
	}
	v, _ := strconv.ParseInt(m[1], 10, 64) // fifteen digits at most
	if v < 1 || v > (1<<53)/sizeUnits[m[2]] {
		r.fail(at, written(n)+" is out of range", "use 1B or more, or leave it out")
		return 0
	}
	return v * sizeUnits[m[2]]
}

// written shows a value in a message.
func written(n ast.Node) string {
	if text := scalar(n); text != "" {
		return strconv.Quote(text)
	}
	return nodeKind(n)
}
