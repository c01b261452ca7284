//go:build proof

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestProofCapacityPlan plans for twice what one server holds, and tries the plan with one server killed. The host takes 100 ms for a command, of which
// a server has five at once: it holds 50 a second.
func TestProofCapacityPlan(t *testing.T) {
	dir := t.TempDir()
	scenario, config := filepath.Join(dir, "slow.yaml"), filepath.Join(dir, "server.yaml")
	for file, text := range map[string]string{
		scenario: `name: slow
operation: ssh.exec
executor: {kind: open, rate: 25, duration: 5s}
faults: {exec: {delay: 100ms}}
steps:
  - name: exec
    tool: ssh_exec
    args: {profile_id: "${profile}", command: echo loadgen}
`,
		config: "resource_limits: {max_concurrent_operations: 5}\n",
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := searchCapacity(t, scenario, "--server-config", config, "--slo", "p95<400ms,errors<2%", "--start", "25", "--budget", length(170*time.Second, 30*time.Second),
		"--demand", "100/s", "--headroom", "30%", "--survive", "1")
	p := c.Plan
	if p == nil || p.Tried == nil {
		t.Fatalf("the plan was not tried: %+v", p)
	}
	if p.Servers < 4 || p.Servers > 5 { // 100/s and 30 % on three servers of 50/s, and one to lose
		t.Errorf("%d servers are planned, with a capacity of %.4g/s", p.Servers, c.Rate)
	}
	r := p.Tried
	keep(t, "capacity-plan.txt", fmt.Sprintf("one server holds %.1f/s (%.1f to %.1f); planned for 100/s with 30 %% to spare and one to lose: %d servers; tried, with %d killed half way: held %v, %.1f/s, p95 %.0f ms, %.2f %% errors\n",
		c.Rate, c.Low, c.High, p.Servers, r.Killed, r.Held, r.Trial.Achieved, float64(r.Trial.P95NS)/1e6, 100*r.Errors))
	if !r.Held || r.Killed != 1 {
		t.Errorf("with %d killed: %+v", r.Killed, r)
	}
}
