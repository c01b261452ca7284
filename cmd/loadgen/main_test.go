package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"loadgen":        main,
		"fixture-server": fixtureServer,
	})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("FIXTURE_LOG", e.WorkDir+"/fixture.log")
			e.Setenv("TMPDIR", e.WorkDir+"/.tmp")
			results, err := filepath.Abs("../../reports/testdata")
			e.Setenv("RESULTS", results)
			return err
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "gone": gone},
	})
}

// exits runs a program and wants an exit code, or one of several: exits CODE[,CODE...] PROGRAM ARG... Where other tests starve the generator, so
// that its figures cannot be believed and nobody asked for that, the program runs again.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE[,CODE...] PROGRAM ARG...")
	}
	want := strings.Split(args[0], ",")
	for tries := 5; ; tries-- {
		got := 0
		var exit *exec.ExitError
		if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
			got = exit.ExitCode()
		} else {
			ts.Check(err)
		}
		switch starved := got == exitHarness && strings.Contains(ts.ReadFile("stdout"), "the generator cannot be believed"); {
		case slices.Contains(want, strconv.Itoa(got)):
			return
		case !starved || tries == 0:
			ts.Fatalf("exit code %d, want %s\n%s%s", got, args[0], ts.ReadFile("stdout"), ts.ReadFile("stderr"))
		}
	}
}

// gone wants the fixture server that listened last, by its log, to listen no more: gone LOG
func gone(ts *testscript.TestScript, _ bool, args []string) {
	_, addr, found := strings.Cut(ts.ReadFile(args[0]), "listening ")
	if !found {
		ts.Fatalf("the server did not log where it listens")
	}
	addr = strings.TrimSpace(addr)
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			return
		}
		conn.Close()
		if time.Now().After(deadline) {
			ts.Fatalf("the server still listens on %s", addr)
		}
	}
}

// fullDisk refuses every write.
type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

type text struct{ b []byte }

func (t *text) Write(b []byte) (int, error) { t.b = append(t.b, b...); return len(b), nil }

func TestStandardOutputThatCannotBeWritten(t *testing.T) {
	for _, args := range [][]string{{"version"}, {"list"}, {"validate", "../../scenarios/ssh-exec.yaml"}} {
		var stderr text
		code := run(context.Background(), args, nil, fullDisk{}, &stderr)
		if want := "loadgen: cannot write to standard output: no space left on device\n"; code != exitHarness || string(stderr.b) != want {
			t.Errorf("%v: exit code %d, %q", args, code, stderr.b)
		}
	}
}

func TestCommandLineCanBeTypedAgain(t *testing.T) {
	args := []string{"run", "a b", "", "it's", "$HOME", "p95<1s", "--rate=5"}
	line := commandLine(args)
	if want := `loadgen run 'a b' '' 'it'\''s' '$HOME' 'p95<1s' --rate=5`; line != want {
		t.Errorf("got %s, want %s", line, want)
	}
}

func Example() {
	fmt.Println(run(context.Background(), []string{"run", "ssh-exce"}, nil, os.Stdout, os.Stdout))
	// Output:
	// loadgen: unknown scenario "ssh-exce": did you mean "ssh-exec"?
	// 2
}
