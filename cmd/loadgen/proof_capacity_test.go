//go:build proof

package main

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/reports/result"
)

// TestProofCapacity searches for the capacity of the real server before a fake host whose own is known: 8 workers, which take 10 ms for a
// command. With fixed times they do 800 a second. With exponential ones they are an M/M/8 queue, which by Erlang's formula keeps 99 % of the
// calls under 100 ms up to 749 a second.
func TestProofCapacity(t *testing.T) {
	repeats, within := 1, 0.3
	if whole() {
		repeats, within = 3, 0.05
	}
	var report strings.Builder
	for _, c := range []struct {
		name, service, arrivals string
		truth                   float64
	}{
		{"fixed", "10ms", "constant", 800},
		{"exponential", "{kind: exponential, mean: 10ms}", "poisson", 749},
	} {
		if !whole() && c.name != "fixed" {
			continue
		}
		file := filepath.Join(t.TempDir(), "capacity.yaml")
		text := fmt.Sprintf(`name: %s
operation: ssh.exec
executor: {kind: open, rate: 100, arrivals: %s, duration: 5s}
faults: {workers: {count: 8, service: %s}}
steps:
  - name: exec
    tool: ssh_exec
    args: {profile_id: "${profile}", command: echo loadgen}
`, c.name, c.arrivals, c.service)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		for i := range repeats {
			d := searchCapacity(t, file, "--slo", "p99<100ms,errors<0.1%", "--seed", fmt.Sprint(i+1), "--budget", length(170*time.Second, 30*time.Second))
			off := d.Rate/c.truth - 1
			fmt.Fprintf(&report, "%-12s truth %.0f/s: found %.1f/s (%+.1f %%), interval %.1f to %.1f/s, knee %.0f/s, short first: %s; %.0f s of trials\n",
				c.name, c.truth, d.Rate, 100*off, d.Low, d.High, d.Knee, d.Saturated, d.DurationS)
			if math.Abs(off) > within {
				t.Errorf("%s: %.1f/s found, %.0f/s are the truth", c.name, d.Rate, c.truth)
			}
			report.WriteString(comparePrediction(t, d, file, "--isolate"))
			t.Log("so far:\n" + report.String())
			if d.DurationS > 180 {
				t.Errorf("%s: the search took %.0f s", c.name, d.DurationS)
			}
		}
	}
	keep(t, "capacity.txt", report.String())
}

// comparePrediction measures the load at 70 % of a capacity anew, and compares the latency with that which the search has told.
func comparePrediction(t *testing.T, c *result.Capacity, args ...string) string {
	t.Helper()
	said := c.Profile[1]
	d, _ := measure(t, append([]string{"--rate", fmt.Sprintf("%.6g", said.Rate), "--warmup", "1s", "--duration", length(30*time.Second, 4*time.Second)}, args...)...)
	l := d.Scenarios[0].Latency
	if l.P50 == nil || l.P95 == nil {
		t.Fatalf("nothing was measured at %.4g/s", said.Rate)
	}
	p50, p95 := float64(said.P50NS)/float64(*l.P50), float64(said.P95NS)/float64(*l.P95)
	within := slack(0.15, 9)
	if math.Abs(math.Log(p50)) > math.Log1p(within) || math.Abs(math.Log(p95)) > math.Log1p(within) {
		t.Errorf("at 70 %%, %.4g/s, p50 was predicted ×%.2f and p95 ×%.2f of what is measured", said.Rate, p50, p95)
	}
	return fmt.Sprintf("             at 70 %% of it, %.4g/s: predicted p50 %.2f ms and p95 %.2f ms, measured %.2f and %.2f ms (%+.1f and %+.1f %%)\n",
		said.Rate, float64(said.P50NS)/1e6, float64(said.P95NS)/1e6, float64(*l.P50)/1e6, float64(*l.P95)/1e6, 100*(p50-1), 100*(p95-1))
}

// searchCapacity runs the command, again where the generator was starved, and reads what it found.
func searchCapacity(t *testing.T, args ...string) *result.Capacity {
	t.Helper()
	dir := t.TempDir()
	args = append([]string{"capacity", "--quiet", "--isolate", "--out", dir}, args...)
	var u used
	for range 5 {
		var code int
		if u, code = attempt(t, program(t, "loadgen"), args...); code == exitHarness {
			t.Logf("searched again:\n%s", u.stdout)
			continue
		} else if code != exitHeld {
			break
		}
		d, _ := resultOf(t, filepath.Join(dir, "result.json"))
		if d.Capacity == nil {
			t.Fatal("the result has no capacity")
		}
		return d.Capacity
	}
	t.Fatalf("loadgen %s\n%s", strings.Join(args, " "), u.stdout)
	return nil
}
