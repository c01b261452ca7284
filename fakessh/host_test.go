package fakessh_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/pkg/sftp"
	"go.uber.org/goleak"
	gossh "golang.org/x/crypto/ssh"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start runs a host for the length of a test.
func start(t testing.TB, opts fakessh.Options) *fakessh.Host {
	t.Helper()
	host := fakessh.Start(opts)
	t.Cleanup(func() {
		if err := host.Close(); err != nil {
			t.Error(err)
		}
	})
	return host
}

// dial logs in as anyone.
func dial(t testing.TB, host *fakessh.Host) *gossh.Client {
	t.Helper()
	client, err := login(host, "someone", gossh.Password("anything"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

func login(host *fakessh.Host, user string, auth ...gossh.AuthMethod) (*gossh.Client, error) {
	return gossh.Dial("tcp", host.Addr(), &gossh.ClientConfig{
		User: user, Auth: auth, HostKeyCallback: gossh.FixedHostKey(host.HostKey()),
	})
}

func session(t testing.TB, client *gossh.Client) *gossh.Session {
	t.Helper()
	s, err := client.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func openSFTP(t testing.TB, client *gossh.Client) *sftp.Client {
	t.Helper()
	c, err := sftp.NewClient(client)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// run runs a line and returns what came of it; the status is -1 for a signal.
func run(t testing.TB, client *gossh.Client, line, stdin string) (stdout, stderr string, status int) {
	t.Helper()
	s := session(t, client)
	defer s.Close()
	var out, errs bytes.Buffer
	s.Stdin, s.Stdout, s.Stderr = strings.NewReader(stdin), &out, &errs
	err := s.Run(line)
	var exit *gossh.ExitError
	switch {
	case errors.As(err, &exit) && exit.Signal() != "":
		status = -1
	case errors.As(err, &exit):
		status = exit.ExitStatus()
	case err != nil:
		t.Fatalf("%s: %v", line, err)
	}
	return out.String(), errs.String(), status
}

func TestCommands(t *testing.T) {
	host := start(t, fakessh.Options{})
	fsys := host.FS()
	if err := fsys.WriteFile("/a", []byte("abc"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := fsys.WriteFile("/odd\\\nname", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	client := dial(t, host)
	const (
		sumABC   = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
		sumEmpty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	)
	for _, test := range []struct {
		line, stdin    string
		stdout, stderr string
		status         int
	}{
		{line: "echo hello  'big  world'", stdout: "hello big  world\n"},
		{line: "true"},
		{line: ""},
		{line: "false", status: 1},
		{line: "exit 42", status: 42},
		{line: "exit", status: 0},
		{line: "exit x", status: 2, stderr: "exit: x: numeric argument required\n"},
		{line: "sleep 0.001"},
		{line: "sleep now", status: 1, stderr: "sleep: invalid time interval 'now'\n"},
		{line: "bytes 70", stdout: string(fakessh.Pattern(70))},
		{line: "bytes --stderr 3", stderr: "012"},
		{line: "seq 3", stdout: "1\n2\n3\n"},
		{line: "seq 0"},
		{line: "seq x", status: 1, stderr: "seq: invalid argument 'x'\n"},
		{line: "bytes -1", status: 2, stderr: "bytes: invalid number '-1'\n"},
		{line: "cat", stdin: "in\x00out", stdout: "in\x00out"},
		{line: "cat /a - ../a", stdin: "-", stdout: "abc-abc"},
		{line: "cat /none", status: 1, stderr: "cat: /none: No such file or directory\n"},
		{line: "sha256sum /a", stdout: sumABC + "  /a\n"},
		{line: "sha256sum -- a", stdout: sumABC + "  a\n"},
		{line: "sha256sum", stdin: "abc", stdout: sumABC + "  -\n"},
		{line: "sha256sum '/odd\\\nname'", stdout: "\\" + sumEmpty + "  /odd\\\\\\nname\n"},
		{line: "sha256sum /none /a", status: 1, stdout: sumABC + "  /a\n", stderr: "sha256sum: /none: No such file or directory\n"},
		{line: "mkdir /d", status: 0},
		{line: "mkdir /d", status: 1, stderr: "mkdir: cannot create directory '/d': File exists\n"},
		{line: "mkdir -p /d/e/f"},
		{line: "rm /d", status: 1, stderr: "rm: cannot remove '/d': Is a directory\n"},
		{line: "rm -rf /d /none"},
		{line: "rm -f /none"},
		{line: "rm /none", status: 1, stderr: "rm: cannot remove '/none': No such file or directory\n"},
		{line: "pwd", stdout: "/\n"},
		{line: "uname", stdout: "Linux\n"},
		{line: "nonsense -x", status: 127, stderr: "sh: nonsense: not found\n"},
		{line: "echo 'open", status: 2, stderr: "sh: syntax error: unterminated ' quote\n"},
		{line: "sudo echo up", stdout: "up\n"},
		{line: "sudo -n -u root -- echo up", stdout: "up\n"},
	} {
		stdout, stderr, status := run(t, client, test.line, test.stdin)
		if stdout != test.stdout || stderr != test.stderr || status != test.status {
			t.Errorf("%q gives %q, %q, %d\nwant %q, %q, %d", test.line, stdout, stderr, status, test.stdout, test.stderr, test.status)
		}
	}
}

func TestHandle(t *testing.T) {
	host := start(t, fakessh.Options{Handlers: map[string]fakessh.Handler{
		"greet": func(_ context.Context, c *fakessh.Command) int {
			io.WriteString(c.Stdout, "hello "+c.User)
			return 3
		},
	}})
	client := dial(t, host)
	if out, _, status := run(t, client, "greet", ""); out != "hello someone" || status != 3 {
		t.Errorf("greet gives %q, %d", out, status)
	}
	host.Handle("echo", nil)
	if _, _, status := run(t, client, "echo", ""); status != 127 {
		t.Errorf("a removed command exits with %d", status)
	}
}

func TestSignalEndsCommand(t *testing.T) {
	for _, line := range []string{"sleep 3600", "cat", "bytes 999999999999"} {
		host := start(t, fakessh.Options{})
		s := session(t, dial(t, host))
		stdin, err := s.StdinPipe() // keeps the input open
		if err != nil {
			t.Fatal(err)
		}
		defer stdin.Close()
		if err := s.Start(line); err != nil {
			t.Fatal(err)
		}
		waitFor(t, func() bool { return host.Stats().Running == 1 })
		if err := s.Signal(gossh.SIGTERM); err != nil {
			t.Fatal(err)
		}
		var exit *gossh.ExitError
		if err := s.Wait(); !errors.As(err, &exit) || exit.Signal() != "TERM" {
			t.Errorf("%s ends with %v, want signal TERM", line, err)
		}
		waitFor(t, func() bool { return host.Stats().OpenSessions == 0 })
		name, _, _ := strings.Cut(line, " ")
		if got := host.Stats(); got.Running != 0 || got.Commands[name].Killed != 1 {
			t.Errorf("after the signal: %+v", got)
		}
	}
}

// waitFor polls for what other goroutines are about to bring about.
func waitFor(t testing.TB, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it did not come about within ten seconds")
		}
	}
}

func TestSFTPStoresAndFetches(t *testing.T) {
	host := start(t, fakessh.Options{})
	client := openSFTP(t, dial(t, host))
	content := bytes.Repeat([]byte("0123456789"), 30_000)
	f, err := client.Create("up")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.ReadFrom(bytes.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if held, err := host.FS().ReadFile("up"); err != nil || !bytes.Equal(held, content) {
		t.Errorf("the tree holds %d bytes, %v", len(held), err)
	}
	f, err = client.Open("/up")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var got bytes.Buffer
	if _, err := f.WriteTo(&got); err != nil || !bytes.Equal(got.Bytes(), content) {
		t.Errorf("fetched %d bytes, %v", got.Len(), err)
	}
	if err := errors.Join(client.PosixRename("/up", "/there"), client.Rename("/there", "/elsewhere")); err != nil {
		t.Error(err)
	}
	if err := client.PosixRename("/nothing", "/there"); err == nil {
		t.Error("a file that is not there was renamed")
	}
	if s := host.Stats(); s.FilesCreated != 1 || s.FilesRenamed != 2 {
		t.Errorf("%d files created, %d renamed", s.FilesCreated, s.FilesRenamed)
	}
}
