package reports

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
	"github.com/openaccess-mcp/openaccess-mcp/loadgen/stats"
	"github.com/openaccess-mcp/openaccess-mcp/reports/result"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// histogram holds n durations that climb evenly from low to high.
func histogram(n int, low, high time.Duration) *stats.Histogram {
	h := &stats.Histogram{}
	for i := range n {
		h.Record(low + (high-low)*time.Duration(i)/time.Duration(n))
	}
	return h
}

func execRun() *loadgen.Result {
	info := loadgen.DriverInfo{Kind: "stdio", ServerVersion: "1.2.3", PID: 42, Address: "/usr/local/bin/openaccess-mcp"}
	cell := func(arm string, errs int64, low, high time.Duration) loadgen.Cell {
		return loadgen.Cell{
			Step: "exec", Arm: arm, Driver: info, OfferedRate: 200, AchievedRate: 199.8, Requests: 3000, Bytes: 24000, Measured: 15 * time.Second,
			Errors: map[string]int64{}, Latency: histogram(3000-int(errs), low, high), Service: histogram(3000, low, high), Lateness: histogram(3000, 0, time.Millisecond),
			Timing: map[string]*stats.Histogram{"remote": histogram(3000, low/2, high/2)},
		}
	}
	pooled, unpooled := cell("pooled", 0, time.Millisecond, 6*time.Millisecond), cell("unpooled", 7, 9*time.Millisecond, 80*time.Millisecond)
	pooled.Server = &loadgen.Resources{
		Processes: 1, CPUSPerOp: known(0.000321), CPUPercent: known(6.4), RSSPeakBytes: known(int64(34 << 20)), VMSBytes: known(int64(2 << 30)),
		Threads: known(int64(9)), FDs: known(int64(18)), Sockets: known(int64(9)), Goroutines: known(int64(40)), HeapBytes: known(int64(5 << 20)),
		GCCycles: known(int64(22)), GCPauseP99: known(786 * time.Microsecond),
		Series: &loadgen.ResourceSeries{Width: time.Second, CPUPercent: []float64{6.04, 6.8}, RSSBytes: []int64{33 << 20, 34 << 20}},
	}
	pooled.Windows, unpooled.Windows = windows(6, time.Millisecond), windows(6, 9*time.Millisecond)
	unpooled.Windows[4].Errors = 7
	unpooled.Errors["CONNECTION_FAILED"] = 7
	unpooled.ErrorSamples = map[string]string{"CONNECTION_FAILED": "dial 127.0.0.1:22: connection refused"}
	return &loadgen.Result{
		Plan: &loadgen.Plan{
			Name: "ssh-exec", Operation: "ssh.exec", Seed: 7, Executor: loadgen.Executor{Kind: loadgen.Open, Rate: 200},
			Target: &loadgen.Target{Operation: "ssh.exec", Target: 100 * time.Millisecond, Acceptable: 500 * time.Millisecond},
		},
		Started: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC), Elapsed: 34 * time.Second,
		Cells:      []loadgen.Cell{pooled, unpooled},
		Thresholds: []loadgen.ThresholdResult{{Expr: "error_rate<0.1%", Step: "exec", Value: "0%", OK: true}},
		Grade:      &loadgen.Grade{Statistic: "p95", Step: "exec", Value: 5750 * time.Microsecond, Band: loadgen.BandTarget, Why: "5.75ms is below 100ms"},
		Generator: loadgen.GeneratorHealth{
			CPU: 9 * time.Second, LatenessP99: time.Millisecond, Valid: true,
			CPUPerCall: 208 * time.Microsecond, CPUWait: 0.023, GCPauseP99: 400 * time.Microsecond, MaxStall: 31 * time.Millisecond,
		},
	}
}

// windows are n seconds, each slower than the one before, from low on.
func windows(n int, low time.Duration) []loadgen.Window {
	ws := make([]loadgen.Window, n)
	for i := range ws {
		w := loadgen.Window{Start: time.Duration(i) * time.Second, Width: time.Second, Requests: 200}
		for j := range 200 {
			w.Latency.Record(low + low*time.Duration(j*(i+1))/200)
		}
		w.P50, w.P95, w.P99, w.Max = w.Latency.Percentile(0.5), w.Latency.Percentile(0.95), w.Latency.Percentile(0.99), w.Latency.Max()
		ws[i] = w
	}
	return ws
}

