//go:build proof && linux

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
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

// TestProofGateNull measures gates without any difference: one in CI, which must raise no alarm; whole, thirty on a machine that does nothing else and
// thirty beside a load that comes and goes.
func TestProofGateNull(t *testing.T) {
	server := program(t, "openaccess-mcp")
	if !whole() {
		d := gateProof(t, append([]string{"--base", server, "--head", server, "--seed", "1"}, quick()...)...)
		if d.Gate.Verdict == result.GateRegressed {
			t.Errorf("a false alarm: %v", d.Gate.Why)
		}
		return
	}
	quiet, loaded := &kindOfGate{name: "no difference"}, &kindOfGate{name: "no difference, beside a load"}
	for _, slowdown := range slowdowns {
		null, _ := selfTests(t, server, slowdown)
		quiet.gates = append(quiet.gates, null...)
	}
	for seed := range 30 {
		loaded.gates = append(loaded.gates, besideLoad(t, server, seed+1))
	}
	for _, k := range []*kindOfGate{quiet, loaded} {
		if n := k.count(result.GateRegressed); n > 0 {
			t.Errorf("%s: %d false alarms", k.name, n)
		}
	}
	if n := quiet.count(result.GateInconclusive); n > 3 {
		t.Errorf("%d of %d gates are inconclusive", n, len(quiet.gates))
	}
	if _, longest := quiet.times(); longest > 5*time.Minute {
		t.Errorf("a gate without a difference took %v", longest)
	}
	var text, pairs bytes.Buffer
	writeSelfTest(&text, []*kindOfGate{quiet, loaded})
	var gates [][]result.Pair
	for _, g := range slices.Concat(quiet.gates, loaded.gates) {
		gates = append(gates, g.gate.Pairs)
	}
	if err := result.WritePairs(&pairs, gates); err != nil {
		t.Fatal(err)
	}
	keep(t, "gate-null-live.txt", text.String())
	keep(t, "gate-null-pairs.jsonl", pairs.String())
}

// TestProofGateInjected has one side's calls slowed. Shortened, the slowdown is one that no noise hides for long: what has to hold is that it is not called
// a pass.
func TestProofGateInjected(t *testing.T) {
	server := program(t, "openaccess-mcp")
	if !whole() {
		u, code := attempt(t, program(t, "loadgen"), append([]string{"gate", "--quiet", "--self-test", "--base", server, "--seed", "1",
			"--self-test-gates", "1", "--self-test-slowdown", "100"}, quick()...)...)
		passed := bytes.Contains(u.stdout, []byte("were called equivalent or improved"))
		if code == exitUsage || code == exitHarness || passed || !bytes.Contains(u.stdout, []byte("slower")) {
			t.Errorf("exit code %d\n%s", code, u.stdout)
		}
		return
	}
	var kinds []*kindOfGate
	for _, slowdown := range slowdowns {
		_, slowed := selfTests(t, server, slowdown)
		kinds = append(kinds, &kindOfGate{name: fmt.Sprintf("calls %d %% slower", slowdown), slowdown: float64(slowdown) / 100, gates: slowed})
	}
	var text bytes.Buffer
	writeSelfTest(&text, kinds)
	for _, k := range kinds {
		if n := k.passed(); n > 0 {
			t.Errorf("%s: %d latencies were called equivalent or improved", k.name, n)
		}
		fmt.Fprintf(&text, "\n%s, caught at 10, 20 and 40 pairs: %v of %d\n", k.name, k.caught(), len(k.gates))
	}
	if n := kinds[0].caught()[0]; n < 10 {
		t.Errorf("calls 20 %% slower were caught with 10 pairs in %d of 10 gates", n)
	}
	if _, longest := kinds[0].times(); longest > 2*time.Minute {
		t.Errorf("a gate with calls 20 %% slower took %v", longest)
	}
	if n := kinds[1].caught()[2]; n < 10 {
		t.Errorf("calls 10 %% slower were caught in %d of 10 gates", n)
	}
	keep(t, "gate-live.txt", text.String())
}

// caught counts the gates that called a slowdown regressed by each of the default looks.
func (k *kindOfGate) caught() (by [3]int) {
	for _, g := range k.gates {
		for i, n := range []int{10, 20, 40} {
			if g.gate.Verdict == result.GateRegressed && g.gate.Used <= n {
				by[i]++
			}
		}
	}
	return by
}

