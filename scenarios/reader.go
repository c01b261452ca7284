package scenarios

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
)

// maxFile bounds a scenario file, in bytes; maxDepth bounds how deep its values nest.
const (
	maxFile  = 64 << 10
	maxDepth = 64
)

// reader turns YAML nodes into Go values. It never stops at a mistake: it notes it and goes on with a zero value.
type reader struct {
	file     string
	part     bool // the file is a part of a mix
	embedded bool // the file is part of the program and has no others beside it
	problems Problems
	at       map[string]*token.Position // where each field stands
	meant    map[string]bool            // fields that a misspelt one was taken for, which are therefore not told to be missing
}

// object maps each key of a mapping to what reads its value.
type object map[string]func(path string, n ast.Node)

func (r *reader) fail(path, msg, remedy string) {
	p := Problem{File: r.file, Field: path, Msg: msg, Remedy: remedy}
	if pos := r.position(path); pos != nil {
		p.Line, p.Column = pos.Line, pos.Column
	}
	r.problems = append(r.problems, p)
}

// position finds the field or, where it is absent, the nearest field around it.
func (r *reader) position(path string) *token.Position {
	for {
		if pos := r.at[path]; pos != nil || path == "" {
			return pos
		}
		path = path[:max(strings.LastIndexAny(path, ".["), 0)]
	}
}

// parse returns the file's one YAML document, or nil after noting why there is none.
func (r *reader) parse(data []byte) ast.Node {
	r.at, r.meant = map[string]*token.Position{}, map[string]bool{}
	if len(data) > maxFile {
		r.fail("", fmt.Sprintf("the file has %d bytes", len(data)), fmt.Sprintf("keep it under %d", maxFile))
		return nil
	}
	if deep(data) {
		r.fail("", fmt.Sprintf("more than %d brackets are open at once", maxDepth), "nest less")
		return nil
	}
	f, err := parser.ParseBytes(data, 0)
	if err != nil {
		r.syntax(err)
		return nil
	}
	var body ast.Node
	for _, d := range f.Docs {
		if d.Body == nil {
			continue
		}
		if body != nil {
			r.note("", d.Body)
			r.fail("", "a second YAML document begins", "keep one document in a file")
			return nil
		}
		body = d.Body
	}
	if body == nil {
		r.fail("", "the file is empty", "begin with name:, executor: and steps:")
	}
	return body
}

// deep guards the YAML parser, which recurses for every bracket.
func deep(data []byte) bool {
	open := 0
	for _, c := range data {
		switch c {
		case '[', '{':
			open++
		case ']', '}':
			open = max(open-1, 0)
		}
		if open > maxDepth {
			return true
		}
	}
	return false
}

