//go:build proof

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestProofStopped stops the generator or its server while it measures, with the signals that a shell uses for that.
func TestProofStopped(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "stopped"),
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("FIXTURE_LOG", e.WorkDir+"/fixture.log")
			e.Setenv("TMPDIR", e.WorkDir+"/.tmp")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"stopping": stopping, "slowest": slowest},
	})
}

// stopping runs loadgen and wants an exit code, while one of the two, generator or server, is stopped over and over from when calls are
// made: stopping generator|server TIMES STOPPED RUNNING CODE ARG...
func stopping(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 6 {
		ts.Fatalf("usage: stopping generator|server TIMES STOPPED RUNNING CODE ARG...")
	}
	var times int
	_, err := fmt.Sscan(args[1], &times)
	ts.Check(err)
	stopped, err := time.ParseDuration(args[2])
	ts.Check(err)
	running, err := time.ParseDuration(args[3])
	ts.Check(err)
	out, err := os.Create(ts.MkAbs("stdout.txt"))
	ts.Check(err)
	defer out.Close()
	cmd := exec.Command("loadgen", args[5:]...) // testscript puts this program on PATH
	cmd.Dir, cmd.Stdout, cmd.Stderr = ts.MkAbs("."), out, out
	cmd.Env = append(os.Environ(), "PATH="+ts.Getenv("PATH"), "TMPDIR="+ts.Getenv("TMPDIR"), "FIXTURE_LOG="+ts.Getenv("FIXTURE_LOG"))
	ts.Check(cmd.Start())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = cmd.Wait() // the exit code says it
	}()
	kill := time.AfterFunc(2*awaitTimeout, func() { _ = cmd.Process.Kill() })
	defer kill.Stop()
	// The server is there a moment before the first call.
	for deadline := time.Now().Add(awaitTimeout); childOf(cmd.Process.Pid) == 0 && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond)
	}
	for range times {
		if !waitsFor(done, running) {
			break
		}
		pid := cmd.Process.Pid
		if args[0] == "server" { // found only now: before it starts its first program, Go tries with a child that ends at once
			pid = childOf(pid)
		}
		if pid == 0 || syscall.Kill(pid, syscall.SIGSTOP) != nil {
			break
		}
		time.Sleep(stopped)
		if err := syscall.Kill(pid, syscall.SIGCONT); !errors.Is(err, syscall.ESRCH) { // it had ended already
			ts.Check(err)
		}
	}
	<-done
	if got := fmt.Sprint(cmd.ProcessState.ExitCode()); got != args[4] {
		ts.Fatalf("exit code %s, want %s\n%s", got, args[4], ts.ReadFile("stdout.txt"))
	}
}

// waitsFor is false when done was closed first.
func waitsFor(done <-chan struct{}, d time.Duration) bool {
	select {
	case <-done:
		return false
	case <-time.After(d):
		return true
	}
}

// childOf is the first child of a process, 0 while it has none.
func childOf(pid int) int {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, f := range tasks {
		text, _ := os.ReadFile(f)
		var child int
		if n, _ := fmt.Sscan(strings.TrimSpace(string(text)), &child); n == 1 {
			return child
		}
	}
	return 0
}

// slowest wants a latency of at least a length among the first cell's: slowest RESULT LENGTH
func slowest(ts *testscript.TestScript, neg bool, args []string) {
	least, err := time.ParseDuration(args[1])
	ts.Check(err)
	d, err := readResult(ts.MkAbs(args[0]))
	ts.Check(err)
	if got := d.Scenarios[0].Latency.Max; got == nil || time.Duration(*got) < least {
		ts.Fatalf("the longest latency is not %v or more", least)
	}
}
