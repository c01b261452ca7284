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

// noAlarm measures a quick gate without any difference.
func noAlarm(t *testing.T, server string) {
	t.Helper()
	d := gateProof(t, append([]string{"--base", server, "--head", server, "--seed", "1"}, quick()...)...)
	if d.Gate.Verdict == result.GateRegressed {
		t.Errorf("a false alarm: %v", d.Gate.Why)
	}
}

// TestProofGateNull measures gates without any difference: one in CI, which must raise no alarm; whole, those of all self-tests, on a machine that does
// nothing else.
func TestProofGateNull(t *testing.T) {
	server := program(t, "openaccess-mcp")
	if !whole() {
		noAlarm(t, server)
		return
	}
	quiet := kindOf(slowdown{})
	for _, test := range selfTests {
		null, _ := test.measure(t, server)
		quiet.gates = append(quiet.gates, null...)
	}
	if n := quiet.count(result.GateInconclusive); n > 3 || len(quiet.gates) < 30 {
		t.Errorf("%d of %d gates are inconclusive", n, len(quiet.gates))
	}
	if _, longest := quiet.times(); longest > 5*time.Minute {
		t.Errorf("a gate without a difference took %v", longest)
	}
	keepNull(t, "gate-quiet", quiet)
}

// TestProofGateBesideLoad measures gates without any difference beside a load that comes and goes: one in CI, thirty whole.
func TestProofGateBesideLoad(t *testing.T) {
	server := program(t, "openaccess-mcp")
	if !whole() {
		defer comeAndGo(t)()
		noAlarm(t, server)
		return
	}
	loaded := &kindOfGate{name: "beside a load"}
	for seed := range 30 {
		loaded.gates = append(loaded.gates, besideLoad(t, server, seed+1))
	}
	keepNull(t, "gate-loaded", loaded)
}

// keepNull keeps what became of gates without a difference, none of which may raise an alarm, and their pairs, for simulated gates to be made of.
func keepNull(t *testing.T, name string, kind *kindOfGate) {
	t.Helper()
	if n := kind.count(result.GateRegressed); n > 0 {
		t.Errorf("%d of %d gates raised a false alarm", n, len(kind.gates))
	}
	var text, pairs bytes.Buffer
	writeVerdicts(&text, []*kindOfGate{kind})
	fmt.Fprintln(&text)
	writeNoise(&text, kind.gates)
	keep(t, name+".txt", text.String())
	var gates [][]result.Pair
	for _, g := range kind.gates {
		gates = append(gates, g.gate.Pairs)
	}
	if err := result.WritePairs(&pairs, gates); err != nil {
		t.Fatal(err)
	}
	keep(t, name+"-pairs.jsonl", pairs.String())
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
	for _, test := range selfTests {
		k := kindOf(test.by)
		_, k.gates = test.measure(t, server)
		kinds = append(kinds, k)
		if n := k.passed(); n > 0 {
			t.Errorf("%s: %d latencies were called equivalent or improved", k.name, n)
		}
		if n := k.caught(test.pairs); n < len(k.gates) {
			t.Errorf("%s: caught with %d pairs in %d of %d gates", k.name, test.pairs, n, len(k.gates))
		}
	}
	if _, longest := kinds[0].times(); longest > 2*time.Minute {
		t.Errorf("a gate with calls 20 %% slower took %v", longest)
	}
	var text bytes.Buffer
	writeVerdicts(&text, kinds)
	for _, k := range kinds {
		fmt.Fprintf(&text, "\n%s, caught with 10, 20 and 40 pairs: %d, %d and %d of %d\n", k.name, k.caught(10), k.caught(20), k.caught(40), len(k.gates))
		for _, g := range k.gates {
			fmt.Fprintf(&text, "%s with %d pairs: %s\n", g.gate.Verdict, g.gate.Used, latencyCells(&g.gate))
		}
	}
	keep(t, "gate-live.txt", text.String())
}

