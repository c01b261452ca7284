//go:build realssh

package fakessh_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
)

// openSSH is a folder set up for the OpenSSH clients to reach a host.
type openSSH struct {
	host *fakessh.Host
	dir  string
	args []string // options that all the clients know
}

func newOpenSSH(t *testing.T) *openSSH { return openSSHTo(t, start(t, fakessh.Options{})) }

func openSSHTo(t *testing.T, host *fakessh.Host) *openSSH {
	t.Helper()
	for _, program := range []string{"ssh", "sftp", "scp"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatalf("%v; install Debian's package openssh-client", err)
		}
	}
	o := &openSSH{host: host, dir: t.TempDir()}
	if err := o.host.WriteProfile(o.dir, "fake"); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(o.dir, "secrets", "fake.json"))
	if err != nil {
		t.Fatal(err)
	}
	var s secret
	if err := json.Unmarshal(text, &s); err != nil {
		t.Fatal(err)
	}
	o.write(t, "key", s.PrivateKey)
	o.write(t, "known_hosts", o.host.KnownHostsLine()+"\n")
	_, port, _ := net.SplitHostPort(o.host.Addr())
	for _, option := range []string{
		"Port=" + port, "User=fake", "BatchMode=yes", "LogLevel=ERROR", "StrictHostKeyChecking=yes",
		"UserKnownHostsFile=" + filepath.Join(o.dir, "known_hosts"),
		"IdentityFile=" + filepath.Join(o.dir, "key"), "IdentitiesOnly=yes", "IdentityAgent=none",
	} {
		o.args = append(o.args, "-o", option)
	}
	return o
}

// write makes a file in the folder and returns its path.
func (o *openSSH) write(t *testing.T, name, text string) string {
	t.Helper()
	file := filepath.Join(o.dir, name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func (o *openSSH) command(program string, args ...string) *exec.Cmd {
	cmd := exec.Command(program, append(append([]string{"-F", "none"}, o.args...), args...)...)
	cmd.Dir = o.dir
	return cmd
}

func TestOpenSSHRunsCommands(t *testing.T) {
	o := newOpenSSH(t)
	big := string(fakessh.Pattern(1 << 20))
	for _, test := range []struct {
		line, stdin    string
		stdout, stderr string
		status         int
	}{
		{line: "echo 'a  b'", stdout: "a  b\n"},
		{line: "exit 3", status: 3},
		{line: "nonsense", stderr: "sh: nonsense: not found\n", status: 127},
		{line: "bytes 1048576", stdout: big},
		{line: "cat", stdin: big, stdout: big},
		{line: "bytes --stderr 5", stderr: "01234"},
	} {
		cmd := o.command("ssh", "127.0.0.1", test.line)
		var stdout, stderr bytes.Buffer
		cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(test.stdin), &stdout, &stderr
		if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
			t.Fatal(err)
		}
		if stdout.String() != test.stdout || stderr.String() != test.stderr || cmd.ProcessState.ExitCode() != test.status {
			t.Errorf("%q: %d bytes, stderr %q, status %d", test.line, stdout.Len(), stderr.String(), cmd.ProcessState.ExitCode())
		}
	}
}

// TestOpenSSHTerminal asks for a terminal, as people do.
func TestOpenSSHTerminal(t *testing.T) {
	o := newOpenSSH(t)
	out, err := o.command("ssh", "-tt", "127.0.0.1", "bytes --stderr 5").Output()
	if string(out) != "01234" || err != nil {
		t.Errorf("%q, %v", out, err)
	}
}

// TestOpenSSHKilled kills a client under a running command.
func TestOpenSSHKilled(t *testing.T) {
	o := newOpenSSH(t)
	cmd := o.command("ssh", "127.0.0.1", "sleep 3600")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return o.host.Stats().Running == 1 })
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	waitFor(t, func() bool { got := o.host.Stats(); return got.Running == 0 && got.OpenConnections == 0 })
}

// TestOpenSSHShares runs commands over one shared connection.
func TestOpenSSHShares(t *testing.T) {
	o := newOpenSSH(t)
	o.args = append(o.args, "-o", "ControlPath="+filepath.Join(o.dir, "control"))
	master := o.command("ssh", "-M", "127.0.0.1", "cat")
	stdin, err := master.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := master.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return o.host.Stats().Running == 1 })
	for i := range 5 {
		want := fmt.Sprintf("run %d\n", i)
		if out, err := o.command("ssh", "127.0.0.1", "echo run", fmt.Sprint(i)).Output(); string(out) != want || err != nil {
			t.Errorf("%q, %v", out, err)
		}
	}
	stdin.Close()
	if err := master.Wait(); err != nil {
		t.Error(err)
	}
	if got := o.host.Stats(); got.Connections != 1 || got.Sessions != 6 {
		t.Errorf("stats %+v", got)
	}
}

func TestOpenSSHTransfers(t *testing.T) {
	o := newOpenSSH(t)
	content := string(fakessh.Pattern(3<<20 + 17))
	local := o.write(t, "local", content)
	o.write(t, "half", content[:1<<20])
	batch := strings.Join([]string{
		"pwd", "mkdir dir", "put local dir/up", "chmod 640 dir/up", "ln -s up dir/link", "ln dir/up dir/hard",
		"put half dir/part", "reput local dir/part", "rename dir/part dir/whole",
		"get dir/link down", "get dir/whole whole", "ls -l dir", "df", "rm dir/link", "mkdir gone", "rmdir gone",
	}, "\n")
	cmd := o.command("sftp", "-b", o.write(t, "batch", batch+"\n"), "127.0.0.1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{"Remote working directory: /\n", "-rw-r-----", "3145745"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	for _, name := range []string{"down", "whole"} {
		if got, err := os.ReadFile(filepath.Join(o.dir, name)); err != nil || string(got) != content {
			t.Errorf("%s has %d bytes, %v", name, len(got), err)
		}
	}
	if in, err := o.host.FS().Stat("dir/whole"); err != nil || in.Mode() != 0o600 { // as local
		t.Errorf("dir/whole is %v, %v", in, err)
	}
	if out, err := o.command("scp", local, "127.0.0.1:/copied").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if got, err := o.host.FS().ReadFile("copied"); err != nil || string(got) != content {
		t.Errorf("copied has %d bytes, %v", len(got), err)
	}
	err = o.command("sftp", "-b", o.write(t, "batch", "get none\n"), "127.0.0.1").Run()
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("a missing file gives %v", err)
	}
}
