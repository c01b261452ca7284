package main

import (
	"bytes"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
	"github.com/openaccess-mcp/openaccess-mcp/reports"
)

func news(phase loadgen.Phase, seconds int) loadgen.Progress {
	live := loadgen.Live{
		Requests: 900, Errors: 3, TopError: "TIMEOUT", TopErrors: 2, Offered: 200, Rate: 199.7, InFlight: 3,
		P50: 1200 * time.Microsecond, P95: 4321 * time.Microsecond, P99: 12 * time.Millisecond,
	}
	return loadgen.Progress{
		Plan: "ssh-exec", Arm: "pooled", Arms: 2, Phase: phase, Elapsed: time.Duration(seconds) * time.Second, Total: 17 * time.Second,
		Done: float64(seconds) / 17, Live: live, Groups: []loadgen.Group{{Arm: "pooled", Live: live}},
		ServerKnown: true, ServerCPU: 45.3, ServerRSS: 34 << 20,
	}
}

var threePlans = []*loadgen.Plan{{Name: "first"}, {Name: "ssh-exec"}, {Name: "später"}}

// onScreen gives a progress that draws on a screen, with the first of three scenarios behind it.
func onScreen(s *screen) *progress {
	p := newProgress(s, false)
	p.terminal = func() (int, int, bool) { return s.columns, s.rows, true }
	p.block.colour = true
	p.begin(threePlans)
	p.end(&loadgen.Result{
		Plan: threePlans[0], Generator: loadgen.GeneratorHealth{Valid: true},
		Grade: &loadgen.Grade{Statistic: "p95", Value: 5 * time.Millisecond, Band: loadgen.BandTarget},
	})
	return p
}

const boardAt100 = `✓ first     target      p95 5.00 ms
▸ ssh-exec  measure   ━━━━━━━━━━━─────────────────────────────  10 s of 17 s, arm 1 of 2
    last 5 s  offered/s  done/s  in flight      p50      p95      p99  errors
    pooled          200     200          3  1.20 ms  4.32 ms  12.0 ms       3  TIMEOUT ×2
    server CPU 45 %, RSS 34.0 MiB
· später    waiting`

func TestBoardIsRedrawnInPlace(t *testing.T) {
	s := newScreen(100, 30)
	io.WriteString(s, "$ loadgen run\r\n")
	p := onScreen(s)
	more := news(loadgen.PhaseMeasure, 0)
	more.Groups = append(more.Groups, loadgen.Group{Arm: "gone"}, loadgen.Group{Arm: "too"})
	more.Groups[0].TopError = "CONNECTION_FAILED"
	p.update(more)
	for i := range 11 {
		p.update(news(loadgen.PhaseMeasure, i))
	}
	if got, want := s.String(), "$ loadgen run\n"+boardAt100; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if s.cursor {
		t.Error("the cursor is shown")
	}
	p.clear()
	p.update(news(loadgen.PhaseMeasure, 11))
	p.clear()
	if got := s.String(); got != "$ loadgen run" || !s.cursor || s.x != 0 || s.y != 1 {
		t.Errorf("after the run, cursor %v at %d,%d:\n%s", s.cursor, s.x, s.y, got)
	}
}

func TestLogLinesAppearAboveTheBoard(t *testing.T) {
	s := newScreen(100, 10)
	p := onScreen(s)
	p.update(news(loadgen.PhaseMeasure, 1))
	io.WriteString(p, "one\ntwo\nthr")
	p.update(news(loadgen.PhaseMeasure, 2))
	io.WriteString(p, "ee\n")
	p.update(news(loadgen.PhaseMeasure, 10))
	if got, want := s.String(), "one\ntwo\nthree\n"+boardAt100; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	io.WriteString(p, "unfinished")
	p.clear()
	if got, want := s.String(), "one\ntwo\nthree\nunfinished"; got != want {
		t.Errorf("after the run:\n%s", got)
	}
}

func TestBoardFitsAnyTerminal(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	s := newScreen(100, 30)
	p := onScreen(s)
	for i := range 200 {
		s.resize(2+rng.IntN(120), 2+rng.IntN(30))
		n := news(loadgen.PhaseMeasure, i%17)
		for len(n.Groups) < 1+i%5 {
			n.Groups = append(n.Groups, loadgen.Group{Arm: "長い名前の腕", Part: "part", Live: loadgen.Live{Dropped: 7}})
		}
		p.update(n)
		if s.scrolled {
			t.Fatalf("the board scrolls a terminal of %d columns and %d rows:\n%s", s.columns, s.rows, s)
		}
		if marks := strings.Count(s.String(), "▸"); marks != 1 {
			t.Fatalf("%d running scenarios on %d columns and %d rows:\n%s", marks, s.columns, s.rows, s)
		}
	}
	p.clear()
	if got := s.String(); got != "" {
		t.Errorf("left over:\n%s", got)
	}
}

func TestShortTerminalShowsWhatRuns(t *testing.T) {
	s := newScreen(100, 7)
	p := onScreen(s)
	p.begin(append([]*loadgen.Plan{{Name: "a"}, {Name: "b"}, {Name: "c"}}, threePlans...))
	p.update(news(loadgen.PhaseMeasure, 10))
	lines := strings.Split(s.String(), "\n")
	if !strings.HasPrefix(lines[0], "▸ ssh-exec") || lines[4] != "· 5 more waiting" {
		t.Errorf("got\n%s", s)
	}
}

