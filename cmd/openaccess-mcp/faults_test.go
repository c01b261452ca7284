//go:build (proof || realssh) && linux

package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
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
	greedy() string                                               // writes greed bytes and then waits for a signal
	begun(id string) int
	did(t *testing.T, id string) deeds
	hold(t *testing.T)
	release(t *testing.T)
	fill(t *testing.T, r *rig) // its disk, until drain
	drain(t *testing.T)
	fullCode() server.Code // what a full disk is told to clients
	kill(t *testing.T)
	revive(t *testing.T)
	quiet(t *testing.T) // waits until it works for nobody
	remote(name string) string
}

// deeds are what a host did so far.
type deeds struct {
	begun     int // commands of a profile that began
	created   int // files opened anew
	renamed   int // files that got their name
	listened  int // addresses listened on for tunnels
	forwarded int // connections made for tunnels
}

func (d deeds) since(b deeds) deeds {
	return deeds{d.begun - b.begun, d.created - b.created, d.renamed - b.renamed, d.listened - b.listened, d.forwarded - b.forwarded}
}

// answer is what became of an operation: a code of the server's, empty for success, and what it said.
type answer struct {
	code server.Code
	said string
}

// Codes that are no tool's.
const (
	closedCode = "closed"    // a connection through a tunnel ended
	lateCode   = "LATE"      // no answer within the deadline
	noneCode   = "not tried" // this machine does not let the fault be made
)

// Times, none of which a sound server comes near to on a machine that has something to do besides.
const (
	patience = 30 * time.Second // what the calls may take, as the server is told
	slack    = 60 * time.Second // by which an answer may be later than that
	soon     = 90 * time.Second // within which what should happen does
)

const (
	payload   = 1 << 20  // bytes that a transfer moves
	greed     = 48 << 20 // bytes of output that leave the server too little memory
	scarce    = 64       // MiB of memory that it may use then
	plenty    = 1024     // and else
	treeFiles = 16
)

// rig is one server, one host, and the wire between them.
type rig struct {
	host    faultHost
	wire    *wire
	dir     string // profiles, secrets, config.yaml and local files
	into    string // where downloads go
	session *mcp.ClientSession
	pid     int
	cells   int
	before  *resting // the server at rest, as the first cell leaves it; nil before
	after   resting  // as the latest leaves it
	echo    net.Listener
	tunnels map[string]openedTunnel // of the cell, by profile
	sate    func()                  // ends the call that takes the server's memory
}

// openedTunnel is one that a cell uses.
type openedTunnel struct{ id, addr string }

const rigConfig = `profiles: %[1]s/profiles
secrets: %[1]s/secrets
audit: {path: %[1]s/audit.db}
log_level: error
resource_limits: {max_memory_mb: %[2]d}
connection_pooling: {connection_timeout: 5, keepalive_interval: 0.5, keepalive_timeout: 3, probe_interval: 0.5}
`

// silence is for how long the server of rigConfig waits for a host that says nothing.
const silence = 3500 * time.Millisecond

