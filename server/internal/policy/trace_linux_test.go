package policy

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	osexec "os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// tracer runs command lines under strace, which tells every program that is executed: by the shell or by another program, by whatever path and after
// whatever number of forks. The programs that PATH finds print their arguments, but for those that run others, which are the real ones.
type tracer struct {
	strace, dir, bin string
	shells           []string
	rules            []*regexp.Regexp // what may run; from the text of an allow list, not from a Policy
	runs             atomic.Int64
}

// executed is a program that was executed: the path that it was found by, and its arguments with the name first.
type executed struct {
	path string
	argv []string
}

func (e executed) String() string { return fmt.Sprintf("%s %q", e.path, e.argv) }

// errNoStrace is the error of newTracer where there is nothing to trace with.
var errNoStrace = errors.New("strace is not installed")

// newTracer makes a folder with the named programs beside the real ones.
func newTracer(t testing.TB, rules Rules, programs ...string) (*tracer, error) {
	t.Helper()
	strace, err := osexec.LookPath("strace")
	if err != nil {
		return nil, errNoStrace
	}
	dir, err := os.MkdirTemp("", "traced")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	w := &tracer{strace: strace, dir: dir, bin: filepath.Join(dir, "bin")}
	for _, expr := range rules.CommandAllowlist {
		w.rules = append(w.rules, regexp.MustCompile(expr))
	}
	for sub, mode := range map[string]os.FileMode{"": 0o755, "bin": 0o755, "home": 0o755, "log": 0o777} {
		must(t, os.MkdirAll(filepath.Join(dir, sub), 0o755))
		must(t, os.Chmod(filepath.Join(dir, sub), mode)) // for the user that commands run as
	}
	w.programs(t, programs)
	for _, name := range []string{"/bin/sh", "/bin/bash", "/bin/dash"} {
		if real, err := filepath.EvalSymlinks(name); err == nil && !slices.Contains(w.shells, real) {
			w.shells = append(w.shells, real)
		}
	}
	if len(w.shells) == 0 {
		t.Fatal("no shell in /bin")
	}
	return w, nil
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// programs fills the folder that PATH names. grep finds nothing, so that loops over it end.
func (w *tracer) programs(t testing.TB, made []string) {
	t.Helper()
	for _, name := range carried {
		if real, err := osexec.LookPath(name); err == nil {
			must(t, os.Symlink(real, filepath.Join(w.bin, name)))
		}
	}
	for _, name := range made {
		text := "#!/usr/bin/printf %s\\n\n"
		if name == "grep" {
			text = "#!/bin/false\n"
		}
		must(t, os.WriteFile(filepath.Join(w.bin, name), []byte(text), 0o755))
	}
}

// traceTime bounds one command. One that takes longer is ended, and what it ran until then is judged.
const traceTime = 30 * time.Second

// limits end a command that runs for ever or fills the disk.
const limits = "ulimit -t 1 2>/dev/null; ulimit -f 100 2>/dev/null\n"

// run has a shell run the command and gives every program that was executed, the shell first.
func (w *tracer) run(t testing.TB, shell, command string) []executed {
	t.Helper()
	log := filepath.Join(w.dir, "log", strconv.FormatInt(w.runs.Add(1), 10))
	defer os.Remove(log)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), traceTime)
	defer cancel()
	cmd := osexec.CommandContext(ctx, w.strace, "-f", "-qq", "--seccomp-bpf", "-xx", "-s", "100000", "-e", "signal=none", "-e", "trace=execve,execveat", "-o", log,
		shell, "-c", limits+command)
	cmd.Dir = filepath.Join(w.dir, "home")
	cmd.Env = []string{"PATH=" + w.bin, "HOME=" + cmd.Dir, "LC_ALL=C.UTF-8"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if os.Getuid() == 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: 65534, Gid: 65534}
	}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	runErr := cmd.Run() // strace ends as the command did, which is its own affair
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatalf("strace left no trace: %v, %v", runErr, err)
	}
	ran, err := executions(string(text))
	if err != nil {
		t.Fatalf("the trace of %q cannot be read: %v", command, err)
	}
	if len(ran) == 0 || ran[0].path != shell || !slices.Equal(ran[0].argv, []string{shell, "-c", limits + command}) {
		t.Fatalf("the trace of %q does not begin with the shell (strace: %v): %.200q", command, runErr, text)
	}
	return ran
}

// execution is a line of a trace: a process, and either a call that may be unfinished or the rest of one.
var execution = regexp.MustCompile(`^([0-9]+) +(?:(execve|execveat)\((.*)|<\.\.\. execve(?:at)? resumed>(.*))$`)

