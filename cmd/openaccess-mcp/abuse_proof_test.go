//go:build proof && linux

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
	"github.com/openaccess-mcp/openaccess-mcp/server"
)

// abuse is one measurement: a legitimate caller alone and beside those who must be refused, in turn.
type abuse struct {
	rounds int
	slice  time.Duration // of one turn
	idle   int           // connections that say nothing, or no more than the begin of a request
	judge  bool          // the latencies, too: on a machine that others share, a slice this short says nothing of them

	seen abuseReport
}

// TestProofAbuse has a server refuse requests without a token, with a wrong, expired or out-of-scope one, from foreign origins and for foreign hosts,
// and with bodies of 1 GiB, while idle connections are held open, all of them from the address of the legitimate caller. That one is served all the while:
// each of its calls succeeds. The abusers are another process, so that what holding their connections costs them is not counted as the caller's. With PROOF=whole it holds 10,000 connections, in slices that are longer than the server waits for them, wants the p95 of
// those calls to be at most twice what it is without, in the same run, and writes what it saw to PROOF_DIR.
func TestProofAbuse(t *testing.T) {
	a := abuse{rounds: 2, slice: 3 * time.Second, idle: 1000}
	whole := os.Getenv("PROOF") == "whole"
	if whole {
		a = abuse{rounds: 4, slice: 35 * time.Second, idle: 10_000, judge: true}
	}
	var files syscall.Rlimit // three quarters of which the server spares for who waits
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil || files.Cur < uint64(a.idle)*3/2+500 {
		t.Fatalf("%d connections need half as many again of open files, of which the limit is %d, %v: raise it with ulimit -n", a.idle, files.Cur, err)
	}
	report := a.run(t)
	t.Log("\n" + report)
	if dir := os.Getenv("PROOF_DIR"); dir != "" && whole && !t.Failed() {
		if err := os.WriteFile(filepath.Join(dir, "abuse.txt"), []byte(report), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func (a *abuse) run(t *testing.T) string {
	host := fakessh.Start(fakessh.Options{})
	t.Cleanup(func() { host.Close() })
	dir := t.TempDir()
	noError(t, host.WriteProfile(dir, "fake"))
	tokens := filepath.Join(dir, "tokens.yaml")
	token := func(o server.TokenOptions) string {
		text, err := server.NewToken(tokens, o)
		noError(t, err)
		return text
	}
	good, old := token(server.TokenOptions{Name: "good"}), token(server.TokenOptions{Name: "old", Expires: time.Now().Add(-time.Hour)})
	scoped := token(server.TokenOptions{Name: "scoped", Profiles: []string{"other"}})
	p := start(t, "serve", "--transport", "http", "--listen", "127.0.0.1:0", "--profiles", filepath.Join(dir, "profiles"), "--secrets", filepath.Join(dir, "secrets"),
		"--audit", filepath.Join(dir, "audit.db"), "--set", "auth.tokens="+tokens, "--set", "auth.rate_limit=1000", "--log-level", "info")
	work := &abuser{Address: p.addr(), Idle: a.idle, Good: good, Old: old, Scoped: scoped}
	caller := &caller{url: p.url, token: good}
	caller.serve(t, time.Second) // warm
	var alone, beside []time.Duration
	var cpuAlone, cpuBeside float64
	for range a.rounds {
		before := cpuSeconds(t, p.cmd.Process.Pid)
		alone = append(alone, caller.serve(t, a.slice)...)
		cpuAlone += cpuSeconds(t, p.cmd.Process.Pid) - before
		stop := a.begin(t, work)
		before = cpuSeconds(t, p.cmd.Process.Pid)
		beside = append(beside, caller.serve(t, a.slice)...)
		cpuBeside += cpuSeconds(t, p.cmd.Process.Pid) - before
		stop()
	}
	slices.Sort(alone)
	slices.Sort(beside)
	p95, p95Beside := alone[len(alone)*95/100], beside[len(beside)*95/100]
	if a.judge && p95Beside > 2*p95 {
		t.Errorf("p95 %v beside the abuse, %v without", p95Beside, p95)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "legitimate calls of ssh_exec, 50/s: %d without abuse, p50 %v, p95 %v; %d beside it, p50 %v, p95 %v; failed %d\n",
		len(alone), alone[len(alone)/2], p95, len(beside), beside[len(beside)/2], p95Beside, caller.failed.Load())
	total := int64(0)
	for _, k := range a.seen.Kinds {
		total += k.Refused
		if k.Refused == 0 || k.Wrong > 0 {
			t.Errorf("%s: %d refused, %d answered otherwise (%s)", k.Name, k.Refused, k.Wrong, k.Last)
		}
		fmt.Fprintf(&b, "%s: %d refused\n", k.Name, k.Refused)
		if k.Taken > 0 {
			fmt.Fprintf(&b, "  at most %d KiB of a body were taken\n", k.Taken>>10)
		}
		if k.Taken > 64<<20 {
			t.Errorf("%s: %d bytes were taken", k.Name, k.Taken)
		}
	}
	if caller.failed.Load() > 0 {
		t.Errorf("%d legitimate calls failed: %v", caller.failed.Load(), caller.last.Load())
	}
	fmt.Fprintf(&b, "%d idle connections at a time, %d opened in all; the server's peak of resident memory %s; its CPU %.2f s without and %.2f s beside %d refusals\n",
		a.idle, a.seen.Opened, peak(t, p.cmd.Process.Pid), cpuAlone, cpuBeside, total)
	return b.String()
}

// begin starts a process with everything that must be refused, and returns once the idle connections have been opened. stop ends it and adds what it saw.
func (a *abuse) begin(t *testing.T, work *abuser) (stop func()) {
	text, err := json.Marshal(work)
	noError(t, err)
	cmd := exec.Command(os.Args[0])
	cmd.Env, cmd.Stderr = append(os.Environ(), asAbuser+"="+string(text)), os.Stderr
	orders, err := cmd.StdinPipe()
	noError(t, err)
	out, err := cmd.StdoutPipe()
	noError(t, err)
	noError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	lines := json.NewDecoder(out)
	var report abuseReport
	noError(t, lines.Decode(&report)) // that it has begun
	return func() {
		noError(t, orders.Close())
		noError(t, lines.Decode(&report))
		noError(t, cmd.Wait())
		a.seen.add(report)
	}
}

// caller is who must be served.
type caller struct {
	url, token string
	failed     atomic.Int64
	last       atomic.Value
}

// serve makes 50 calls a second, whether or not those before have ended, and returns how long each took from when it was due.
func (c *caller) serve(t *testing.T, d time.Duration) (took []time.Duration) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}, Timeout: time.Minute}
	defer client.CloseIdleConnections()
	const gap = 20 * time.Millisecond
	var mu sync.Mutex
	var calls sync.WaitGroup
	begin := time.Now()
	for n := range int(d / gap) {
		due := begin.Add(time.Duration(n) * gap)
		time.Sleep(time.Until(due))
		calls.Go(func() {
			if err := c.call(client); err != nil {
				c.failed.Add(1)
				c.last.Store(err.Error())
				return
			}
			mu.Lock()
			defer mu.Unlock()
			took = append(took, time.Since(due))
		})
	}
	calls.Wait()
	if len(took) == 0 {
		t.Fatalf("no call succeeded: %v", c.last.Load())
	}
	return took
}

func (c *caller) call(client *http.Client) error {
	req, err := http.NewRequest(http.MethodPost, c.url, strings.NewReader(message))
	if err != nil {
		return err
	}
	for line := range strings.SplitSeq(strings.TrimSpace(messageHeader), "\r\n") {
		name, value, _ := strings.Cut(line, ": ")
		req.Header.Set(name, value)
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && (resp.StatusCode != http.StatusOK || !bytes.Contains(body, []byte(`"exit_code":0`))) {
		err = fmt.Errorf("%s: %s", resp.Status, body)
	}
	return err
}

// cpuSeconds is the CPU time that a process has had.
func cpuSeconds(t *testing.T, pid int) float64 {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	noError(t, err)
	_, rest, _ := strings.Cut(string(data), ") ")
	fields := strings.Fields(rest)
	user, _ := strconv.ParseFloat(fields[11], 64)
	system, _ := strconv.ParseFloat(fields[12], 64)
	return (user + system) / 100
}

// peak is the most resident memory that a process has had.
func peak(t *testing.T, pid int) string {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	noError(t, err)
	_, rest, _ := strings.Cut(string(data), "VmHWM:")
	line, _, _ := strings.Cut(rest, "\n")
	return strings.TrimSpace(line)
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
