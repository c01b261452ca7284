package loadgen

import (
	"strings"
	"testing"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen/stats"
)

func TestParseThreshold(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want Threshold
		text string // what String gives, empty when the same as in
	}{
		{"p95<100ms", Threshold{Metric: "p95", Op: "<", Value: 100e6}, ""},
		{"p99.9<=1s", Threshold{Metric: "p99.9", Op: "<=", Value: 1e9}, ""},
		{"error_rate<0.1%", Threshold{Metric: "error_rate", Op: "<", Value: 0.1}, ""},
		{"rate>=500", Threshold{Metric: "rate", Op: ">=", Value: 500}, ""},
		{"rate>=500/s", Threshold{Metric: "rate", Op: ">=", Value: 500}, "rate>=500"},
		{"dropped==0", Threshold{Metric: "dropped", Op: "==", Value: 0}, ""},
		{"mean<20ms", Threshold{Metric: "mean", Op: "<", Value: 20e6}, ""},
		{"max>2ms", Threshold{Metric: "max", Op: ">", Value: 2e6}, ""},
		{"upload:p95<1s", Threshold{Step: "upload", Metric: "p95", Op: "<", Value: 1e9}, ""},
		{"a:b:p50<1µs", Threshold{Step: "a:b", Metric: "p50", Op: "<", Value: 1000}, ""},
		{" upload : p95 < 1500ms ", Threshold{Step: "upload", Metric: "p95", Op: "<", Value: 1.5e9}, "upload:p95<1.5s"},
	} {
		got, err := ParseThreshold(tt.in)
		if err != nil || got != tt.want {
			t.Errorf("ParseThreshold(%q) = %+v, %v, want %+v", tt.in, got, err, tt.want)
			continue
		}
		text := tt.text
		if text == "" {
			text = tt.in
		}
		if got.String() != text {
			t.Errorf("String of %q = %q, want %q", tt.in, got, text)
		}
	}
}

func TestParseThresholdErrors(t *testing.T) {
	for in, want := range map[string]string{
		"":                    "no comparison",
		"p95 100ms":           "no comparison",
		"p95=100ms":           "write ==",
		"p95<>100ms":          "no duration",
		"p95<100":             "no duration",
		"p95<2h":              "beyond 1h",
		"p95<-1s":             "not negative",
		"p100<1s":             "unknown metric",
		"p0<1s":               "unknown metric",
		"p095<1s":             "unknown metric",
		"p<1s":                "unknown metric",
		"latency<1s":          "unknown metric",
		":p95<1s":             "names no step",
		"error_rate<0.1":      "percent sign",
		"error_rate<101%":     "at most 100%",
		"error_rate<x%":       "no number",
		"rate>=NaN":           "no number",
		"rate>=Inf":           "finite",
		"dropped==0.5":        "whole number",
		"dropped==":           "no number",
		"upload:download<10s": "unknown metric",
	} {
		if _, err := ParseThreshold(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseThreshold(%q): %v, want one with %q", in, err, want)
		}
	}
}

func FuzzParseThreshold(f *testing.F) {
	for _, s := range []string{"p95<100ms", "a:p99.9<=1.5s", "error_rate==0%", "rate>1e3", "dropped<=7", "max>=0s", "mean<1h"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := ParseThreshold(s)
		if err != nil {
			return
		}
		b, err := ParseThreshold(a.String())
		if err != nil || a != b {
			t.Fatalf("%q parsed to %+v, written %q, read again %+v, %v", s, a, a.String(), b, err)
		}
	})
}

func TestThresholdJudge(t *testing.T) {
	latency := new(stats.Histogram)
	for range 50 {
		latency.Record(10 * time.Millisecond)
	}
	cell := Cell{Step: "exec", Requests: 51, Errors: map[string]int64{"TIMEOUT": 1}, Latency: latency, AchievedRate: 123.45}
	for _, tt := range []struct {
		expr  string
		value string
		ok    bool
	}{
		{"p95<11ms", "10.002ms", true},
		{"p95<10ms", "10.002ms", false},
		{"exec:max<=11ms", "10.002ms", true},
		{"mean<11ms", "9.9983ms", true},
		{"p99<1h", "no data", false},
		{"error_rate<2%", "1.96%", true},
		{"error_rate<1%", "1.96%", false},
		{"rate>=123", "123.5", true},
		{"dropped==0", "0", true},
		{"other:p50<1s", "no data", false},
	} {
		th, err := ParseThreshold(tt.expr)
		if err != nil {
			t.Fatal(err)
		}
		got := judgeThresholds([]Threshold{th}, []Cell{cell}, -1, nil)
		if len(got) != 1 || got[0].Value != tt.value || got[0].OK != tt.ok || got[0].Expr != tt.expr {
			t.Errorf("%s: %+v, want %s %v", tt.expr, got, tt.value, tt.ok)
		}
	}
	empty := Cell{Latency: new(stats.Histogram)}
	for _, expr := range []string{"p50<1s", "rate>=0", "error_rate<1%", "dropped==0", "max<1s"} {
		th, _ := ParseThreshold(expr)
		if got := th.judge(figures{cell: &empty}); got.OK || got.Value != "no data" {
			t.Errorf("%s without data: %+v", expr, got)
		}
	}
	failed := Cell{Requests: 3, Errors: map[string]int64{"X": 3}}
	if got := (Threshold{Metric: "max", Op: "<", Value: 1e9}).judge(figures{cell: &failed}); got.OK || got.Value != "no data" {
		t.Errorf("max of nothing but errors: %+v", got)
	}
}
