package reports

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
	"github.com/openaccess-mcp/openaccess-mcp/reports/result"
)

// wideDoc has everything that a text report can show, with names that are long, wide or made of combining characters.
func wideDoc(t *testing.T) *result.Doc {
	stalled := execRun()
	stalled.Plan.Name = "Übertragung-während-einer-Störung-der-Gegenstelle"
	stalled.Thresholds = append(stalled.Thresholds, loadgen.ThresholdResult{Expr: "p99<200ms over 10s", Step: "exec", Value: "951ms"})
	for i := range stalled.Cells {
		c := &stalled.Cells[i]
		c.Latency, c.Dropped = histogram(3000, time.Millisecond, 960*time.Millisecond), 12
		c.Timing["queue"] = histogram(1500, 0, 4*time.Millisecond)
	}
	mixed := sftpRun()
	mixed.Plan.Name = "夜間バッチ転送シナリオ"
	mixed.Cells[0].Part, mixed.Cells[1].Part = "gros", "e\u0301te\u0301"
	d := sample(t, execRun(), stalled, mixed)
	cpu, share, rss, routines, fds := 0.00123, 45.3, int64(34<<20), int64(61), int64(24)
	d.Scenarios[0].Server = &result.Resources{CPUSPerOp: &cpu, CPUPercent: &share, RSSPeakBytes: &rss, Goroutines: &routines, FDs: &fds}
	d.Scenarios[2].Server = &result.Resources{CPUPercent: &share, RSSPeakBytes: &rss}
	heap, pause := int64(12<<20), int64(120_000)
	d.Scenarios[2].Server.HeapBytes, d.Scenarios[2].Server.GCPauseP99NS = &heap, &pause
	d.Scenarios[4].FirstProgress = d.Scenarios[0].Latency
	d.Generator.Valid, d.Generator.CPUWait, d.Generator.CPUSPerCall = false, 0.123, 0.000208
	return d
}

func textOf(t *testing.T, d *result.Doc, columns int) string {
	t.Helper()
	var b bytes.Buffer
	if err := TextFor(columns)(&b, d); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestTextGolden(t *testing.T) {
	for _, columns := range []int{100, 80} {
		got := textOf(t, wideDoc(t), columns)
		file := filepath.Join("testdata", fmt.Sprintf("wide-%d.txt", columns))
		if *update {
			if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if want, err := os.ReadFile(file); err != nil || got != string(want) {
			t.Errorf("%s differs (%v); got\n%s", file, err, got)
		}
		inShape(t, got, columns)
	}
}

// inShape wants lines that fit, with nothing after their last word.
func inShape(t *testing.T, text string, columns int) {
	t.Helper()
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if n := Columns(line); n > columns {
			t.Errorf("%d columns, want at most %d: %s", n, columns, line)
		}
		if strings.TrimRight(line, " \t") != line {
			t.Errorf("space at the end of %q", line)
		}
	}
}

func TestTextFitsWhateverTheNames(t *testing.T) {
	long := strings.Repeat("/long", 50)
	for _, columns := range []int{80, 100, 140} {
		d := wideDoc(t)
		d.Run.Server.Path = long
		d.Scenarios[0].ErrorSamples = map[string]string{"INTERNAL_ERROR": strings.Repeat("word ", 200) + long}
		d.Scenarios[0].Errors["INTERNAL_ERROR"] = 1
		for i := range d.Scenarios {
			s := &d.Scenarios[i]
			s.Name += long
			s.Step += strings.Repeat("長", 30)
			s.Thresholds = append(s.Thresholds, result.Threshold{Expr: "errors." + long + "<1", Value: "9"})
		}
		text := textOf(t, d, columns)
		inShape(t, text, columns)
		for _, figure := range []string{"5.75 ms", "×13.32", "34.0 MiB", "6.68 s"} {
			if !strings.Contains(text, figure) {
				t.Errorf("at %d columns %s is lost:\n%s", columns, figure, text)
			}
		}
	}
}

func TestServiceIsShownWhereWaitingHidesInIt(t *testing.T) {
	d := sample(t, execRun())
	if text := textOf(t, d, 100); strings.Contains(text, "service") {
		t.Errorf("service is shown though it is the latency:\n%s", text)
	}
	if text := textOf(t, wideDoc(t), 100); strings.Count(text, "  service  ") != 2 {
		t.Errorf("two cells waited, but:\n%s", text)
	}
}

func TestWaitedByMedianAlone(t *testing.T) {
	short, long := int64(5*time.Millisecond), int64(8*time.Millisecond)
	s := &result.Scenario{Latency: &result.Distribution{P50: &long}, Service: &result.Distribution{P50: &short}}
	if !waited(s) {
		t.Error("a call that waited for 3 of 8 ms did not wait")
	}
	if s.Latency.P50 = &short; waited(s) {
		t.Error("a call that did not wait did")
	}
}

func TestFit(t *testing.T) {
	for _, tt := range []struct {
		in      string
		columns int
		want    string
	}{
		{"ssh-exec", 8, "ssh-exec"},
		{"ssh-exec-unpooled", 9, "ssh-…oled"},
		{"ssh-exec", 2, "ss"},
		{"ssh-exec", 0, ""},
		{"夜間バッチ", 10, "夜間バッチ"},
		{"夜間バッチ", 7, "夜…チ"},
		{"a\x1b[2Jb", 20, "a\uFFFD[2Jb"},
		{"e\u0301te\u0301", 3, "e\u0301te\u0301"},
	} {
		got := Fit(tt.in, tt.columns)
		if got != tt.want || Columns(got) > tt.columns {
			t.Errorf("Fit(%q, %d) = %q, %d columns, want %q", tt.in, tt.columns, got, Columns(got), tt.want)
		}
	}
}

func TestSize(t *testing.T) {
	for bytes, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.00 KiB", 35861299: "34.2 MiB", 1 << 62: "4194304 TiB"} {
		if got := Size(bytes); got != want {
			t.Errorf("Size(%d) = %q, want %q", bytes, got, want)
		}
	}
}
