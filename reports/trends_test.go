package reports

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
)

// TestTrendsAreShown looks for the verdict, the growth and its interval, what was judged and why in every format for people, and for a case of each
// trend in JUnit.
func TestTrendsAreShown(t *testing.T) {
	run := execRun()
	rss, _ := loadgen.ParseTrend("server.rss<64KiB per 1000 calls")
	p50, _ := loadgen.ParseTrend("exec:p50<1ms per hour")
	fds, _ := loadgen.ParseTrend("server.fds<1 per hour")
	run.Trends = []loadgen.TrendResult{
		{Trend: rss, Verdict: loadgen.Leak, Slope: 100 << 10, Low: 90 << 10, High: 110 << 10, Late: 95 << 10, Points: 60, From: time.Minute, To: time.Hour, Why: "it grows by 90 KiB"},
		{Trend: p50, Step: "exec", Verdict: loadgen.NoLeak, Slope: -2e4, Low: -3e5, High: 2e5, Points: 55, From: time.Minute, To: time.Hour, Why: "it grows by 200 µs"},
		{Trend: fds, Verdict: loadgen.Unknown, Why: "there is no data"},
	}
	d := sample(t, run)
	for format, render := range map[string]Render{"text": TextFor(160), "markdown": Markdown, "html": HTML} {
		var out bytes.Buffer
		if err := render(&out, d); err != nil {
			t.Fatal(err)
		}
		text := strings.NewReplacer("&lt;", "<", "&#60;", "<", "&#45;", "-").Replace(out.String())
		for _, want := range []string{"server.rss<64KiB per 1000 calls", "leak", "no leak", "not yet known", "100 KiB", "90 KiB to 110 KiB", "-20 µs", "-300 µs to 200 µs", "60.0 s to 3600 s, 60 points", "there is no data"} {
			if !strings.Contains(text, want) {
				t.Errorf("%s lacks %q", format, want)
			}
		}
	}
	for format, wants := range map[string][]string{
		"csv": {"trend_growth", ",server.rss<64KiB per 1000 calls,leak,bytes,1000 calls,65536,102400,92160,112640,97280,60", ",server.fds<1 per hour,not yet known,"},
		"openmetrics": {`trend="server.rss<64KiB per 1000 calls"} 102400 `, `trend="server.rss<64KiB per 1000 calls",loadgen_trend_verdict="leak"} 1 `,
			`trend="server.fds<1 per hour",loadgen_trend_verdict="not yet known"} 1 `},
	} {
		render, err := Renderer(format)
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if err := render(&out, d); err != nil {
			t.Fatal(err)
		}
		for _, want := range wants {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%s lacks %q:\n%s", format, want, &out)
			}
		}
	}
	var out bytes.Buffer
	if err := JUnit(&out, d); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`name="trend server.rss&lt;64KiB per 1000 calls"`, `<failure message="leak: it grows by 90 KiB">`, `<skipped message="not yet known: there is no data">`} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("JUnit lacks %q:\n%s", want, &out)
		}
	}
}
