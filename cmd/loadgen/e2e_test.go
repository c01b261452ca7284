package main

import (
	"encoding/json"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/pprof/profile"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
)

// TestEndToEnd runs scripts with the real server, built from this checkout, as a user would.
func TestEndToEnd(t *testing.T) {
	bin := t.TempDir()
	build := exec.Command("go", "build", "-o", bin+string(filepath.Separator), "../openaccess-mcp", "../fakessh")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", build, err, out)
	}
	host := fakessh.Start(fakessh.Options{Users: map[string]fakessh.User{"deploy": {Password: "right"}}})
	t.Cleanup(func() {
		if err := host.Close(); err != nil {
			t.Error(err)
		}
	})
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "e2e"),
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("PATH", bin+string(os.PathListSeparator)+e.Getenv("PATH"))
			e.Setenv("TMPDIR", filepath.Join(e.WorkDir, ".tmp"))
			return writeTargets(e.WorkDir, host)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "interrupt": interruptWhen, "await": await, "served": served, "free": free, "profiled": profiled},
	})
}

// writeTargets writes a folder good with a profile of the host, and others in which one thing about it is wrong.
func writeTargets(dir string, host *fakessh.Host) error {
	other := fakessh.Start(fakessh.Options{})
	defer other.Close()
	for name, change := range map[string]func(profile, secret map[string]any){
		"good":           func(_, _ map[string]any) {},
		"wrong-key":      func(profile, _ map[string]any) { profile["host_key"] = other.HostKeyLine() },
		"wrong-password": func(_, secret map[string]any) { secret["password"] = "wrong" },
		"refused":        func(profile, _ map[string]any) { profile["port"] = 1 },
	} {
		target := filepath.Join(dir, name)
		if err := host.WriteProfile(target, "web-01"); err != nil {
			return err
		}
		files := [2]string{filepath.Join(target, "profiles", "web-01.json"), filepath.Join(target, "secrets", "web-01.json")}
		var docs [2]map[string]any
		for i, file := range files {
			text, err := os.ReadFile(file)
			if err := errors.Join(err, json.Unmarshal(text, &docs[i])); err != nil {
				return err
			}
		}
		change(docs[0], docs[1])
		for i, file := range files {
			text, err := json.Marshal(docs[i])
			if err := errors.Join(err, os.WriteFile(file, text, 0o600)); err != nil {
				return err
			}
		}
	}
	return nil
}

// awaitTimeout bounds the waiting of scripts; what they wait for takes a second or two.
const awaitTimeout = 30 * time.Second

// appears waits for a file that matches.
func appears(ts *testscript.TestScript, glob string) {
	for deadline := time.Now().Add(awaitTimeout); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if found, err := filepath.Glob(ts.MkAbs(glob)); err != nil || len(found) > 0 {
			ts.Check(err)
			return
		}
	}
	ts.Fatalf("there is no %s after %v", glob, awaitTimeout)
}

// free sets a variable to an address where nobody listens: free NAME
func free(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: free NAME")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Setenv(args[0], l.Addr().String())
	ts.Check(l.Close())
}

// profiled wants a profile of the server in which a function's name matches, unless the pattern is empty: profiled FILE PATTERN
func profiled(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: profiled FILE PATTERN")
	}
	data, err := os.ReadFile(ts.MkAbs(args[0]))
	ts.Check(err)
	p, err := profile.ParseData(data)
	ts.Check(err)
	if len(p.Mapping) == 0 || filepath.Base(p.Mapping[0].File) != "openaccess-mcp" {
		ts.Fatalf("%s is not of the server: %v", args[0], p.Mapping)
	}
	name := regexp.MustCompile(args[1])
	if args[1] != "" && !slices.ContainsFunc(p.Function, func(f *profile.Function) bool { return name.MatchString(f.Name) }) {
		ts.Fatalf("%s has no function %s among %d", args[0], args[1], len(p.Function))
	}
}

// served waits for somebody to listen: served HOST:PORT
func served(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: served HOST:PORT")
	}
	for deadline := time.Now().Add(awaitTimeout); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if c, err := net.Dial("tcp", args[0]); err == nil {
			c.Close()
			return
		}
	}
	ts.Fatalf("nobody listens at %s after %v", args[0], awaitTimeout)
}

// await waits for a file: await GLOB
func await(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: await GLOB")
	}
	appears(ts, args[0])
}

// interruptWhen runs a program, interrupts it once a file is there, and wants an exit code: interrupt GLOB CODE PROGRAM ARG...
func interruptWhen(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: interrupt GLOB CODE PROGRAM ARG...")
	}
	want, err := strconv.Atoi(args[1])
	ts.Check(err)
	stdout, err := os.Create(ts.MkAbs("stdout.txt"))
	ts.Check(err)
	defer stdout.Close()
	stderr, err := os.Create(ts.MkAbs("stderr.txt"))
	ts.Check(err)
	defer stderr.Close()
	cmd := exec.Command(args[2], args[3:]...) // testscript puts this program on PATH
	cmd.Dir, cmd.Stdout, cmd.Stderr = ts.MkAbs("."), stdout, stderr
	cmd.Env = append(os.Environ(), "PATH="+ts.Getenv("PATH"), "TMPDIR="+ts.Getenv("TMPDIR"))
	ts.Check(cmd.Start())
	stop := time.AfterFunc(2*awaitTimeout, func() { _ = cmd.Process.Kill() })
	defer stop.Stop()
	appears(ts, args[0])
	ts.Check(cmd.Process.Signal(os.Interrupt))
	_ = cmd.Wait()
	if got := cmd.ProcessState.ExitCode(); got != want {
		ts.Fatalf("exit code %d, want %d\n%s%s", got, want, ts.ReadFile("stdout.txt"), ts.ReadFile("stderr.txt"))
	}
}
