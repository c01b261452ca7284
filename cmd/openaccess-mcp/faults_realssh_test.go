//go:build realssh && linux

package main

import (
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/openaccess-mcp/openaccess-mcp/server"
)

// TestFaultsOfSSHD has the operations meet the faults in front of OpenSSH's sshd, and those that it alone has. With PROOF=whole it makes all cells. The table
// goes to PROOF_DIR, where that is set.
func TestFaultsOfSSHD(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("the tests with a real sshd make a user and so must run as root")
	}
	var host *realHost
	r := newRig(t, func(dir string) faultHost { host = newRealHost(t, dir); return host })
	outcomes := runFaults(t, r, slices.Concat(sshdFaults(host), faultTable), wholeFaults())
	keepReport(t, "faults-sshd.txt", faultReport("OpenSSH's sshd, "+host.disk(), r, outcomes))
}

// sshdFaults are those that sshd alone has.
func sshdFaults(h *realHost) []fault {
	kill := func(t *testing.T, _ *rig, _ operation, _ string) { h.killSessions(t) }
	stop := func(t *testing.T, _ *rig, _ operation, _ string) { h.signal(t, syscall.SIGSTOP) }
	goOn := func(t *testing.T, _ *rig, _ operation, _ string) { h.signal(t, syscall.SIGCONT) }
	restart := func(change func()) strike {
		return func(t *testing.T, r *rig, _ operation, _ string) {
			h.kill(t)
			change()
			h.revive(t)
			r.unconnected(t)
		}
	}
	oneFile := func(o operation) bool { return isExec(o) || strings.HasSuffix(o.name, "load") }
	return []fault{
		{name: "session killed", moment: "channel open", warm: true, strike: kill, want: "ok " + unsure},
		{name: "session killed", moment: "mid-transfer", warm: true, of: moves, want: "ok " + unsure, short: true,
			strike: func(t *testing.T, r *rig, o operation, _ string) {
				r.wire.arm(o.payload, payload/2, passes, func() { h.killSessions(t) })
			}},
		{name: "session killed", moment: "after start", warm: true, started: true, of: isExec, strike: kill, want: "OUTCOME_UNKNOWN", short: true},
		{name: "stopped", moment: "channel open", warm: true, strike: stop, mend: goOn, want: unsure},
		{name: "stopped", moment: "after start", warm: true, started: true, of: isExec, strike: stop, mend: goOn, want: "OUTCOME_UNKNOWN", short: true},
		{name: "stopped and continued", moment: "after start", warm: true, started: true, of: isExec, want: "ok", short: true,
			strike: func(t *testing.T, r *rig, o operation, p string) { stop(t, r, o, p); goOn(t, r, o, p) }},
		{name: "wrong key after a restart", moment: "before dial", warm: true, want: "HOST_KEY_MISMATCH", short: true,
			of:     func(o operation) bool { return !o.uses() },
			strike: restart(func() { h.hostKey = "other" }), mend: restart(func() { h.hostKey = "host" })},
		{name: "key removed", moment: "before dial", want: "AUTHENTICATION_FAILED", short: true,
			strike: func(t *testing.T, _ *rig, _ operation, _ string) { h.admit(t, false) },
			mend:   func(t *testing.T, _ *rig, _ operation, _ string) { h.admit(t, true) }},
		{name: "key removed", moment: "channel open", warm: true, want: "ok",
			strike: func(t *testing.T, _ *rig, _ operation, _ string) { h.admit(t, false) },
			mend:   func(t *testing.T, _ *rig, _ operation, _ string) { h.admit(t, true) }},
		{name: "MaxSessions 1", moment: "3 at once", times: 3, of: oneFile, want: "ok", short: true,
			strike: restart(func() { h.sessions = 1 }), mend: restart(func() { h.sessions = 10 })},
	}
}

// realHost is sshd as a faultHost.
type realHost struct {
	peer                // in the rig's folder
	keys     string     // folder of the keys and of what sshd and its sessions write and read
	far      string     // what is stored on the host; a file system of its own where this machine lets one be mounted
	uid      int        // of faultsUser
	mounted  bool       // far is
	mountErr error      // why it is not
	hostKey  string     // name of the file
	extra    []string   // of the configuration
	sessions int        // MaxSessions
	mu       sync.Mutex // guards cmd
	cmd      *exec.Cmd  // nil while it is dead
}

// faultsUser is who logs in: another user than that of the other tests, whose processes they end.
const faultsUser = "openaccess-faults"

// farSize is the room on the host, in bytes.
const farSize = 32 << 20