// executions reads a trace. A call counts once it has returned 0; a line that a killed strace did not end does not.
func executions(trace string) (ran []executed, err error) {
	begun := map[string]executed{} // by process
	for line := range strings.Lines(trace) {
		line, whole := strings.CutSuffix(line, "\n")
		m := execution.FindStringSubmatch(line)
		switch {
		case !whole:
			return ran, nil
		case m == nil:
			return ran, fmt.Errorf("the line %q", line)
		case m[2] != "":
			if begun[m[1]], err = call(m[3]); err != nil {
				return ran, err
			}
		}
		if strings.HasSuffix(line, " = 0") {
			ran = append(ran, begun[m[1]])
		}
	}
	return ran, nil
}

// quoted is a text as strace -xx writes it.
var quoted = regexp.MustCompile(`"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?`)

// call reads the arguments of execve or execveat: the first text is the path, those in brackets are the arguments.
func call(text string) (executed, error) {
	head, rest, _ := strings.Cut(text, "[")
	args, _, ended := strings.Cut(rest, "]")
	file, err := texts(head)
	if err != nil || len(file) != 1 || !ended {
		return executed{}, fmt.Errorf("the call %q, %v", text, err)
	}
	argv, err := texts(args)
	if err != nil || strings.Contains(quoted.ReplaceAllString(args, ""), "...") {
		return executed{}, fmt.Errorf("the arguments %q, %v", args, err)
	}
	return executed{file[0], argv}, nil
}

func texts(list string) (out []string, err error) {
	for _, m := range quoted.FindAllStringSubmatch(list, -1) {
		if m[2] != "" {
			return nil, errors.New("a text is cut off")
		}
		text, err := hex.DecodeString(strings.ReplaceAll(m[1], `\x`, ""))
		if err != nil {
			return nil, err
		}
		out = append(out, string(text))
	}
	return out, nil
}

// standard are the folders in which command -p looks.
var standard = []string{"/bin", "/usr/bin", "/sbin", "/usr/sbin"}

// judge says what of a run was not admitted: every program must be one that the policy read in the command, found where that name is found, with the
// arguments that were read; and a pattern of the allow list must hold for what really ran.
func (w *tracer) judge(commands []simple, ran []executed) error {
	for _, e := range ran[1:] { // the first is the shell
		dir, name := path.Split(e.path)
		if dir = path.Clean(dir); dir != w.bin && !(slices.Contains(standard, dir) && names(commands, "command")) {
			name = e.path
		}
		if len(e.argv) == 0 || path.Base(e.argv[0]) != path.Base(name) {
			return fmt.Errorf("%v ran under another name", e)
		}
		if !covered(commands, append([]string{name}, e.argv[1:]...)) {
			return fmt.Errorf("%v ran, which the policy did not read", e)
		}
		if text := spelled(name, e.argv[1:]); !slices.ContainsFunc(w.rules, func(r *regexp.Regexp) bool { return r.MatchString(text) }) {
			return fmt.Errorf("%v ran, which no rule admits", e)
		}
	}
	return nil
}

// names says whether one of the commands that the policy read has that name.
func names(commands []simple, name string) bool {
	return slices.ContainsFunc(commands, func(s simple) bool { return s.name == name || names(s.inner, name) })
}

// spelled is what ran as a pattern would see it: each argument is one word.
func spelled(name string, args []string) string {
	words := []string{name}
	for _, arg := range args {
		if arg == "" {
			arg = "''"
		}
		words = append(words, strings.Join(strings.Fields(arg), "_"))
	}
	return strings.Join(words, " ")
}

// check runs an admitted command and judges what ran; n counts the programs beside the shell.
func (w *tracer) check(t testing.TB, shell, command string) (n int, err error) {
	t.Helper()
	commands, err := readLine(command, 0)
	if err != nil {
		return 0, fmt.Errorf("%q is admitted and cannot be read: %w", command, err)
	}
	ran := w.run(t, shell, command)
	if err := w.judge(commands, ran); err != nil {
		return 0, fmt.Errorf("%s -c %q: %w", shell, command, err)
	}
	return len(ran) - 1, nil
}

// letters are the names of the programs that shellSeeds speak of.
func letters() (all []string) {
	for c := 'a'; c <= 'z'; c++ {
		all = append(all, string(c))
	}
	return all
}

// traced is a tracer on the letters. Without strace the test is skipped here; TestProofTracedShell fails there.
func traced(t testing.TB) *tracer {
	t.Helper()
	w, err := newTracer(t, shellRules, letters()...)
	if err != nil {
		t.Skipf("%v; the proof of this package needs it: install the package strace", err)
	}
	return w
}

