//go:build (proof || realssh) && linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/server"
)

// operation is something that a client has the server do.
type operation struct {
	name    string
	payload int // direction of its bytes; -1 for few
	files   int // that it makes on the host
	do      func(t *testing.T, r *rig, profile string) answer
	lead    func(t *testing.T, r *rig, profile string) // leads up to it while all is well; nil is nothing
	end     func(t *testing.T, r *rig, profile string) // takes that back
}

// deadline is when the operation must have ended.
func (o operation) deadline() time.Duration { return patience + slack }

// uses reports whether the operation is the use of a tunnel.
func (o operation) uses() bool { return o.lead != nil }

var operations = []operation{
	{name: "ssh_exec", payload: -1, do: doExec},
	{name: "sftp upload", payload: up, files: 1, do: func(t *testing.T, r *rig, profile string) answer {
		got, _ := r.tool(t, "sftp_transfer", profile, map[string]any{"direction": "upload", "local_path": r.local("file"), "remote_path": r.host.remote(profile + "-file"), "checksum": true})
		return got
	}},
	{name: "sftp download", payload: down, do: doDownload},
	{name: "sftp tree", payload: up, files: treeFiles, do: func(t *testing.T, r *rig, profile string) answer {
		got, data := r.tool(t, "sftp_transfer", profile, map[string]any{"direction": "upload", "recursive": true, "local_path": r.local("tree"), "remote_path": r.host.remote(profile + "-tree")})
		if got.code == "" && data["files"] != float64(treeFiles) {
			t.Errorf("tree: %v", data)
		}
		return got
	}},
	{name: "rsync push", payload: up, files: treeFiles, do: func(t *testing.T, r *rig, profile string) answer {
		r.cells++ // a destination of its own, since what is there already is not copied again
		got, _ := r.tool(t, "rsync_sync", profile, map[string]any{"direction": "push", "source": r.local("tree"), "dest": r.host.remote(fmt.Sprint(profile, "-sync-", r.cells)),
			"engine": "sftp", "dry_run": false, "timeout_seconds": patience.Seconds()})
		return got
	}},
	{name: "rsync pull", payload: down, do: doPull},
	{name: "tunnel_create", payload: -1, do: func(t *testing.T, r *rig, profile string) answer {
		got, data := r.tool(t, "tunnel_create", profile, r.tunnel("remote"))
		if got.code == "" {
			r.closeTunnel(t, profile, fmt.Sprint(data["tunnel_id"]))
		}
		return got
	}},
	{name: "tunnel use", payload: up, do: useTunnel, lead: openLocal, end: closeLocal},
}

func doExec(t *testing.T, r *rig, profile string) answer {
	got, data := r.tool(t, "ssh_exec", profile, map[string]any{"command": r.host.command(profile), "timeout_seconds": patience.Seconds()})
	if got.code == "" && data["stdout"] != "done\n" {
		t.Errorf("ssh_exec says %v", data)
	}
	return got
}

func doDownload(t *testing.T, r *rig, profile string) answer {
	to, err := os.MkdirTemp(r.into, "got")
	must(t, err)
	defer os.RemoveAll(to)
	name := filepath.Join(to, "file")
	got, _ := r.tool(t, "sftp_transfer", profile, map[string]any{"direction": "download", "remote_path": r.host.remote("source"), "local_path": name})
	data, err := os.ReadFile(name)
	if whole := err == nil && len(data) == payload; whole != (got.code == "") {
		t.Errorf("download answers %+v, and %d bytes are there (%v)", got, len(data), err)
	}
	noParts(t, to)
	return got
}

func doPull(t *testing.T, r *rig, profile string) answer {
	to, err := os.MkdirTemp(r.into, "pulled")
	must(t, err)
	defer os.RemoveAll(to)
	got, _ := r.tool(t, "rsync_sync", profile, map[string]any{"direction": "pull", "source": r.host.remote("source-tree"), "dest": to, "engine": "sftp", "dry_run": false,
		"timeout_seconds": patience.Seconds()})
	entries, err := os.ReadDir(to)
	must(t, err)
	if got.code == "" && len(entries) != treeFiles {
		t.Errorf("success, and %d files are there", len(entries))
	}
	for _, e := range entries {
		if data, err := os.ReadFile(filepath.Join(to, e.Name())); err == nil && e.Name()[0] != '.' && string(data) != treeFile {
			t.Errorf("%s has its name and is not whole: %d bytes", e.Name(), len(data))
		}
	}
	noParts(t, to)
	return got
}

