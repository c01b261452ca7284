//go:build unix

package rsyncshell

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/rsyncshell/helper"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// shell starts this test program as rsync would.
func shell(t *testing.T, variable string, words ...string) (cmd *exec.Cmd, stderr *bytes.Buffer) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd, stderr = exec.Command(exe, append([]string{helper.Name}, words...)...), new(bytes.Buffer)
	cmd.Env, cmd.Stderr = []string{variable}, stderr
	return cmd, stderr
}

func listen(t *testing.T) *Listener {
	t.Helper()
	l, err := Listen()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func TestHandsOverWordsAndStreams(t *testing.T) {
	l := listen(t)
	want := []string{"rsync", "--server", "-s e", "", "naïve\n"}
	cmd, stderr := shell(t, l.Environ(), append([]string{"host"}, want...)...)
	toShell, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	out, fromShell, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdin, cmd.Stdout = toShell, fromShell
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	toShell.Close()
	fromShell.Close()
	p, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil { // it does not stay for the rest
		t.Fatalf("%v: %s", err, stderr)
	}
	if !slices.Equal(p.Words, want) {
		t.Errorf("words %q", p.Words)
	}
	if _, err := io.WriteString(in, "up"); err != nil {
		t.Fatal(err)
	}
	in.Close()
	if got, err := io.ReadAll(p.In); string(got) != "up" || err != nil {
		t.Errorf("in: %q, %v", got, err)
	}
	if _, err := io.WriteString(p.Out, "down"); err != nil {
		t.Fatal(err)
	}
	p.Close()
	if got, err := io.ReadAll(out); string(got) != "down" || err != nil { // its end shows that nobody else holds it
		t.Errorf("out: %q, %v", got, err)
	}
	out.Close()
}

func TestSocketIsPrivateAndServesOne(t *testing.T) {
	l := listen(t)
	info, err := os.Stat(l.dir)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Fatalf("%v, %v", info, err)
	}
	cmd, _ := shell(t, l.Environ(), "host", "true")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	p.Close()
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	second, stderr := shell(t, l.Environ(), "host", "true")
	var exit *exec.ExitError
	if err := second.Run(); !errors.As(err, &exit) || exit.ExitCode() != 255 || !strings.Contains(stderr.String(), "no such file") {
		t.Errorf("a second shell: %v, %s", err, stderr)
	}
	if _, err := l.Accept(); err == nil {
		t.Error("accepted twice")
	}
	l.Close()
	if _, err := os.Stat(l.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder is left: %v", err)
	}
}

func TestCloseEndsAccept(t *testing.T) {
	l := listen(t)
	done := make(chan error)
	go func() {
		_, err := l.Accept()
		done <- err
	}()
	l.Close()
	if <-done == nil {
		t.Error("accepted")
	}
}

func TestRefusesOtherReports(t *testing.T) {
	fds := func(n int) []byte {
		return syscall.UnixRights(slices.Repeat([]int{0}, n)...)
	}
	for name, tc := range map[string]struct {
		rights []byte
		data   string
		want   string
	}{
		"nothing":        {nil, "", "EOF"},
		"no descriptors": {nil, "\x00\x00\x00\x04a\x00b\x00", "no descriptors"},
		"one descriptor": {fds(1), "\x00\x00\x00\x04a\x00b\x00", "1 descriptors"},
		"too long":       {fds(2), "\x7f\x00\x00\x00", "a command of 2130706432 bytes"},
		"cut short":      {fds(2), "\x00\x00\x00\x04a", "unexpected EOF"},
		"no command":     {fds(2), "\x00\x00\x00\x02h\x00", "no command"},
	} {
		t.Run(name, func(t *testing.T) {
			l := listen(t)
			conn, err := net.DialUnix("unix", nil, l.socket.Addr().(*net.UnixAddr))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, _, err := conn.WriteMsgUnix([]byte(tc.data), tc.rights, nil); err != nil {
				t.Fatal(err)
			}
			conn.CloseWrite()
			if p, err := l.Accept(); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%+v, %v; want %q", p, err, tc.want)
			}
		})
	}
}

// TestOnlyWhenAsked starts the program with the variable alone: it must be itself then, here a test program that lists no test.
func TestOnlyWhenAsked(t *testing.T) {
	cmd, _ := shell(t, helper.Variable+"=/nonexistent")
	cmd.Args = []string{cmd.Path, "-test.list=^$"}
	if err := cmd.Run(); err != nil {
		t.Error(err)
	}
}