// TestTracerSeesWhatRuns runs commands that are not admitted, in ways that nothing in PATH could notice: each is found, and is found wrong.
func TestTracerSeesWhatRuns(t *testing.T) {
	w := traced(t)
	p := compile(t, shellRules)
	innocent, err := readLine("a; env a; xargs a; sh -c a; setsid a; exec a; nice a; timeout 5 a", 0)
	must(t, err)
	for command, want := range map[string]string{
		"/bin/echo 1": "/bin/echo", "/usr/bin/env /bin/echo 1": "/bin/echo", `find . -exec b 1 \;`: w.bin + "/b", `find . -maxdepth 0 -exec /bin/echo \;`: "/bin/echo", "a 1 | xargs b": w.bin + "/b",
		"(b)": w.bin + "/b", "(a; (exec b))": w.bin + "/b", "a $(b)": w.bin + "/b", "b & wait": w.bin + "/b", "setsid b": w.bin + "/b", "sh -c 'exec b 2'": w.bin + "/b", "trap b EXIT": w.bin + "/b",
		"exec b": w.bin + "/b", "PATH=/bin; echo 1 | cat": "/bin/cat", "../bin/b": "../bin/b", "eval 'b'": w.bin + "/b", "a\nb": w.bin + "/b", ". /dev/stdin <<E\nb\nE": w.bin + "/b",
	} {
		if p.Decide(exec(command)).Allowed {
			t.Errorf("%q is admitted", command)
		}
		ran := w.run(t, w.shells[0], command)
		if !slices.ContainsFunc(ran, func(e executed) bool { return e.path == want }) {
			t.Errorf("%q: %v ran, and %s is not seen", command, ran, want)
		}
		if err := w.judge(innocent, ran); err == nil {
			t.Errorf("%q: %v ran, and nothing is wrong with it", command, ran)
		}
	}
}

// TestWiderPolicyIsFound has policies admit more than the rules that the tracer goes by: what runs by them is found wrong.
func TestWiderPolicyIsFound(t *testing.T) {
	w := traced(t)
	for wider, command := range map[string]string{
		`^b\b`: "a; b", `^/bin/echo\b`: "a | /bin/echo 1", `^c\b`: `find . -maxdepth 0 -exec c {} \;`, `^q\b`: "q 2", `^d\b`: "a 1 | xargs d", `^e\b`: "sh -c '(e)'",
	} {
		p := compile(t, Rules{CommandAllowlist: append(slices.Clone(shellRules.CommandAllowlist), wider)})
		if d := p.Decide(exec(command)); !d.Allowed {
			t.Errorf("%q is not admitted by %s: %s", command, wider, d.Reason)
		}
		if _, err := w.check(t, w.shells[0], command); err == nil || !strings.Contains(err.Error(), "no rule admits") {
			t.Errorf("%q, which %s admits: %v", command, wider, err)
		}
	}
}

// TestReadTrace reads what strace writes where processes get in each other's way.
func TestReadTrace(t *testing.T) {
	const trace = `11    execve("\x2f\x62", ["\x62", "\x5b\x5d"], 0x7ffc /* 3 vars */) = 0
12    execve("\x2f\x63", ["\x63"], 0x7ffc /* 3 vars */ <unfinished ...>
13    execve("\x2f\x64", ["\x64"], 0x7ffc /* 3 vars */) = -1 ENOENT (No such file or directory)
14    execveat(3, "\x65", ["\x65", ""], 0x7ffc /* 3 vars */, 0 <unfinished ...>
12    <... execve resumed>)             = 0
14    <... execveat resumed>)           = 0
15    execve("\x2f\x66", ["\x66"], 0x7ffc /* 3 vars */ <unfinished ...>
15    <... execve resumed> <unfinished ...>) = ?
16    execve("\x2f`
	ran, err := executions(trace)
	if want := `[/b ["b" "[]"] /c ["c"] e ["e" ""]]`; err != nil || fmt.Sprint(ran) != want {
		t.Errorf("%v, %v, want %s", ran, err, want)
	}
	for _, bad := range []string{
		"11 execve(\"\\x2f\"..., [\"\\x62\"], 0x7 /* 3 vars */) = 0\n", "11 execve(\"\\x2f\", [\"\\x62\"...], 0x7) = 0\n", "11 execve(\"\\x2f\", [\"\\x62\", ...], 0x7) = 0\n",
		"11 execve(\"\\x2f\", NULL, NULL) = 0\n", "what\n",
	} {
		if ran, err := executions(bad); err == nil {
			t.Errorf("%q is read as %v", bad, ran)
		}
	}
}

// FuzzTracedShell looks for a command line that is admitted and in which a real sh, every execution of which is traced, runs what was not.
func FuzzTracedShell(f *testing.F) {
	for _, seed := range shellSeeds() {
		f.Add(seed)
	}
	w := traced(f)
	p := compile(f, shellRules)
	f.Fuzz(func(t *testing.T, command string) {
		if !p.Decide(exec(command)).Allowed {
			return
		}
		if _, err := w.check(t, w.shells[0], command); err != nil {
			t.Error(err)
		}
	})
}
