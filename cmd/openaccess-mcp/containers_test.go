//go:build containers

package main

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/testcontainers/testcontainers-go"
	tcexec "github.com/testcontainers/testcontainers-go/exec"
	"github.com/testcontainers/testcontainers-go/wait"

	"github.com/openaccess-mcp/openaccess-mcp/server"
)

// dockerfile makes the host: OpenSSH with rsync and a plain user. The base image may bring the packages; else they are installed. Host keys
// are made when a container is created, so a rebuilt one has others.
const dockerfile = `FROM debian:bookworm-slim
RUN command -v /usr/sbin/sshd && command -v rsync || { apt-get update && apt-get install -y --no-install-recommends openssh-server rsync; }
RUN useradd --create-home --shell /bin/sh deploy && usermod --password '*' deploy && mkdir -p /run/sshd && rm -f /etc/ssh/ssh_host_*
COPY client.pub /etc/ssh/authorized_keys
CMD ["sh", "-c", "ssh-keygen -A && exec /usr/sbin/sshd -D -e -o UsePAM=no -o StrictModes=no -o MaxSessions=100 -o AuthorizedKeysFile=/etc/ssh/authorized_keys"]
`

// box is OpenSSH in a container.
type box struct {
	peer
	container *testcontainers.DockerContainer
}

func startBox(t *testing.T) *box {
	t.Helper()
	b := &box{peer: newPeer(t, "deploy")}
	image := t.TempDir()
	write(t, filepath.Join(image, "Dockerfile"), dockerfile, 0o644)
	key, err := os.ReadFile(filepath.Join(b.dir, "client.pub"))
	must(t, err)
	write(t, filepath.Join(image, "client.pub"), string(key), 0o644)
	b.create(t, image)
	b.hostKey = b.shell(t, "cat /etc/ssh/ssh_host_ed25519_key.pub")
	b.profile(t, "real", nil)
	return b
}

// create makes and starts a container of its own at the peer's port, which stays the same when it is stopped and started.
func (b *box) create(t *testing.T, image string) {
	t.Helper()
	ssh := network.MustParsePort("22/tcp")
	c, err := testcontainers.Run(t.Context(), "",
		testcontainers.WithDockerfile(testcontainers.FromDockerfile{Context: image}),
		testcontainers.WithExposedPorts("22/tcp"),
		testcontainers.WithHostConfigModifier(func(h *container.HostConfig) {
			h.PortBindings = network.PortMap{ssh: {{HostIP: netip.MustParseAddr("127.0.0.1"), HostPort: strconv.Itoa(b.port)}}}
		}),
		testcontainers.WithWaitStrategy(wait.ForLog("Server listening").WithStartupTimeout(time.Minute)))
	testcontainers.CleanupContainer(t, c)
	must(t, err)
	b.container = c
}

// shell runs a command in the container, not over SSH.
func (b *box) shell(t *testing.T, line string) string {
	t.Helper()
	code, out, err := b.container.Exec(t.Context(), []string{"sh", "-c", line}, tcexec.Multiplexed())
	must(t, err)
	text, err := io.ReadAll(out)
	must(t, err)
	if code != 0 {
		t.Fatalf("%s: exit code %d: %s", line, code, text)
	}
	return strings.TrimSpace(string(text))
}

func (b *box) stop(t *testing.T) {
	t.Helper()
	grace := time.Duration(0)
	must(t, b.container.Stop(t.Context(), &grace))
}

// awaitBanner waits until sshd itself answers: Docker accepts connections before.
func (b *box) awaitBanner(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if c, err := net.Dial("tcp", b.addr()); err == nil {
			n, _ := c.Read(make([]byte, 4))
			c.Close()
			if n > 0 {
				return
			}
		}
		if time.Now().After(deadline) {
			t.Fatal("no banner within 30 s of the start")
		}
	}
}

func mustExec(t *testing.T, session *mcp.ClientSession, command, want string) {
	t.Helper()
	if e := exec1(t, session, "real", command); e.Data == nil || e.Data.Stdout != want {
		t.Errorf("%s: %+v, want %q", command, e, want)
	}
}

func TestContainerTools(t *testing.T) {
	b := startBox(t)
	session := b.session(t)
	mustExec(t, session, "id -un", "deploy\n")

	write(t, filepath.Join(b.dir, "in"), strings.Repeat("0123456789", 100_000), 0o600)
	up := call[server.TransferData](t.Context(), t, session, "sftp_transfer", map[string]any{
		"profile_id": "real", "direction": "upload", "local_path": filepath.Join(b.dir, "in"), "remote_path": "up/file", "checksum": true})
	if up.Data == nil || up.Data.BytesTransferred != 1_000_000 {
		t.Fatalf("upload: %+v", up)
	}
	if sum := b.shell(t, "sha256sum < /home/deploy/up/file"); "sha256:"+strings.Fields(sum)[0] != up.Data.Checksum {
		t.Errorf("the container has %s, want %s", sum, up.Data.Checksum)
	}
	down := call[server.TransferData](t.Context(), t, session, "sftp_transfer", map[string]any{
		"profile_id": "real", "direction": "download", "local_path": filepath.Join(b.dir, "out"), "remote_path": "up/file"})
	if down.Data == nil || down.Data.Checksum != up.Data.Checksum {
		t.Errorf("download: %+v", down)
	}
	b.sync(t, session)
	b.tunnel(t, session)
}

