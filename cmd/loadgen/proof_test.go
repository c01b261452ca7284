//go:build proof

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/reports/result"
)

// The tests under this tag measure what the documents claim of loadgen, with its own binary and, where another tool is the yardstick, with that
// tool in the same run. By default they are short and assert with slack; PROOF=whole measures at full length against the claims themselves,
// and writes what it found to PROOF_DIR.

// whole reports whether the claims are measured at full length.
func whole() bool { return os.Getenv("PROOF") == "whole" }

// length is a length of time as claimed, or as shortened for CI.
func length(claimed, short time.Duration) string {
	if whole() {
		return claimed.String()
	}
	return short.String()
}

// slack is a bound as claimed, or widened for CI, whose machine may have other work.
func slack(claimed, wide float64) float64 {
	if whole() {
		return claimed
	}
	return wide
}

// programs builds loadgen and the server once.
var programs = sync.OnceValues(func() (dir string, err error) {
	if dir, err = os.MkdirTemp("", "proof-"); err != nil {
		return "", err
	}
	out, err := exec.Command("go", "build", "-o", dir+string(filepath.Separator), ".", "../openaccess-mcp", "../fakessh").CombinedOutput()
	if err != nil {
		err = fmt.Errorf("build: %v\n%s", err, out)
	}
	return dir, err
})

func program(t *testing.T, name string) string {
	t.Helper()
	dir, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, name)
}

// tool finds a program of another project on PATH, or builds it.
func tool(t *testing.T, name, module string) string {
	t.Helper()
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	path := program(t, name)
	if _, err := os.Stat(path); err == nil {
		return path
	}
	cmd := exec.Command("go", "install", module)
	cmd.Env = append(os.Environ(), "GOBIN="+filepath.Dir(path), "GOFLAGS=")
	cmd.Dir = t.TempDir() // outside the module
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go install %s: %v\n%s", module, err, out)
	}
	return path
}

// used is what a program took, and said.
type used struct {
	cpu    time.Duration
	stdout []byte
}

// execute runs a program to its end, which must be a success.
func execute(t *testing.T, path string, args ...string) used {
	t.Helper()
	u, code := attempt(t, path, args...)
	if code != 0 {
		t.Fatalf("%s %s: exit code %d\n%s", path, strings.Join(args, " "), code, u.stdout)
	}
	return u
}

// attempt runs a program to its end. What it says to standard error stands below its output.
func attempt(t *testing.T, path string, args ...string) (u used, exitCode int) {
	t.Helper()
	cmd := exec.Command(path, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.Dir = t.TempDir()
	if err := cmd.Run(); cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return used{cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), out.Bytes()}, cmd.ProcessState.ExitCode()
}

// measure runs loadgen and reads its result. A run in which the generator was starved is no measurement, and made again.
func measure(t *testing.T, args ...string) (*result.Doc, used) {
	t.Helper()
	return measureTo(t, []int{exitHeld}, args...)
}

// measureTo does so where other exit codes are as good.
func measureTo(t *testing.T, codes []int, args ...string) (*result.Doc, used) {
	t.Helper()
	dir := t.TempDir()
	args = append([]string{"run", "--quiet", "--out", dir}, args...)
	var u used
	for range 3 {
		var code int
		u, code = attempt(t, program(t, "loadgen"), args...)
		if code == exitHarness {
			t.Logf("measured again, since the generator could not be believed:\n%s", u.stdout)
			continue
		}
		if !slices.Contains(codes, code) {
			break
		}
		d, _ := resultOf(t, filepath.Join(dir, "result.json"))
		return d, u
	}
	t.Fatalf("loadgen %s\n%s", strings.Join(args, " "), u.stdout)
	return nil, u
}

// noopServer starts the server that does nothing and returns the URL it serves.
func noopServer(t *testing.T, args ...string) (url string) {
	t.Helper()
	cmd := exec.Command(program(t, "loadgen"), append([]string{noopServerName, "--transport", "http"}, args...)...)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	stop := func() {
		once.Do(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		})
	}
	t.Cleanup(stop)
	var seen strings.Builder
	buf := make([]byte, 4096)
	for {
		n, err := stderr.Read(buf)
		seen.Write(buf[:n])
		if _, rest, ok := strings.Cut(seen.String(), "url="); ok && strings.ContainsAny(rest, " \n") {
			go func() { _, _ = io.Copy(io.Discard, stderr) }() // ends with the process
			return strings.Fields(rest)[0]
		}
		if err != nil {
			t.Fatalf("the no-op server said no URL: %v\n%s", err, seen.String())
		}
	}
}

// scenario writes a scenario of one ssh_exec that a no-op server answers, and returns its path.
func noopScenario(t *testing.T, rate int, duration string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "noop.yaml")
	text := fmt.Sprintf(`name: noop
operation: ssh.exec
executor: {kind: open, rate: %d, warmup: 1s, duration: %s}
steps:
  - name: call
    tool: ssh_exec
    args: {profile_id: noop, command: echo loadgen}
    checks: [{field: exit_code, value: 0}]
`, rate, duration)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// The same call as vegeta and k6 send it, in the wire of 2026-07-28, which has no session.
const noopCall = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"ssh_exec","arguments":{"profile_id":"noop","command":"echo loadgen"},` +
	`"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}`

var noopHeaders = map[string]string{
	"Content-Type": "application/json", "Accept": "application/json, text/event-stream",
	"Mcp-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call", "Mcp-Name": "ssh_exec",
}

// keep writes a report where PROOF_DIR says, beside logging it.
func keep(t *testing.T, name, text string) {
	t.Helper()
	t.Log("\n" + text)
	if dir := os.Getenv("PROOF_DIR"); dir != "" && whole() {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func marshal(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
