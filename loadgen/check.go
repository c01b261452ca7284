package loadgen

import (
	"crypto/sha256"
	"fmt"
	"math"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
)

// CodeCheckFailed is the Sample.Outcome of a call that succeeded but whose answer was not the one that a Check wants.
const CodeCheckFailed = "CHECK_FAILED"

// check is a Check compiled: its path cut, its value in the types that JSON decoding gives.
type check struct {
	field   fieldPath
	op      string
	want    any            // nil where value renders it
	value   text           // of a Value that holds variables
	pattern *regexp.Regexp // of matches
	files   [2]text        // of FileEqual, instead of all others
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

// check compiles a Check.
func (c *planCompiler) check(path string, ch Check, sc scope) check {
	out := check{field: newFieldPath(ch.Field), op: ch.Op, want: jsonValue(ch.Value)}
	if ch.FileEqual != nil {
		out.files = c.fileEqual(path, ch, sc)
		return out
	}
	if ch.Field == "" {
		c.add(path+".field", "check names no field", "name one of the result's data, such as exit_code, or compare files with file_equal")
		return out
	}
	if s, ok := out.want.(string); ok && ch.Op != "matches" {
		t, err := parseText(s, sc)
		if err != nil {
			c.text(path+".value", err.(*textError))
			return out
		}
		if out.want = nil; t.constant() {
			out.want = t.render(nil)
		} else {
			out.value = t
		}
	}
	if at, msg, remedy := out.wrong(ch); at != "" {
		c.add(path+"."+at, msg, remedy)
	}
	return out
}

var sha256Form = regexp.MustCompile(`^(sha256:)?[0-9A-Fa-f]{64}$`)

// wrong finds a mistake in a compiled check by its field, "op" or "value", and compiles the pattern.
func (c *check) wrong(ch Check) (at, msg, remedy string) {
	number, isNumber := c.want.(float64)
	s, isString := c.want.(string)
	isString = isString || c.value != nil
	switch c.op {
	case "==", "!=", "contains":
	case "<=", ">=":
		if !isNumber && !isString {
			return "value", fmt.Sprintf("%s cannot order %T", c.op, ch.Value), "compare with a number or a string"
		}
	case "matches":
		var err error
		if c.pattern, err = regexp.Compile(s); err != nil || !isString {
			return "value", fmt.Sprintf("%s is not a pattern", brief(ch.Value)), "write an RE2 regular expression, such as '^ok [0-9]+$'"
		}
	case "sha256":
		if c.value == nil && !sha256Form.MatchString(s) {
			return "value", fmt.Sprintf("%s is not a SHA-256 digest", brief(ch.Value)), "write its 64 hexadecimal digits"
		}
	case "length":
		if !isNumber || number < 0 || number != math.Trunc(number) {
			return "value", fmt.Sprintf("%s is not a length", brief(ch.Value)), "write a whole number, 0 or more"
		}
	default:
		return "op", fmt.Sprintf("unknown operator %q", c.op), "use ==, !=, contains, >=, <=, matches, sha256 or length"
	}
	return "", "", ""
}

// uses reports whether a variable occurs in the check.
func (c *check) uses(name string) bool {
	inFiles := c.files[0].uses(name) || c.files[1].uses(name)
	return inFiles || c.value.uses(name) || name == "workdir" && c.files[0] != nil
}

// rendered is what a check wants of one call.
type rendered struct {
	want  any
	files [2]string
}

func (c *check) render(v *vars) rendered {
	out := rendered{want: c.want}
	if c.value != nil {
		out.want = c.value.render(v)
	}
	for i, t := range c.files {
		if t != nil {
			out.files[i] = t.render(v)
			if !filepath.IsAbs(out.files[i]) {
				out.files[i] = filepath.Join(v.workDir, out.files[i])
			}
		}
	}
	return out
}

// holds reports whether data has what the check wants, and otherwise says what it has.
func (c *check) holds(data map[string]any, r rendered) (ok bool, why string) {
	if c.files[0] != nil {
		why = compareFiles(r.files[0], r.files[1])
		return why == "", why
	}
	got, why := c.field.find(data)
	if why != "" {
		return false, why
	}
	switch c.op {
	case "sha256":
		return c.holdsDigest(got, r.want)
	case "length":
		if n := lengthOf(got); n < 0 || float64(n) != r.want {
			return false, fmt.Sprintf("%s has length %d, want %v: it is %s", c.field.name, n, r.want, brief(got))
		}
		return true, ""
	}
	if c.compare(got, r.want) {
		return true, ""
	}
	if g, ok := got.(string); ok && c.op == "==" {
		if w, ok := r.want.(string); ok {
			return false, c.field.name + " " + difference(g, w)
		}
	}
	return false, fmt.Sprintf("%s is %s, want %s %s", c.field.name, brief(got), c.op, brief(r.want))
}

func (c *check) compare(got, want any) bool {
	switch c.op {
	case "==":
		return reflect.DeepEqual(got, want)
	case "!=":
		return !reflect.DeepEqual(got, want)
	case "contains":
		return contains(got, want)
	case "matches":
		s, ok := got.(string)
		return ok && c.pattern.MatchString(s)
	}
	switch got := got.(type) {
	case float64:
		want, ok := want.(float64)
		return ok && compare(got, c.op, want)
	case string:
		want, ok := want.(string)
		return ok && compare(got, c.op, want)
	}
	return false
}

func (c *check) holdsDigest(got, want any) (ok bool, why string) {
	s, isText := got.(string)
	if !isText {
		return false, fmt.Sprintf("%s is %s, want text of a SHA-256", c.field.name, brief(got))
	}
	digest := fmt.Sprintf("%x", sha256.Sum256([]byte(s)))
	wanted, _ := want.(string)
	if wanted = strings.ToLower(strings.TrimPrefix(wanted, "sha256:")); digest != wanted {
		return false, fmt.Sprintf("%s (%d bytes) has the SHA-256 %s, want %s", c.field.name, len(s), digest, clip(wanted, 64))
	}
	return true, ""
}

// lengthOf counts the bytes of text, the items of a list or the fields of an object; it is −1 for other values.
func lengthOf(v any) int {
	switch v := v.(type) {
	case string:
		return len(v)
	case []any:
		return len(v)
	case map[string]any:
		return len(v)
	}
	return -1
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

// difference says how two texts differ that are not equal.
func difference(got, want string) string {
	at := 0
	for at < len(got) && at < len(want) && got[at] == want[at] {
		at++
	}
	if max(len(got), len(want)) <= 200 {
		return fmt.Sprintf("is %s, want == %s", brief(got), brief(want))
	}
	return fmt.Sprintf("differs from byte %d on: it goes on %s and has %d bytes, want %s and %d",
		at, excerpt(got, at), len(got), excerpt(want, at), len(want))
}

// excerpt quotes a little of s from at on.
func excerpt(s string, at int) string {
	if at == len(s) {
		return "with its end"
	}
	return fmt.Sprintf("%q", clip(s[at:], 40))
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
