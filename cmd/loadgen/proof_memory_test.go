//go:build proof && linux

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sync/errgroup"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
	"github.com/openaccess-mcp/openaccess-mcp/loadgen/driver"
)

// workers make calls and connections at the same time, in the server's test and in the bare program's.
const workers = 4

// hostWithProfiles runs fakessh in a process of its own, with profiles p-1 to p-n in dir, each for a user of its own.
func hostWithProfiles(t *testing.T, dir string, n int) (addr string) {
	t.Helper()
	cmd := exec.Command(program(t, "fakessh"), "--write-profile", dir, "--profile-id", "p", "--count-profiles", strconv.Itoa(n+1))
	out, err := cmd.StdoutPipe()
	if err := errors.Join(err, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	lines := bufio.NewScanner(out)
	for lines.Scan() && !strings.HasPrefix(lines.Text(), "secrets=") {
		if a, ok := strings.CutPrefix(lines.Text(), "addr="); ok {
			addr = a
		}
	}
	for i := range n {
		for _, kind := range []string{"profiles", "secrets"} {
			rename(t, filepath.Join(dir, kind, fmt.Sprintf("p-%d.json", i+1)), fmt.Sprintf("user-%d", i+1))
		}
	}
	return addr
}

// rename has a file of a profile or a secret name another user.
func rename(t *testing.T, file, user string) {
	t.Helper()
	text, err := os.ReadFile(file)
	var doc map[string]any
	if err := errors.Join(err, json.Unmarshal(text, &doc)); err != nil {
		t.Fatal(err)
	}
	doc["username"] = user
	if err := os.WriteFile(file, marshal(t, doc), 0o600); err != nil {
		t.Fatal(err)
	}
}

// serverOf gives the configuration of a server of the profiles in dir, which keeps its connections.
func serverOf(t *testing.T, dir string, env []string, transport ...string) driver.ChildConfig {
	t.Helper()
	config := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(config, []byte("connection_pooling: {idle_timeout: 3600}\nresource_limits: {cleanup_interval: 5}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	args := append([]string{"serve", "--config", config, "--profiles", filepath.Join(dir, "profiles"), "--secrets", filepath.Join(dir, "secrets")}, transport...)
	return driver.ChildConfig{Path: program(t, serverName), Args: args, Env: append(env, "XDG_STATE_HOME="+t.TempDir()), Dir: t.TempDir()}
}

func residentOf(t *testing.T, pid int) int64 {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.ParseInt(strings.Fields(string(data))[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}

// echoOn runs a command on a profile.
func echoOn(ctx context.Context, s loadgen.Session, profile string) error {
	r, err := s.Call(ctx, loadgen.Call{Tool: "ssh_exec", Args: map[string]any{"profile_id": profile, "command": "echo hi"}})
	if err == nil && r.Data["stdout"] != "hi\n" {
		err = fmt.Errorf("profile %s: %s %s %v", profile, r.Code, r.Error, r.Data)
	}
	return err
}

// spread does something n times, several at once.
func spread(n int, do func(i int) error) error {
	var g errgroup.Group
	var next atomic.Int64
	for range workers {
		g.Go(func() error {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				if err := do(i); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// warmCalls are made before memory is looked at for the first time, so that the cache of the audit record is full.
const warmCalls = 3000

// trimmed is how long after its last call the server has given back what it does not need: two sweeps, and a moment.
const trimmed = 11 * time.Second

// TestProofIdleConnections: profiles with one idle connection each cost the server little more memory than bare connections cost a program that
// does nothing else. What a profile takes by itself is part of it.
func TestProofIdleConnections(t *testing.T) {
	n, settle, env := 1000, 150*time.Second, []string(nil) // a collection is forced every two minutes
	if !whole() {
		n, settle, env = 200, 20*time.Second, []string{"GOGC=10"} // so that what is garbage counts little
	}
	all, dir := t.TempDir(), t.TempDir()
	addr := hostWithProfiles(t, all, n)
	move(t, all, dir, 0, 1)
	d, err := driver.Stdio(t.Context(), serverOf(t, dir, env))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	s, err := d.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := spread(warmCalls, func(int) error { return echoOn(t.Context(), s, "p-1") }); err != nil {
		t.Fatal(err)
	}
	time.Sleep(trimmed)
	before := residentOf(t, d.Info().PID)
	bare, done := startBare(t, addr, filepath.Join(dir, "secrets", "p-1.json"), n, env)
	bareBefore := residentOf(t, bare.Process.Pid)
	done()
	move(t, all, dir, 1, n)
	time.Sleep(3 * time.Second) // until the server looks at the folder again, and files are old enough to be believed
	if err := spread(n, func(i int) error { return echoOn(t.Context(), s, fmt.Sprintf("p-%d", i+1)) }); err != nil {
		t.Fatal(err)
	}
	time.Sleep(settle)
	if open := openSockets(t, d.Info().PID); open < n {
		t.Fatalf("the server has %d sockets open, want %d", open, n)
	}
	ours, theirs := (residentOf(t, d.Info().PID)-before)/int64(n), (residentOf(t, bare.Process.Pid)-bareBefore)/int64(n)
	ratio := float64(ours) / float64(theirs)
	text := fmt.Sprintf("%d profiles with one idle connection each, against as many connections of the SSH library alone, in one run, %v after the last call.\n\n"+
		"resident memory for each profile, server:      %.1f KiB\nresident memory for each connection, library: %.1f KiB\nratio: %.2f\n",
		n, settle, float64(ours)/1024, float64(theirs)/1024, ratio)
	if most := slack(1.25, 2); ratio > most {
		t.Errorf("a ratio of %.2f, want at most %v", ratio, most)
	}
	keep(t, "memory-connections.txt", text)
}

// move takes profiles from..to with their secrets to another folder.
func move(t *testing.T, all, dir string, from, to int) {
	t.Helper()
	for _, kind := range []string{"secrets", "profiles"} {
		if err := os.MkdirAll(filepath.Join(dir, kind), 0o700); err != nil {
			t.Fatal(err)
		}
		for i := from; i < to; i++ {
			name := filepath.Join(kind, fmt.Sprintf("p-%d.json", i+1))
			if err := os.Rename(filepath.Join(all, name), filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func openSockets(t *testing.T, pid int) (n int) {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	fds, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if to, _ := os.Readlink(filepath.Join(dir, fd.Name())); strings.HasPrefix(to, "socket:") {
			n++
		}
	}
	return n
}

// startBare runs this program again as one that holds connections. It returns when the first is there; done has it make the others, and
// returns when these are there.
func startBare(t *testing.T, addr, secret string, n int, env []string) (cmd *exec.Cmd, done func()) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd = exec.Command(self)
	cmd.Env = append(append(os.Environ(), env...), bareVar+"="+fmt.Sprintf("%s %s %d", addr, secret, n))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err := errors.Join(err, err2, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	answer := bufio.NewReader(out)
	await := func() {
		if line, err := answer.ReadString('\n'); err != nil {
			t.Fatalf("the bare program: %q, %v", line, err)
		}
	}
	await()
	return cmd, func() {
		if _, err := io.WriteString(in, "\n"); err != nil {
			t.Fatal(err)
		}
		await()
	}
}

// bareVar makes this program the bare one: ADDR SECRET N.
const bareVar = "LOADGEN_TEST_BARE"

func init() {
	if args := os.Getenv(bareVar); args != "" {
		if err := bare(args); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
}

// bare holds N connections after one command on each, and says when the first and when the last is there.
func bare(args string) error {
	var addr, secret string
	var n int
	if _, err := fmt.Sscan(args, &addr, &secret, &n); err != nil {
		return err
	}
	text, err := os.ReadFile(secret)
	var doc struct {
		PrivateKey string `json:"private_key"`
	}
	if err := errors.Join(err, json.Unmarshal(text, &doc)); err != nil {
		return err
	}
	key, err := ssh.ParsePrivateKey([]byte(doc.PrivateKey))
	if err != nil {
		return err
	}
	conns := make([]*ssh.Client, n)
	dial := func(i int) (err error) {
		conns[i], err = ssh.Dial("tcp", addr, &ssh.ClientConfig{
			User: fmt.Sprintf("user-%d", i+1), Auth: []ssh.AuthMethod{ssh.PublicKeys(key)}, HostKeyCallback: ssh.InsecureIgnoreHostKey(),
		})
		if err == nil {
			err = echoBare(conns[i])
		}
		return err
	}
	if err := dial(0); err != nil {
		return err
	}
	if err := spread(warmCalls, func(int) error { return echoBare(conns[0]) }); err != nil {
		return err
	}
	fmt.Println("one")
	in := bufio.NewReader(os.Stdin)
	if _, err := in.ReadByte(); err != nil {
		return err
	}
	if err := spread(n-1, func(i int) error { return dial(i + 1) }); err != nil {
		return err
	}
	fmt.Println("all")
	_, _ = in.ReadByte() // the parent's end
	for _, c := range conns {
		c.Close()
	}
	return nil
}

func echoBare(c *ssh.Client) error {
	s, err := c.NewSession()
	if err != nil {
		return err
	}
	defer s.Close()
	_, err = s.Output("echo hi")
	return err
}

// TestProofSessionsLeaveNothing: clients that come and go over HTTP, half of them without a goodbye, leave neither memory nor goroutines behind.
func TestProofSessionsLeaveNothing(t *testing.T) {
	n, warm, group := 10_000, 4000, 500
	if !whole() {
		n, warm, group = 1000, 2000, 50
	}
	dir := t.TempDir()
	hostWithProfiles(t, dir, 1)
	d, err := driver.HTTPChild(t.Context(), serverOf(t, dir, nil, "--transport", "http", "--listen", "127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	observer, err := d.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	visit := func(i int) error {
		s, err := d.Open(t.Context())
		if err == nil {
			err = errors.Join(echoOn(t.Context(), s, "p-1"), leave(s, i%2 == 0))
		}
		return err
	}
	if err := spread(warm, visit); err != nil {
		t.Fatal(err)
	}
	var rss, goroutines trend
	for done := group; done <= n; done += group {
		if err := spread(group, visit); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond) // for goroutines that are on their way out
		r, err := observer.Call(t.Context(), loadgen.Call{Tool: "server_stats"})
		if err != nil {
			t.Fatal(err)
		}
		rss.add(float64(done)/1000, float64(residentOf(t, d.Info().PID))/1024)
		goroutines.add(float64(done)/1000, number(t, r.Data, "goroutines"))
	}
	text := fmt.Sprintf("%d client sessions that came, made a call and went, half of them without a goodbye, after %d that are not counted.\n\n"+
		"resident memory: %.1f MiB at first, %.1f MiB at last; %s KiB for each 1,000 sessions\n"+
		"goroutines:      %.0f at first, %.0f at last; %s for each 1,000 sessions\n",
		n, warm, rss.y[0]/1024, rss.y[len(rss.y)-1]/1024, rss.String(), goroutines.y[0], goroutines.y[len(goroutines.y)-1], goroutines.String())
	if slope, se := rss.fit(); slope-2*se > 0 && slope > slack(64, 1024) {
		t.Errorf("memory grows by %s KiB for each 1,000 sessions", rss.String())
	}
	if slope, se := goroutines.fit(); slope-2*se > 0 && slope > slack(0.5, 5) {
		t.Errorf("goroutines grow by %s for each 1,000 sessions", goroutines.String())
	}
	keep(t, "memory-sessions.txt", text)
}

// leave ends a session, or has it vanish.
func leave(s loadgen.Session, politely bool) error {
	if politely {
		return s.Close()
	}
	return s.(loadgen.Abandoner).Abandon()
}

// number finds a figure by its name, at any depth.
func number(t *testing.T, data map[string]any, name string) float64 {
	t.Helper()
	var find func(v any) (float64, bool)
	find = func(v any) (float64, bool) {
		m, _ := v.(map[string]any)
		text := fmt.Sprint(m[name])
		if f, err := strconv.ParseFloat(text, 64); err == nil {
			return f, true
		}
		for _, inner := range m {
			if f, ok := find(inner); ok {
				return f, true
			}
		}
		return 0, false
	}
	f, ok := find(data)
	if !ok {
		t.Fatalf("no %s in %v", name, data)
	}
	return f
}

// trend is a set of points, through which the line of least squares is drawn.
type trend struct{ x, y []float64 }

func (l *trend) add(x, y float64) { l.x, l.y = append(l.x, x), append(l.y, y) }

// fit gives the slope and its standard error.
func (l *trend) fit() (slope, se float64) {
	n := float64(len(l.x))
	var mx, my, sxx, sxy, rest float64
	for i := range l.x {
		mx, my = mx+l.x[i]/n, my+l.y[i]/n
	}
	for i := range l.x {
		sxx, sxy = sxx+(l.x[i]-mx)*(l.x[i]-mx), sxy+(l.x[i]-mx)*(l.y[i]-my)
	}
	slope = sxy / sxx
	for i := range l.x {
		r := l.y[i] - my - slope*(l.x[i]-mx)
		rest += r * r
	}
	return slope, math.Sqrt(rest / (n - 2) / sxx)
}

func (l *trend) String() string {
	slope, se := l.fit()
	return fmt.Sprintf("%+.2f ± %.2f", slope, se)
}

func TestProofLineFit(t *testing.T) {
	var l trend
	for i, y := range []float64{1, 3, 5, 7, 9.5, 10.5} {
		l.add(float64(i), y)
	}
	if slope, se := l.fit(); math.Abs(slope-34.5/17.5) > 1e-9 || math.Abs(se-0.0833) > 1e-4 {
		t.Errorf("slope %v ± %v", slope, se)
	}
}
