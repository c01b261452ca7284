package fakessh_test

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	gossh "golang.org/x/crypto/ssh"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
)

func TestStartPanicsOnBadAddress(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	fakessh.Start(fakessh.Options{Addr: "127.0.0.1:no-port"})
}

// TestChannelCloseStopsCommand closes a channel, and then a connection, under a
// running command.
func TestChannelCloseStopsCommand(t *testing.T) {
	host := start(t, fakessh.Options{})
	client := dial(t, host)
	s := session(t, client)
	if err := s.Start("sleep 3600"); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return host.Stats().Running == 1 })
	s.Close()
	waitFor(t, func() bool { return host.Stats().OpenSessions == 0 })

	if err := session(t, client).Start("sleep 3600"); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return host.Stats().Running == 1 })
	client.Close()
	waitFor(t, func() bool { got := host.Stats(); return got.OpenSessions == 0 && got.OpenConnections == 0 })
	if got := host.Stats(); got.Running != 0 || got.Commands["sleep"] != (fakessh.CommandStats{Started: 2, Killed: 2}) {
		t.Errorf("stats %+v", got)
	}
}

func TestCloseClientConnections(t *testing.T) {
	host := start(t, fakessh.Options{})
	client := dial(t, host)
	s := session(t, client)
	if err := s.Start("sleep 3600"); err != nil {
		t.Fatal(err)
	}
	host.CloseClientConnections()
	var missing *gossh.ExitMissingError
	if err := s.Wait(); !errors.As(err, &missing) {
		t.Errorf("the command ends with %v", err)
	}
	client.Wait() // a reset, or EOF where a write met it first
	if out, _, _ := run(t, dial(t, host), "echo back", ""); out != "back\n" {
		t.Errorf("a new connection gives %q", out)
	}
}

func TestCloseNamesWhatBlocks(t *testing.T) {
	begun, release := make(chan struct{}), make(chan struct{})
	host := fakessh.Start(fakessh.Options{Handlers: map[string]fakessh.Handler{
		"stubborn": func(context.Context, *fakessh.Command) int { close(begun); <-release; return 0 },
	}})
	host.SetGrace(20 * time.Millisecond)
	if err := session(t, dial(t, host)).Start("stubborn mule"); err != nil {
		t.Fatal(err)
	}
	<-begun
	if err := host.Close(); err == nil || !strings.Contains(err.Error(), `"stubborn mule" of 127.0.0.1`) {
		t.Errorf("close gives %v", err)
	}
	close(release)
	host.SetGrace(10 * time.Second)
	if err := host.Close(); err != nil {
		t.Errorf("the second close gives %v", err)
	}
	if _, err := net.Dial("tcp", host.Addr()); err == nil {
		t.Error("it still listens")
	}
}

