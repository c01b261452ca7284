package loadgen

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// clockTick is the unit of the times in /proc/PID/stat: the kernel's USER_HZ, which is 100 on every architecture that Go runs on.
const clockTick = time.Second / 100

// readProcess asks the kernel for the accounts of a process. The error is non-nil when there is no such process, or this user may not look.
func readProcess(pid int) (processUsage, error) {
	u := processUsage{sockets: -1, fds: -1, net: -1}
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return u, err
	}
	if err := u.parseStat(stat); err != nil {
		return u, fmt.Errorf("%s/stat: %v", dir, err)
	}
	if cpu, ok := cpuClock(pid); ok {
		u.cpu = cpu
	}
	if status, err := os.ReadFile(filepath.Join(dir, "status")); err == nil {
		u.rssPeak, _ = statusBytes(status, "VmHWM:")
	}
	u.countFDs(filepath.Join(dir, "fd"))
	u.net = ownNetwork(dir)
	return u, nil
}

// parseStat reads a line of /proc/PID/stat. The program's name in it may hold anything, so the fields are counted from its last parenthesis.
func (u *processUsage) parseStat(line []byte) error {
	f := strings.Fields(string(line[bytes.LastIndexByte(line, ')')+1:]))
	var n [22]int64
	if len(f) < len(n) {
		return errors.New("too few fields")
	}
	for i := 1; i < len(n); i++ { // the first is a letter
		var err error
		if n[i], err = strconv.ParseInt(f[i], 10, 64); err != nil {
			return fmt.Errorf("field %d: %v", i+3, err)
		}
	}
	u.cpu = time.Duration(n[11]+n[12]) * clockTick
	u.children = time.Duration(n[13]+n[14]) * clockTick
	u.threads, u.vms, u.rss = n[17], n[20], n[21]*int64(os.Getpagesize())
	return nil
}

// cpuClock reads the CPU time of a process to the nanosecond, where /proc/PID/stat has hundredths of a second.
func cpuClock(pid int) (cpu time.Duration, ok bool) {
	const sched = 2 // the kernel numbers a process's clocks by its id; this one counts user and system time
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|sched), &ts); err != nil {
		return 0, false
	}
	return time.Duration(ts.Nano()), true
}

// statusBytes finds a size in /proc/PID/status, which writes it in KiB.
func statusBytes(status []byte, key string) (n int64, ok bool) {
	_, rest, found := strings.Cut(string(status), key)
	if !found {
		return 0, false
	}
	number, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	n, err := strconv.ParseInt(number, 10, 64)
	return n << 10, err == nil
}

// countFDs counts what a folder like /proc/PID/fd holds.
func (u *processUsage) countFDs(dir string) {
	d, err := os.Open(dir)
	if err != nil {
		return
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return
	}
	u.fds, u.sockets = 0, 0
	for _, name := range names {
		to, err := os.Readlink(filepath.Join(dir, name))
		if err != nil {
			continue // closed since
		}
		u.fds++
		if strings.HasPrefix(to, "socket:") {
			u.sockets++
		}
	}
}

// ownNetwork is what has gone through the network interfaces, loopback left out, of a process in a network namespace of its own, -1 for any
// other: the kernel counts traffic by namespace, and in a shared one it cannot be told whose it was.
func ownNetwork(dir string) int64 {
	theirs, err := os.Readlink(filepath.Join(dir, "ns/net"))
	ours, err2 := os.Readlink("/proc/self/ns/net")
	if err != nil || err2 != nil || theirs == ours {
		return -1
	}
	data, err := os.ReadFile(filepath.Join(dir, "net/dev"))
	if err != nil {
		return -1
	}
	return interfaceBytes(string(data))
}

// interfaceBytes adds up the received and sent bytes of /proc/PID/net/dev.
func interfaceBytes(data string) int64 {
	var sum int64
	for line := range strings.Lines(data) {
		name, counts, found := strings.Cut(line, ":")
		f := strings.Fields(counts)
		if !found || strings.TrimSpace(name) == "lo" || len(f) < 9 {
			continue
		}
		for _, i := range []int{0, 8} {
			n, _ := strconv.ParseInt(f[i], 10, 64)
			sum += n
		}
	}
	return sum
}

// ownThreadWait is how long the calling thread was ready to run and had no CPU, since it started. One that the CPU quota of a cgroup holds
// back counts as ready.
func ownThreadWait() time.Duration {
	data, err := os.ReadFile("/proc/thread-self/schedstat")
	if err != nil {
		return 0
	}
	wait, _ := parseSchedstat(string(data))
	return wait
}

// kernelSleep sleeps without the help of Go's scheduler, on the calling thread.
func kernelSleep(d time.Duration) {
	ts := unix.NsecToTimespec(int64(d))
	_ = unix.ClockNanosleep(unix.CLOCK_MONOTONIC, 0, &ts, nil) // a signal may cut it short
}

// parseSchedstat takes the time spent waiting, the second of three numbers.
func parseSchedstat(line string) (wait time.Duration, ok bool) {
	f := strings.Fields(line)
	if len(f) != 3 {
		return 0, false
	}
	n, err := strconv.ParseInt(f[1], 10, 64)
	return time.Duration(n), err == nil && n >= 0
}

// throttled is how long CPU quotas have held this process's cgroup back, all CPUs added up; 0 where there is none.
func throttled() time.Duration {
	groups, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return 0
	}
	for _, dir := range cpuGroups(string(groups)) {
		if data, err := os.ReadFile(filepath.Join(dir, "cpu.stat")); err == nil {
			if d := parseThrottled(string(data)); d > 0 {
				return d
			}
		}
	}
	return 0
}

// cpuGroups lists where /proc/self/cgroup says that this process's CPU accounts may be, for both versions of cgroups.
func cpuGroups(groups string) []string {
	var dirs []string
	for line := range strings.Lines(groups) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		switch {
		case len(f) != 3:
		case f[1] == "":
			dirs = append(dirs, filepath.Join("/sys/fs/cgroup", f[2]), filepath.Join("/sys/fs/cgroup/unified", f[2]))
		case strings.Contains(","+f[1]+",", ",cpu,"):
			dirs = append(dirs, filepath.Join("/sys/fs/cgroup", f[1], f[2]), filepath.Join("/sys/fs/cgroup/cpu", f[2]))
		}
	}
	return dirs
}

// parseThrottled reads cpu.stat: version 2 counts microseconds, version 1 nanoseconds.
func parseThrottled(stat string) time.Duration {
	for line := range strings.Lines(stat) {
		f := strings.Fields(line)
		if len(f) != 2 {
			continue
		}
		n, _ := strconv.ParseInt(f[1], 10, 64)
		switch f[0] {
		case "throttled_usec":
			return time.Duration(n) * time.Microsecond
		case "throttled_time":
			return time.Duration(n)
		}
	}
	return 0
}
