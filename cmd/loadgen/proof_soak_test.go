//go:build proof

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
	"github.com/openaccess-mcp/openaccess-mcp/reports/result"
)

// TestProofSoak: the soak calls a server that leaks one goroutine in a thousand calls a leak within ten minutes, and declares the same server
// without the leak free of any, with the bound that it shows. The short form leaks more, and tolerates more.
func TestProofSoak(t *testing.T) {
	every, args, only := 1000, []string{"soak"}, []string(nil)
	if !whole() {
		every, args, only = 20, []string{shortSoak(t)}, []string{"server.goroutines", "server.fds"}
	}
	var report strings.Builder
	for _, c := range []struct {
		name, server string
		want         loadgen.TrendVerdict
		code         int
	}{
		{fmt.Sprintf("a server that leaks one goroutine in %d calls", every), leaky(t, every), loadgen.Leak, exitMissed},
		{"the same without the leak", program(t, serverName), loadgen.NoLeak, exitHeld},
	} {
		d := soak(t, c.code, append(args, "--server", c.server)...)
		s := d.Scenarios[0]
		fmt.Fprintf(&report, "%s: %d calls in %.0f s\n", c.name, s.Requests, d.Run.DurationS)
		for _, trend := range d.Scenarios[0].Trends {
			fmt.Fprintf(&report, "  %-40s %-13s %s\n", trend.Expr, trend.Verdict, trend.Why)
			want := c.want
			if trend.Metric != "server.goroutines" {
				want = loadgen.NoLeak
			}
			if trend.Verdict != want && (trend.Metric == "server.goroutines" || c.want == loadgen.NoLeak) && (only == nil || slices.Contains(only, trend.Metric)) {
				t.Errorf("%s: %s: %s: %s", c.name, trend.Expr, trend.Verdict, trend.Why)
			}
		}
		if d.Run.DurationS > 11*60 {
			t.Errorf("%s: it took %.0f s", c.name, d.Run.DurationS)
		}
	}
	keep(t, "soak.txt", report.String())
}

// soak runs loadgen to its end, again where the generator was starved, and wants an exit code.
func soak(t *testing.T, want int, args ...string) *result.Doc {
	t.Helper()
	dir := t.TempDir()
	args = append([]string{"run", "--quiet", "--isolate", "--out", dir}, args...)
	var u used
	code := 0
	for range 3 {
		if u, code = attempt(t, program(t, "loadgen"), args...); code != exitHarness {
			break
		}
		t.Logf("measured again, since the generator could not be believed:\n%s", u.stdout)
	}
	d, _ := resultOf(t, filepath.Join(dir, "result.json"))
	if len(d.Scenarios) == 0 || code != want && whole() {
		t.Fatalf("exit code %d, want %d\n%s", code, want, u.stdout)
	}
	return d
}

// shortSoak is a soak of half a minute, which can show nothing but gross leaks.
func shortSoak(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "soak.yaml")
	text := `name: short-soak
operation: ssh.exec
executor: {kind: closed, vus: 2, warmup: 1s, duration: 9s}
max_lateness: 1s
steps:
  - {name: exec, tool: ssh_exec, args: {profile_id: "${profile}", command: echo loadgen}}
trends: ["server.goroutines<10 per 1000 calls", "server.fds<10 per 1000 calls"]
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// leaky builds the server with a goroutine that stays behind in every so many calls. The leak is put into a copy of one of its files: nothing of it
// is in the product.
func leaky(t *testing.T, every int) (path string) {
	t.Helper()
	original, err := filepath.Abs("../../server/call.go")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile(original)
	if err != nil {
		t.Fatal(err)
	}
	const mark = "\t\ts.calls.Add(1)\n"
	if strings.Count(string(source), mark) != 1 {
		t.Fatalf("%s does not count calls where it did: put the leak elsewhere", original)
	}
	dir := t.TempDir()
	changed, overlay := filepath.Join(dir, "call.go"), filepath.Join(dir, "overlay.json")
	leak := fmt.Sprintf("\t\tif s.calls.Add(1)%%%d == 0 {\n\t\t\tgo func() { select {} }()\n\t\t}\n", every)
	replace, err := json.Marshal(map[string]any{"Replace": map[string]string{original: changed}})
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{changed: []byte(strings.Replace(string(source), mark, leak, 1)), overlay: replace} {
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	path = filepath.Join(dir, "leaky")
	if out, err := exec.Command("go", "build", "-overlay", overlay, "-o", path, "../openaccess-mcp").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return path
}