func TestInterruptIsAnswered(t *testing.T) {
	s := newScreen(80, 20)
	p := onScreen(s)
	p.update(news(loadgen.PhaseMeasure, 1))
	io.WriteString(s, "^C")
	p.interrupt()
	if got := s.String(); !strings.Contains(got, "interrupt again to end at once") || strings.Contains(got, "^C") {
		t.Errorf("got\n%s", got)
	}
}

func TestColourSaysNothingAlone(t *testing.T) {
	coloured, plain := newScreen(100, 20), newScreen(100, 20)
	for _, s := range []*screen{coloured, plain} {
		p := onScreen(s)
		p.block.colour, s.styles = s == coloured, 0
		p.update(news(loadgen.PhaseMeasure, 10))
	}
	if coloured.String() != plain.String() || plain.styles > 0 || coloured.styles == 0 {
		t.Errorf("%d and %d styles; without colour\n%s", coloured.styles, plain.styles, plain)
	}
	t.Setenv("NO_COLOR", "1")
	if newProgress(io.Discard, false).block.colour {
		t.Error("NO_COLOR does nothing")
	}
}

func TestOutcome(t *testing.T) {
	valid := loadgen.GeneratorHealth{Valid: true}
	for _, tt := range []struct {
		r    loadgen.Result
		word string
		good bool
	}{
		{loadgen.Result{Generator: valid}, "done", true},
		{loadgen.Result{Generator: valid, Thresholds: []loadgen.ThresholdResult{{OK: true}}}, "held", true},
		{loadgen.Result{Generator: valid, Thresholds: []loadgen.ThresholdResult{{OK: true}, {Expr: "p95<1s"}}}, "failed", false},
		{loadgen.Result{Generator: valid, Grade: &loadgen.Grade{Band: loadgen.BandPoor, Value: 1}}, "poor", false},
		{loadgen.Result{Generator: valid, Grade: &loadgen.Grade{Band: loadgen.BandNoData}}, "no-data", false},
		{loadgen.Result{Generator: valid, Grade: &loadgen.Grade{Band: loadgen.BandAcceptable, Value: 1}}, "acceptable", true},
		{loadgen.Result{}, "invalid", false},
		{loadgen.Result{Interrupted: true}, "interrupted", false},
	} {
		if word, _, good := outcome(&tt.r); word != tt.word || good != tt.good {
			t.Errorf("%+v is %s, %v, want %s", tt.r, word, good, tt.word)
		}
	}
}

func TestPlainProgressIsALineEveryFewSeconds(t *testing.T) {
	var out bytes.Buffer
	p := newProgress(&out, false)
	now := time.Unix(0, 0)
	p.now = func() time.Time { return now }
	for i := range 44 { // 11 s
		p.update(news(loadgen.PhaseMeasure, i/4))
		now = now.Add(250 * time.Millisecond)
	}
	other := news(loadgen.PhaseSetup, 0)
	other.Arm = "unpooled"
	p.update(other)
	figures := "  server 45 % CPU 34.0 MiB  200/s offered  200/s  3 in flight  p50 1.20 ms  p95 4.32 ms  p99 12.0 ms  3 errors (TIMEOUT ×2)\n"
	want := "ssh-exec (pooled) measure 0s of 17s" + figures + "ssh-exec (pooled) measure 5s of 17s" + figures +
		"ssh-exec (pooled) measure 10s of 17s" + figures + "ssh-exec (unpooled) setup\n"
	if out.String() != want {
		t.Errorf("got\n%s", out.String())
	}
}

func TestPlainProgressOfAMix(t *testing.T) {
	n := news(loadgen.PhaseWarmup, 1)
	n.Groups = []loadgen.Group{{Arm: "old", Part: "x"}, {Arm: "pooled", Part: "small"}, {Arm: "pooled", Part: "big\x1b[2J", Live: loadgen.Live{Dropped: 2}}}
	lines := strings.Split(plainLines(n), "\n")
	if len(lines) != 4 || lines[1] != "  small  0/s  0 in flight  0 errors" || lines[2] != "  big\uFFFD[2J  0/s  0 in flight  0 errors  2 dropped" {
		t.Errorf("got %q", lines)
	}
}

func TestQuietProgressSaysOnlyWhatOthersWrite(t *testing.T) {
	for _, columns := range []int{0, 80} {
		var out bytes.Buffer
		p := newProgress(&out, true)
		p.terminal = func() (int, int, bool) { return columns, 24, columns > 0 }
		p.update(news(loadgen.PhaseMeasure, 1))
		io.WriteString(p, "a warning\n")
		p.clear()
		if out.String() != "a warning\n" {
			t.Errorf("got %q", out.String())
		}
	}
}

func TestDumbTerminalGetsPlainLines(t *testing.T) {
	if _, _, ok := terminalSize(&bytes.Buffer{}); ok {
		t.Error("a buffer is a terminal")
	}
	if _, err := rendererFor("nonsense", io.Discard); err == nil || !strings.Contains(err.Error(), reports.Formats()[0]) {
		t.Errorf("got %v", err)
	}
}
