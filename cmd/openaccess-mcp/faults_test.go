//go:build (proof || realssh) && linux

package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"golang.org/x/sys/unix"

	"github.com/openaccess-mcp/openaccess-mcp/server"
)

// faultHost is a host behind a wire.
type faultHost interface {
	address() string
	profile(t *testing.T, dir, id string, port int, goodKey bool) // names the host by the wire's port
	command(id string) string                                     // notes that it begins, waits until nobody holds it, and says done
	begun(id string) int
	hold()
	release()
	fill(t *testing.T) // until drain
	drain(t *testing.T)
	kill(t *testing.T)
	revive(t *testing.T)
	remote(name string) string
}

// answer is what became of an operation: a code of the server's, empty for success, and what it said.
type answer struct {
	code server.Code
	said string
}

// Codes that are no tool's.
const (
	closedCode = "closed" // a connection through a tunnel ended
	lateCode   = "LATE"   // no answer within the deadline
)

// cellDeadline is when every cell's operation must have ended: ten times what the server is told to wait at most.
const cellDeadline = 60 * time.Second

const (
	payload   = 1 << 20 // bytes that a transfer moves
	treeFiles = 16
)

// rig is one server, one host, and the wire between them.
type rig struct {
	host    faultHost
	wire    *wire
	dir     string // profiles, secrets, config.yaml and local files
	session *mcp.ClientSession
	pid     int
	cells   int
	base    int // goroutines of the server at rest, as the first cell leaves it; 0 before
	echo    net.Listener
}

const rigConfig = `profiles: %[1]s/profiles
secrets: %[1]s/secrets
audit: {path: %[1]s/audit.db}
log_level: error
resource_limits: {max_memory_mb: %[2]d}
connection_pooling: {connection_timeout: 2, keepalive_interval: 0.5, keepalive_timeout: 1, probe_interval: 0.5}
`

// newRig starts a server in a process of its own. makeHost gets the rig's folder.
func newRig(t *testing.T, makeHost func(dir string) faultHost) *rig {
	dir, err := os.MkdirTemp("", "faults")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	must(t, os.Chmod(dir, 0o755))
	for _, sub := range []string{"profiles", "secrets", "tree"} {
		must(t, os.MkdirAll(filepath.Join(dir, sub), 0o700))
	}
	write(t, filepath.Join(dir, "file"), strings.Repeat("0123456789abcdef", payload/16), 0o600)
	for i := range treeFiles {
		write(t, filepath.Join(dir, "tree", fmt.Sprint(i)), strings.Repeat("x", payload/treeFiles), 0o600)
	}
	r := &rig{host: makeHost(dir), dir: dir, echo: echoes(t)}
	r.memory(t, 1024)
	r.wire = newWire(t, r.host.address())
	cmd := exec.Command(os.Args[0], "serve", "--config", filepath.Join(dir, "config.yaml"))
	cmd.Env = append(os.Environ(), asProgram+"=1")
	cmd.Stderr = os.Stderr
	r.session, err = mcp.NewClient(&mcp.Implementation{Name: "faults", Version: "1"}, nil).Connect(t.Context(), &mcp.CommandTransport{Command: cmd}, nil)
	must(t, err)
	t.Cleanup(func() {
		if err := r.session.Close(); err != nil {
			t.Errorf("the server's end: %v", err)
		}
	})
	r.pid = cmd.Process.Pid
	return r
}

// memory writes the configuration with the bound of the server's memory.
func (r *rig) memory(t *testing.T, megabytes int) {
	write(t, filepath.Join(r.dir, "config.yaml"), fmt.Sprintf(rigConfig, r.dir, megabytes), 0o600)
}

// echoes sends back whatever comes.
func echoes(t *testing.T) net.Listener {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	return l
}

func (r *rig) stats(t *testing.T) *server.StatsData {
	t.Helper()
	env := call[server.StatsData](t.Context(), t, r.session, "server_stats", map[string]any{})
	if env.Data == nil {
		t.Fatalf("server_stats: %+v", env)
	}
	return env.Data
}

// tool calls a tool of the profile.
func (r *rig) tool(t *testing.T, tool, profile string, args map[string]any) (answer, map[string]any) {
	ctx, cancel := context.WithTimeout(t.Context(), cellDeadline)
	defer cancel()
	if tool != "tunnel_close" {
		args["profile_id"] = profile
	}
	env := call[map[string]any](ctx, t, r.session, tool, args)
	switch {
	case ctx.Err() != nil:
		return answer{lateCode, "no answer"}, nil
	case env.Data == nil:
		return answer{env.Metadata.ErrorCode, env.Error}, nil
	}
	return answer{env.Metadata.ErrorCode, env.Error}, *env.Data
}

// operation is something that a client has the server do. begin leads up to it while all is well and returns what does it; done checks, after a
// success, that the host has what it should.
type operation struct {
	name    string
	payload int // direction of its bytes; -1 for few
	do      func(t *testing.T, r *rig, profile string) answer
}