// slowdowns are those of the self-tests, in percent. The gates without a difference are measured in turn with the slowed ones.
var slowdowns = []int{20, 10, 5}

// selfTests measures ten gates without a difference and ten with a slowdown.
func selfTests(t *testing.T, server string, slowdown int) (null, slowed []*trial) {
	t.Helper()
	for seed := range 10 {
		both := kept(t, fmt.Sprintf("self-test-%d-%02d.json", slowdown, seed+1), func() []testedGate {
			dir := t.TempDir()
			u, code := attempt(t, program(t, "loadgen"), append([]string{"gate", "--quiet", "--self-test", "--base", server, "--seed", fmt.Sprint(2*seed + 1),
				"--self-test-gates", "1", "--self-test-slowdown", fmt.Sprint(slowdown), "--out", dir}, gateOf(seed)...)...)
			var out []testedGate
			b, err := os.ReadFile(filepath.Join(dir, "self-test.json"))
			if err == nil {
				err = json.Unmarshal(b, &out)
			}
			if err != nil || len(out) != 2 {
				t.Fatalf("exit code %d, %v\n%s", code, err, u.stdout)
			}
			return out
		})
		null, slowed = append(null, both[0].trial()), append(slowed, both[1].trial())
	}
	return null, slowed
}

// gateOf are the scenarios of a gate: of three gates one has the default three, and the others one, whose slices are somewhat longer than those are then.
func gateOf(seed int) []string {
	return [][]string{nil, {"ssh-exec", "--slice", "1s"}, {"tunnel-create", "--slice", "1s"}}[seed%3]
}

// besideLoad measures a gate of at most 20 pairs without a difference on a machine that has something else to do now and then.
func besideLoad(t *testing.T, server string, seed int) *trial {
	t.Helper()
	return kept(t, fmt.Sprintf("beside-load-%02d.json", seed), func() []testedGate {
		defer comeAndGo(t, uint64(seed))()
		d := gateProof(t, append([]string{"--base", server, "--head", server, "--seed", fmt.Sprint(seed), "--pairs", "20"}, gateOf(seed)...)...)
		return []testedGate{{0, d.Run.Started, d.Run.DurationS, *d.Gate}}
	})[0].trial()
}

func (g *testedGate) trial() *trial {
	return &trial{gate: g.Gate, started: g.Started, elapsed: time.Duration(g.ElapsedS * float64(time.Second))}
}

// kept measures gates, or reads them. The whole proof takes hours: with PROOF_GATES=DIR gates are kept there, and those that are there are not measured again,
// so that it can be made bit by bit. PROOF_GATES_UNTIL, a time such as 17:30, ends the test before a gate that begins later.
func kept(t *testing.T, name string, measure func() []testedGate) (gates []testedGate) {
	t.Helper()
	path := filepath.Join(os.Getenv("PROOF_GATES"), name)
	b, err := os.ReadFile(path)
	switch {
	case err == nil:
		err = json.Unmarshal(b, &gates)
	case errors.Is(err, os.ErrNotExist):
		if until := os.Getenv("PROOF_GATES_UNTIL"); until != "" && time.Now().Format("15:04") >= until {
			t.Fatalf("%s was not measured until %s", name, until)
		}
		gates, err = measure(), nil
		if os.Getenv("PROOF_GATES") != "" {
			err = os.WriteFile(path, marshal(t, gates), 0o644)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range gates {
		t.Logf("%s, %.0f %% slower: %s with %d pairs in %.0f s", name, 100*g.Slowdown, g.Gate.Verdict, g.Gate.Used, g.ElapsedS)
	}
	return gates
}

// comeAndGo keeps one CPU busy for one to eight seconds, then rests as long or as short, and so on until stop is called.
func comeAndGo(t *testing.T, seed uint64) (stop func()) {
	t.Helper()
	busy := exec.Command("sh", "-c", "while :; do :; done")
	if err := busy.Start(); err != nil {
		t.Fatal(err)
	}
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		chance := rand.New(rand.NewPCG(seed, 0))
		for on := true; ; on = !on {
			signal := syscall.SIGSTOP
			if on {
				signal = syscall.SIGCONT
			}
			_ = busy.Process.Signal(signal)
			select {
			case <-quit:
				return
			case <-time.After(time.Second + time.Duration(chance.Int64N(int64(7*time.Second)))):
			}
		}
	}()
	return func() {
		close(quit)
		<-done
		_ = busy.Process.Kill()
		_ = busy.Wait()
	}
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