func known[T any](v T) *T { return &v }

func sftpRun() *loadgen.Result {
	cell := func(step string, h *stats.Histogram) loadgen.Cell {
		return loadgen.Cell{
			Step: step, Driver: loadgen.DriverInfo{Kind: "stdio"}, OfferedRate: 10, AchievedRate: 10, Requests: 150,
			Bytes: 150 << 20, Measured: 15 * time.Second, Latency: h,
		}
	}
	return &loadgen.Result{
		Plan: &loadgen.Plan{
			Name: "sftp-1mb", Operation: "sftp.transfer", Executor: loadgen.Executor{Kind: loadgen.Open, Rate: 10, MaxInFlight: 100},
			Target: &loadgen.Target{Target: time.Second, Acceptable: 5 * time.Second},
		},
		Started: time.Date(2026, 3, 4, 5, 6, 42, 0, time.UTC), Elapsed: 17 * time.Second,
		Cells:      []loadgen.Cell{cell("upload", histogram(150, time.Second, 7*time.Second)), cell("download", histogram(15, 8*time.Millisecond, 9*time.Millisecond))},
		Thresholds: []loadgen.ThresholdResult{{Expr: "p99<1s", Step: "download", Value: "no data"}},
		Grade:      &loadgen.Grade{Statistic: "p95", Step: "upload", Value: 6700 * time.Millisecond, Band: loadgen.BandPoor, Why: "6.7s is beyond 5s"},
		Generator:  loadgen.GeneratorHealth{Valid: true},
	}
}

func sample(t testing.TB, runs ...*loadgen.Result) *result.Doc {
	t.Helper()
	d, err := result.FromRun(result.Meta{
		ID: "20260304T050607Z-0001", Git: "0123abcd", Command: "loadgen run ssh-exec sftp-1mb --seed 7",
		Host: result.Host{CPU: "Example CPU", Cores: 2, OS: "linux/amd64", Go: "go1.26"}, Target: result.Target{Kind: "fake"},
		Planned: []result.Planned{{
			Scenario: "rsync-100", Why: "planned: no working operation yet",
			Target: loadgen.Target{Operation: "rsync.sync", Target: 10 * time.Second, Acceptable: 30 * time.Second},
		}},
	}, runs)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func render(t testing.TB, format string, d *result.Doc) string {
	t.Helper()
	r, err := Renderer(format)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := r(&b, d); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// extensions are those of the golden files, by format.
var extensions = map[string]string{
	"text": "txt", "json": "json", "markdown": "md", "html": "html", "junit": "xml", "csv": "csv", "openmetrics": "om", "benchfmt": "bench", "github": "github",
}

// golden compares with a file of testdata, or writes it.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("differs from %s; look, then run go test -update\n%s", file, got)
	}
}

func TestGolden(t *testing.T) {
	docs := map[string]*result.Doc{"held": sample(t, execRun()), "failed": sample(t, execRun(), sftpRun())}
	for name, d := range docs {
		for _, format := range Formats() {
			t.Run(name+"/"+format, func(t *testing.T) { golden(t, name+"."+extensions[format], render(t, format, d)) })
		}
	}
}

func TestUnknownFormat(t *testing.T) {
	if _, err := Renderer("pdf"); err == nil || !strings.Contains(err.Error(), "markdown") {
		t.Errorf("got %v, want an error that names the formats", err)
	}
}

type brokenWriter struct{}

var errBroken = errors.New("broken")

func (brokenWriter) Write([]byte) (int, error) { return 0, errBroken }

func TestRenderersReturnTheWritersError(t *testing.T) {
	d := sample(t, execRun())
	for _, format := range Formats() {
		r, _ := Renderer(format)
		if err := r(brokenWriter{}, d); !errors.Is(err, errBroken) {
			t.Errorf("%s: got %v", format, err)
		}
	}
}

