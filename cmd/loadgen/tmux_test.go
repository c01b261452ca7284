//go:build tmux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/reports"
)

// terminal is a shell in a terminal of tmux's.
type terminal struct {
	t      *testing.T
	socket string
	dir    string
}

// newTerminal starts a shell with the programs of this checkout on its PATH, in a folder with scenarios, on a terminal of 100 by 30.
func newTerminal(t *testing.T) *terminal {
	t.Helper()
	term := &terminal{t: t, dir: t.TempDir()}
	term.socket = filepath.Join(term.dir, "tmux")
	bin := filepath.Join(term.dir, "bin") + string(filepath.Separator)
	if out, err := exec.Command("go", "build", "-o", bin, ".", "../openaccess-mcp").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	const arms = "arms: [{name: pooled}, {name: unpooled, server_config: {connection_pooling: {enabled: false}}}]"
	term.scenario("first", "rate: 50", "4s", "echo loadgen", arms)
	term.scenario("lasting", "rate: 50", "10m", "echo loadgen", arms)
	term.scenario("second-with-a-rather-long-name-indeed", "rate: 50", "4s", "echo loadgen", "")
	term.scenario("failing", "rate: 5", "4s", "no-such-command", "")
	term.scenario("endless", "rate: 50", "10m", "echo loadgen", "")
	term.scenario("hanging", "rate: 1", "10m", "sleep 600", "")
	term.tmux("-f", "/dev/null", "new-session", "-d", "-x", "100", "-y", "30", "-c", term.dir,
		"env", "PATH="+bin+":"+os.Getenv("PATH"), "PS1=$ ", "TMPDIR="+term.dir, "sh")
	t.Cleanup(func() { term.tmux("kill-server") })
	term.await("a prompt", func(pane string) bool { return strings.HasPrefix(pane, "$") })
	return term
}

func (term *terminal) scenario(name, rate, duration, command, more string) {
	text := fmt.Sprintf(`name: %s
operation: ssh.exec
executor: {kind: open, %s, warmup: 1s, duration: %s}
steps:
  - name: exec
    tool: ssh_exec
    args: {profile_id: "${profile}", command: %s}
    checks: [{field: exit_code, value: 0}]
%s
`, name, rate, duration, command, more)
	if err := os.WriteFile(filepath.Join(term.dir, name+".yaml"), []byte(text), 0o600); err != nil {
		term.t.Fatal(err)
	}
}

