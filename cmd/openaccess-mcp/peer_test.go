//go:build realssh || containers || proof

package main

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/openaccess-mcp/openaccess-mcp/server"
)

// peer is a real SSH server on a loopback port, with the profiles and secrets that name it.
type peer struct {
	dir     string // profiles/, secrets/, the key pair client and client.pub
	port    int
	user    string
	hostKey string // as in authorized_keys
}

// newPeer makes the folders, a client's key pair and the secret "real"; the profile comes when the host key is known.
func newPeer(t *testing.T, user string) peer {
	t.Helper()
	dir, err := os.MkdirTemp("", "peer") // t.TempDir is closed to others, and sshd reads the authorized keys as the user
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	p := peer{dir: dir, port: freePort(t), user: user}
	must(t, os.Chmod(dir, 0o755))
	must(t, os.MkdirAll(filepath.Join(dir, "profiles"), 0o755))
	must(t, os.MkdirAll(filepath.Join(dir, "secrets"), 0o700))
	command(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(dir, "client"))
	key, err := os.ReadFile(filepath.Join(dir, "client"))
	must(t, err)
	p.secret(t, "real", map[string]any{"private_key": string(key)})
	return p
}

func (p *peer) addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(p.port)) }

func (p *peer) secret(t *testing.T, ref string, fields map[string]any) {
	t.Helper()
	data, err := json.Marshal(fields)
	must(t, err)
	write(t, filepath.Join(p.dir, "secrets", ref+".json"), string(data), 0o600)
}

// profile writes the profile id of this server with some fields changed.
func (p *peer) profile(t *testing.T, id string, change map[string]any) {
	t.Helper()
	fields := map[string]any{
		"id": id, "host": "127.0.0.1", "port": p.port, "username": p.user, "protocols": []string{"ssh", "sftp", "rsync", "tunnel"},
		"auth": map[string]any{"type": "file_ref", "ref": "real"}, "host_key": p.hostKey,
		"policy": map[string]any{"max_concurrent_sessions": 100, "local_roots": []string{".", p.dir}},
	}
	for k, v := range change {
		fields[k] = v
	}
	data, err := json.Marshal(fields)
	must(t, err)
	write(t, filepath.Join(p.dir, "profiles", id+".json"), string(data), 0o600)
}

// session starts the program on the peer's profiles and connects to it over stdio.
func (p *peer) session(t *testing.T) *mcp.ClientSession {
	t.Helper()
	cmd := program("serve", "--profiles", filepath.Join(p.dir, "profiles"), "--secrets", filepath.Join(p.dir, "secrets"))
	session, err := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil).Connect(t.Context(), &mcp.CommandTransport{Command: cmd}, nil)
	must(t, err)
	t.Cleanup(func() {
		if err := session.Close(); err != nil {
			t.Errorf("the server's end: %v", err)
		}
	})
	return session
}

// call calls a tool and decodes its envelope. It reports no protocol error when ctx has ended.
func call[T any](ctx context.Context, t *testing.T, session *mcp.ClientSession, tool string, args map[string]any) server.Envelope[T] {
	t.Helper()
	var env server.Envelope[T]
	result, err := session.CallTool(ctx, &mcp.CallToolParams{Name: tool, Arguments: args})
	if err != nil {
		if ctx.Err() == nil {
			t.Error(err)
		}
		return env
	}
	data, err := json.Marshal(result.StructuredContent)
	must(t, err)
	must(t, json.Unmarshal(data, &env))
	return env
}

func exec1(t *testing.T, session *mcp.ClientSession, profile, command string) server.Envelope[server.ExecData] {
	t.Helper()
	return call[server.ExecData](t.Context(), t, session, "ssh_exec", map[string]any{"profile_id": profile, "command": command})
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func command(t *testing.T, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
	return string(out)
}

func write(t *testing.T, file, data string, mode os.FileMode) {
	t.Helper()
	must(t, os.WriteFile(file, []byte(data), mode))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