// hostile texts try to open markup, leave a table, end a block of code, move the cursor, and turn the reading direction around.
var hostile = []string{
	"<script>alert(1)</script>", `"><img src=x onerror=alert(1)>`, "a | b | c", "x\n\n# heading\n- item", "[link](javascript:alert(1))",
	"![i](https://evil.example/p.png)", "https://evil.example", "www.evil.example", "@someone", "`code` *bold* _it_", "```\nrm -rf /\n```",
	"\x1b[2J\x1b]0;title\x07", "\u202egnp.exe", "]]></failure><x/>", "{{.Command}}", "\x00\xff", "--> <!-- ",
	"::error file=x::y", "  ::stop-commands::x", "##[group]x", "##vso[task.setvariable variable=x]y", "=cmd|' /C calc'!A1", "@SUM(1)", "+1", "-1", "\t=1",
	`a"b\`, "a,b\"c", "x\n# EOF\nloadgenx 1", "a%0Ab", "a\r\n::warning::b", "</style><script>", "</title>", "x\nBenchmarkX 1 1 ns/op", "a/b c",
}

// failedFile is the file of the failed sample, made once.
var failedFile = sync.OnceValue(func() []byte {
	data, err := os.ReadFile("testdata/failed.json")
	if err != nil {
		panic(err)
	}
	return data
})

func hostileDoc(t testing.TB, text string) *result.Doc {
	d := &result.Doc{}
	if err := json.Unmarshal(failedFile(), d); err != nil {
		t.Fatal(err)
	}
	d.Run = result.Run{
		ID: text, Git: text, Command: text, Host: result.Host{CPU: text, OS: text, Go: text},
		Server: result.Server{Version: text, Path: text, Transport: text, Config: text}, Target: result.Target{Kind: text, Faults: text},
	}
	d.Verdict.Failed = []string{text}
	d.Generator = result.Generator{Why: []string{text}}
	for i := range d.Scenarios {
		s := &d.Scenarios[i]
		s.Name, s.Operation, s.Part, s.Step, s.Arm = text, text, text, text, text
		s.Errors, s.ErrorSamples = map[string]int64{text: 1}, map[string]string{text: text}
		s.Thresholds = []result.Threshold{{Expr: text, Value: text}}
		if s.Grade != nil {
			s.Grade.Statistic, s.Grade.Why, s.Grade.Band = text, text, loadgen.Band(text)
		}
	}
	d.Gate = hostileGate(text)
	return d
}

func hostileGate(text string) *result.Gate {
	slice := result.Slice{
		Figures: []result.Figure{{Scenario: text, Measure: result.MeasureP50, Value: 1e6, N: 100}, {Scenario: text, Measure: text, Value: 1, N: 1}},
		Errors:  []result.ErrorCount{{Scenario: text, Failed: 1, Total: 2}},
	}
	return &result.Gate{
		Verdict: result.GateVerdict(text), Why: []string{text}, Used: 1, Measured: 1, Warnings: []string{text},
		Control: &result.GateControl{Why: []string{text}},
		Cells: []result.GateCell{
			{Cell: result.Cell{Scenario: text, Measure: text}, Verdict: result.GateVerdict(text), Why: text, Estimate: known(0.1), Low: known(-0.1), High: known(0.2)},
			{Cell: result.Cell{Scenario: text, Measure: result.MeasureP50}, Verdict: result.GateRegressed, Why: text, Base: known(1e6), Head: known(2e6)},
		},
		Pairs: []result.Pair{{Index: 1, Base: slice, Head: slice}},
	}
}

func TestHostileTextStaysText(t *testing.T) {
	for _, text := range hostile {
		d := hostileDoc(t, text)
		plain := hostileDoc(t, "plain")
		t.Run("text", func(t *testing.T) { noControl(t, render(t, "text", d)) })
		t.Run("markdown", func(t *testing.T) { markdownHolds(t, render(t, "markdown", d), render(t, "markdown", plain)) })
		t.Run("html", func(t *testing.T) {
			got, want := render(t, "html", d), render(t, "html", plain)
			noControl(t, got)
			samePage(t, got, want)
		})
		for _, format := range Formats() {
			t.Run(format+"/log", func(t *testing.T) { noCommands(t, format, render(t, format, d)) })
		}
		t.Run("comment", func(t *testing.T) { commentHolds(t, d, plain) })
		t.Run("csv", func(t *testing.T) { csvHolds(t, render(t, "csv", d), len(d.Scenarios)+len(d.Gate.Cells)) })
		t.Run("openmetrics", func(t *testing.T) { openMetricsHold(t, render(t, "openmetrics", d)) })
		t.Run("benchfmt", func(t *testing.T) { benchHolds(t, render(t, "benchfmt", d), render(t, "benchfmt", plain)) })
		t.Run("junit", func(t *testing.T) { sameElements(t, render(t, "junit", d), render(t, "junit", plain)) })
		t.Run("json", func(t *testing.T) { noControl(t, strings.ReplaceAll(render(t, "json", d), `\u202e`, "")) })
	}
}

func noControl(t *testing.T, s string) {
	t.Helper()
	for _, r := range s {
		if r < ' ' && r != '\n' || r == 0x7f {
			t.Fatalf("control character %#x in the report", r)
		}
	}
}

// markdownHolds compares the shape of two reports: lines, table cells, fences and what HTML or links could begin with.
func markdownHolds(t *testing.T, got, want string) {
	t.Helper()
	noControl(t, got)
	for _, begin := range []string{"\n", "|", "[", "](", "<", "*", "_"} {
		g, w := got, want
		if i := strings.LastIndex(g, "\n```"); i >= 0 { // the command is a block of its own, checked below
			g, w = g[:strings.Index(g, "Run it again")], w[:strings.Index(w, "Run it again")]
		}
		g = strings.ReplaceAll(g, "<!-- -->", "")
		if strings.Count(g, begin) != strings.Count(w, begin) {
			t.Errorf("%d times %q, want %d:\n%s", strings.Count(g, begin), begin, strings.Count(w, begin), g)
		}
		for _, link := range []string{"://", "www.", "@"} {
			if strings.Contains(got[:strings.Index(got, "Run it again")], link) {
				t.Errorf("%q is left for GitHub to link", link)
			}
		}
	}
	block := strings.Split(strings.TrimSpace(got[strings.Index(got, "Run it again:"):]), "\n")[2:]
	if len(block) != 3 || block[0] != block[2] || strings.Contains(block[1], block[0]) {
		t.Errorf("the command leaves its block: %q", block)
	}
}

