package profile

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// document is a decoded profile with the positions of its fields and every
// mistake found so far.
type document struct {
	file     string
	profile  *Profile
	at       map[string]*token.Position // by dotted field
	text     []byte                     // whose places are still to be found, when there is a mistake; nil for none
	problems []*Problem
	sum      [sha256.Size]byte // of the file's bytes
}

// decode reads JSON or YAML into a profile, strictly and to the end: it reports
// all unknown fields and wrong types of a file, not just the first.
func decode(file string, data []byte) *document {
	if d := decodeJSON(file, data); d != nil {
		return d
	}
	return decodeYAML(file, data)
}

func decodeYAML(file string, data []byte) *document {
	d := &document{file: file, profile: &Profile{}, at: map[string]*token.Position{}}
	tree, err := parser.ParseBytes(data, 0)
	if err != nil {
		d.syntax(err)
		return d
	}
	if len(tree.Docs) != 1 || tree.Docs[0].Body == nil {
		d.problem("", "not one object with fields", "write one profile in each file")
		return d
	}
	d.value("", tree.Docs[0].Body, reflect.ValueOf(d.profile).Elem())
	return d
}

func (d *document) syntax(err error) {
	message := "not valid JSON or YAML"
	if e, ok := errors.AsType[yaml.Error](err); ok {
		message += ": " + e.GetMessage()
		if e.GetToken() != nil {
			d.at[""] = e.GetToken().Position
		}
	}
	d.problem("", message, "check quotes, commas, brackets and indentation")
}

// problem records a mistake at the position of the field, or of the nearest
// thing around it that has one. A field is blamed once: that it is also missing
// when its value could not be read is no news.
func (d *document) problem(field, message, remedy string) {
	if d.blamed(field) {
		return
	}
	d.locate()
	p := &Problem{File: d.file, Field: field, Message: message, Remedy: remedy}
	for at := field; ; at = parent(at) {
		if pos := d.at[at]; pos != nil {
			p.Line, p.Column = pos.Line, pos.Column
			break
		}
		if at == "" {
			break
		}
	}
	d.problems = append(d.problems, p)
}

// blamed says whether the field or an object around it has a problem already.
func (d *document) blamed(field string) bool {
	return field != "" && slices.ContainsFunc(d.problems, func(p *Problem) bool {
		return p.Field == field || p.Field != "" && strings.HasPrefix(field, p.Field+".")
	})
}

// parent cuts the last element off a dotted field.
func parent(field string) string {
	return field[:max(0, strings.LastIndexAny(field, ".["))]
}

func (d *document) has(field string) bool { return d.at[field] != nil }

func (d *document) value(field string, n ast.Node, v reflect.Value) {
	if t := n.GetToken(); t != nil && !d.has(field) {
		d.at[field] = t.Position
	}
	if _, null := n.(*ast.NullNode); null {
		delete(d.at, field)
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		d.object(field, n, v)
	case reflect.Slice:
		d.list(field, n, v)
	default:
		d.scalar(field, n, v)
	}
}

func (d *document) wrong(field, want string, n ast.Node) {
	d.problem(field, fmt.Sprintf("must be %s, not %s", want, kindOf(n)), "write "+want)
}

func kindOf(n ast.Node) string {
	switch n.Type() {
	case ast.MappingType, ast.MappingValueType:
		return "an object"
	case ast.SequenceType:
		return "a list"
	case ast.StringType, ast.LiteralType:
		return "a string"
	case ast.IntegerType, ast.FloatType, ast.InfinityType, ast.NanType:
		return "a number"
	case ast.BoolType:
		return "true or false"
	}
	return "a YAML " + strings.ToLower(n.Type().YAMLName())
}

func (d *document) object(field string, n ast.Node, v reflect.Value) {
	var entries []*ast.MappingValueNode
	switch n := n.(type) {
	case *ast.MappingNode:
		entries = n.Values
	case *ast.MappingValueNode:
		entries = []*ast.MappingValueNode{n}
	default:
		d.wrong(field, "an object", n)
		return
	}
	for _, entry := range entries {
		key := entry.Key.GetToken()
		at := key.Value
		if field != "" {
			at = field + "." + key.Value
		}
		d.at[at] = key.Position
		if target := fieldByTag(v, key.Value); target.IsValid() {
			d.value(at, entry.Value, target)
		} else {
			d.unknown(at, key.Value, v.Type())
		}
	}
}

func fieldByTag(v reflect.Value, name string) reflect.Value {
	for i := range v.NumField() {
		if tag := v.Type().Field(i).Tag.Get("yaml"); tag != "" && tag == name {
			return v.Field(i)
		}
	}
	return reflect.Value{}
}

func (d *document) unknown(at, name string, t reflect.Type) {
	known := make([]string, 0, t.NumField())
	for i := range t.NumField() {
		if tag := t.Field(i).Tag.Get("yaml"); tag != "" {
			known = append(known, tag)
		}
	}
	if near := nearest(name, known); near != "" {
		d.problem(at, "unknown field", fmt.Sprintf("did you mean %q?", near))
		return
	}
	d.problem(at, "unknown field", "use only "+strings.Join(known, ", "))
}

func (d *document) list(field string, n ast.Node, v reflect.Value) {
	seq, ok := n.(*ast.SequenceNode)
	if !ok {
		d.wrong(field, "a list", n)
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(seq.Values), len(seq.Values)))
	for i, item := range seq.Values {
		d.value(fmt.Sprintf("%s[%d]", field, i), item, v.Index(i))
	}
}

func (d *document) scalar(field string, n ast.Node, v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		switch n := n.(type) {
		case *ast.StringNode:
			v.SetString(n.Value)
		case *ast.LiteralNode:
			v.SetString(n.Value.Value)
		default:
			d.wrong(field, "a string in quotes", n)
		}
	case reflect.Bool:
		if b, ok := n.(*ast.BoolNode); ok {
			v.SetBool(b.Value)
		} else {
			d.wrong(field, "true or false", n)
		}
	case reflect.Int:
		if i, ok := integer(n); ok {
			v.SetInt(i)
		} else {
			d.wrong(field, "a whole number", n)
		}
	}
}

func integer(n ast.Node) (int64, bool) {
	i, ok := n.(*ast.IntegerNode)
	if !ok {
		return 0, false
	}
	switch value := i.Value.(type) {
	case int64:
		return value, value >= math.MinInt32 && value <= math.MaxInt32
	case uint64:
		return int64(value), value <= math.MaxInt32
	}
	return 0, false
}

// nearest returns the known name that is at most two edits away, or "".
func nearest(name string, known []string) string {
	best, bestDistance := "", 3
	for _, k := range known {
		if n := distance(strings.ToLower(name), k); n < bestDistance && n < len(k) {
			best, bestDistance = k, n
		}
	}
	return best
}

// distance counts the insertions, deletions and changes from a to b.
func distance(a, b string) int {
	if len(a) > 64 {
		return len(a)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
