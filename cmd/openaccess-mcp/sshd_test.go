//go:build realssh

package main

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// sshd is OpenSSH's server on a loopback port with a configuration of its own, and a plain user who may log in. It needs root, and
// Debian's packages openssh-server and openssh-client.
type sshd struct {
	peer
	cmd *exec.Cmd
}

// testUser is made for the tests: its login shell is /bin/sh, since a shell with heavy start-up files would be measured too.
const (
	testUser     = "openaccess-test"
	testPassword = "correct horse"
)

// startSSHD starts a server whose configuration has the extra lines, with the profile "real" naming it.
func startSSHD(t *testing.T, extra ...string) *sshd {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("the tests with a real sshd make a user and so must run as root")
	}
	makeUser(t, testUser)
	s := &sshd{peer: newPeer(t, testUser)}
	must(t, os.MkdirAll("/run/sshd", 0o755)) // where sshd drops its privileges
	command(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(s.dir, "host"))
	config := append([]string{
		"Port " + strconv.Itoa(s.port), "ListenAddress 127.0.0.1", "HostKey " + s.dir + "/host", "AuthorizedKeysFile " + s.dir + "/client.pub",
		"PidFile none", "UsePAM no", "StrictModes no", "PasswordAuthentication yes", "Subsystem sftp internal-sftp",
	}, extra...)
	write(t, filepath.Join(s.dir, "sshd_config"), strings.Join(config, "\n")+"\n", 0o600)
	s.run(t)
	t.Cleanup(s.stop)
	key, err := os.ReadFile(filepath.Join(s.dir, "host.pub"))
	must(t, err)
	s.hostKey = strings.TrimSpace(string(key))
	s.profile(t, "real", nil)
	return s
}

// run starts the server, also again after stop.
func (s *sshd) run(t *testing.T) {
	t.Helper()
	path, err := exec.LookPath("sshd")
	if err != nil {
		path = "/usr/sbin/sshd" // not on every user's PATH
	}
	s.cmd = exec.Command(path, "-D", "-e", "-f", filepath.Join(s.dir, "sshd_config"))
	s.cmd.WaitDelay = time.Second // connections' processes inherit standard error and outlive the listener
	var log bytes.Buffer
	s.cmd.Stderr = &log
	if err := s.cmd.Start(); err != nil {
		t.Fatalf("%v: install Debian's openssh-server", err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		c, err := net.Dial("tcp", s.addr())
		if err == nil {
			c.Close()
			return
		}
		if time.Now().After(deadline) {
			s.stop()
			t.Fatalf("sshd does not listen:\n%s", log.String())
		}
	}
}

// stop kills the listener and every connection's processes, as a crash would.
func (s *sshd) stop() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
	s.cmd = nil
	killUser()
}

// killUser ends what the test user runs. Its id is the tests' own.
func killUser() { _ = exec.Command("pkill", "-KILL", "-u", testUser).Run() }

// running lists the processes of the test user whose command line holds word.
func running(t *testing.T, word string) string {
	t.Helper()
	out, _ := exec.Command("pgrep", "-u", testUser, "-f", "-a", word).Output() // exits 1 when there is none
	return string(out)
}

func makeUser(t *testing.T, name string) {
	t.Helper()
	if _, err := user.Lookup(name); err != nil {
		command(t, "useradd", "--create-home", "--shell", "/bin/sh", name)
	}
	cmd := exec.Command("chpasswd")
	cmd.Stdin = strings.NewReader(name + ":" + testPassword + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("chpasswd: %v: %s", err, out)
	}
}
