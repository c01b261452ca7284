//go:build proof

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/reports/result"
)

// TestProofLongRun: ten minutes at 2,000 calls a second grow neither the generator, whose resident memory stays within 10 MiB of what it was after a
// minute, nor the result, and the arrivals do not drift.
func TestProofLongRun(t *testing.T) {
	const rate = 2000
	length, settled := 10*time.Minute, time.Minute
	if !whole() {
		length, settled = 20*time.Second, 5*time.Second
	}
	url, dir := noopServer(t), t.TempDir()
	cmd := exec.Command(program(t, "loadgen"), "run", noopScenario(t, rate, length.String()), "--server", url, "--profile-id", "noop", "--quiet", "--out", dir)
	cmd.Dir = t.TempDir()
	output, err := os.Create(filepath.Join(dir, "output"))
	if err != nil {
		t.Fatal(err)
	}
	defer output.Close()
	cmd.Stdout, cmd.Stderr = output, output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	memory := make(chan []int64)
	stop := make(chan struct{})
	go func() { memory <- sampleRSS(cmd.Process.Pid, stop) }()
	err = cmd.Wait()
	close(stop)
	rss := <-memory
	if err != nil {
		text, _ := os.ReadFile(output.Name())
		t.Fatalf("%v\n%s", err, text)
	}
	at := int(settled / time.Second)
	if len(rss) <= at+5 {
		t.Fatalf("only %d samples of the memory", len(rss))
	}
	low, high := rss[at], rss[at]
	for _, v := range rss[at:] {
		low, high = min(low, v), max(high, v)
	}
	d, size := resultOf(t, filepath.Join(dir, "result.json"))
	c := &d.Scenarios[0]
	var text strings.Builder
	fmt.Fprintf(&text, "%d calls/s of a no-op tool over HTTP for %v.\n\n", rate, length)
	fmt.Fprintf(&text, "resident memory of loadgen after %v: %.1f MiB; from then on between %.1f and %.1f MiB\n", settled, mib(rss[at]), mib(low), mib(high))
	fmt.Fprintf(&text, "result.json: %d bytes\n", size)
	fmt.Fprintf(&text, "requests: %d of %d in the schedule, %d dropped; lateness p99 %v, max %v\n", c.Requests, int64(rate*length.Seconds()), c.Dropped,
		rounded(time.Duration(*c.Lateness.P99)), rounded(time.Duration(*c.Lateness.Max)))
	drift := float64(*c.Lateness.Max) / float64(length)
	fmt.Fprintf(&text, "drift: the latest call left %.4f %% of the time after its moment\n", 100*drift)
	if grown := high - rss[at]; grown > 10<<20 {
		t.Errorf("memory grew by %.1f MiB, want at most 10", mib(grown))
	}
	if size > 1<<20 {
		t.Errorf("the result has %d bytes", size)
	}
	if want := int64(rate * length.Seconds()); c.Requests != want || c.Dropped != 0 {
		t.Errorf("%d requests and %d dropped, want %d and none", c.Requests, c.Dropped, want)
	}
	if whole() && drift > 0.001 {
		t.Errorf("a drift of %.2f %%", 100*drift)
	}
	keep(t, "long-run.txt", text.String())
}

func mib(bytes int64) float64 { return float64(bytes) / (1 << 20) }

// sampleRSS reads the resident memory of a process each second until stop is closed.
func sampleRSS(pid int, stop <-chan struct{}) (bytes []int64) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return bytes
		case <-tick.C:
		}
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
		if err != nil {
			continue
		}
		if fields := strings.Fields(string(data)); len(fields) > 1 {
			pages, _ := strconv.ParseInt(fields[1], 10, 64)
			if pages > 0 {
				bytes = append(bytes, pages*int64(os.Getpagesize()))
			}
		}
	}
}

func resultOf(t *testing.T, file string) (*result.Doc, int64) {
	t.Helper()
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d, err := result.Read(f)
	if err != nil {
		t.Fatal(err)
	}
	return d, info.Size()
}