var operations = []operation{
	{"ssh_exec", -1, func(t *testing.T, r *rig, profile string) answer {
		got, data := r.tool(t, "ssh_exec", profile, map[string]any{"command": r.host.command(profile), "timeout_seconds": 6})
		if got.code == "" && data["stdout"] != "done\n" {
			t.Errorf("ssh_exec says %v", data)
		}
		return got
	}},
	{"sftp upload", up, func(t *testing.T, r *rig, profile string) answer {
		got, _ := r.tool(t, "sftp_transfer", profile, map[string]any{"direction": "upload", "local_path": r.local("file"), "remote_path": r.host.remote(profile + "-file"), "checksum": true})
		return got
	}},
	{"sftp download", down, func(t *testing.T, r *rig, profile string) answer {
		to := r.local(profile + "-got")
		got, _ := r.tool(t, "sftp_transfer", profile, map[string]any{"direction": "download", "remote_path": r.host.remote("source"), "local_path": to})
		data, err := os.ReadFile(to)
		if whole := err == nil && len(data) == payload; whole != (got.code == "") {
			t.Errorf("download answers %+v, and %d bytes are there (%v)", got, len(data), err)
		}
		_ = os.Remove(to)
		return got
	}},
	{"sftp tree", up, func(t *testing.T, r *rig, profile string) answer {
		got, data := r.tool(t, "sftp_transfer", profile, map[string]any{"direction": "upload", "recursive": true, "local_path": r.local("tree"), "remote_path": r.host.remote(profile + "-tree")})
		if got.code == "" && data["files"] != float64(treeFiles) {
			t.Errorf("tree: %v", data)
		}
		return got
	}},
	{"rsync_sync", up, func(t *testing.T, r *rig, profile string) answer {
		got, _ := r.tool(t, "rsync_sync", profile, map[string]any{"direction": "push", "source": r.local("tree"), "dest": r.host.remote(profile + "-sync"), "engine": "sftp", "dry_run": false})
		return got
	}},
	{"tunnel_create", -1, func(t *testing.T, r *rig, profile string) answer {
		got, data := r.tool(t, "tunnel_create", profile, r.tunnel())
		if got.code == "" {
			r.closeTunnel(t, profile, data)
		}
		return got
	}},
}

func (r *rig) local(name string) string { return filepath.Join(r.dir, name) }

func (r *rig) tunnel() map[string]any {
	return map[string]any{"tunnel_type": "remote", "target_host": "127.0.0.1", "target_port": r.echo.Addr().(*net.TCPAddr).Port}
}

func (r *rig) closeTunnel(t *testing.T, profile string, data map[string]any) {
	t.Helper()
	if got, _ := r.tool(t, "tunnel_close", profile, map[string]any{"tunnel_id": data["tunnel_id"]}); got.code != "" {
		t.Errorf("tunnel_close: %+v", got)
	}
}

// atRest waits until the server holds nothing of what it did: no lease but idle SFTP sessions, no call, no tunnel, and, once the connections are cut, no more
// goroutines than after the first cell.
func (r *rig) atRest(t *testing.T) {
	t.Helper()
	r.wire.now(cuts)
	defer r.wire.heal(t)
	var last *server.StatsData
	steady, before := 0, 0
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		last = r.stats(t)
		if last.Pool.Leased == 0 && last.Pool.Waiting == 0 && last.Pool.Held == 0 && last.Running == 0 && last.Waiting == 0 && last.Tunnels == 0 {
			if last.Goroutines != before {
				steady, before = 0, last.Goroutines
			}
			if steady++; r.base == 0 && steady == 20 {
				r.base = before
			}
			if r.base > 0 && last.Goroutines <= r.base+2 {
				return
			}
		}
	}
	t.Errorf("the server holds on to something: %d goroutines, %d at rest; running %d, tunnels %d, pool %+v", last.Goroutines, r.base, last.Running, last.Tunnels, last.Pool)
}

// signal sends the server a signal.
func (r *rig) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	must(t, syscall.Kill(r.pid, s))
}

// descriptors lets the server open no more files, or as many as it may again.
func (r *rig) descriptors(t *testing.T, starve bool) {
	t.Helper()
	var old unix.Rlimit
	must(t, unix.Prlimit(r.pid, unix.RLIMIT_NOFILE, nil, &old))
	next := unix.Rlimit{Cur: old.Max, Max: old.Max}
	if starve {
		next.Cur = 3 // what is open stays so
	}
	must(t, unix.Prlimit(r.pid, unix.RLIMIT_NOFILE, &next, nil))
}

// among reports whether a code is one of the wanted, which are written apart by spaces; "ok" is success.
func among(code server.Code, want string) bool {
	if code == "" {
		code = "ok"
	}
	return slices.Contains(strings.Fields(want), string(code))
}