func (term *terminal) tmux(args ...string) string {
	term.t.Helper()
	cmd := exec.Command("tmux", append([]string{"-u", "-S", term.socket}, args...)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "TERM=xterm-256color", "NO_COLOR=")
	out, err := cmd.CombinedOutput()
	if err != nil {
		term.t.Fatalf("tmux %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func (term *terminal) types(text string) { term.tmux("send-keys", text, "Enter") }

// shows is what a person sees; history adds what has scrolled off.
func (term *terminal) shows() string { return strings.TrimRight(term.tmux("capture-pane", "-p"), "\n") }
func (term *terminal) history() string {
	return strings.TrimRight(term.tmux("capture-pane", "-p", "-S", "-"), "\n")
}

func (term *terminal) cursorShown() bool {
	return strings.TrimSpace(term.tmux("display-message", "-p", "#{cursor_flag}")) == "1"
}

// await waits until the terminal shows something, and gives it back.
func (term *terminal) await(what string, there func(pane string) bool) string {
	term.t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if pane := term.shows(); there(pane) {
			return pane
		}
	}
	term.t.Fatalf("%s does not appear; the terminal shows\n%s", what, term.shows())
	return ""
}

func (term *terminal) awaitText(text string) string {
	term.t.Helper()
	return term.await(text, func(pane string) bool { return strings.Contains(pane, text) })
}

var codeLine = regexp.MustCompile(`(?m)^code (\d+)$`)

// awaitEnd waits for the program's end, and gives its exit code and all that was written.
func (term *terminal) awaitEnd() (code int, history string) {
	term.t.Helper()
	term.await("the program's end", codeLine.MatchString)
	history = term.history()
	term.t.Logf("at the end:\n%s", history)
	code, _ = strconv.Atoi(codeLine.FindStringSubmatch(history)[1])
	if !term.cursorShown() {
		term.t.Error("the cursor stays hidden")
	}
	for _, mark := range []string{"▸", "━", "last 5 s", "^C"} {
		if strings.Contains(history, mark) {
			term.t.Errorf("%q is left on the terminal", mark)
		}
	}
	term.clean(history)
	return code, history
}

// clean wants no part of a control sequence among the text.
var controlDebris = regexp.MustCompile(`\x1b|\[\?\d|\[\d*[mKJAC]|\x{FFFD}`)

func (term *terminal) clean(pane string) {
	term.t.Helper()
	if found := controlDebris.FindString(pane); found != "" {
		term.t.Errorf("%q on the terminal:\n%s", found, pane)
	}
}

// TestBoardInTmux looks at a run as a person would, from its start to its report.
func TestBoardInTmux(t *testing.T) {
	term := newTerminal(t)
	term.types("seq 30; echo be''fore; loadgen run first.yaml second-with-a-rather-long-name-indeed.yaml failing.yaml; echo code $?")
	pane := term.await("figures", func(pane string) bool {
		return regexp.MustCompile(`(?m)^    pooled +\d+ +\d+ +\d+ +[\d.]+ [mµ]?s`).MatchString(pane)
	})
	t.Logf("at first:\n%s", pane)
	term.clean(pane)
	for _, want := range []string{"▸ first ", "· second-with-a-ra…ong-name-indeed  waiting", "· failing ", "last 5 s", "offered/s"} {
		if !strings.Contains(pane, want) {
			t.Errorf("no %q in\n%s", want, pane)
		}
	}
	if term.cursorShown() {
		t.Error("the cursor blinks inside the board")
	}
	term.awaitText("server CPU")
	pane = term.awaitText("CHECK_FAILED")
	t.Logf("later:\n%s", pane)
	term.clean(pane)
	if !regexp.MustCompile(`[✓✗] first `).MatchString(pane) {
		t.Errorf("the first scenario's end is not told:\n%s", pane)
	}
	code, history := term.awaitEnd()
	if code != exitMissed && code != exitHarness { // the latter where the machine is too busy to measure
		t.Errorf("exit code %d", code)
	}
	if strings.Count(history, "\nbefore\n") != 1 {
		t.Error("what stood on the terminal before is damaged")
	}
	for _, want := range []string{"Verdict: failed", "\nCells ", "\nArms ", "\nErrors\n", "CHECK_FAILED ×20", "\ngenerator "} {
		if !strings.Contains(history, want) {
			t.Errorf("no %q in the report", want)
		}
	}
	for line := range strings.Lines(history) {
		if n := reports.Columns(strings.TrimRight(line, "\n")); n > 100 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
}

// TestResizedBoardInTmux changes the size of the terminal under a run that outlasts all looks at it.
func TestResizedBoardInTmux(t *testing.T) {
	term := newTerminal(t)
	term.types("seq 30; echo be''fore; loadgen run lasting.yaml second-with-a-rather-long-name-indeed.yaml failing.yaml; echo code $?")
	term.awaitText("server CPU")
	for _, size := range [][2]int{{60, 30}, {40, 30}, {100, 12}, {120, 30}, {100, 30}} {
		term.resized(size[0], size[1])
	}
	term.tmux("send-keys", "C-c")
	code, history := term.awaitEnd()
	if code != exitInterrupted {
		t.Errorf("exit code %d", code)
	}
	if strings.Count(history, "\nbefore\n") != 1 {
		t.Error("what stood on the terminal before is damaged")
	}
}

// clockOf finds the time that the board says has passed.
var clockOf = regexp.MustCompile(`▸ .* (\d+ s|\d+:\d\d) of`)

// resized gives the terminal another size and wants the board, once it was drawn anew, to be there once and whole. That holds as long as
// breaking its lines makes the terminal scroll none of them off: what is gone from the screen cannot be taken back.
func (term *terminal) resized(columns, rows int) {
	term.t.Helper()
	term.tmux("resize-window", "-x", strconv.Itoa(columns), "-y", strconv.Itoa(rows))
	drawn, told := -1, "" // the first clock may be from before, the second from a board that was reckoned before
	term.await("a board that goes on", func(pane string) bool {
		if m := clockOf.FindStringSubmatch(pane); m != nil && m[1] != told {
			drawn, told = drawn+1, m[1]
		}
		return drawn == 2
	})
	pane := term.await(fmt.Sprintf("one whole board at %d by %d", columns, rows), func(pane string) bool { // not one half drawn
		return strings.Count(pane, "▸") == 1 && strings.Count(term.history(), "last 5 s") == 1
	})
	term.t.Logf("%d by %d:\n%s", columns, rows, pane)
	term.clean(pane)
}

func TestInterruptInTmux(t *testing.T) {
	term := newTerminal(t)
	term.types("NO_COLOR=1 loadgen run endless.yaml first.yaml; echo code $?")
	term.awaitText("measure")
	if styled := term.tmux("capture-pane", "-p", "-e"); strings.Contains(styled, "\x1b") {
		t.Errorf("styles in spite of NO_COLOR: %q", styled)
	}
	term.tmux("send-keys", "C-c")
	code, history := term.awaitEnd()
	if code != exitInterrupted || !strings.Contains(history, "  - endless: interrupted; the figures are of what ran until then") {
		t.Errorf("exit code %d", code)
	}
}

func TestSecondInterruptInTmux(t *testing.T) {
	term := newTerminal(t)
	term.types("loadgen run hanging.yaml; echo code $?")
	term.awaitText("measure")
	term.tmux("send-keys", "C-c")
	term.awaitText("interrupt again")
	term.tmux("send-keys", "C-c")
	code, history := term.awaitEnd()
	if code != exitInterrupted || strings.Contains(history, "Verdict") || strings.Contains(history, "▸") {
		t.Errorf("exit code %d, and not at once:\n%s", code, history)
	}
}

func TestDumbTerminalInTmux(t *testing.T) {
	term := newTerminal(t)
	term.types("TERM=dumb loadgen run failing.yaml 2>&1; echo code $?")
	_, history := term.awaitEnd()
	if !strings.Contains(history, "\nfailing measure ") && !strings.Contains(history, "\nfailing warmup ") && !strings.Contains(history, "\nfailing setup") {
		t.Errorf("no plain lines:\n%s", history)
	}
}