func newRealHost(t *testing.T, dir string) *realHost {
	makeUser(t, faultsUser)
	h := &realHost{peer: newPeer(t, faultsUser), hostKey: "host", sessions: 10}
	h.keys, h.far = h.peer.dir, filepath.Join(h.peer.dir, "far")
	key, err := os.ReadFile(filepath.Join(h.keys, "client"))
	must(t, err)
	_, port, _ := net.SplitHostPort(steadyAddr(t))
	h.peer.port, _ = strconv.Atoi(port)
	h.peer.dir = dir
	h.secret(t, "real", map[string]any{"private_key": string(key)})
	h.admit(t, true)
	for _, name := range []string{"host", "other"} {
		command(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(h.keys, name))
	}
	hostKey, err := os.ReadFile(filepath.Join(h.keys, "host.pub"))
	must(t, err)
	h.peer.hostKey = strings.TrimSpace(string(hostKey))
	must(t, os.MkdirAll("/run/sshd", 0o755)) // where sshd drops its privileges
	h.makeFar(t)
	write(t, h.log("sftp"), "", 0o666)
	must(t, os.Chmod(h.log("sftp"), 0o666))
	// A small file limit stands for a full disk where none can be mounted.
	write(t, filepath.Join(h.keys, "sftp.sh"), fmt.Sprintf("[ ! -e %[1]s/full ] || { trap '' XFSZ; ulimit -f %[2]d; }\nexec /usr/lib/openssh/sftp-server -e -l INFO 2>>%[1]s/sftp.log\n",
		h.keys, payload/2/512), 0o644)
	h.pardon(t)
	h.revive(t)
	t.Cleanup(func() { h.kill(t) })
	return h
}

// pardon has an sshd that knows penalties for clients that fail impose none.
func (h *realHost) pardon(t *testing.T) {
	const line = "PerSourcePenalties no"
	file := filepath.Join(h.keys, "pardon")
	write(t, file, line+"\nHostKey "+filepath.Join(h.keys, "host")+"\n", 0o600)
	if exec.Command(sshdPath(), "-t", "-f", file).Run() == nil {
		h.extra = append(h.extra, line)
	}
}

func sshdPath() string {
	if path, err := exec.LookPath("sshd"); err == nil {
		return path
	}
	return "/usr/sbin/sshd" // not on every user's PATH
}

// makeFar makes the folder of what is stored on the host, with what is fetched from it.
func (h *realHost) makeFar(t *testing.T) {
	must(t, os.Mkdir(h.far, 0o755))
	of, err := user.Lookup(faultsUser)
	must(t, err)
	h.uid, err = strconv.Atoi(of.Uid)
	must(t, err)
	h.mountErr = unix.Mount("tmpfs", h.far, "tmpfs", 0, fmt.Sprintf("size=%d", farSize))
	if h.mounted = h.mountErr == nil; h.mounted {
		t.Cleanup(func() { _ = unix.Unmount(h.far, unix.MNT_DETACH) })
	} else {
		t.Logf("no file system can be mounted (%v): a limit on the size of files stands for a full disk", h.mountErr)
	}
	must(t, os.Mkdir(h.remote("source-tree"), 0o755))
	write(t, h.remote("source"), strings.Repeat("x", payload), 0o644)
	for i := range treeFiles {
		write(t, filepath.Join(h.remote("source-tree"), fmt.Sprint(i)), treeFile, 0o644)
	}
	must(t, os.Chown(h.far, h.uid, -1))
}

// disk says what a full disk is in the report.
func (h *realHost) disk() string {
	if h.mounted {
		return "whose full disk is a file system of its own"
	}
	return fmt.Sprintf("whose full disk is a limit on the size of files, since none can be mounted (%v)", h.mountErr)
}

func (h *realHost) log(of string) string { return filepath.Join(h.keys, of+".log") }

func (h *realHost) address() string { return h.addr() }

// profile also removes what earlier cells have stored.
func (h *realHost) profile(t *testing.T, _, id string, port int, goodKey bool) {
	old, err := filepath.Glob(h.remote("cell-*"))
	must(t, err)
	for _, name := range old {
		if !strings.HasPrefix(filepath.Base(name), id+"-") {
			must(t, os.RemoveAll(name))
		}
	}
	change := map[string]any{"port": port}
	if !goodKey {
		change["host_key"] = strangersKey(t)
	}
	h.peer.profile(t, id, change)
}

func (h *realHost) remote(name string) string { return filepath.Join(h.far, name) }

func (h *realHost) command(id string) string {
	return fmt.Sprintf("echo >> %s; while [ -e %s ]; do sleep 0.05; done; echo done", h.remote(id+"-begun"), filepath.Join(h.keys, "hold"))
}

func (h *realHost) greedy() string {
	return fmt.Sprintf("yes | head -c %d; exec sleep 600", greed)
}

func (h *realHost) hold(t *testing.T) { write(t, filepath.Join(h.keys, "hold"), "", 0o644) }

func (h *realHost) release(t *testing.T) { must(t, os.Remove(filepath.Join(h.keys, "hold"))) }

func (h *realHost) begun(id string) int {
	info, err := os.Stat(h.remote(id + "-begun"))
	if err != nil {
		return 0
	}
	return int(info.Size())
}

func (h *realHost) did(t *testing.T, id string) deeds {
	d := deeds{begun: h.begun(id)}
	sftp, err := os.ReadFile(h.log("sftp"))
	must(t, err)
	for line := range strings.Lines(string(sftp)) {
		switch {
		case strings.Contains(line, "rename old "):
			d.renamed++
		case strings.HasPrefix(line, "open ") && strings.Contains(line, "CREATE"):
			d.created++
		}
	}
	sshd, err := os.ReadFile(h.log("sshd"))
	must(t, err)
	d.listened = strings.Count(string(sshd), "tcpip-forward listen ")
	d.forwarded = strings.Count(string(sshd), "server_request_direct_tcpip: originator ")
	return d
}

