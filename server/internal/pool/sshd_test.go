//go:build realssh

package pool

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/profile"
)

// testUser is a plain user, made where there is none, whose login shell is /bin/sh: a shell with heavy start-up files would be tested too.
// It is not the user of the tests of the programs, which kill all that theirs runs.
const testUser = "openaccess-pool"

// startSSHD starts OpenSSH's server on a loopback port, with extra lines in its configuration, and returns a target of it for testUser. It
// needs root, and Debian's package openssh-server.
func startSSHD(t *testing.T, extra ...string) *profile.Target {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("the tests with a real sshd must run as root")
	}
	makeUser(t)
	dir := t.TempDir()
	if err := errors.Join(os.Chmod(dir, 0o755), os.Chmod(filepath.Dir(dir), 0o755)); err != nil { // sshd reads the keys as the user
		t.Fatal(err)
	}
	hostKey, client := newKey(t, dir, "host"), newKey(t, dir, "client")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().(*net.TCPAddr)
	l.Close()
	config := append([]string{
		"Port " + strconv.Itoa(addr.Port), "ListenAddress 127.0.0.1", "HostKey " + dir + "/host", "AuthorizedKeysFile " + dir + "/client.pub",
		"PidFile none", "UsePAM no", "StrictModes no", "Subsystem sftp internal-sftp",
	}, extra...)
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("config", strings.Join(config, "\n")+"\n")
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil { // where sshd drops its privileges
		t.Fatal(err)
	}
	var log bytes.Buffer
	cmd := exec.Command("/usr/sbin/sshd", "-D", "-e", "-f", filepath.Join(dir, "config"))
	cmd.Stderr, cmd.WaitDelay = &log, time.Second
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v: install Debian's openssh-server", err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("sshd: %s", log.String())
		}
	})
	waitUntil(t, func() bool {
		c, err := net.Dial("tcp", addr.String())
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	return &profile.Target{
		Profile: &profile.Profile{ID: "real"}, Addr: addr.String(), User: testUser, Key: "real",
		Auth: []ssh.AuthMethod{ssh.PublicKeys(client)}, HostKeyCallback: ssh.FixedHostKey(hostKey.PublicKey()),
	}
}

func makeUser(t *testing.T) {
	t.Helper()
	if _, err := user.Lookup(testUser); err == nil {
		return
	}
	// A password that no input matches: without PAM, sshd takes a user who has none for locked.
	if out, err := exec.Command("useradd", "--create-home", "--shell", "/bin/sh", "--password", "*", testUser).CombinedOutput(); err != nil {
		t.Fatalf("useradd: %v: %s", err, out)
	}
}

// newKey makes a key and leaves it in dir, with its public half beside it.
func newKey(t *testing.T, dir, name string) ssh.Signer {
	t.Helper()
	_, key, _ := ed25519.GenerateKey(nil)
	signer, err := ssh.NewSignerFromSigner(key)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		t.Fatal(err)
	}
	for file, data := range map[string][]byte{name: pem.EncodeToMemory(block), name + ".pub": ssh.MarshalAuthorizedKey(signer.PublicKey())} {
		mode := fs.FileMode(0o600)
		if strings.HasSuffix(file, ".pub") {
			mode = 0o644
		}
		if err := os.WriteFile(filepath.Join(dir, file), data, mode); err != nil {
			t.Fatal(err)
		}
	}
	return signer
}

// openConns counts the TCP connections that a pool holds open.
type openConns struct {
	mu        sync.Mutex
	now, most int
}

// dial is a Config.Dial.
func (o *openConns) dial(ctx context.Context, t *profile.Target) (net.Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", t.Addr)
	if err != nil {
		return nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.now++
	o.most = max(o.most, o.now)
	return &countedConn{Conn: c, conns: o}, nil
}

// countedConn counts until it is closed.
type countedConn struct {
	net.Conn
	conns *openConns
	once  sync.Once
}

func (c *countedConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() {
		c.conns.mu.Lock()
		defer c.conns.mu.Unlock()
		c.conns.now--
	})
	return err
}

// callMany has 64 callers run three commands each at the targets, and wants every one to succeed, with no more connections than limit.
func callMany(t *testing.T, cfg Config, targets []*profile.Target, limit int) Stats {
	t.Helper()
	var conns openConns
	cfg.Dial = conns.dial
	p := New(cfg)
	defer p.Close()
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			for n := range 3 {
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
				word := fmt.Sprintf("%d-%d", i, n)
				if out, err := run(ctx, p, targets[i%len(targets)], "echo "+word); err != nil || out != word+"\n" {
					t.Errorf("%s: got %q, %v", word, out, err)
				}
				cancel()
			}
		})
	}
	wg.Wait()
	if conns.most == 0 || conns.most > limit {
		t.Errorf("%d connections at once, at most %d are allowed", conns.most, limit)
	}
	s := p.Stats()
	if s.Leased != 0 || s.Waiting != 0 || s.BreakersOpen != 0 {
		t.Errorf("stats %+v", s)
	}
	t.Logf("%d connections at once, %d channels refused, %d dials, %d in vain", conns.most, s.Refused, s.Dials+s.DialFailures, s.DialFailures)
	return s
}

func TestRealMaxSessions(t *testing.T) {
	target := startSSHD(t, "MaxSessions 2", "MaxStartups 100")
	if s := callMany(t, Config{MaxConns: 10}, []*profile.Target{target}, 10); s.Refused == 0 {
		t.Error("sshd has refused no channel")
	}
}

// TestRealMaxStartups has sshd drop three in ten connections when three have not logged in yet, and all when ten have not.
func TestRealMaxStartups(t *testing.T) {
	target := startSSHD(t, "MaxStartups 3:30:10")
	t.Run("one target", func(t *testing.T) {
		callMany(t, Config{MaxConns: 10, ChannelsPerConn: 2}, []*profile.Target{target}, 10)
	})
	t.Run("many targets", func(t *testing.T) {
		var targets []*profile.Target
		for i := range 32 {
			each := *target
			each.Key = fmt.Sprint("real-", i)
			targets = append(targets, &each)
		}
		callMany(t, Config{MaxConns: 2}, targets, 64)
	})
}
