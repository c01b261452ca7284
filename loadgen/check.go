package loadgen

import (
	"fmt"
	"reflect"
	"strings"
)

// CodeCheckFailed is the Sample.Outcome of a call that succeeded but whose answer was not the one that a Check wants.
const CodeCheckFailed = "CHECK_FAILED"

// check is a Check compiled: its path cut, its value in the types that JSON decoding gives.
type check struct {
	field fieldPath
	op    string
	want  any
}

// fieldPath is a dotted path inside a reply's data.
type fieldPath struct {
	name  string
	parts []string
}

func newFieldPath(name string) fieldPath { return fieldPath{name, strings.Split(name, ".")} }

// find returns the field's value, or why there is none.
func (f *fieldPath) find(data map[string]any) (value any, why string) {
	value = data
	for _, part := range f.parts {
		m, _ := value.(map[string]any)
		v, found := m[part]
		if !found {
			return nil, fmt.Sprintf("%s is missing from the result's data", f.name)
		}
		value = v
	}
	return jsonValue(value), ""
}

// scalar returns the field's value if that is text, a number or a truth value, and otherwise why it is not.
func (f *fieldPath) scalar(data map[string]any) (value any, why string) {
	value, why = f.find(data)
	if why != "" {
		return nil, why
	}
	switch value.(type) {
	case string, float64, bool:
		return value, ""
	}
	return nil, fmt.Sprintf("%s is %s, want one value to save", f.name, brief(value))
}

// compileCheck returns a problem of c by its field ("field", "op" or "value"), or "" for none.
func compileCheck(c Check) (compiled check, problemAt, msg, remedy string) {
	compiled = check{field: newFieldPath(c.Field), op: c.Op, want: jsonValue(c.Value)}
	if c.Field == "" {
		return compiled, "field", "check names no field", "name one of the result's data, such as exit_code"
	}
	_, isNumber := compiled.want.(float64)
	_, isString := compiled.want.(string)
	switch c.Op {
	case "==", "!=", "contains":
	case "<=", ">=":
		if !isNumber && !isString {
			return compiled, "value", fmt.Sprintf("%s cannot order %T", c.Op, c.Value), "compare with a number or a string"
		}
	default:
		return compiled, "op", fmt.Sprintf("unknown operator %q", c.Op), "use ==, !=, contains, >= or <="
	}
	return compiled, "", "", ""
}

// holds reports whether data has what the check wants, and otherwise says what it has.
func (c *check) holds(data map[string]any) (ok bool, why string) {
	got, why := c.field.find(data)
	if why != "" {
		return false, why
	}
	if c.compare(got) {
		return true, ""
	}
	return false, fmt.Sprintf("%s is %s, want %s %s", c.field.name, brief(got), c.op, brief(c.want))
}

func (c *check) compare(got any) bool {
	switch c.op {
	case "==":
		return reflect.DeepEqual(got, c.want)
	case "!=":
		return !reflect.DeepEqual(got, c.want)
	case "contains":
		return contains(got, c.want)
	}
	switch got := got.(type) {
	case float64:
		want, ok := c.want.(float64)
		return ok && compare(got, c.op, want)
	case string:
		want, ok := c.want.(string)
		return ok && compare(got, c.op, want)
	}
	return false
}

func contains(got, want any) bool {
	switch got := got.(type) {
	case string:
		s, ok := want.(string)
		return ok && strings.Contains(got, s)
	case []any:
		for _, e := range got {
			if reflect.DeepEqual(jsonValue(e), want) {
				return true
			}
		}
	}
	return false
}

// jsonValue turns every kind of number into float64, as JSON has only one, inside lists and objects too.
func jsonValue(v any) any {
	switch v := v.(type) {
	case nil, string, bool, float64:
		return v
	case []any:
		l := make([]any, len(v))
		for i, e := range v {
			l[i] = jsonValue(e)
		}
		return l
	case map[string]any:
		m := make(map[string]any, len(v))
		for k, e := range v {
			m[k] = jsonValue(e)
		}
		return m
	}
	r := reflect.ValueOf(v)
	switch {
	case r.CanInt():
		return float64(r.Int())
	case r.CanUint():
		return float64(r.Uint())
	case r.CanFloat():
		return r.Float()
	}
	return v
}

// brief writes a value for a message, cut to a line's length.
func brief(v any) string {
	s := fmt.Sprintf("%v", v)
	if str, ok := v.(string); ok {
		s = fmt.Sprintf("%q", str)
	}
	return clip(s, 200)
}

// clip shortens s to n bytes and marks the cut.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}
