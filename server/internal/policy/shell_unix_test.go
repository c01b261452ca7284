//go:build unix

package policy

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// shellRules admit the program a and what may run it. Of all other letters of the alphabet there is a program as well, so that hardly any text
// runs nothing.
var shellRules = Rules{CommandAllowlist: []string{
	`^a\b`, `^(env|xargs|find|timeout|nice|nohup|setsid|stdbuf|sh|bash|eval|exec|command|trap|time|printf|test|cd|sed|true|false|:)( |$)`, `^\[ `, `^q 1$`, `^r \S+ 2$`,
}}

// carried are the real programs that the shell finds beside the letters.
var carried = []string{"env", "xargs", "find", "timeout", "nice", "nohup", "setsid", "stdbuf", "sh", "bash", "sed"}

// host is a folder of programs that note their name and arguments and do nothing, or run the real one.
type host struct {
	dir    string
	shells []string
	runs   atomic.Int64
}

func newHost(t testing.TB) *host {
	dir, err := os.MkdirTemp("", "policy")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	h := &host{dir: dir}
	for _, sub := range []string{"bin", "home"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for c := 'a'; c <= 'z'; c++ {
		h.program(t, string(c), "")
	}
	for _, name := range carried {
		if real, err := osexec.LookPath(name); err == nil {
			h.program(t, name, "exec "+real+` "$@"`)
		}
	}
	for _, name := range []string{"/bin/sh", "/bin/bash", "/bin/dash"} {
		if real, err := filepath.EvalSymlinks(name); err == nil && !slices.Contains(h.shells, real) {
			h.shells = append(h.shells, real)
		}
	}
	if len(h.shells) == 0 {
		t.Fatal("no shell in /bin")
	}
	if err := os.Chmod(dir, 0o777); err != nil { // for the user that commands run as
		t.Fatal(err)
	}
	return h
}

func (h *host) program(t testing.TB, name, then string) {
	text := "#!/bin/sh\nprintf '%s\\0' \"${0##*/}\" $# \"$@\" >>\"${0%/*}.log\"\n" + then + "\n"
	if err := os.WriteFile(filepath.Join(h.dir, "bin", name), []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}

// run has a shell run the command and gives the programs that ran, each with its arguments. A command that does not end is ended.
func (h *host) run(t testing.TB, shell, command string) [][]string {
	path := filepath.Join(h.dir, "run-"+strconv.FormatInt(h.runs.Add(1), 10))
	if err := os.Symlink("bin", path); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(path)
	log, err := os.OpenFile(path+".log", os.O_CREATE|os.O_RDWR, 0o666)
	if err != nil {
		t.Fatal(err)
	}
	defer os.Remove(log.Name())
	defer log.Close()
	if err := log.Chmod(0o666); err != nil {
		t.Fatal(err)
	}
	h.start(t, shell, command, path)
	data, err := io.ReadAll(log)
	if err != nil {
		t.Fatal(err)
	}
	return programs(data)
}

// start runs the shell and waits for all that it started, as far as they hold the pipe.
func (h *host) start(t testing.TB, shell, command, path string) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := osexec.CommandContext(ctx, shell, "-c", "ulimit -t 5 2>/dev/null; ulimit -f 100 2>/dev/null\n"+command)
	cmd.Dir = filepath.Join(h.dir, "home")
	cmd.Env = []string{"PATH=" + path, "HOME=" + cmd.Dir, "LC_ALL=C.UTF-8"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if os.Getuid() == 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: 65534, Gid: 65534}
	}
	var out bytes.Buffer
	cmd.Stdout = &out
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	_ = cmd.Run() // what it exits with is its own affair
	if cmd.Process != nil {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	}
}

// programs reads what the programs noted.
func programs(log []byte) (ran [][]string) {
	fields := strings.Split(string(log), "\x00")
	for len(fields) > 2 {
		n, err := strconv.Atoi(fields[1])
		if err != nil || len(fields) < 2+n {
			return append(ran, []string{"unreadable", fields[0]}) // cut off or torn
		}
		ran = append(ran, append([]string{fields[0]}, fields[2:2+n]...))
		fields = fields[2+n:]
	}
	return ran
}

// covered says whether one of the commands that the policy read is the one that ran.
func covered(commands []simple, ran []string) bool {
	return slices.ContainsFunc(commands, func(s simple) bool {
		return s.name == ran[0] && sameArguments(s.args, ran[1:]) || covered(s.inner, ran)
	})
}

func sameArguments(words []word, args []string) bool {
	if slices.ContainsFunc(words, func(w word) bool { return !w.fixed() }) {
		return true
	}
	return slices.EqualFunc(words, args, func(w word, arg string) bool { return w.text == arg })
}

