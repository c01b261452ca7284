package loadgen

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// vars are the values of an iteration's variables.
type vars struct {
	profile   string
	vu        int
	iteration int64
	workDir   string
	remoteDir string
}

// variables appends the value of each variable by name.
var variables = map[string]func(b []byte, v *vars) []byte{
	"profile":    func(b []byte, v *vars) []byte { return append(b, v.profile...) },
	"vu":         func(b []byte, v *vars) []byte { return strconv.AppendInt(b, int64(v.vu), 10) },
	"iteration":  func(b []byte, v *vars) []byte { return strconv.AppendInt(b, v.iteration, 10) },
	"workdir":    func(b []byte, v *vars) []byte { return append(b, v.workDir...) },
	"remote_dir": func(b []byte, v *vars) []byte { return append(b, v.remoteDir...) },
}

const variableNames = "${profile}, ${vu}, ${iteration}, ${workdir} and ${remote_dir}"

// text is a string cut at its variables: literal, variable, literal and so on. It is parsed once and rendered for every call.
type text []piece

type piece struct {
	literal string
	name    string // of the variable after the literal, "" at the end
	value   func(b []byte, v *vars) []byte
}

// parseText cuts s at its variables. $${ stands for a plain ${.
func parseText(s string) (text, error) {
	var t text
	var literal strings.Builder
	for {
		before, rest, found := strings.Cut(s, "${")
		if !found {
			literal.WriteString(s)
			return append(t, piece{literal: literal.String()}), nil
		}
		if escaped, ok := strings.CutSuffix(before, "$"); ok {
			literal.WriteString(escaped + "${")
			s = rest
			continue
		}
		name, after, closed := strings.Cut(rest, "}")
		value := variables[name]
		switch {
		case !closed:
			return nil, &textError{"variable has no closing brace", "write $${ for a plain ${"}
		case value == nil:
			return nil, &textError{fmt.Sprintf("unknown variable ${%s}", name), "the variables are " + variableNames + "; write $${ for a plain ${"}
		}
		literal.WriteString(before)
		t = append(t, piece{literal.String(), name, value})
		literal.Reset()
		s = after
	}
}

type textError struct{ msg, remedy string }

func (e *textError) Error() string { return e.msg + ": " + e.remedy }

func (t text) render(v *vars) string {
	if t.constant() {
		return t[0].literal
	}
	var room [128]byte
	b := room[:0]
	for _, p := range t {
		b = append(b, p.literal...)
		if p.value != nil {
			b = p.value(b, v)
		}
	}
	return string(b)
}

func (t text) constant() bool { return len(t) == 1 }

func (t text) uses(name string) bool {
	return slices.ContainsFunc(t, func(p piece) bool { return p.name == name })
}

// template is an argument value whose strings may hold variables. Values without any are shared by all calls, never copied.
type template struct {
	constant any // where nothing below varies
	text     text
	object   map[string]template
	list     []template
}

// compileTemplate compiles v. problem is called for each mistake with its path, which starts with path.
func compileTemplate(path string, v any, problem func(path string, err *textError)) template {
	switch v := v.(type) {
	case string:
		t, err := parseText(v)
		if err != nil {
			problem(path, err.(*textError))
			return template{}
		}
		if t.constant() {
			return template{constant: t.render(nil)}
		}
		return template{text: t}
	case map[string]any:
		return compileObject(path, v, problem)
	case []any:
		list, varies := make([]template, len(v)), false
		plain := make([]any, len(v))
		for i, e := range v {
			list[i] = compileTemplate(fmt.Sprintf("%s[%d]", path, i), e, problem)
			plain[i] = list[i].constant
			varies = varies || list[i].varies()
		}
		if !varies {
			return template{constant: plain}
		}
		return template{list: list}
	default:
		return template{constant: v}
	}
}

func compileObject(path string, v map[string]any, problem func(path string, err *textError)) template {
	object, varies := make(map[string]template, len(v)), false
	plain := make(map[string]any, len(v))
	for k, e := range v {
		t := compileTemplate(path+"."+k, e, problem)
		object[k], plain[k] = t, t.constant
		varies = varies || t.varies()
	}
	if !varies {
		return template{constant: plain}
	}
	return template{object: object}
}

func (t *template) varies() bool { return t.text != nil || t.object != nil || t.list != nil }

// render returns the value for one call. The caller must not change it.
func (t *template) render(v *vars) any {
	switch {
	case t.text != nil:
		return t.text.render(v)
	case t.object != nil:
		m := make(map[string]any, len(t.object))
		for k, e := range t.object {
			m[k] = e.render(v)
		}
		return m
	case t.list != nil:
		l := make([]any, len(t.list))
		for i := range t.list {
			l[i] = t.list[i].render(v)
		}
		return l
	default:
		return t.constant
	}
}

// uses reports whether the variable name occurs anywhere in the value.
func (t *template) uses(name string) bool {
	if t.text.uses(name) || slices.ContainsFunc(t.list, func(e template) bool { return e.uses(name) }) {
		return true
	}
	for _, e := range t.object {
		if e.uses(name) {
			return true
		}
	}
	return false
}
