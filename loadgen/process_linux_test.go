package loadgen

import (
	"os"
	"slices"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	line := "42 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 150 50 20 30 15 16 7 18 19 4096 3 22 23"
	var u processUsage
	if err := u.parseStat([]byte(line)); err != nil {
		t.Fatal(err)
	}
	if u.cpu != 2*time.Second || u.children != 500*time.Millisecond || u.threads != 7 || u.vms != 4096 || u.rss != 3*int64(os.Getpagesize()) {
		t.Errorf("got %+v", u)
	}
	for _, bad := range []string{"", "42 (a) S 1 2", "42 (a) S x 2 3 4 5 6 7 8 9 10 1 1 1 1 15 16 7 18 19 4096 3 22"} {
		if err := u.parseStat([]byte(bad)); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add("42 (a) S 1 2 3 4 5 6 7 8 9 10 150 50 20 30 15 16 7 18 19 4096 3")
	f.Fuzz(func(t *testing.T, s string) {
		var u processUsage
		_ = u.parseStat([]byte(s))
		parseSchedstat(s)
		parseThrottled(s)
		cpuGroups(s)
		interfaceBytes(s)
		statusBytes([]byte(s), "VmHWM:")
	})
}

func TestParseAccounts(t *testing.T) {
	if d, ok := parseSchedstat("4059923 6338656 4\n"); !ok || d != 6338656 {
		t.Errorf("schedstat: %v, %v", d, ok)
	}
	if _, ok := parseSchedstat("4059923 6338656"); ok {
		t.Error("schedstat of two fields is accepted")
	}
	for text, want := range map[string]time.Duration{
		"usage_usec 5\nnr_throttled 2\nthrottled_usec 1500\n": 1500 * time.Microsecond,
		"nr_periods 0\nthrottled_time 2500\n":                 2500,
		"usage_usec 5\n":                                      0,
	} {
		if got := parseThrottled(text); got != want {
			t.Errorf("cpu.stat %q: %v, want %v", text, got, want)
		}
	}
	if got := cpuGroups("9:name=systemd:/x\n2:cpu,cpuacct:/a/b\n0::/c\n"); !slices.Contains(got, "/sys/fs/cgroup/cpu,cpuacct/a/b") ||
		!slices.Contains(got, "/sys/fs/cgroup/c") || slices.Contains(got, "/sys/fs/cgroup/x") {
		t.Errorf("groups %v", got)
	}
	dev := "Inter-|   Receive  |  Transmit\n face |bytes packets\n    lo: 5 1 0 0 0 0 0 0 5 1 0 0 0 0 0 0\n  eth0: 100 1 0 0 0 0 0 0 20 1 0 0 0 0 0 0\n"
	if got := interfaceBytes(dev); got != 120 {
		t.Errorf("interfaces moved %d bytes, want 120", got)
	}
	if n, ok := statusBytes([]byte("VmPeak:\t 9 kB\nVmHWM:\t   123 kB\n"), "VmHWM:"); !ok || n != 123<<10 {
		t.Errorf("status: %d, %v", n, ok)
	}
}

func TestReadProcess(t *testing.T) {
	u, err := readProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if u.cpu <= 0 || u.rss <= 0 || u.rssPeak <= 0 || u.vms < u.rss || u.threads < 1 || u.fds < 3 || u.sockets < 0 || u.net != -1 {
		t.Errorf("of this process: %+v", u)
	}
	if cpu, ok := cpuClock(os.Getpid()); !ok || cpu < u.cpu {
		t.Errorf("its clock says %v after %v", cpu, u.cpu)
	}
	if _, err := readProcess(1 << 30); err == nil {
		t.Error("a process that cannot be has accounts")
	}
	if got := readProcesses([]int{os.Getpid(), 1 << 30}); len(got) != 1 {
		t.Errorf("got %v", got)
	}
}
