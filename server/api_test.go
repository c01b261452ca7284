package server

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
)

var updateAPI = flag.Bool("update-api", false, "write docs/api.md anew")

const apiFile = "../docs/api.md"

// codeMeanings says what each error code tells a caller. Those that say true can be given by tools that contact no host.
var codeMeanings = map[Code]struct {
	local   bool
	meaning string
}{
	CodeProfileNotFound:      {false, "no profile has that id, or its file was never good; nothing was contacted"},
	CodePolicyViolation:      {false, "the profile's policy refuses the call; the message names the rule; nothing was contacted"},
	CodeAuthenticationFailed: {false, "the credential cannot be used, or the host refused it; no work was begun"},
	CodeAuthorizationFailed:  {false, "the host denied access"},
	CodeInvalidParameters:    {true, "a parameter is missing, unknown, of the wrong type or out of range, or names what is not there"},
	CodeLimitExceeded:        {false, "too much is going on, memory is short, or no space is left where a file was to go; nothing was run, or, of a directory, the message says how much was; `retry_after_s` says when to try again where that is known"},
	CodeTimeout:              {false, "the time of the call ran out; a command was sent TERM, then KILL, and the message says where something that it started may run on"},
	CodeHostKeyMismatch:      {false, "the host shows another key than the expected one, or none is known; no work was begun"},
	CodeConnectionFailed:     {false, "the host was not reached, or broke off before any work was begun; trying again is safe"},
	CodeOutcomeUnknown:       {false, "the connection ended under the work, which may or may not have been done; it is never done twice"},
	CodeInternalError:        {true, "the host or the server failed; the message says how"},
}

// TestAPIDocument wants docs/api.md to be what the tools are now. With -update-api it writes the file.
func TestAPIDocument(t *testing.T) {
	f := start(t, fakessh.Options{}, nil)
	c := f.connect(t.Context(), t)
	var list struct{ Tools []apiTool }
	if err := json.Unmarshal(c.request("tools/list", nil).Result, &list); err != nil {
		t.Fatal(err)
	}
	c.end()
	for _, code := range declaredCodes(t) {
		if _, ok := codeMeanings[code]; !ok {
			t.Errorf("error code %s has no meaning in codeMeanings", code)
		}
	}
	got := apiDocument(list.Tools)
	if *updateAPI {
		if err := os.WriteFile(apiFile, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(apiFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		line, is := firstDifference(string(want), string(got))
		t.Errorf("docs/api.md is not current: line %d should be\n\t%s\nrun: go test ./server -run TestAPIDocument -update-api", line, is)
	}
}

// declaredCodes reads the error codes off the source, so that none is forgotten.
func declaredCodes(t *testing.T) (codes []Code) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "envelope.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if v, ok := n.(*ast.ValueSpec); ok && len(v.Values) == 1 {
			if id, ok := v.Type.(*ast.Ident); ok && id.Name == "Code" {
				text, err := strconv.Unquote(v.Values[0].(*ast.BasicLit).Value)
				if err != nil {
					t.Fatal(err)
				}
				codes = append(codes, Code(text))
			}
		}
		return true
	})
	if len(codes) < 10 {
		t.Fatalf("envelope.go declares %v", codes)
	}
	return codes
}

func firstDifference(was, is string) (line int, text string) {
	old, now := strings.Split(was, "\n"), strings.Split(is, "\n")
	for i, l := range now {
		if i >= len(old) || old[i] != l {
			return i + 1, l
		}
	}
	return len(now) + 1, "the end"
}

// apiTool is a tool as the server lists it.
type apiTool struct {
	Name, Description string
	InputSchema       schema
	OutputSchema      schema
	Annotations       struct{ ReadOnlyHint, DestructiveHint, IdempotentHint, OpenWorldHint bool }
}

// schema is as much of JSON Schema as the tools use.
type schema struct {
	Type                 any // a string, or a list with "null"
	Description          string
	Default              any
	Enum                 []any
	Minimum, Maximum     *float64
	Properties           map[string]schema
	Required             []string
	Items                *schema
	AdditionalProperties json.RawMessage
}

func (s schema) typeName() string {
	name := fmt.Sprint(s.Type)
	if list, ok := s.Type.([]any); ok {
		list = slices.DeleteFunc(slices.Clone(list), func(t any) bool { return t == "null" })
		name = strings.Trim(fmt.Sprint(list), "[]")
	}
	switch {
	case s.Type == nil:
		return "any"
	case name == "array" && s.Items != nil:
		return s.Items.typeName() + "[]"
	}
	return name
}

// elements are the schema of the values of an object whose keys are not fixed, or nil.
func (s schema) elements() *schema {
	var values schema
	if len(s.AdditionalProperties) == 0 || json.Unmarshal(s.AdditionalProperties, &values) != nil {
		return nil
	}
	return &values
}