// newRig starts a server in a process of its own. makeHost gets the rig's folder.
func newRig(t *testing.T, makeHost func(dir string) faultHost) *rig {
	dir, err := os.MkdirTemp("", "faults")
	must(t, err)
	t.Cleanup(func() {
		_ = unix.Unmount(filepath.Join(dir, "small"), unix.MNT_DETACH)
		os.RemoveAll(dir)
	})
	must(t, os.Chmod(dir, 0o755))
	for _, sub := range []string{"profiles", "secrets", "tree"} {
		must(t, os.MkdirAll(filepath.Join(dir, sub), 0o700))
	}
	write(t, filepath.Join(dir, "file"), strings.Repeat("0123456789abcdef", payload/16), 0o600)
	for i := range treeFiles {
		write(t, filepath.Join(dir, "tree", fmt.Sprint(i)), treeFile, 0o600)
	}
	r := &rig{host: makeHost(dir), dir: dir, into: dir, echo: echoes(t), tunnels: map[string]openedTunnel{}}
	r.memory(t, plenty)
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

// treeFile is what each file of a tree holds.
var treeFile = strings.Repeat("x", payload/treeFiles)

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

// steadyAddr is a free address of loopback whose port the system gives to nobody by itself, so that it can be listened on again and again.
func steadyAddr(t *testing.T) string {
	t.Helper()
	for range 1000 {
		addr := fmt.Sprintf("127.0.0.1:%d", 20000+rand.IntN(12000))
		l, err := net.Listen("tcp", addr)
		if err != nil {
			continue
		}
		l.Close()
		if p, err := net.ListenPacket("udp", addr); err == nil {
			p.Close()
			return addr
		}
	}
	t.Fatal("no port from 20000 to 31999 is free")
	return ""
}

func (r *rig) stats(t *testing.T) *server.StatsData {
	t.Helper()
	env := call[server.StatsData](t.Context(), t, r.session, "server_stats", map[string]any{})
	if env.Data == nil {
		t.Fatalf("server_stats: %+v", env)
	}
	return env.Data
}

// tool calls a tool of the profile, which has to answer within the deadline.
func (r *rig) tool(t *testing.T, tool, profile string, args map[string]any) (answer, map[string]any) {
	ctx, cancel := context.WithTimeout(t.Context(), patience+slack)
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

// resting is what a server has open that does nothing.
type resting struct {
	goroutines, descriptors int
	leased, open, tunnels   int
}

func (s resting) String() string {
	return fmt.Sprintf("%d goroutines, %d descriptors, %d connections, %d leases, %d tunnels", s.goroutines, s.descriptors, s.open, s.leased, s.tunnels)
}

// leakRoom is how many more goroutines and descriptors a server at rest may have than it had before.
const leakRoom = 4

// restingNow says what the server has open, and whether it is doing something.
func (r *rig) restingNow(t *testing.T) (s resting, busy bool) {
	d := r.stats(t)
	s = resting{goroutines: d.Goroutines, leased: d.Pool.Leased, open: d.Pool.Open, tunnels: d.Tunnels}
	if d.Process.Descriptors != nil {
		s.descriptors = int(*d.Process.Descriptors)
	}
	return s, s.leased+s.open+s.tunnels+d.Pool.Waiting+d.Pool.Held+d.Running+d.Waiting+d.VPNPeers > 0
}

// atRest cuts the connections and waits until the server holds nothing of what it did: no lease, call, tunnel or WireGuard peer, and no more
// goroutines and descriptors than after the first cell.
func (r *rig) atRest(t *testing.T) {
	t.Helper()
	r.wire.now(cuts)
	defer r.wire.heal(t)
	var now resting
	steady, last := 0, resting{}
	for deadline := time.Now().Add(soon); time.Now().Before(deadline); time.Sleep(25 * time.Millisecond) {
		var busy bool
		if now, busy = r.restingNow(t); busy {
			continue
		}
		if steady++; now != last {
			steady, last = 0, now
		}
		if r.before == nil && steady == 40 {
			r.before = &now
		}
		if r.before != nil && now.goroutines <= r.before.goroutines+leakRoom && now.descriptors <= r.before.descriptors+leakRoom {
			r.after = now
			return
		}
	}
	t.Errorf("the server holds on to something: %v; at rest it had %v; %+v", now, r.before, r.stats(t).Pool)
}

// until waits until the server's figures are as they should be.
func (r *rig) until(t *testing.T, what string, so func(*server.StatsData) bool) {
	t.Helper()
	for deadline := time.Now().Add(soon); !so(r.stats(t)); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, soon)
		}
	}
}

// unconnected waits until the server has no connection any more.
func (r *rig) unconnected(t *testing.T) {
	t.Helper()
	r.until(t, "the server sees that its connections have ended", func(s *server.StatsData) bool { return s.Pool.Open == 0 })
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

// small is a folder of this machine with room for half the payload.
func (r *rig) small() (string, error) {
	dir := filepath.Join(r.dir, "small")
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", payload/2)); err != nil {
		os.Remove(dir)
		return "", fmt.Errorf("a small file system cannot be mounted: %w", err)
	}
	return dir, nil
}
