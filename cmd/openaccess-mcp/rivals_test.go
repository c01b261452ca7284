//go:build realssh

package main

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// rivalRepeats is how often each side of a pair is measured, in alternation; RIVAL_REPEATS sets another number.
const rivalRepeats = 15

// rivals measures tool calls, made by an MCP client over stdio, against OpenSSH's own programs over a warm ControlMaster, all on one real
// sshd and in one run.
type rivals struct {
	*sshd
	t       *testing.T
	session *mcp.ClientSession
	repeats int
	table   bytes.Buffer
	lines   *tabwriter.Writer
}

// TestRivals asserts ratios of medians with the slack of rivalSlack; what was measured is logged, and written to RIVAL_REPORT where that is set.
func TestRivals(t *testing.T) {
	s := startSSHD(t, "MaxSessions 100", "MaxStartups 100")
	r := &rivals{sshd: s, t: t, session: s.session(t), repeats: rivalRepeats}
	if n, err := strconv.Atoi(os.Getenv("RIVAL_REPEATS")); err == nil {
		r.repeats = n
	}
	r.lines = tabwriter.NewWriter(&r.table, 0, 0, 2, ' ', 0)
	fmt.Fprintf(r.lines, "what\tours, median\trival\trival, median\tratio\tgoal\n")
	r.master()
	r.exec()
	r.transfer()
	r.tree()
	r.largeFile()
	r.tunnel()
	must(t, r.lines.Flush())
	t.Logf("medians of %d\n%s", r.repeats, r.table.String())
	if file := os.Getenv("RIVAL_REPORT"); file != "" {
		write(t, file, fmt.Sprintf("Medians of %d repeats, the two sides in alternation, one run against OpenSSH's server on loopback.\n\n%s", r.repeats, r.table.String()), 0o644)
	}
}

// options make OpenSSH's programs use the test's key, host and shared connection.
func (r *rivals) options() []string {
	return []string{
		"-F", "none", "-o", "BatchMode=yes", "-i", filepath.Join(r.dir, "client"), "-o", "IdentitiesOnly=yes",
		"-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR",
	}
}

func (r *rivals) shared() []string { return append(r.options(), "-o", "ControlPath="+r.dir+"/cm") }

func (r *rivals) login() string { return testUser + "@127.0.0.1" }

// master opens the connection that the rivals share.
func (r *rivals) master() {
	args := append(r.shared(), "-M", "-N", "-p", strconv.Itoa(r.port), r.login())
	cmd := exec.Command("ssh", args...)
	must(r.t, cmd.Start())
	r.t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(r.dir + "/cm"); err == nil {
			return
		}
		if time.Now().After(deadline) {
			r.t.Fatal("no ControlMaster")
		}
	}
}

// rivalSlack is by how much a ratio may be beyond its goal. The goals are those of a machine on which ssh takes 19 ms, most of which is a program that
// starts. On one where it takes 7, less of the rival's time is a start that a call saves, and an upload of 1 MiB, within 0.2 there, takes 0.35.
func rivalSlack(goal float64) float64 { return max(goal/2, 0.3) }

// compare measures both sides in alternation, each repeat after prepare, and wants the ratio of their medians within goal and slack. A ratio that is not
// may be the doing of something else on the machine: it is measured once more, and has to hold then.
func (r *rivals) compare(what, rival string, goal float64, prepare func(i int), ours, theirs func(i int)) {
	r.t.Helper()
	for again := range 2 {
		ma, mb := r.medians(prepare, ours, theirs)
		if r.t.Failed() {
			return
		}
		ratio := float64(ma) / float64(mb)
		fmt.Fprintf(r.lines, "%s\t%v\t%s\t%v\t%.2f\t≤ %.2f\n", what, ma.Round(10*time.Microsecond), rival, mb.Round(10*time.Microsecond), ratio, goal)
		if ratio <= goal+rivalSlack(goal) {
			return
		}
		if again > 0 {
			r.t.Errorf("%s: %v, %s: %v: ratio %.2f is beyond %.2f + %.2f, twice", what, ma, rival, mb, ratio, goal, rivalSlack(goal))
		}
	}
}

func (r *rivals) medians(prepare, ours, theirs func(i int)) (a, b time.Duration) {
	r.t.Helper()
	var as, bs []time.Duration
	for i := range r.repeats + 1 {
		sides := []func(){
			func() { prepare(i); as = append(as, timed(func() { ours(i) })) },
			func() { prepare(i); bs = append(bs, timed(func() { theirs(i) })) },
		}
		if i%2 == 1 {
			slices.Reverse(sides)
		}
		for _, side := range sides {
			side()
		}
		if r.t.Failed() {
			return
		}
	}
	return median(as[1:]), median(bs[1:]) // the first warms up
}

func timed(f func()) time.Duration {
	start := time.Now()
	f()
	return time.Since(start)
}

func median(d []time.Duration) time.Duration {
	d = slices.Sorted(slices.Values(d))
	return d[len(d)/2]
}

func nothing(int) {}