// TestCloseDuringHandshake closes a host that has a connection which says
// nothing.
func TestCloseDuringHandshake(t *testing.T) {
	host := fakessh.Start(fakessh.Options{})
	mute, err := net.Dial("tcp", host.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	waitFor(t, func() bool { return host.Stats().OpenConnections == 1 })
	if err := host.Close(); err != nil {
		t.Error(err)
	}
}

// TestCloseDuringConnectLatency closes a host that makes a connection wait for
// an hour.
func TestCloseDuringConnectLatency(t *testing.T) {
	host := fakessh.Start(fakessh.Options{Latency: fakessh.Latency{Connect: fakessh.Fixed(time.Hour)}})
	waiting, err := net.Dial("tcp", host.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer waiting.Close()
	waitFor(t, func() bool { return host.Stats().OpenConnections == 1 })
	if err := host.Close(); err != nil {
		t.Error(err)
	}
}

func TestMaxSessions(t *testing.T) {
	host := start(t, fakessh.Options{MaxSessions: 2})
	client := dial(t, host)
	one, two := session(t, client), session(t, client)
	defer two.Close()
	var refused *gossh.OpenChannelError
	if _, err := client.NewSession(); !errors.As(err, &refused) || refused.Message != "open failed" {
		t.Errorf("the third session: %v", err)
	}
	if out, _, _ := run(t, dial(t, host), "echo other connection", ""); out == "" {
		t.Error("the bound holds across connections")
	}
	if err := one.Run("true"); err != nil {
		t.Fatal(err)
	}
	for range 100 { // a slot is free as soon as the client knows of the end
		if _, _, status := run(t, client, "true", ""); status != 0 {
			t.Fatal("a slot is not free")
		}
	}
}

func TestTerminal(t *testing.T) {
	host := start(t, fakessh.Options{})
	s := session(t, dial(t, host))
	defer s.Close()
	if err := s.RequestPty("xterm", 24, 80, gossh.TerminalModes{}); err != nil {
		t.Fatal(err)
	}
	if err := s.Setenv("LANG", "C"); err != nil {
		t.Error(err)
	}
	var stdout, stderr bytes.Buffer
	s.Stdout, s.Stderr = &stdout, &stderr
	if err := s.Run("bytes --stderr 3"); err != nil || stdout.String() != "012" || stderr.Len() > 0 {
		t.Errorf("%v, stdout %q, stderr %q", err, stdout.String(), stderr.String())
	}
}

func TestNoShell(t *testing.T) {
	s := session(t, dial(t, start(t, fakessh.Options{})))
	defer s.Close()
	var out bytes.Buffer
	s.Stdout = &out
	if err := s.Shell(); err != nil {
		t.Fatal(err)
	}
	var exit *gossh.ExitError
	if err := s.Wait(); !errors.As(err, &exit) || exit.ExitStatus() != 1 || !strings.Contains(out.String(), "no interactive shell") {
		t.Errorf("%v, %q", err, out.String())
	}
}

func TestOtherRequestsAreRefused(t *testing.T) {
	client := dial(t, start(t, fakessh.Options{}))
	if ok, _, err := client.SendRequest("keepalive@openssh.com", true, nil); !ok || err != nil {
		t.Errorf("keepalive: %v, %v", ok, err)
	}
	if ok, _, _ := client.SendRequest("tcpip-forward", true, nil); ok {
		t.Error("forwarding is granted")
	}
	if _, _, err := client.OpenChannel("direct-tcpip", nil); err == nil {
		t.Error("a tunnel opens")
	}
	s := session(t, client)
	defer s.Close()
	if err := s.RequestSubsystem("netconf"); err == nil {
		t.Error("an unknown subsystem starts")
	}
	if ok, _ := s.SendRequest("exec", true, []byte{1}); ok {
		t.Error("a broken request is accepted")
	}
	if err := s.Run("true"); err != nil {
		t.Error(err)
	}
}

func TestHome(t *testing.T) {
	host := start(t, fakessh.Options{Home: "/home/ann"})
	client := dial(t, host)
	if err := host.FS().WriteFile("/home/ann/note", []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, _, _ := run(t, client, "pwd", ""); out != "/home/ann\n" {
		t.Errorf("commands start in %q", out)
	}
	if out, _, _ := run(t, client, "cat note", ""); out != "mine" {
		t.Errorf("the note reads %q", out)
	}
	if dir, err := openSFTP(t, client).Getwd(); dir != "/home/ann" || err != nil {
		t.Errorf("SFTP starts in %q, %v", dir, err)
	}
}

// TestLatency counts the waits of each operation and checks that a seed repeats
// them.
func TestLatency(t *testing.T) {
	draw := func() (connects, execs, requests int64, drawn []time.Duration) {
		var mu sync.Mutex
		count := func(n *atomic.Int64) fakessh.Delay {
			normal := fakessh.Normal(10*time.Microsecond, 5*time.Microsecond)
			return func(r *rand.Rand) time.Duration {
				n.Add(1)
				d := normal(r)
				mu.Lock()
				defer mu.Unlock()
				drawn = append(drawn, d)
				return d
			}
		}
		var c, e, s atomic.Int64
		host := start(t, fakessh.Options{Latency: fakessh.Latency{
			Seed: 42, Connect: count(&c), Exec: count(&e), SFTP: count(&s),
		}})
		client := dial(t, host)
		run(t, client, "true", "")
		run(t, client, "nonsense", "")
		files := openSFTP(t, client)
		f, err := files.Create("f") // open, write, stat, mkdir, opendir and twice readdir
		if err != nil {
			t.Fatal(err)
		}
		f.Write([]byte("x"))
		f.Stat()
		f.Close()
		files.Mkdir("d")
		files.ReadDir("/")
		mu.Lock()
		defer mu.Unlock()
		return c.Load(), e.Load(), s.Load(), drawn
	}
	connects, execs, requests, drawn := draw()
	if connects != 1 || execs != 2 || requests != 7 {
		t.Errorf("%d connects, %d execs, %d requests wait; want 1, 2, 7", connects, execs, requests)
	}
	_, _, _, again := draw()
	for i := range drawn {
		if drawn[i] != again[i] {
			t.Fatalf("wait %d is %v, then %v with the same seed", i, drawn[i], again[i])
		}
	}
}

// TestLatencyEndsWithTheSession kills a command and a session that would wait
// for an hour.
func TestLatencyEndsWithTheSession(t *testing.T) {
	hour := fakessh.Fixed(time.Hour)
	host := start(t, fakessh.Options{Latency: fakessh.Latency{Exec: hour, SFTP: hour}})
	host.Handle("late", func(context.Context, *fakessh.Command) int {
		t.Error("a killed command starts")
		return 0
	})
	client := dial(t, host)
	s := session(t, client)
	if err := s.Start("late"); err != nil {
		t.Fatal(err)
	}
	if err := s.Signal(gossh.SIGKILL); err != nil {
		t.Fatal(err)
	}
	var exit *gossh.ExitError
	if err := s.Wait(); !errors.As(err, &exit) || exit.Signal() != "KILL" {
		t.Errorf("the command ends with %v", err)
	}
	files := openSFTP(t, client)
	done := make(chan error)
	go func() { _, err := files.Stat("/"); done <- err }()
	waitFor(t, func() bool { return host.Stats().OpenSessions == 1 })
	client.Close()
	if err := <-done; err == nil {
		t.Error("stat succeeds on a lost connection")
	}
}

// TestLoadLeavesNothing runs commands and kills a third of them, many at once.
func TestLoadLeavesNothing(t *testing.T) {
	host := start(t, fakessh.Options{})
	client := dial(t, host)
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Go(func() {
			for i := range 20 {
				s, err := client.NewSession()
				if err != nil {
					t.Error(err)
					return
				}
				if (w+i)%3 != 0 {
					if err := s.Run("echo on"); err != nil {
						t.Error(err)
					}
					continue
				}
				if err := s.Start("sleep 3600"); err != nil {
					t.Error(err)
				}
				s.Signal(gossh.SIGTERM)
				s.Close()
			}
		})
	}
	wg.Wait()
	waitFor(t, func() bool { got := host.Stats(); return got.Running == 0 && got.OpenSessions == 0 })
	got := host.Stats()
	if sleep := got.Commands["sleep"]; got.Sessions != 320 || sleep.Finished != 0 || sleep.Killed != sleep.Started {
		t.Errorf("stats %+v", got)
	}
}

// TestLateTerminal asks for a terminal while the command runs.
func TestLateTerminal(t *testing.T) {
	host := start(t, fakessh.Options{})
	s := session(t, dial(t, host))
	if err := s.Start("sleep 3600"); err != nil {
		t.Fatal(err)
	}
	if err := s.RequestPty("xterm", 24, 80, gossh.TerminalModes{}); err == nil {
		t.Error("a running command gets a terminal")
	}
	s.Close()
}
