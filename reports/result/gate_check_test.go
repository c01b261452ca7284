package result

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

// TestReadRefusesGatesThatCannotBe changes one thing of a sound file at a time.
func TestReadRefusesGatesThatCannotBe(t *testing.T) {
	data, err := os.ReadFile("../testdata/gate-regressed.json")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Read(bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ from, to, want string }{
		{`"verdict": "regressed"`, `"verdict": "worse"`, `gate.verdict "worse" is not known`},
		{`"verdict": "regressed"`, `"verdict": "equivalent"`, `gate.verdict "equivalent" contradicts cells[0], which regressed`},
		{`"verdict": "equivalent"`, `"verdict": ""`, `.verdict "" is not known`},
		{`"measure": "p50"`, `"measure": ""`, "gate.cells[0] has no scenario or no measure"},
		{`"m":"p50"`, `"m":"p51"`, "gate.pairs[0]: pair 1, base: scenario-1 p51: the measure is not known"},
		{`"used": 10`, `"used": 12`, "gate.used is not the number of some of its pairs"},
	} {
		changed := bytes.Replace(data, []byte(test.from), []byte(test.to), 1)
		if bytes.Equal(changed, data) {
			t.Fatalf("the file has no %s", test.from)
		}
		if _, err := Read(bytes.NewReader(changed)); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", test.to, err, test.want)
		}
	}
}
