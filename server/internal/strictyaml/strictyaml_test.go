package strictyaml

import (
	"errors"
	"strings"
	"testing"
)

func TestDecode(t *testing.T) {
	for text, want := range map[string]string{
		"a: 1\nlist:\n  - b: x\n":   "",
		"a: 1\nc: 2\n":              "line 2: unknown field",
		"a: 1\nlist:\n  - b: [x]\n": "line 3: ",
		"a: {":                      "line 1: ",
		"list:\n ! ":                "exclamation mark",
	} {
		var doc struct {
			A    int `yaml:"a"`
			List []struct {
				B string `yaml:"b"`
			} `yaml:"list"`
		}
		err := Decode([]byte(text), &doc)
		if want == "" && (err != nil || doc.A != 1 || doc.List[0].B != "x") || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %+v, %v, want %q", text, doc, err, want)
		}
		if p, ok := errors.AsType[*Problem](err); ok && p.Column < 1 {
			t.Errorf("%q: %+v", text, p)
		}
	}
}