// latencyCells lists what a gate found of each percentile of latency: the change, the standard deviation of its pairs, and the verdict.
func latencyCells(g *result.Gate) string {
	var out []string
	for i := range g.Cells {
		if c := &g.Cells[i]; c.Quantile() > 0 && c.Estimate != nil {
			out = append(out, fmt.Sprintf("%s %+.1f %% (sd %.1f %%) %s", c.Cell, 100**c.Estimate, 100**c.SD, c.Verdict))
		}
	}
	return strings.Join(out, "; ")
}

// caught counts the gates that called a slowdown regressed with so many pairs at most.
func (k *kindOfGate) caught(pairs int) (n int) {
	for _, g := range k.gates {
		if g.gate.Verdict == result.GateRegressed && g.gate.Used <= pairs {
			n++
		}
	}
	return n
}

// selfTest is a slowdown that gates with it have to catch, measured in turn with as many gates without a difference.
type selfTest struct {
	name  string
	by    slowdown
	gates int
	pairs int                // with which it has to be caught
	args  func(int) []string // of a gate
}

// Slices of a second suit p50. For p99 they have to hold 1,000 calls.
var selfTests = []selfTest{
	{"20", slowdown{share: 0.20}, 3, 10, threeScenarios},
	{"10", slowdown{share: 0.10}, 10, 10, oneScenario},
	{"5", slowdown{share: 0.05}, 10, 20, oneScenario},
	{"10-tail", slowdown{share: 0.10, slowest: 0.05}, 10, 40, farHost},
}

func threeScenarios(int) []string { return nil }

func farHost(int) []string {
	dir, _ := os.Getwd() // the programs run elsewhere
	return []string{dir + "/testdata/far-host.yaml", "--slice", "4s", "--self-test-slowest", "5"}
}

func oneScenario(i int) []string {
	return []string{[]string{"ssh-exec", "ssh-exec", "tunnel-create"}[i%3], "--slice", "1s"}
}

// measure has the gates of both kinds.
func (s *selfTest) measure(t *testing.T, server string) (null, slowed []*trial) {
	t.Helper()
	for i := range s.gates {
		both := kept(t, fmt.Sprintf("self-test-%s-%02d.json", s.name, i+1), func() []testedGate {
			dir := t.TempDir()
			u, code := attempt(t, program(t, "loadgen"), append([]string{"gate", "--quiet", "--self-test", "--base", server, "--seed", fmt.Sprint(2*i + 1),
				"--self-test-gates", "1", "--self-test-slowdown", fmt.Sprint(100 * s.by.share), "--out", dir}, s.args(i)...)...)
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

// besideLoad measures a gate of at most 20 pairs without a difference on a machine that has something else to do now and then.
func besideLoad(t *testing.T, server string, seed int) *trial {
	t.Helper()
	args := oneScenario(seed)
	if seed%3 == 0 {
		args = threeScenarios(seed)
	}
	return kept(t, fmt.Sprintf("beside-load-%02d.json", seed), func() []testedGate {
		defer comeAndGo(t)()
		d := gateProof(t, append([]string{"--base", server, "--head", server, "--seed", fmt.Sprint(seed), "--pairs", "20"}, args...)...)
		return []testedGate{{Started: d.Run.Started, ElapsedS: d.Run.DurationS, Gate: *d.Gate}}
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
		t.Logf("%s, %s: %s with %d pairs in %.0f s", name, slowdown{g.Slowdown, g.Slowest}, g.Gate.Verdict, g.Gate.Used, g.ElapsedS)
	}
	return gates
}

// comeAndGo keeps one CPU busy for one to eight seconds, then rests as long or as short, and so on until stop is called.
func comeAndGo(t *testing.T) (stop func()) {
	t.Helper()
	busy := exec.Command("sh", "-c", "while :; do :; done")
	if err := busy.Start(); err != nil {
		t.Fatal(err)
	}
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for on := true; ; on = !on {
			signal := syscall.SIGSTOP
			if on {
				signal = syscall.SIGCONT
			}
			_ = busy.Process.Signal(signal)
			select {
			case <-quit:
				return
			case <-time.After(time.Second + time.Duration(rand.Int64N(int64(7*time.Second)))):
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