// noParts wants no temporary file left in a folder of this machine.
func noParts(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			t.Errorf("%s is left", e.Name())
		}
	}
}

// openLocal opens the tunnel that the cell uses.
func openLocal(t *testing.T, r *rig, profile string) {
	got, data := r.tool(t, "tunnel_create", profile, r.tunnel("local"))
	if got.code != "" {
		t.Fatalf("before the fault, tunnel_create: %+v", got)
	}
	port, _ := data["listen_port"].(float64)
	r.tunnels[profile] = openedTunnel{fmt.Sprint(data["tunnel_id"]), net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port)))}
}

func closeLocal(t *testing.T, r *rig, profile string) {
	r.closeTunnel(t, profile, r.tunnels[profile].id)
	delete(r.tunnels, profile)
}

// useTunnel sends the payload through the tunnel and wants it back. What does not come back whole must have been cut, and the tunnel is not dead.
func useTunnel(t *testing.T, r *rig, profile string) answer {
	tunnel := r.tunnels[profile]
	c, err := net.Dial("tcp", tunnel.addr)
	if errors.Is(err, syscall.ECONNRESET) { // it was accepted, and cut before this side had noticed
		return answer{closedCode, fmt.Sprintf("%v; the tunnel is %s", err, r.tunnelState(t, tunnel.id))}
	}
	if err != nil {
		t.Errorf("the tunnel does not listen any more: %v", err)
		return answer{closedCode, err.Error()}
	}
	defer c.Close()
	must(t, c.SetDeadline(time.Now().Add(patience+slack)))
	sent := bytes.Repeat([]byte("0123456789abcdef"), payload/16)
	go func() {
		if _, err := c.Write(sent); err == nil {
			_ = c.(*net.TCPConn).CloseWrite()
		}
	}()
	back, err := io.ReadAll(c)
	switch {
	case err == nil && bytes.Equal(back, sent):
		return answer{}
	case os.IsTimeout(err):
		return answer{lateCode, err.Error()}
	case !bytes.HasPrefix(sent, back):
		t.Errorf("what came back through the tunnel is not what was sent")
	}
	return answer{closedCode, fmt.Sprintf("%d of %d bytes came back, then %v; the tunnel is %s", len(back), len(sent), err, r.tunnelState(t, tunnel.id))}
}

// tunnelState is what tunnel_list says of a tunnel, with the reason.
func (r *rig) tunnelState(t *testing.T, id string) string {
	t.Helper()
	list := call[server.TunnelListData](t.Context(), t, r.session, "tunnel_list", map[string]any{})
	if list.Data != nil {
		for _, tunnel := range list.Data.Tunnels {
			if tunnel.TunnelID != id {
				continue
			}
			if tunnel.State == "dead" || tunnel.State == "reconnecting" && tunnel.Reason == "" {
				t.Errorf("the tunnel is %s: %q", tunnel.State, tunnel.Reason)
			}
			return strings.TrimSpace(tunnel.State + " " + tunnel.Reason)
		}
	}
	t.Errorf("tunnel %s is not listed: %+v", id, list)
	return "gone"
}

func (r *rig) local(name string) string { return filepath.Join(r.dir, name) }

func (r *rig) tunnel(kind string) map[string]any {
	return map[string]any{"tunnel_type": kind, "target_host": "127.0.0.1", "target_port": r.echo.Addr().(*net.TCPAddr).Port}
}

func (r *rig) closeTunnel(t *testing.T, profile, id string) {
	t.Helper()
	if got, _ := r.tool(t, "tunnel_close", profile, map[string]any{"tunnel_id": id}); got.code != "" {
		t.Errorf("tunnel_close: %+v", got)
	}
}

// among reports whether a code is one of the wanted, which are written apart by spaces; "ok" is success.
func among(code server.Code, want string) bool {
	if code == "" {
		code = "ok"
	}
	return slices.Contains(strings.Fields(want), string(code))
}
