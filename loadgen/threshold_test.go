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
		{"p99<200ms over 10s", Threshold{Metric: "p99", Op: "<", Value: 200e6, Window: 10 * time.Second}, ""},
		{"a.b:rate>=5/s  over  1m", Threshold{Step: "a.b", Metric: "rate", Op: ">=", Value: 5, Window: time.Minute}, "a.b:rate>=5 over 1m"},
		{"service.p99.9<1s", Threshold{Metric: "service.p99.9", Op: "<", Value: 1e9}, ""},
		{"timing.queue.p95<=5ms", Threshold{Metric: "timing.queue.p95", Op: "<=", Value: 5e6}, ""},
		{"first_progress.mean<1s", Threshold{Metric: "first_progress.mean", Op: "<", Value: 1e9}, ""},
		{"lateness.max<1ms", Threshold{Metric: "lateness.max", Op: "<", Value: 1e6}, ""},
		{"errors.TIMEOUT==0", Threshold{Metric: "errors.TIMEOUT", Op: "==", Value: 0}, ""},
		{"offered>=99.5/s", Threshold{Metric: "offered", Op: ">=", Value: 99.5}, "offered>=99.5"},
		{"held>=50", Threshold{Metric: "held", Op: ">=", Value: 50}, ""},
		{"bytes_rate>=1.5MiB/s", Threshold{Metric: "bytes_rate", Op: ">=", Value: 1.5 * (1 << 20)}, "bytes_rate>=1536KiB/s"},
		{"server.rss<200MiB", Threshold{Metric: "server.rss", Op: "<", Value: 200 << 20}, ""},
		{"server.heap<1000", Threshold{Metric: "server.heap", Op: "<", Value: 1000}, "server.heap<1000B"},
		{"server.cpu_per_op<1ms", Threshold{Metric: "server.cpu_per_op", Op: "<", Value: 1e6}, ""},
		{"server.fds<=100", Threshold{Metric: "server.fds", Op: "<=", Value: 100}, ""},
		{"generator.cpu<150%", Threshold{Metric: "generator.cpu", Op: "<", Value: 150}, ""},
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

		"p99<1s over":               "no length of a window",
		"p99<1s over x":             "no length of a window",
		"p99<1s over 0s":            "no length of a window",
		"p99<1s over 10":            "no length of a window: write one like over 10s",
		"p99<1s over 1500ms":        "use whole seconds, 1s to 10m",
		"p99<1s over -1s":           "use whole seconds",
		"p99<1s over 1h":            "use whole seconds, 1s to 10m",
		"server.rss<1MiB over 10s":  "server.rss is not counted second by second and has no windows: leave over 10s out",
		"generator.cpu<9% over 10s": "has no windows",
		"offered>1 over 10s":        "has no windows",
		"service.rate>1":            "unknown metric",
		"timing.p95<1s":             "unknown metric",
		"timing.lunch.p95<1s":       "unknown metric",
		"service.p<1s":              "unknown metric",
		".p95<1s":                   "unknown metric",
		"errors.<1":                 "unknown metric",
		"errors.timeout<1":          "unknown metric",
		"errors.TIMEOUT<0.5":        "whole number",
		"server.rss<1MB":            "is no number: write one like 200MiB",
		"bytes_rate<fast":           "is no number: write one like 10MiB/s",
		"server.fds<1.5":            "whole number",
		"server.load<1":             "server.cpu, server.cpu_per_op",
	} {
		if _, err := ParseThreshold(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseThreshold(%q): %v, want one with %q", in, err, want)
		}
	}
}

func FuzzParseThreshold(f *testing.F) {
	for _, s := range []string{"p95<100ms", "a:p99.9<=1.5s", "error_rate==0%", "rate>1e3", "dropped<=7", "max>=0s", "mean<1h",
		"p99<200ms over 10s", "a.b:timing.dial.p99.9<1s over 1m30s", "errors.X_1==0 over 1s", "server.rss<1.5GiB", "bytes_rate>1KiB/s over 2s",
		"generator.cpu<80%", "held>=3", "first_progress.max<1s", "bytes_rate>=0.1TiB/s", "over:over over over"} {
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

func TestThresholdOnEveryMetric(t *testing.T) {
	histogram := func(d time.Duration) *stats.Histogram {
		h := new(stats.Histogram)
		for range 20 {
			h.Record(d)
		}
		return h
	}
	whole, cpu, perOp := int64(3<<20), 42.0, 0.0015
	c := Cell{
		Step: "exec", Part: "big", Requests: 40, Dropped: 3, Errors: map[string]int64{"TIMEOUT": 4}, Bytes: 40 << 10, Measured: 10 * time.Second,
		OfferedRate: 12, AchievedRate: 11, Latency: histogram(1e6), Service: histogram(2e6), Failed: histogram(3e6), Lateness: histogram(4e6),
		FirstProgress: histogram(5e6), Timing: map[string]*stats.Histogram{"queue": histogram(6e6), "remote": histogram(7e6)},
		Server: &Resources{RSSPeakBytes: &whole, CPUPercent: &cpu, CPUSPerOp: &perOp, FDs: &whole},
	}
	for expr, want := range map[string]string{
		"p50<1h": "1ms", "service.p95<1h": "2ms", "failed.mean<1h": "3ms", "lateness.max<1h": "4ms", "first_progress.p50<1h": "5ms",
		"timing.queue.p95<1h": "6ms", "timing.remote.p50<1h": "7ms", "timing.dial.p50<1h": "no data", "p99<1h": "no data",
		"errors.TIMEOUT==4": "4", "errors.OTHER==0": "0", "error_rate<11%": "10%", "rate>1": "11.0", "offered>1": "12.0", "dropped==3": "3",
		"bytes_rate>=4KiB/s": "4.0KiB/s", "server.rss<4MiB": "3.0MiB", "server.cpu<50%": "42%", "server.cpu_per_op<2ms": "1.5ms",
		"server.fds>1": "3145728", "server.goroutines<1": "no data", "generator.cpu<80%": "70%",
		"big:p50<1h": "1ms", "big.exec:p50<1h": "1ms", "exec:p50<1h": "1ms", "big.other:p50<1h": "no data",
	} {
		th, err := ParseThreshold(expr)
		if err != nil {
			t.Fatal(err)
		}
		got := judgeThresholds([]Threshold{th}, []Cell{c}, 70, nil)
		if len(got) != 1 || !near(got[0].Value, want) || got[0].OK != (want != "no data") {
			t.Errorf("%s: %+v, want %s", expr, got, want)
		}
	}
	th, _ := ParseThreshold("server.rss<1GiB")
	if got := judgeThresholds([]Threshold{th}, []Cell{c, c, c}, -1, nil); len(got) != 1 {
		t.Errorf("the server's memory is judged %d times", len(got))
	}
}

// near reports whether two values are the same, durations to a thousandth.
func near(got, want string) bool {
	a, errA := time.ParseDuration(got)
	b, errB := time.ParseDuration(want)
	return got == want || errA == nil && errB == nil && (a-b).Abs() <= b/1000
}
