package result

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
)

func recordedPairs() [][]Pair {
	slice := func(v float64, failed int64) Slice {
		return Slice{Figures: []Figure{{"ssh-exec", MeasureP50, v, 1500}, {"ssh-exec", MeasureCPU, 4.2e-4, 1500}}, Errors: []ErrorCount{{"ssh-exec", failed, 1500}}}
	}
	lacking := slice(2.2e6, 3)
	lacking.Figures = lacking.Figures[:1]
	return [][]Pair{
		{{Index: 1, Base: slice(2e6, 0), Head: slice(2.1e6, 1)}, {Index: 2, HeadFirst: true, Base: slice(2e6, 0), Head: lacking}},
		{{Index: 1, Base: slice(1.987e6, 0), Head: slice(2e6, 0)}},
	}
}

func TestPairsRoundTrip(t *testing.T) {
	want := recordedPairs()
	written := recordedPairs()
	written[1] = append(written[1], Pair{Index: 2, Base: want[0][0].Base, Head: want[0][0].Head, Excluded: "disturbed"})
	written[0][0].Base.Figures[0].Value = 2_000_012.3 // four digits are kept
	var b bytes.Buffer
	if err := WritePairs(&b, written); err != nil {
		t.Fatal(err)
	}
	text := b.String()
	got, err := ReadPairs(&b)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v\n%+v\nwant\n%+v", err, got, want)
	}
	if lines := strings.Count(text, "\n"); lines != 4 || len(text) > 900 {
		t.Errorf("%d lines of %d bytes\n%s", lines, len(text), text)
	}
}

func TestReadPairsRefuses(t *testing.T) {
	var b bytes.Buffer
	if err := WritePairs(&b, recordedPairs()); err != nil {
		t.Fatal(err)
	}
	good := b.String()
	for _, tt := range []struct{ name, text, want string }{
		{"nothing", "", "it holds no pair"},
		{"a head alone", good[:strings.Index(good, "\n")], "it holds no pair"},
		{"another schema", `{"schema":"x"}`, "line 1: it is no head"},
		{"no JSON", good + "x", "line 5"},
		{"another number of cells", strings.Replace(good, `"v":[2e+06,`, `"v":[`, 1), "line 2: base: it has not one entry"},
		{"a negative figure", strings.Replace(good, `"v":[2e+06,`, `"v":[-2,`, 1), "line 2: pair 1, base"},
		{"gates out of order", strings.Replace(good, `"gate":1,"pair":2`, `"gate":0,"pair":2`, 1), "gate 0 comes after gate 1"},
	} {
		if _, err := ReadPairs(strings.NewReader(tt.text)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}

func FuzzReadPairs(f *testing.F) {
	var b bytes.Buffer
	if err := WritePairs(&b, recordedPairs()); err != nil {
		f.Fatal(err)
	}
	f.Add(b.String())
	f.Add(`{"schema":"openaccess.loadgen/pairs/v1"}` + "\n" + `{"gate":1,"pair":1}`)
	f.Fuzz(func(t *testing.T, text string) {
		gates, err := ReadPairs(strings.NewReader(text))
		if err != nil {
			return
		}
		if err := WritePairs(&bytes.Buffer{}, gates); err != nil {
			t.Fatal(err)
		}
	})
}