// fill leaves room for half the payload.
func (h *realHost) fill(t *testing.T, r *rig) {
	if !h.mounted {
		write(t, filepath.Join(h.keys, "full"), "", 0o644)
		h.killSessions(t) // the limit is for new ones
		r.unconnected(t)
		return
	}
	var v unix.Statfs_t
	must(t, unix.Statfs(h.far, &v))
	write(t, h.remote("filler"), strings.Repeat("x", int(v.Bavail)*int(v.Bsize)-payload/2), 0o644)
}

func (h *realHost) drain(t *testing.T) {
	if h.mounted {
		must(t, os.Remove(h.remote("filler")))
		return
	}
	must(t, os.Remove(filepath.Join(h.keys, "full")))
	h.killSessions(t)
}

// fullCode is that of an unknown failure where a limit stands for the full disk, of which SFTP says no more.
func (h *realHost) fullCode() server.Code {
	if h.mounted {
		return full
	}
	return server.CodeInternalError
}

// admit has the client's key be accepted, or not.
func (h *realHost) admit(t *testing.T, admit bool) {
	keys := ""
	if admit {
		data, err := os.ReadFile(filepath.Join(h.keys, "client.pub"))
		must(t, err)
		keys = string(data)
	}
	write(t, filepath.Join(h.keys, "authorized"), keys, 0o644)
}

func (h *realHost) revive(t *testing.T) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.cmd != nil {
		return
	}
	config := []string{
		"Port " + strconv.Itoa(h.port), "ListenAddress 127.0.0.1", "HostKey " + filepath.Join(h.keys, h.hostKey), "AuthorizedKeysFile " + filepath.Join(h.keys, "authorized"),
		"PidFile none", "UsePAM no", "StrictModes no", "PasswordAuthentication no", "LogLevel DEBUG1", "MaxStartups 100", "MaxSessions " + strconv.Itoa(h.sessions),
		"Subsystem sftp /bin/sh " + filepath.Join(h.keys, "sftp.sh"),
	}
	file := filepath.Join(h.keys, "sshd_config")
	write(t, file, strings.Join(append(config, h.extra...), "\n")+"\n", 0o600)
	log, err := os.OpenFile(h.log("sshd"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	must(t, err)
	defer log.Close()
	cmd := exec.Command(sshdPath(), "-D", "-e", "-f", file)
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v: install Debian's openssh-server", err)
	}
	h.cmd = cmd
	for deadline := time.Now().Add(soon); ; time.Sleep(10 * time.Millisecond) {
		c, err := net.Dial("tcp", h.addr())
		if err == nil {
			c.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("sshd does not listen: %v, see %s", err, h.log("sshd"))
		}
	}
}

// kill ends the listener and the processes of all its connections at once, as a crash of the machine would.
func (h *realHost) kill(t *testing.T) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.cmd == nil {
		return
	}
	all := descendants(t, h.cmd.Process.Pid)
	_ = h.cmd.Process.Kill()
	for _, first := range []bool{true, false} { // those who would tell their clients of the end of the others
		for pid, p := range all {
			if p.isSSHD() == first {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
	}
	_ = h.cmd.Wait()
	h.cmd = nil
}

// killSessions ends sshd's processes of all connections, and leaves the listener and the commands.
func (h *realHost) killSessions(t *testing.T) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.cmd == nil {
		return
	}
	for pid, p := range descendants(t, h.cmd.Process.Pid) {
		if p.isSSHD() {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

// signal stops the listener and the processes of all connections, or has them go on, and waits until they do. A shell whose child is stopped before it has
// become another program waits for it in the kernel (vfork(2)) and stops after that.
func (h *realHost) signal(t *testing.T, s syscall.Signal) {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := append(slices.Collect(maps.Keys(descendants(t, h.cmd.Process.Pid))), h.cmd.Process.Pid)
	for _, pid := range all {
		_ = syscall.Kill(pid, s)
	}
	heeds := func(p hostProcess) bool {
		if s == syscall.SIGSTOP {
			return strings.ContainsRune("TDZ", rune(p.state))
		}
		return p.state != 'T'
	}
	for deadline := time.Now().Add(soon); slices.ContainsFunc(all, func(pid int) bool {
		p, there := processes(t)[pid]
		return there && !heeds(p)
	}); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("sshd's processes do not heed %v", s)
		}
	}
}

// quiet waits until no connection is served, and nothing of the user runs.
func (h *realHost) quiet(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(soon); ; time.Sleep(10 * time.Millisecond) {
		left := descendants(t, h.cmd.Process.Pid)
		for pid, p := range processes(t) {
			if p.uid == h.uid && p.state != 'Z' {
				left[pid] = p
			}
		}
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("processes of connections that have ended are left: %+v", left)
			return
		}
	}
}
