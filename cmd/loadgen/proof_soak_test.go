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
// without the leak free of any, with the bound that it shows. Both run at the same time. The short form leaks more, and tolerates more.
func TestProofSoak(t *testing.T) {
	every, scenario := 1000, "soak"
	if !whole() {
		every, scenario = 20, shortSoak(t)
	}
	program(t, "loadgen")
	cases := []struct {
		name, server string
		want         loadgen.TrendVerdict
		report       string
	}{
		{fmt.Sprintf("a server that leaks one goroutine in %d calls", every), leaky(t, every), loadgen.Leak, ""},
		{"the same without the leak", program(t, serverName), loadgen.NoLeak, ""},
	}
	t.Run("soaks", func(t *testing.T) {
		for i := range cases {
			c := &cases[i]
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				d := soak(t, scenario, "--server", c.server)
				s := &d.Scenarios[0]
				c.report = fmt.Sprintf("%s: %d calls in %.0f s\n", c.name, s.Requests, d.Run.DurationS)
				for _, trend := range s.Trends {
					c.report += fmt.Sprintf("  %-40s %-13s %s\n", trend.Expr, trend.Verdict, trend.Why)
					if trend.Metric == "server.goroutines" && trend.Verdict != c.want || c.want == loadgen.NoLeak && wrong(trend) {
						t.Errorf("%s: %s: %s", trend.Expr, trend.Verdict, trend.Why)
					}
				}
			})
		}
	})
	keep(t, "soak.txt", cases[0].report+cases[1].report)
}

// wrong reports whether a trend of a server that does not leak has another verdict than it should. Latency is the machine's too: a whole soak of ten
// minutes may not have seen enough of it.
func wrong(trend result.Trend) bool {
	if trend.Metric == "p50" {
		return trend.Verdict == loadgen.Leak
	}
	return trend.Verdict != loadgen.NoLeak
}

// soak runs loadgen to its end, again where the generator was starved. Its exit code has to be that of its verdicts.
func soak(t *testing.T, args ...string) *result.Doc {
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
	want := exitHeld
	for _, verdict := range []struct {
		of   loadgen.TrendVerdict
		code int
	}{{loadgen.Unknown, exitInconclusive}, {loadgen.Leak, exitMissed}} {
		if slices.ContainsFunc(d.Scenarios[0].Trends, func(trend result.Trend) bool { return trend.Verdict == verdict.of }) {
			want = verdict.code
		}
	}
	if code != want {
		t.Errorf("exit code %d, want %d\n%s", code, want, u.stdout)
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