func (r *reader) syntax(err error) {
	p := Problem{File: r.file, Msg: err.Error()}
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

func (r *reader) note(path string, n ast.Node) {
	if t := n.GetToken(); t != nil && t.Position != nil {
		r.at[path] = t.Position
	}
	if m, ok := n.(*ast.MappingNode); ok && len(m.Values) > 0 {
		r.at[path] = m.Values[0].Key.GetToken().Position
	}
}

// entries returns a mapping's keys and values; ok is false when n is something else, which is then noted.
func (r *reader) entries(path string, n ast.Node) (values []*ast.MappingValueNode, ok bool) {
	switch m := n.(type) {
	case *ast.MappingNode:
		return m.Values, true
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{m}, true
	}
	r.fail(path, "want a mapping, got "+kind(n), "write key: value lines below it")
	return nil, false
}

// object reads a mapping: unknown keys are mistakes, and so are missing ones of required.
func (r *reader) object(path string, n ast.Node, required []string, fields object) {
	values, ok := r.entries(path, n)
	if !ok {
		return
	}
	seen := map[string]bool{}
	for _, v := range values {
		key, ok := r.key(path, v)
		if !ok {
			continue
		}
		seen[key] = true
		read := fields[key]
		if read == nil {
			r.unknown(path, key, fields)
			continue
		}
		if _, null := v.Value.(*ast.NullNode); null {
			r.fail(join(path, key), "has no value", "give it one or remove the line")
			continue
		}
		if _, scalar := v.Value.(ast.ScalarNode); scalar {
			r.note(join(path, key), v.Value)
		}
		read(join(path, key), v.Value)
	}
	for _, key := range required {
		if !seen[key] && !r.meant[join(path, key)] {
			r.fail(join(path, key), "is missing", "add it")
		}
	}
}

// key gives an entry's name and notes where it stands. Merge keys and keys that are no plain strings are mistakes.
func (r *reader) key(path string, v *ast.MappingValueNode) (string, bool) {
	k, ok := v.Key.(*ast.StringNode)
	if !ok {
		bad := join(path, v.Key.String())
		r.at[bad] = v.Key.GetToken().Position
		r.fail(bad, "a key must be a plain word", "quote it, and write no anchors or merge keys")
		return "", false
	}
	r.at[join(path, k.Value)] = k.GetToken().Position
	return k.Value, true
}

func (r *reader) unknown(path, key string, fields object) {
	known := make([]string, 0, len(fields))
	for k := range fields {
		known = append(known, k)
	}
	slices.Sort(known)
	remedy := "known here: " + strings.Join(known, ", ")
	if w := nearest(key, known); w != "" {
		remedy = fmt.Sprintf("did you mean %q?", w)
		r.meant[join(path, w)] = true
	}
	r.fail(join(path, key), "unknown field", remedy)
}

// list reads a sequence of at least least items.
func (r *reader) list(path string, n ast.Node, least int, item func(path string, n ast.Node)) {
	s, ok := n.(*ast.SequenceNode)
	if !ok {
		r.fail(path, "want a list, got "+kind(n), `write one "- " line for each item`)
		return
	}
	if len(s.Values) < least {
		r.fail(path, "the list is empty", "add an item")
	}
	for i, v := range s.Values {
		p := fmt.Sprintf("%s[%d]", path, i)
		r.note(p, v)
		item(p, v)
	}
}

func (r *reader) text(path string, n ast.Node) string {
	switch s := n.(type) {
	case *ast.StringNode:
		return s.Value
	case *ast.LiteralNode:
		return s.Value.Value
	}
	r.fail(path, "want text, got "+kind(n), "quote the value")
	return ""
}

func (r *reader) match(path string, n ast.Node, want *regexp.Regexp, remedy string) string {
	before := len(r.problems)
	s := r.text(path, n)
	if len(r.problems) == before && !want.MatchString(s) {
		r.fail(path, fmt.Sprintf("%q is not valid here", s), remedy)
	}
	return s
}

func (r *reader) oneOf(path string, n ast.Node, words ...string) string {
	before := len(r.problems)
	s := r.text(path, n)
	if len(r.problems) > before || slices.Contains(words, s) {
		return s
	}
	remedy := "use one of " + strings.Join(words, ", ")
	if w := nearest(s, words); w != "" {
		remedy = fmt.Sprintf("did you mean %q?", w)
	}
	r.fail(path, fmt.Sprintf("%q is not known", s), remedy)
	return s
}

func (r *reader) texts(path string, n ast.Node) []string {
	var out []string
	r.list(path, n, 1, func(p string, n ast.Node) { out = append(out, r.text(p, n)) })
	return out
}

func (r *reader) integer(path string, n ast.Node, least int64) int64 {
	i, ok := n.(*ast.IntegerNode)
	if !ok {
		r.fail(path, "want a whole number, got "+kind(n), "write it without quotes or a fraction")
		return least
	}
	v, ok := i.Value.(int64)
	if u, unsigned := i.Value.(uint64); unsigned && u <= math.MaxInt64 {
		v, ok = int64(u), true
	}
	if !ok || v < least || v > 1<<53 {
		r.fail(path, fmt.Sprintf("%s is out of range", i.Token.Value), fmt.Sprintf("use %d or more, 2^53 at most", least))
		return least
	}
	return v
}

func (r *reader) truth(path string, n ast.Node) bool {
	b, ok := n.(*ast.BoolNode)
	if !ok {
		r.fail(path, "want true or false, got "+kind(n), "write it without quotes")
		return false
	}
	return b.Value
}

// rate reads arrivals per second, above zero.
func (r *reader) rate(path string, n ast.Node) float64 {
	return r.positive(path, n, "write arrivals per second, such as 200", "use a rate above 0, 1e6 per second at most")
}

// factor reads what something is multiplied by, above zero.
func (r *reader) factor(path string, n ast.Node) float64 {
	return r.positive(path, n, "write a factor, such as 0.85", "use a factor above 0, 1e6 at most")
}

// positive reads a number above zero.
func (r *reader) positive(path string, n ast.Node, form, bounds string) float64 {
	v, err := strconv.ParseFloat(n.String(), 64)
	_, isInt := n.(*ast.IntegerNode)
	_, isFloat := n.(*ast.FloatNode)
	switch {
	case !isInt && !isFloat || err != nil:
		r.fail(path, "want a number, got "+kind(n), form)
		return 1
	case v <= 0 || v > 1e6:
		r.fail(path, fmt.Sprintf("%v is out of range", v), bounds)
		return 1
	}
	return v
}

// duration reads a Go duration of at least least.
func (r *reader) duration(path string, n ast.Node, least time.Duration) time.Duration {
	before := len(r.problems)
	s := r.text(path, n)
	if len(r.problems) > before {
		return least
	}
	d, err := time.ParseDuration(s)
	switch {
	case err != nil || !durationForm.MatchString(s):
		r.fail(path, fmt.Sprintf("%q is not a duration", s), "write a number and a unit, such as 15s or 500ms")
		return least
	case d < least:
		r.fail(path, fmt.Sprintf("%s is too short", d), fmt.Sprintf("use %s or more", least))
		return least
	}
	return d
}

// value reads any YAML value as JSON has it.
func (r *reader) value(path string, n ast.Node) any {
	switch v := n.(type) {
	case *ast.NullNode:
		return nil
	case *ast.BoolNode:
		return v.Value
	case *ast.IntegerNode:
		return r.integer(path, n, -1<<53)
	case *ast.FloatNode:
		return v.Value
	case *ast.StringNode, *ast.LiteralNode:
		return r.text(path, n)
	case *ast.SequenceNode:
		out := []any{}
		r.list(path, n, 0, func(p string, n ast.Node) { out = append(out, r.value(p, n)) })
		return out
	case *ast.MappingNode, *ast.MappingValueNode:
		return r.mapping(path, n)
	}
	r.fail(path, kind(n)+" is not supported", "write the value out")
	return nil
}

func (r *reader) mapping(path string, n ast.Node) map[string]any {
	out := map[string]any{}
	values, _ := r.entries(path, n)
	for _, v := range values {
		if key, ok := r.key(path, v); ok {
			if _, scalar := v.Value.(ast.ScalarNode); scalar {
				r.note(join(path, key), v.Value)
			}
			out[key] = r.value(join(path, key), v.Value)
		}
	}
	return out
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func kind(n ast.Node) string {
	switch n.(type) {
	case *ast.NullNode:
		return "nothing"
	case *ast.BoolNode:
		return "true or false"
	case *ast.IntegerNode:
		return "a whole number"
	case *ast.FloatNode:
		return "a number"
	case *ast.StringNode, *ast.LiteralNode:
		return "text"
	case *ast.SequenceNode:
		return "a list"
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a mapping"
	case *ast.AnchorNode, *ast.AliasNode:
		return "an anchor or alias"
	case *ast.TagNode:
		return "a tag"
	}
	return strings.ToLower(n.Type().String())
}