func apiDocument(tools []apiTool) []byte {
	var b bytes.Buffer
	b.WriteString("# API\n\nMade from the tools by `go test ./server -run TestAPIDocument -update-api`; a test fails when it is not current.\n" +
		"[The tools](tools.md) says what they guarantee.\n\n" +
		"| tool | also called as | changes things | may destroy | safe to repeat | contacts hosts |\n|---|---|---|---|---|---|\n")
	slices.SortFunc(tools, func(a, b apiTool) int { return strings.Compare(a.Name, b.Name) })
	for _, t := range tools {
		a := t.Annotations
		fmt.Fprintf(&b, "| [`%s`](#%s) | %s | %s | %s | %s | %s |\n", t.Name, t.Name, t.alias(), yes(!a.ReadOnlyHint), yes(a.DestructiveHint), yes(a.IdempotentHint), yes(a.OpenWorldHint))
	}
	b.WriteString("\nThe last four columns are the annotations `readOnlyHint` (turned round), `destructiveHint`, `idempotentHint` and `openWorldHint`.\n\n" +
		"## Envelope\n\nEvery result is an object of these fields, as structured content and as text. `data` is the tool's own; after a failure it may be absent.\n\n")
	envelope := schema{Properties: maps.Clone(tools[0].OutputSchema.Properties), Required: tools[0].OutputSchema.Required}
	envelope.Properties["data"] = schema{Type: "object", Description: "see the tools"}
	writeFields(&b, envelope)
	b.WriteString("\n## Error codes\n\n| `metadata.error_code` | meaning | tools |\n|---|---|---|\n")
	for _, code := range slices.Sorted(maps.Keys(codeMeanings)) {
		who := "those that contact hosts"
		if codeMeanings[code].local {
			who = "all"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", code, codeMeanings[code].meaning, who)
	}
	for _, t := range tools {
		t.write(&b)
	}
	return b.Bytes()
}

func yes(is bool) string {
	if is {
		return "yes"
	}
	return "no"
}

// alias is the dotted name that the tool answers to as well.
func (t apiTool) alias() string {
	family, rest, ok := strings.Cut(t.Name, "_")
	if !ok {
		return ""
	}
	return "`" + family + "." + rest + "`"
}

func (t apiTool) write(b *bytes.Buffer) {
	fmt.Fprintf(b, "\n## %s\n\n%s\n\n| parameter | type | default | meaning |\n|---|---|---|---|\n", t.Name, t.Description)
	names := slices.Sorted(maps.Keys(t.InputSchema.Properties))
	slices.SortStableFunc(names, func(x, y string) int { return rank(t.InputSchema, x) - rank(t.InputSchema, y) })
	for _, name := range names {
		p := t.InputSchema.Properties[name]
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", name, p.typeName(), p.standsFor(slices.Contains(t.InputSchema.Required, name)), cell(p.Description+p.bounds()))
	}
	b.WriteString("\n`data` of the result:\n\n")
	writeFields(b, t.OutputSchema.Properties["data"])
}

// rank puts what is required first and the claim about the caller last.
func rank(s schema, name string) int {
	switch i := slices.Index(s.Required, name); {
	case i >= 0:
		return i
	case name == "caller":
		return 1000
	}
	return 999
}

func (s schema) standsFor(required bool) string {
	switch {
	case required:
		return "**required**"
	case s.Default == nil:
		return ""
	}
	text, _ := json.Marshal(s.Default)
	return "`" + string(text) + "`"
}

func (s schema) bounds() string {
	var parts []string
	if len(s.Enum) > 0 {
		text, _ := json.Marshal(s.Enum)
		parts = append(parts, "one of `"+string(text)+"`")
	}
	number := func(n float64) string { return strconv.FormatFloat(n, 'f', -1, 64) }
	switch {
	case s.Minimum != nil && s.Maximum != nil:
		parts = append(parts, number(*s.Minimum)+" to "+number(*s.Maximum))
	case s.Minimum != nil:
		parts = append(parts, "at least "+number(*s.Minimum))
	case s.Maximum != nil:
		parts = append(parts, "at most "+number(*s.Maximum))
	}
	if len(parts) == 0 {
		return ""
	}
	return " (" + strings.Join(parts, "; ") + ")"
}

func writeFields(b *bytes.Buffer, s schema) {
	b.WriteString("| field | type | always there | meaning |\n|---|---|---|---|\n")
	s.walk("", func(path string, f schema, required bool) {
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", path, f.typeName(), yes(required), cell(f.Description))
	})
}

// walk visits the fields of an object, those of objects within, of lists' items and of keys that are not fixed.
func (s schema) walk(prefix string, visit func(path string, f schema, required bool)) {
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		f := s.Properties[name]
		visit(prefix+name, f, slices.Contains(s.Required, name))
		f.within(prefix+name, visit)
	}
}

func (s schema) within(path string, visit func(path string, f schema, required bool)) {
	switch {
	case s.Items != nil:
		s.Items.within(path+"[]", visit)
	case s.elements() != nil:
		s.elements().within(path+".*", visit)
	default:
		s.walk(path+".", visit)
	}
}

func cell(text string) string { return strings.ReplaceAll(strings.TrimSpace(text), "|", "\\|") }
