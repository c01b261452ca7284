//go:build proof && linux

package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
)

// quarterCore makes a cgroup whose processes get a quarter of a CPU, and gives the file that takes their ids. It needs root.
func quarterCore(t *testing.T) (procs string) {
	t.Helper()
	root, files := "/sys/fs/cgroup", [][2]string{{"cpu.max", "25000 100000"}}
	if _, err := os.Stat("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"); err == nil || isDir("/sys/fs/cgroup/cpu") {
		root, files = "/sys/fs/cgroup/cpu", [][2]string{{"cpu.cfs_period_us", "100000"}, {"cpu.cfs_quota_us", "25000"}}
	}
	dir, err := os.MkdirTemp(root, "loadgen-test-")
	if err != nil {
		t.Fatalf("no cgroup; run as root: %v", err)
	}
	t.Cleanup(func() {
		if err := os.Remove(dir); err != nil {
			t.Error(err)
		}
	})
	for _, f := range files {
		if err := os.WriteFile(filepath.Join(dir, f[0]), []byte(f[1]), 0); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "cgroup.procs")
}

// TestProofStarvedGenerator gives the generator, and not its server, a quarter of a core: the run must be invalid.
func TestProofStarvedGenerator(t *testing.T) {
	procs, dir := quarterCore(t), t.TempDir()
	for _, p := range []string{".", "../openaccess-mcp"} {
		if out, err := exec.Command("go", "build", "-o", dir+"/", p).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	cmd := exec.Command(filepath.Join(dir, "loadgen"), "run", "ssh-exec", "--arm", "pooled", "--rate", "1000", "--warmup", "0s", "--duration", "6s", "--quiet", "--out", dir)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(awaitTimeout); childOf(cmd.Process.Pid) == 0 && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond)
	}
	if err := os.WriteFile(procs, []byte(strconv.Itoa(cmd.Process.Pid)), 0); err != nil {
		_ = cmd.Process.Kill()
		t.Error(err)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != exitHarness {
		t.Fatalf("%v, want exit code %d\n%s", err, exitHarness, out.Bytes())
	}
	d, err := readResult(filepath.Join(dir, "result.json"))
	if err != nil {
		t.Fatal(err)
	}
	why := strings.Join(d.Generator.Why, "\n")
	if d.Generator.Valid || d.Generator.CPUWait < loadgen.MaxCPUWait || d.Generator.ThrottledNS == 0 || !strings.Contains(why, "held back by its cgroup's CPU quota") {
		t.Errorf("%+v\n%s", d.Generator, why)
	}
}