// checkRun runs an admitted command in every shell: each program that ran is one that the policy read in it, with the arguments that it read.
func (h *host) checkRun(t testing.TB, command string) error {
	commands, err := readLine(command, 0)
	if err != nil {
		return fmt.Errorf("%q is admitted and cannot be read: %w", command, err)
	}
	for _, shell := range h.shells {
		for _, ran := range h.run(t, shell, command) {
			if ran[0] == "unreadable" {
				continue
			}
			if !covered(commands, ran) {
				return fmt.Errorf("%s runs %q for %q", shell, ran, command)
			}
			if strings.Trim(ran[0], "bcdefghijklmnopstuvwxyz") == "" && !slices.Contains(carried, ran[0]) {
				return fmt.Errorf("%s runs %q for %q, which no rule admits", shell, ran, command)
			}
		}
	}
	return nil
}

// shellSeeds are command lines on the programs of a host.
func shellSeeds() []string {
	seeds := []string{
		"a", "a; a 1", "a|a", "a && a || a", "(a; a)", "{ a; }", "a $(a 1)", `a "$(a '2 3')"`, "a `a`", "b", "a;b", "a $(b)", "a|b", "a\nb", "eval 'a;a'", "eval b", `sh -c 'a "$(a)"'`, "bash -c 'a;b'",
		"env a 1", "env LANG=C a", "env b", "find . -exec a {} ;", `find . -exec a {} \;`, `find . -exec b \;`, "a | xargs a", "xargs b </dev/null", "timeout 5 a", "timeout 5 b", "nice -n 1 a", "nohup a", "exec a", "command a", "trap a EXIT",
		"trap 'a 1; a 2' EXIT", "for i in 1 2; do a $i; done", "if a; then a; else b; fi", "case x in x) a;; esac", "! a", "a & a", "time a", "x=b; $x", "x=1; a $x", "a 'x y' \"z\" w\\ v", `'a' 1`, `\a 1`, `"a"`, "a <<E\n$(a)\nE", "a <<'E'\n$(b)\nE",
		"a <<E\n$(b)\nE", "a # b\na", "a \\\n1", "a ${x:-$(a)}", `a "${x:-$(b)}"`, "a ${x#b}", "a >/dev/null 2>&1", "a 2>&1 | a", "q 1", "q 2", "q 1 2", "r x 2", "r $x 2", "r x 3 2", "a-b", "a=b", "a=b a", "a.b", "a/b", `a "\$(b)" '$(b)'`, "a $((1))",
		"a {b,c}", "{b,c}", "b() { a; }; b", "a() { b; }; a", "alias a=b\na", "a\rb", "a\x00b", "a\u00a0b", "a ~ * [a] ?", "test -f x && a", "[ -d . ] && a", "printf '%s' 'a b'", "a\\\nb", "a '\\'\\''' b", `a "'" ; a "'"`, `a '"' ; a '"'`, `a \" ; a \"`,
		`a \' ; a \'`, `a "a\\" ; a "`, `a "\\$(a)"`, "sed -n 1p </dev/null", "a;;b", "a $'b' c", `a $"b"`, "a 3>&1", "a 10>/dev/null", "a >&2 b", "a<<E;a\nb\nE", "a <<-E\n\tb\n\tE\na", "a <<E <<F\nb\nE\nc\nF\na", "case b in (b) a;; esac", "until a; do a; done",
		"a $(case x in x) a;; esac)", "a $(a <<E\nb\nE\n)", "if a; then a; elif a; then a; fi", "a;#b\na", "a#b;a", "a\t1", "echo", ": b", "true && a", "a \"\n\" b", "stdbuf -oL a", "setsid a", "a !b", "a [!b]", "a ^b", "a %b", "a @b", "a +b", "a =b",
	}
	return seeds
}

// TestHostTellsWhatRuns lets commands run that are not admitted: each would be found if it were.
func TestHostTellsWhatRuns(t *testing.T) {
	h := newHost(t)
	p := compile(t, shellRules)
	for command, want := range map[string]string{"a;b 1": "b", "a $(c)": "c", "env d": "d", "sh -c e": "e", "xargs f </dev/null": "f", `find . -exec g \;`: "g"} {
		if p.Decide(exec(command)).Allowed {
			t.Errorf("%q is admitted", command)
		}
		ran := h.run(t, h.shells[0], command)
		if !slices.ContainsFunc(ran, func(r []string) bool { return r[0] == want }) {
			t.Errorf("%q: %q ran, and %s is not seen", command, ran, want)
		}
	}
}

// FuzzAgainstShell looks for a command line that is admitted and in which a real shell runs what was not.
func FuzzAgainstShell(f *testing.F) {
	for _, seed := range shellSeeds() {
		f.Add(seed)
	}
	h := newHost(f)
	p := compile(f, shellRules)
	admitted := 0
	for _, seed := range shellSeeds() {
		if p.Decide(exec(seed)).Allowed {
			admitted++
		}
	}
	if admitted < 50 {
		f.Errorf("only %d of the seeds are admitted", admitted)
	}
	f.Fuzz(func(t *testing.T, command string) {
		if !p.Decide(exec(command)).Allowed {
			return
		}
		if err := h.checkRun(t, command); err != nil {
			t.Error(err)
		}
	})
}
