//go:build realssh && proof

package main

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/openaccess-mcp/openaccess-mcp/reports/result"
)

// TestProofCapacityOfSSHD searches for the capacity before a real sshd, and measures the load at 70 % of it anew: the latency that the search has told
// is then met. A command takes 0.1 s and arrivals are evenly spaced: Poisson ones come in bursts, of which the 20 s that a search can spare see so few that
// the p95 of one such measurement is up to half above that of the next. Only PROOF=whole asserts it, since a machine with other work has another capacity a moment later.
func TestProofCapacityOfSSHD(t *testing.T) {
	s := startSSHD(t, "MaxSessions 100", "MaxStartups 100")
	bin := t.TempDir()
	command(t, "go", "build", "-o", bin+string(filepath.Separator), "../loadgen", ".")
	file := filepath.Join(bin, "real.yaml")
	write(t, file, `name: real
operation: ssh.exec
executor: {kind: open, rate: 20, duration: 20s, warmup: 2s}
steps:
  - name: exec
    tool: ssh_exec
    args: {profile_id: "${profile}", command: "sleep 0.1; echo loadgen"}
`, 0o600)
	whole := os.Getenv("PROOF") == "whole"
	budget, again, within := "25s", "20s", 3.0
	if whole {
		budget, again, within = "170s", "60s", 0.15
	}
	loadgen := func(args ...string) *result.Doc {
		t.Helper()
		dir := t.TempDir()
		var out []byte
		var err error
		for range 3 { // exit code 4: the generator was starved
			cmd := exec.Command(filepath.Join(bin, "loadgen"), append(args, "--quiet", "--target", s.dir, "--out", dir)...)
			if out, err = cmd.CombinedOutput(); cmd.ProcessState.ExitCode() != 4 {
				break
			}
		}
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		data, err := os.ReadFile(filepath.Join(dir, "result.json"))
		must(t, err)
		d, err := result.Read(bytes.NewReader(data))
		must(t, err)
		return d
	}
	c := loadgen("capacity", file, "--slo", "p95<300ms,errors<0.1%", "--start", "20", "--budget", budget).Capacity
	said := c.Profile[1]
	l := loadgen("run", file, "--rate", fmt.Sprintf("%.6g", said.Rate), "--duration", again).Scenarios[0].Latency
	p50, p95 := float64(said.P50NS)/float64(*l.P50), float64(said.P95NS)/float64(*l.P95)
	text := fmt.Sprintf("sshd: capacity %.1f/s (%.1f to %.1f), short first: %s; at 70 %%, %.1f/s: predicted p50 %.2f ms and p95 %.2f ms, measured %.2f and %.2f ms (%+.1f and %+.1f %%)\n",
		c.Rate, c.Low, c.High, c.Saturated, said.Rate, float64(said.P50NS)/1e6, float64(said.P95NS)/1e6, float64(*l.P50)/1e6, float64(*l.P95)/1e6, 100*(p50-1), 100*(p95-1))
	t.Log(text)
	if dir := os.Getenv("PROOF_DIR"); dir != "" && whole {
		must(t, os.WriteFile(filepath.Join(dir, "capacity-sshd.txt"), []byte(text), 0o644))
	}
	if math.Abs(math.Log(p50)) > math.Log1p(within) || math.Abs(math.Log(p95)) > math.Log1p(within) {
		t.Error("the latency at 70 % was predicted wrongly")
	}
}