// sync pushes a tree with each engine, changes it, and pulls it back.
func (b *box) sync(t *testing.T, session *mcp.ClientSession) {
	t.Helper()
	for _, engine := range []string{"sftp", "rsync"} {
		from, back := filepath.Join(b.dir, "from-"+engine), filepath.Join(b.dir, "back-"+engine)
		for i := range 20 {
			must(t, os.MkdirAll(filepath.Join(from, "sub dir"), 0o755))
			write(t, filepath.Join(from, "sub dir", fmt.Sprintf("-file 'ü' %d", i)), strings.Repeat("x", i*1000), 0o640)
		}
		run := func(direction, source, dest string) *server.SyncData {
			e := call[server.SyncData](t.Context(), t, session, "rsync_sync", map[string]any{
				"profile_id": "real", "direction": direction, "source": source, "dest": dest, "engine": engine, "dry_run": false})
			if e.Data == nil || e.Data.Engine != engine || e.Data.Status != "completed" {
				t.Fatalf("%s %s: %+v", engine, direction, e)
			}
			return e.Data
		}
		if d := run("push", from, "tree-"+engine); d.FilesTransferred != 20 {
			t.Errorf("%s: %d files went", engine, d.FilesTransferred)
		}
		if d := run("push", from, "tree-"+engine); d.FilesTransferred != 0 {
			t.Errorf("%s: %d files went again", engine, d.FilesTransferred)
		}
		run("pull", "tree-"+engine, back)
		command(t, "diff", "-r", from, back)
		if mode := b.shell(t, "stat -c %a /home/deploy/tree-"+engine+"/'sub dir'/* | sort -u"); mode != "640" {
			t.Errorf("%s: modes %q", engine, mode)
		}
	}
}

// tunnel reaches the container's sshd through a tunnel to itself.
func (b *box) tunnel(t *testing.T, session *mcp.ClientSession) {
	t.Helper()
	e := call[server.TunnelData](t.Context(), t, session, "tunnel_create", map[string]any{
		"profile_id": "real", "tunnel_type": "local", "target_host": "127.0.0.1", "target_port": 22})
	if e.Data == nil {
		t.Fatalf("tunnel_create: %+v", e)
	}
	c, err := net.Dial("tcp", net.JoinHostPort(e.Data.ListenHost, strconv.Itoa(e.Data.ListenPort)))
	must(t, err)
	defer c.Close()
	banner := make([]byte, 4)
	if _, err := io.ReadFull(c, banner); err != nil || string(banner) != "SSH-" {
		t.Errorf("through the tunnel came %q, %v", banner, err)
	}
	closed := call[server.TunnelClosedData](t.Context(), t, session, "tunnel_close", map[string]any{"tunnel_id": e.Data.TunnelID})
	if !closed.Success {
		t.Errorf("tunnel_close: %+v", closed)
	}
}

// TestContainerStopped stops the container under a command and starts it again.
func TestContainerStopped(t *testing.T) {
	b := startBox(t)
	session := b.session(t)
	mustExec(t, session, "echo one", "one\n")
	done := make(chan server.Envelope[server.ExecData], 1)
	go func() { done <- exec1(t, session, "real", "touch /tmp/began; sleep 4713") }()
	b.shell(t, "until test -e /tmp/began; do sleep 0.1; done")
	b.stop(t)
	if e := <-done; e.Metadata.ErrorCode != server.CodeOutcomeUnknown {
		t.Errorf("under the stop: %+v", e)
	}
	if e := exec1(t, session, "real", "true"); e.Metadata.ErrorCode != server.CodeConnectionFailed {
		t.Errorf("while it is stopped: %+v", e)
	}
	must(t, b.container.Start(t.Context()))
	b.awaitBanner(t)
	mustExec(t, session, "echo two", "two\n")
}

// TestContainerRebuilt puts another container, with other host keys, in the first one's place.
func TestContainerRebuilt(t *testing.T) {
	b := startBox(t)
	session := b.session(t)
	mustExec(t, session, "echo one", "one\n")
	must(t, b.container.Terminate(t.Context()))
	image := t.TempDir()
	write(t, filepath.Join(image, "Dockerfile"), dockerfile, 0o644)
	key, err := os.ReadFile(filepath.Join(b.dir, "client.pub"))
	must(t, err)
	write(t, filepath.Join(image, "client.pub"), string(key), 0o644)
	b.create(t, image)
	e := exec1(t, session, "real", "echo two")
	if e.Metadata.ErrorCode != server.CodeHostKeyMismatch || !strings.Contains(e.Error, "SHA256:") {
		t.Errorf("with other host keys: %+v", e)
	}
	b.hostKey = b.shell(t, "cat /etc/ssh/ssh_host_ed25519_key.pub")
	b.profile(t, "real", map[string]any{"description": fmt.Sprint("its new key is trusted since ", time.Now())})
	time.Sleep(1500 * time.Millisecond) // a changed profile is noticed within about a second
	mustExec(t, session, "echo three", "three\n")
}
