package result

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

func compileSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(JSONSchema))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("schema.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func valid(t *testing.T, s *jsonschema.Schema, data []byte) error {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return s.Validate(v)
}

func TestFilesFollowTheSchema(t *testing.T) {
	s := compileSchema(t)
	files, err := filepath.Glob("../testdata/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("%v: %v", files, err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := valid(t, s, data); err != nil {
			t.Errorf("%s: %v", file, err)
		}
		changes := []struct{ from, to string }{
			{`"schema": "openaccess.loadgen/result/v1"`, `"schema": "openaccess.loadgen/result/v2"`},
			{`"requests": 3000`, `"requests": "3000"`},
			{`"band": "target"`, `"band": "good"`},
			{`"unit": "ns"`, `"unit": "ms"`},
			{`"seed": 7`, `"sead": 7`},
		}
		if strings.Contains(file, "gate") {
			changes = []struct{ from, to string }{
				{`"verdict": "regressed"`, `"verdict": "worse"`}, {`"measure": "p50"`, `"measure": "p51"`}, {`"look": 1`, `"look": null`},
				{`"head_first": true`, `"head_furst": true`},
			}
		}
		for _, wrong := range changes {
			changed := bytes.Replace(data, []byte(wrong.from), []byte(wrong.to), 1)
			if bytes.Equal(changed, data) {
				t.Fatalf("%s has no %s", file, wrong.from)
			}
			if valid(t, s, changed) == nil {
				t.Errorf("%s: %s is accepted", file, wrong.to)
			}
		}
	}
}

// open are the fields whose inside the schema leaves to those who fill them.
var open = []string{"capacity"}

// TestSchemaFollowsTheTypes compares every field of Doc, all the way down: its name, whether it may be missing, and its kind.
func TestSchemaFollowsTheTypes(t *testing.T) {
	var root schemaNode
	if err := json.Unmarshal(JSONSchema, &root); err != nil {
		t.Fatal(err)
	}
	seen := map[reflect.Type]bool{}
	root.compare(t, root.Defs, "Doc", reflect.TypeFor[Doc](), seen)
	if len(seen) < 15 {
		t.Errorf("only %d types were compared", len(seen))
	}
}

type schemaNode struct {
	Ref        string                 `json:"$ref"`
	Defs       map[string]*schemaNode `json:"$defs"`
	Type       any                    `json:"type"`
	Required   []string               `json:"required"`
	Properties map[string]*schemaNode `json:"properties"`
	More       json.RawMessage        `json:"additionalProperties"`
	Items      *schemaNode            `json:"items"`
	Const      *string                `json:"const"`
	Enum       []string               `json:"enum"`
}

func (n *schemaNode) compare(t *testing.T, defs map[string]*schemaNode, path string, typ reflect.Type, seen map[reflect.Type]bool) {
	if typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	if name, ok := strings.CutPrefix(n.Ref, "#/$defs/"); ok {
		if n = defs[name]; n == nil || name != typ.Name() {
			t.Errorf("%s refers to %s, the type is %s", path, name, typ)
			return
		}
	}
	switch {
	case typ == reflect.TypeFor[time.Time]():
		n.kind(t, path, "string")
	case typ.Kind() == reflect.Struct:
		n.kind(t, path, "object")
		if !seen[typ] {
			seen[typ] = true
			n.fields(t, defs, path, typ, seen)
		}
	case typ.Kind() == reflect.Slice:
		if n.kind(t, path, "array") && n.Items != nil {
			n.Items.compare(t, defs, path+"[]", typ.Elem(), seen)
		}
	case typ.Kind() == reflect.Map:
		var of schemaNode
		if n.kind(t, path, "object") && json.Unmarshal(n.More, &of) == nil {
			of.compare(t, defs, path+"{}", typ.Elem(), seen)
		}
	default:
		n.kind(t, path, map[reflect.Kind]string{
			reflect.String: "string", reflect.Bool: "boolean", reflect.Float64: "number",
			reflect.Int: "integer", reflect.Int64: "integer", reflect.Uint64: "integer",
		}[typ.Kind()])
	}
}

func (n *schemaNode) fields(t *testing.T, defs map[string]*schemaNode, path string, typ reflect.Type, seen map[reflect.Type]bool) {
	if string(n.More) != "false" {
		t.Errorf("%s admits other fields", path)
	}
	var names, required []string
	for _, field := range reflect.VisibleFields(typ) {
		if field.Anonymous {
			continue // its fields follow
		}
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		names = append(names, name)
		if !strings.Contains(options, "omitempty") {
			required = append(required, name)
		}
		if p := n.Properties[name]; p != nil && !slices.Contains(open, name) {
			p.compare(t, defs, path+"."+name, field.Type, seen)
		}
	}
	slices.Sort(names)
	slices.Sort(required)
	if got := slices.Sorted(maps.Keys(n.Properties)); !slices.Equal(got, names) {
		t.Errorf("%s: the schema has %v, the type %v", path, got, names)
	}
	slices.Sort(n.Required)
	if !slices.Equal(n.Required, required) {
		t.Errorf("%s: the schema requires %v, the type %v", path, n.Required, required)
	}
}

// kind reports whether the schema says this type, perhaps beside null; a constant and an enumeration are strings.
func (n *schemaNode) kind(t *testing.T, path, want string) bool {
	var has []string
	switch v := n.Type.(type) {
	case string:
		has = []string{v}
	case []any:
		for _, one := range v {
			if one != "null" {
				has = append(has, one.(string))
			}
		}
	}
	if n.Const != nil || n.Enum != nil {
		has = []string{"string"}
	}
	if len(has) != 1 || has[0] != want {
		t.Errorf("%s: the schema says %v, the type %s", path, has, want)
		return false
	}
	return true
}