// program runs one of OpenSSH's programs, or rsync.
func (r *rivals) program(name string, args ...string) {
	r.t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		r.t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

// tool calls a tool and wants it to succeed; the answer's data is returned.
func (r *rivals) tool(name string, args map[string]any) map[string]any {
	r.t.Helper()
	args["profile_id"] = "real"
	e := call[map[string]any](r.t.Context(), r.t, r.session, name, args)
	if !e.Success || e.Data == nil {
		r.t.Fatalf("%s %v: %+v", name, args, e)
	}
	return *e.Data
}

func (r *rivals) exec() {
	ssh := append(r.shared(), "-p", strconv.Itoa(r.port), r.login(), "echo hi")
	r.compare("ssh_exec echo", "ssh", 0.5, nothing,
		func(int) { r.tool("ssh_exec", map[string]any{"command": "echo hi"}) },
		func(int) { r.program("ssh", ssh...) })
}

func (r *rivals) transfer() {
	file := filepath.Join(r.dir, "1MiB")
	r.random(file, 1<<20)
	scp := append(r.shared(), "-P", strconv.Itoa(r.port), file, r.login()+":scp.bin")
	r.compare("sftp_transfer 1 MiB up", "scp", 0.2, nothing,
		func(int) {
			r.tool("sftp_transfer", map[string]any{"direction": "upload", "local_path": file, "remote_path": "sftp.bin"})
		},
		func(int) { r.program("scp", scp...) })
}

func (r *rivals) random(file string, size int) {
	data := make([]byte, size)
	_, _ = rand.Read(data)
	write(r.t, file, string(data), 0o644)
}

// rsync is `rsync -a` over the shared connection.
func (r *rivals) rsync(from, to string) {
	r.t.Helper()
	shell := "ssh " + strings.Join(r.shared(), " ") + " -p " + strconv.Itoa(r.port)
	r.program("rsync", "-a", "-e", shell, from+"/", r.login()+":"+to+"/")
}

func (r *rivals) sync(engine, from, to string) {
	r.t.Helper()
	r.tool("rsync_sync", map[string]any{"direction": "push", "source": from, "dest": to, "engine": engine, "dry_run": false})
}

func (r *rivals) tree() {
	tree := filepath.Join(r.dir, "tree")
	must(r.t, os.Mkdir(tree, 0o755))
	for i := range 100 {
		r.random(filepath.Join(tree, fmt.Sprintf("file-%03d", i)), 10<<10)
	}
	clean := func(int) { r.tool("ssh_exec", map[string]any{"command": "rm -rf ours theirs"}) }
	for engine, goal := range map[string]float64{"sftp": 0.5, "rsync": 1} {
		r.compare("rsync_sync 100 × 10 KiB, engine "+engine, "rsync -a", goal, clean,
			func(int) { r.sync(engine, tree, "ours") },
			func(int) { r.rsync(tree, "theirs") })
	}
}

// largeFile changes 1 % of a large file before each side's turn.
func (r *rivals) largeFile() {
	const size = 256 << 20
	dir := filepath.Join(r.dir, "large")
	must(r.t, os.Mkdir(dir, 0o755))
	file := filepath.Join(dir, "file")
	r.random(file, size)
	r.rsync(dir, "large-ours")
	r.rsync(dir, "large-theirs")
	turn := 0
	change := func(int) {
		turn++
		f, err := os.OpenFile(file, os.O_WRONLY, 0)
		must(r.t, err)
		defer f.Close()
		block := make([]byte, 64<<10)
		for i := range size / 100 / len(block) {
			_, _ = rand.Read(block)
			_, err := f.WriteAt(block, int64(i*100+turn%100)*int64(len(block)))
			must(r.t, err)
		}
	}
	r.compare("rsync_sync 256 MiB, 1 % changed, engine rsync", "rsync -a", 1.1, change,
		func(int) { r.sync("rsync", dir, "large-ours") },
		func(int) { r.rsync(dir, "large-theirs") })
	r.tool("ssh_exec", map[string]any{"command": "rm -rf large-ours large-theirs ours theirs sftp.bin scp.bin"})
}

// tunnel compares the time until a greeting has come through a new tunnel.
func (r *rivals) tunnel() {
	target := r.greeter()
	var opened []string
	r.compare("tunnel_create", "a new ssh -L", 0.1, nothing,
		func(int) {
			data := r.tool("tunnel_create", map[string]any{"tunnel_type": "local", "target_host": "127.0.0.1", "target_port": target})
			opened = append(opened, data["tunnel_id"].(string))
			if !greeted(int(data["listen_port"].(float64))) {
				r.t.Error("nothing comes through the tunnel")
			}
		},
		func(int) {
			port := freePort(r.t)
			forward := fmt.Sprintf("127.0.0.1:%d:127.0.0.1:%d", port, target)
			cmd := exec.Command("ssh", append(r.options(), "-N", "-L", forward, "-p", strconv.Itoa(r.port), r.login())...)
			must(r.t, cmd.Start())
			defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
			for !greeted(port) {
				time.Sleep(time.Millisecond)
			}
		})
	for _, id := range opened {
		e := call[json.RawMessage](r.t.Context(), r.t, r.session, "tunnel_close", map[string]any{"tunnel_id": id})
		if !e.Success {
			r.t.Errorf("tunnel_close: %+v", e)
		}
	}
}

// greeter listens on loopback, greets whoever comes, and returns its port.
func (r *rivals) greeter() int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(r.t, err)
	r.t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte("hello"))
			c.Close()
		}
	}()
	return l.Addr().(*net.TCPAddr).Port
}

func greeted(port int) bool {
	c, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return false
	}
	defer c.Close()
	buf := make([]byte, 5)
	n, _ := c.Read(buf)
	return n > 0
}