// commentHolds compares two comments on a pull request as markdownHolds does, and wants no second marker.
func commentHolds(t *testing.T, d, plain *result.Doc) {
	t.Helper()
	var got, want bytes.Buffer
	if err := errors.Join(GateComment(&got, d), GateComment(&want, plain)); err != nil {
		t.Fatal(err)
	}
	g, w := strings.TrimSuffix(got.String(), "\n</details>\n"), strings.TrimSuffix(want.String(), "\n</details>\n")
	markdownHolds(t, g, w)
	if strings.Count(g, "<!-- openaccess") != 1 {
		t.Errorf("another marker:\n%s", g)
	}
}

func sameElements(t *testing.T, got, want string) {
	t.Helper()
	count := func(s string) (n int) {
		for d := xml.NewDecoder(strings.NewReader(s)); ; {
			tok, err := d.Token()
			if err == io.EOF {
				return n
			}
			if err != nil {
				t.Fatalf("not valid XML: %v\n%s", err, s)
			}
			if _, ok := tok.(xml.StartElement); ok {
				n++
			}
		}
	}
	if count(got) != count(want) {
		t.Errorf("another number of elements:\n%s", got)
	}
}

func TestDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0 ns", 999: "999 ns", 1500: "1.50 µs", 43210 * time.Microsecond: "43.2 ms", 123456 * time.Microsecond: "123 ms", 90 * time.Second: "90.0 s",
	} {
		if got := Duration(d); got != want {
			t.Errorf("Duration(%d) = %q, want %q", d, got, want)
		}
	}
}
