package fakessh_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pkg/sftp"
	gossh "golang.org/x/crypto/ssh"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
	"github.com/openaccess-mcp/openaccess-mcp/fakessh/memfs"
	"github.com/openaccess-mcp/openaccess-mcp/fakessh/netem"
)

func setFaults(t testing.TB, host *fakessh.Host, text string) {
	t.Helper()
	f, err := fakessh.ParseFaults("faults", []byte(text))
	if err == nil {
		err = host.SetFaults(f)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestFaultsAreValidated(t *testing.T) {
	bad := fakessh.Faults{Connect: fakessh.ConnectFaults{Refuse: 2}}
	var field *netem.FieldError
	if _, err := fakessh.Listen(fakessh.Options{Faults: bad}); !errors.As(err, &field) || field.Field != "connect.refuse" {
		t.Errorf("listen: %v", err)
	}
	host := start(t, fakessh.Options{Faults: fakessh.Faults{MaxSessions: 3}})
	if err := host.SetFaults(bad); err == nil || host.Faults().MaxSessions != 3 {
		t.Errorf("%v, and then %+v", err, host.Faults())
	}
}

func TestRefusedConnections(t *testing.T) {
	host := start(t, fakessh.Options{Faults: fakessh.Faults{Connect: fakessh.ConnectFaults{Refuse: 1}}})
	for range 3 {
		if c, err := login(host, "x", gossh.Password("x")); err == nil {
			c.Close()
			t.Error("a connection is served")
		}
	}
	waitFor(t, func() bool { got := host.Stats(); return got.Refused == 3 && got.OpenConnections == 0 })
	setFaults(t, host, "{connect: {refuse: 30%}, seed: 4}")
	failed := 0
	for range 60 {
		c, err := login(host, "x", gossh.Password("x"))
		if err != nil {
			failed++
			continue
		}
		c.Close()
	}
	if failed < 8 || failed > 30 {
		t.Errorf("%d of 60 are refused, want about 18", failed)
	}
}

func TestMuteConnection(t *testing.T) {
	host := start(t, fakessh.Options{Faults: fakessh.Faults{Connect: fakessh.ConnectFaults{Mute: 1}}})
	c, err := net.Dial("tcp", host.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetReadDeadline(time.Now().Add(50 * ms))
	if n, err := c.Read(make([]byte, 10)); n > 0 || !isTimeout(err) {
		t.Errorf("read %d bytes, %v", n, err)
	}
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

func TestMaxStartups(t *testing.T) {
	host := start(t, fakessh.Options{Faults: fakessh.Faults{Connect: fakessh.ConnectFaults{MaxStartups: 1}}})
	dial(t, host) // has logged in, and counts no more
	idle, err := net.Dial("tcp", host.Addr())
	if err != nil {
		t.Fatal(err)
	}
	io.ReadFull(idle, make([]byte, 4)) // its handshake has begun
	more, err := net.Dial("tcp", host.Addr())
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(more)
	if string(text) != "Exceeded MaxStartups\r\n" || err != nil {
		t.Errorf("one too many is told %q, %v", text, err)
	}
	more.Close()
	idle.Close()
	waitFor(t, func() bool { return host.Stats().OpenConnections == 1 })
	dial(t, host)
	if got := host.Stats().Refused; got != 1 {
		t.Errorf("%d refused, want 1", got)
	}
}

func TestAuthFailures(t *testing.T) {
	for name, users := range map[string]map[string]fakessh.User{"anyone": nil, "users": {"x": {Password: "x"}}} {
		host := start(t, fakessh.Options{Users: users, Faults: fakessh.Faults{Auth: fakessh.AuthFaults{Fail: 1}}})
		if _, err := login(host, "x", gossh.Password("x")); err == nil || !strings.Contains(err.Error(), "unable to authenticate") {
			t.Errorf("%s: %v", name, err)
		}
		if got := host.Stats().AuthFailures; got != 1 {
			t.Errorf("%s: %d failures, want 1", name, got)
		}
		setFaults(t, host, "")
		if c, err := login(host, "x", gossh.Password("x")); err != nil {
			t.Errorf("%s: %v", name, err)
		} else {
			c.Close()
		}
	}
}

func TestFaultyMaxSessions(t *testing.T) {
	host := start(t, fakessh.Options{MaxSessions: 5})
	client := dial(t, host)
	setFaults(t, host, "max_sessions: 1")
	s := session(t, client)
	defer s.Close()
	var refused *gossh.OpenChannelError
	if _, err := client.NewSession(); !errors.As(err, &refused) {
		t.Errorf("the second session: %v", err)
	}
}

func TestFullDisk(t *testing.T) {
	host := start(t, fakessh.Options{FS: memfs.New(memfs.Options{Capacity: 1 << 30})})
	client := dial(t, host)
	files := openSFTP(t, client)
	setFaults(t, host, "disk: {capacity: 100KiB}")
	f, err := files.Create("f")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	n, err := f.Write(make([]byte, 32<<10))
	if n != 32<<10 || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	_, err = f.Write(make([]byte, 256<<10))
	var status *sftp.StatusError
	if !errors.As(err, &status) || !strings.Contains(err.Error(), "no space left on device") {
		t.Errorf("write to a full disk: %v", err)
	}
	if used := host.FS().Used(); used > 100<<10 {
		t.Errorf("%d bytes are held", used)
	}
	setFaults(t, host, "")
	if got := host.FS().Capacity(); got != 1<<30 {
		t.Errorf("capacity is %d afterwards", got)
	}
	if _, err = f.Write(make([]byte, 256<<10)); err != nil {
		t.Errorf("write after the fault: %v", err)
	}
}

func TestCorruptedPackets(t *testing.T) {
	host := start(t, fakessh.Options{})
	client, err := gossh.Dial("tcp", host.Addr(), &gossh.ClientConfig{
		User: "x", Auth: []gossh.AuthMethod{gossh.Password("x")}, HostKeyCallback: gossh.FixedHostKey(host.HostKey()),
		Config: gossh.Config{Ciphers: []string{"aes128-ctr"}, MACs: []string{"hmac-sha2-256-etm@openssh.com"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	setFaults(t, host, "{seed: 2, network: {corrupt: 0.01%}}")
	s := session(t, client)
	out, err := s.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start("bytes 10000000"); err == nil {
		n, _ := io.Copy(io.Discard, out)
		if n == 10_000_000 {
			t.Error("all arrives whole")
		}
	}
	if err := client.Wait(); err == nil || !strings.Contains(err.Error(), "MAC failure") {
		t.Errorf("the connection ends with %v", err)
	}
}

func TestCut(t *testing.T) {
	host := start(t, fakessh.Options{})
	client := dial(t, host)
	setFaults(t, host, "cut: {after_bytes: 100KiB}")
	if _, _, status := run(t, client, "bytes 50000", ""); status != 0 {
		t.Errorf("status %d before the cut", status)
	}
	s := session(t, client)
	n, _ := func() (int64, error) {
		out, err := s.StdoutPipe()
		if err != nil {
			return 0, err
		}
		if err := s.Start("bytes 1000000"); err != nil {
			return 0, err
		}
		return io.Copy(io.Discard, out)
	}()
	if n > 100<<10 {
		t.Errorf("%d bytes pass", n)
	}
	if err := client.Wait(); err == nil {
		t.Error("the connection ends without an error")
	}
	if out, _, _ := run(t, dial(t, host), "echo again", ""); out != "again\n" {
		t.Errorf("a new connection gives %q", out)
	}
}

// TestSwitchUnderLoad changes faults while clients work, which must notice delays
// and nothing else.
func TestSwitchUnderLoad(t *testing.T) {
	host := start(t, fakessh.Options{})
	var stop atomic.Bool
	var wg sync.WaitGroup
	for w := range 4 {
		client := dial(t, host)
		wg.Go(func() {
			files, err := sftp.NewClient(client)
			if err != nil {
				t.Error(err)
				return
			}
			defer files.Close()
			for i := 0; !stop.Load(); i++ {
				want := fmt.Sprint(w, i)
				if out, _, status := run(t, client, "echo "+want, ""); out != want+"\n" || status != 0 {
					t.Errorf("got %q, %d", out, status)
					return
				}
				if _, err := files.Stat("/"); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for i := range 60 {
		setFaults(t, host, []string{
			"", "network: {delay: 1ms, jitter: 1ms}", "{exec: {delay: 1ms}, workers: {count: 2, service: 500us}}",
			"{network: {bandwidth: 1MiB/s}, disk: {read: 1ms}}", "network: {stall: {every: 10ms, for: 3ms}}",
			"schedule: [{at: 1ms, faults: {sftp: {delay: 1ms}}}, {at: 2ms, faults: {}}]", "max_sessions: 100",
		}[i%7])
		time.Sleep(4 * ms)
	}
	stop.Store(true)
	wg.Wait()
}
