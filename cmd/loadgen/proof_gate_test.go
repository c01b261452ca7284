//go:build proof && linux

package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/reports/result"
)

// gateProof runs a gate with two programs and reads its result. The machine may be too busy for a verdict, but the gate has to have ended.
func gateProof(t *testing.T, args ...string) *result.Doc {
	t.Helper()
	dir := t.TempDir()
	u, code := attempt(t, program(t, "loadgen"), append([]string{"gate", "--quiet", "--out", dir}, args...)...)
	if code != exitHeld && code != exitMissed && code != exitInconclusive {
		t.Fatalf("exit code %d\n%s", code, u.stdout)
	}
	d, _ := resultOf(t, filepath.Join(dir, "result.json"))
	want := map[result.GateVerdict]int{result.GateRegressed: exitMissed, result.GateInconclusive: exitInconclusive}[d.Gate.Verdict]
	if code != want {
		t.Errorf("exit code %d for %s", code, d.Gate.Verdict)
	}
	return d
}

// quick are the flags of a gate that takes some seconds, and proves little more than that it runs.
func quick() []string {
	if whole() {
		return nil
	}
	return []string{"ssh-exec", "--pairs", "10", "--slice", "150ms"}
}

// TestProofGateNull measures gates without any difference: one in CI, which must raise no alarm, and thirty whole, each within five minutes.
func TestProofGateNull(t *testing.T) {
	server := program(t, "openaccess-mcp")
	var text strings.Builder
	var pairs [][]result.Pair
	verdicts := map[result.GateVerdict]int{}
	n := 1
	if whole() {
		n = 30
	}
	for i := range n {
		d := gateProof(t, append([]string{"--base", server, "--head", server, "--seed", fmt.Sprint(i + 1)}, quick()...)...)
		verdicts[d.Gate.Verdict]++
		pairs = append(pairs, d.Gate.Pairs)
		fmt.Fprintf(&text, "%-12s %2d pairs %5.0f s\n", d.Gate.Verdict, d.Gate.Used, d.Run.DurationS)
		if whole() && d.Run.DurationS > (5*time.Minute).Seconds() {
			t.Errorf("gate %d took %.0f s", i+1, d.Run.DurationS)
		}
	}
	fmt.Fprintf(&text, "%d gates of one program with itself: %v\n", n, verdicts)
	if verdicts[result.GateRegressed] > 0 {
		t.Errorf("false alarms: %v", verdicts)
	}
	var lines bytes.Buffer
	if err := result.WritePairs(&lines, pairs); err != nil {
		t.Fatal(err)
	}
	keep(t, "gate-null-live.txt", text.String())
	if dir := os.Getenv("PROOF_DIR"); dir != "" {
		if err := os.WriteFile(filepath.Join(dir, "gate-null-pairs.jsonl"), lines.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// TestProofGateInjected has the self-test slow one side's calls. Shortened, the slowdown is one that no noise hides for long: what has to hold is that it
// is not called a pass.
func TestProofGateInjected(t *testing.T) {
	args := []string{"gate", "--quiet", "--self-test", "--base", program(t, "openaccess-mcp"), "--seed", "1", "--self-test-gates", "1", "--self-test-slowdown", "100"}
	if whole() {
		args = []string{"gate", "--quiet", "--self-test", "--base", program(t, "openaccess-mcp"), "--seed", "1", "--self-test-gates", "10"}
	}
	u, code := attempt(t, program(t, "loadgen"), append(args, quick()...)...)
	passed := bytes.Contains(u.stdout, []byte("were called equivalent or improved"))
	if whole() && code != exitHeld || code == exitUsage || code == exitHarness || passed || !bytes.Contains(u.stdout, []byte("slower")) {
		t.Errorf("exit code %d\n%s", code, u.stdout)
	}
	keep(t, "gate-live.txt", string(u.stdout))
}

// worseServer builds the server with a fault of its own, "" for none.
func worseServer(t *testing.T, fault string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "worse-"+fault)
	out, err := exec.Command("go", "build", "-o", path, "-ldflags", "-X main.fault="+fault, "./testdata/worse").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

// Servers that use more CPU or more memory and answer as soon are found.
func TestProofGateCPUOnly(t *testing.T)    { proveFault(t, "cpu", result.MeasureCPU) }
func TestProofGateMemoryOnly(t *testing.T) { proveFault(t, "memory", result.MeasureRSS) }

func proveFault(t *testing.T, fault, measure string) {
	d := gateProof(t, append([]string{"--base", worseServer(t, ""), "--head", worseServer(t, fault), "--seed", "1"}, quick()...)...)
	var text strings.Builder
	found, estimate := false, 0.0
	for i := range d.Gate.Cells {
		c := &d.Gate.Cells[i]
		if c.Estimate != nil {
			fmt.Fprintf(&text, "%-40s %-12s %+6.1f %%\n", c.Cell, c.Verdict, 100**c.Estimate)
		}
		if c.Measure == measure && c.Estimate != nil {
			found, estimate = found || c.Verdict == result.GateRegressed, max(estimate, *c.Estimate)
		}
	}
	if whole() && !found || estimate < 0.05 {
		t.Errorf("more %s was not found:\n%s", fault, text.String())
	}
	keep(t, "gate-"+fault+".txt", fmt.Sprintf("%s with %d pairs in %.0f s\n%s", d.Gate.Verdict, d.Gate.Used, d.Run.DurationS, text.String()))
}
