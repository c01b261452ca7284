//go:build realssh

package fakessh_test

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
)

// rsync runs the installed rsync over ssh and returns its standard error and exit code.
func (o *openSSH) rsync(t *testing.T, args ...string) (stderr string, code int) {
	t.Helper()
	shell := "ssh -F none"
	for _, arg := range o.args {
		shell += " '" + arg + "'"
	}
	cmd := exec.Command("rsync", append([]string{"-e", shell}, args...)...)
	cmd.Dir = o.dir
	var b strings.Builder
	cmd.Stderr = &b
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatalf("%v; install the package rsync", err)
	}
	return b.String(), cmd.ProcessState.ExitCode()
}

func TestRsyncAndSFTPSeeOneTree(t *testing.T) {
	o := openSSHTo(t, start(t, fakessh.Options{Rsync: true}))
	src := filepath.Join(o.dir, "src")
	if err := os.MkdirAll(filepath.Join(src, "sp ace"), 0o755); err != nil {
		t.Fatal(err)
	}
	content := string(fakessh.Pattern(300_000))
	o.write(t, "src/sp ace/f", content)
	if err := os.Symlink("sp ace/f", filepath.Join(src, "link")); err != nil {
		t.Fatal(err)
	}
	for _, protect := range []string{"--no-s", "-s"} { // paths on the command line, and on standard input
		if stderr, code := o.rsync(t, "-a", protect, "src/", "127.0.0.1:/rsync/to"); code != 0 {
			t.Fatalf("%s: exit code %d, %s", protect, code, stderr)
		}
	}
	c := openSFTP(t, dial(t, o.host))
	f, err := c.Open("/rsync/to/link")
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(f)
	f.Close()
	if string(got) != content || err != nil {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if info, err := c.Lstat("/rsync/to/link"); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("%v, %v", info, err)
	}
	f, err = c.Create("/rsync/to/new")
	if err == nil {
		_, err = f.Write([]byte("by SFTP"))
	}
	if err := errors.Join(err, f.Close(), c.Chmod("/rsync/to/new", 0o640), c.Mkdir("/rsync/to/dir"), c.Symlink("../new", "/rsync/to/dir/l"),
		c.PosixRename("/rsync/to/new", "/rsync/to/dir/renamed"), c.Remove("/rsync/to/link"), c.Truncate("/rsync/to/sp ace/f", 5)); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		c.Rename("/rsync/to/dir/renamed", "/rsync/to/sp ace/f"), c.RemoveDirectory("/rsync/to/dir"), c.Remove("/rsync/to/dir"),
		c.Rename("/rsync/to/dir", "/elsewhere"), c.RemoveDirectory("/rsync"),
	} {
		if err == nil {
			t.Error("done, and should not be")
		}
	}
	if stderr, code := o.rsync(t, "-a", "127.0.0.1:/rsync/to/", "back"); code != 0 {
		t.Fatalf("exit code %d, %s", code, stderr)
	}
	for name, want := range map[string]string{"sp ace/f": content[:5], "dir/renamed": "by SFTP"} {
		if got, err := os.ReadFile(filepath.Join(o.dir, "back", name)); string(got) != want || err != nil {
			t.Errorf("%s: %.20q, %v", name, got, err)
		}
	}
	if to, err := os.Readlink(filepath.Join(o.dir, "back/dir/l")); to != "../new" {
		t.Errorf("%q, %v", to, err)
	}
	entries, err := c.ReadDir("/")
	if err != nil || len(entries) != 1 || entries[0].Name() != "rsync" || !entries[0].IsDir() {
		t.Errorf("%v, %v", entries, err)
	}
}

func TestRsyncServesNothingElse(t *testing.T) {
	o := openSSHTo(t, start(t, fakessh.Options{Rsync: true}))
	c := openSFTP(t, dial(t, o.host))
	o.write(t, "f", "x")
	if err := c.Symlink("/etc", "/rsync/out"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Open("/rsync/out/passwd"); err == nil {
		t.Error("SFTP led out")
	}
	for _, args := range [][]string{
		{"-a", "127.0.0.1:/etc/hostname", "got"}, {"-a", "127.0.0.1:/rsync/../etc/hostname", "got"}, {"-a", "127.0.0.1:/rsync/out/hostname", "got"},
		{"-aL", "127.0.0.1:/rsync/out", "got"}, {"-a", "-s", "127.0.0.1:/etc/hostname", "got"}, {"-a", "f", "127.0.0.1:/tmp/"},
		{"-a", "f", "127.0.0.1:relative"}, {"-a", "--backup", "--backup-dir=/tmp", "f", "127.0.0.1:/rsync/"}, {"-a", "-s", "--temp-dir=/tmp", "f", "127.0.0.1:/rsync/"},
		{"-a", "-M", "--log-file=/tmp/fakessh-log", "f", "127.0.0.1:/rsync/"},
	} {
		stderr, code := o.rsync(t, args...)
		if code == 0 || !strings.Contains(stderr, "rsync: ") || !strings.Contains(stderr, "served") && !strings.Contains(stderr, "escapes") {
			t.Errorf("%q: exit code %d, %s", args, code, stderr)
		}
	}
	if _, err := os.Stat(filepath.Join(o.dir, "got")); err == nil {
		t.Error("something was copied")
	}
	out, err := o.command("ssh", "127.0.0.1", "rsync -a /etc/hostname /rsync/").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "only the server side") {
		t.Errorf("%s, %v", out, err)
	}
	if out, err := o.command("ssh", "127.0.0.1", "rsync --version").Output(); err != nil || !strings.HasPrefix(string(out), "rsync  version ") {
		t.Errorf("%s, %v", out, err)
	}
}

// TestRsyncKilledClient leaves neither a process nor, after Close, the directory.
func TestRsyncKilledClient(t *testing.T) {
	host := fakessh.Start(fakessh.Options{Rsync: true})
	defer host.Close()
	o := openSSHTo(t, host)
	o.write(t, "big", string(fakessh.Pattern(8<<20)))
	cmd := exec.Command("rsync", "--bwlimit=100", "-e", "ssh -F none '"+strings.Join(o.args, "' '")+"'", "big", "127.0.0.1:/rsync/")
	cmd.Dir = o.dir
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return host.Stats().Running == 1 })
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	waitFor(t, func() bool { return host.Stats().Running == 0 })
	if err := host.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(host.RsyncDir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory is left: %v", err)
	}
}
