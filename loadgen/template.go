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
	run       map[string]any // Options.Vars
	user      *user          // whose iteration it is; nil for steps of setup and teardown
	saved     []any          // by earlier steps, in the order of scope.saved; nil where a step has not run
}

// variables appends the value of each variable that every iteration has.
var variables = map[string]func(b []byte, v *vars) []byte{
	"profile":    func(b []byte, v *vars) []byte { return append(b, v.profile...) },
	"vu":         func(b []byte, v *vars) []byte { return strconv.AppendInt(b, int64(v.vu), 10) },
	"iteration":  func(b []byte, v *vars) []byte { return strconv.AppendInt(b, v.iteration, 10) },
	"workdir":    func(b []byte, v *vars) []byte { return append(b, v.workDir...) },
	"remote_dir": func(b []byte, v *vars) []byte { return append(b, v.remoteDir...) },
}

// runVariables are those that a target may have, in Options.Vars.
var runVariables = []string{"echo_host", "echo_port", "vpn_peer", "inside_profile"}

const variableNames = "${profile}, ${vu}, ${iteration}, ${workdir}, ${remote_dir}, ${echo_host}, ${echo_port}, ${vpn_peer}, ${inside_profile} " +
	"what an earlier step saves, and the feeds'"

// scope holds the variables of a step beside those that every one has. The zero value has none.
type scope struct {
	saved map[string]int // by the steps before it, each with its place in vars.saved
	feeds map[string]*feed
}

// find returns the piece that stands for a variable; err says why there is none.
func (sc scope) find(name string) (p piece, err *textError) {
	feedName, column, _ := strings.Cut(name, ".")
	if i, saved := sc.saved[name]; saved {
		p.whole = func(v *vars) any { return v.saved[i] }
	} else if slices.Contains(runVariables, name) {
		p.whole = func(v *vars) any { return v.run[name] }
	} else if f := sc.feeds[feedName]; f != nil {
		p, err = f.find(column)
	} else if p.value = variables[name]; p.value == nil {
		err = &textError{fmt.Sprintf("unknown variable ${%s}", name), "the variables are " + variableNames + "; write $${ for a plain ${"}
	}
	p.name = name
	return p, err
}

// text is a string cut at its variables: literal, variable, literal and so on. It is parsed once and rendered for every call.
type text []piece

type piece struct {
	literal string
	name    string                         // of the variable after the literal, "" at the end
	value   func(b []byte, v *vars) []byte // of a variable that is text
	whole   func(v *vars) any              // of one that may be a number or truth value
}

// parseText cuts s at its variables. $${ stands for a plain ${.
func parseText(s string, sc scope) (text, error) {
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
		if !closed {
			return nil, &textError{"variable has no closing brace", "write $${ for a plain ${"}
		}
		p, err := sc.find(name)
		if err != nil {
			return nil, err
		}
		literal.WriteString(before)
		p.literal = literal.String()
		t = append(t, p)
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
		switch {
		case p.value != nil:
			b = p.value(b, v)
		case p.whole != nil:
			b = appendValue(b, p.whole(v))
		}
	}
	return string(b)
}

// appendValue writes a saved value into a text. Numbers are written as JSON has them, without an exponent.
func appendValue(b []byte, v any) []byte {
	switch v := v.(type) {
	case string:
		return append(b, v...)
	case float64:
		return strconv.AppendFloat(b, v, 'f', -1, 64)
	}
	return fmt.Append(b, v)
}

// alone returns the variable that the text consists of, if that is all and it may be other than text.
func (t text) alone() (whole func(v *vars) any, ok bool) {
	if len(t) != 2 || t[0].literal != "" || t[1].literal != "" || t[0].whole == nil {
		return nil, false
	}
	return t[0].whole, true
}

func (t text) constant() bool { return len(t) == 1 }

func (t text) uses(name string) bool {
	return slices.ContainsFunc(t, func(p piece) bool { return p.name == name })
}

// template is an argument value whose strings may hold variables. Values without any are shared by all calls, never copied.
type template struct {
	constant any               // where nothing below varies
	whole    func(v *vars) any // one variable whose value need not be text
	text     text
	object   map[string]template
	list     []template
}

// compileTemplate compiles v. problem is called for each mistake with its path, which starts with path.
func compileTemplate(path string, v any, sc scope, problem func(path string, err *textError)) template {
	switch v := v.(type) {
	case string:
		t, err := parseText(v, sc)
		if err != nil {
			problem(path, err.(*textError))
			return template{}
		}
		if t.constant() {
			return template{constant: t.render(nil)}
		}
		whole, _ := t.alone()
		return template{text: t, whole: whole}
	case map[string]any:
		return compileObject(path, v, sc, problem)
	case []any:
		list, varies := make([]template, len(v)), false
		plain := make([]any, len(v))
		for i, e := range v {
			list[i] = compileTemplate(fmt.Sprintf("%s[%d]", path, i), e, sc, problem)
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

func compileObject(path string, v map[string]any, sc scope, problem func(path string, err *textError)) template {
	object, varies := make(map[string]template, len(v)), false
	plain := make(map[string]any, len(v))
	for k, e := range v {
		t := compileTemplate(path+"."+k, e, sc, problem)
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
	case t.whole != nil:
		return t.whole(v)
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
