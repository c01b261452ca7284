package plainjson

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestObject(t *testing.T) {
	tests := []struct {
		text string
		want map[string]any // nil: not ok
	}{
		{`{}`, map[string]any{}},
		{"\n\t{\"a\" : \"b\\u00e9\\/\\n\" , \"c\":null}\r\n", map[string]any{"a": "bé/\n", "c": nil}},
		{`{"n": 2222, "yes": true, "list": [1, "x", [], {}], "in": {"a": {"a": 1}}}`, map[string]any{
			"n": json.Number("2222"), "yes": true, "list": []any{json.Number("1"), "x", []any{}, map[string]any{}},
			"in": map[string]any{"a": map[string]any{"a": json.Number("1")}}}},
		{`{"a": 1, "A": 2}`, map[string]any{"a": json.Number("1"), "A": json.Number("2")}},
		{`{"a": 1, "a": 1}`, nil},
		{`{"a": [{"b": 1, "b": 1}]}`, nil},
		{`{"a": 1,}`, nil},
		{`{"a": 1} {}`, nil},
		{`{"a": 1} x`, nil},
		{`{"a"`, nil},
		{`{a: 1}`, nil},
		{`[{}]`, nil},
		{`"a"`, nil},
		{``, nil},
		{"{\"a\": \"\xff\"}", nil},
		{`{"a": "\ud800"}`, nil},
		{strings.Repeat(`{"a":`, deepest+2) + "1" + strings.Repeat("}", deepest+2), nil},
		{`{"a": ` + strings.Repeat("[", 9_000) + strings.Repeat("]", 9_000) + "}", nil},
	}
	for depth, want := range map[int]bool{deepest: true, deepest + 1: false} {
		text := `{"a": ` + strings.Repeat("[", depth) + strings.Repeat("]", depth) + "}"
		if _, ok := Object([]byte(text)); ok != want {
			t.Errorf("%d lists within each other: %v", depth, ok)
		}
	}
	for _, tt := range tests {
		got, ok := Object([]byte(tt.text))
		if ok != (tt.want != nil) || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%.60q: %v, %v", tt.text, got, ok)
		}
	}
}

// FuzzFields holds the fields of an object against those that encoding/json reads.
func FuzzFields(f *testing.F) {
	for _, text := range []string{
		`{}`, ` { } `, `{"a":1}`, `{"a":1,"b":[1,{"c":"}"}],"c":{"d":"\""} ,"e" : null , "f":-1.5e3}`, "\n{\"a\"\t:\r\"\\\\\"\n}\n", `{"a":1,"a":2}`, `{"\u0061":1}`, `[{"a":1}]`, `"a"`, `1`, `{"é":"é"}`, `{"":""}`, `{"a":true}x`,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !json.Valid([]byte(text)) {
			return
		}
		got := map[string]any{}
		ok := Fields([]byte(text), func(name, value []byte) bool {
			var v any
			if err := json.Unmarshal(value, &v); err != nil {
				t.Fatalf("%q: %q is not the value of %q: %v", text, value, name, err)
			}
			got[strings.ToValidUTF8(string(name), "\ufffd")] = v
			return true
		})
		var want map[string]any
		if json.Unmarshal([]byte(text), &want) != nil || want == nil {
			if ok {
				t.Errorf("%q is called an object", text)
			}
			return
		}
		if !ok && !strings.Contains(text, `\`) {
			t.Errorf("%q is called no object", text)
		}
		if ok && utf8.ValidString(text) && !reflect.DeepEqual(got, want) {
			t.Errorf("%q has %v, want %v", text, got, want)
		}
	})
}
