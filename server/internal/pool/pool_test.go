package pool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/crypto/ssh"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/profile"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start runs a fake host and a pool, and returns the target of the host.
func start(t *testing.T, opts fakessh.Options, cfg Config) (*fakessh.Host, *Pool, *profile.Target) {
	t.Helper()
	host := fakessh.Start(opts)
	t.Cleanup(func() {
		if err := host.Close(); err != nil {
			t.Error(err)
		}
	})
	p := New(cfg)
	t.Cleanup(p.Close)
	return host, p, targetOf(t, host, nil)
}

// targetOf resolves a profile of host, after edit has changed its files in dir.
func targetOf(t *testing.T, host *fakessh.Host, edit func(dir string)) *profile.Target {
	t.Helper()
	dir := t.TempDir()
	if err := host.WriteProfile(dir, "fake"); err != nil {
		t.Fatal(err)
	}
	if edit != nil {
		edit(dir)
	}
	store, err := profile.Open(profile.Config{
		Dir: filepath.Join(dir, "profiles"), Secrets: &secret.Resolver{Dir: filepath.Join(dir, "secrets")},
	})
	if err != nil {
		t.Fatal(err)
	}
	target, err := store.Resolve(t.Context(), "fake")
	if err != nil {
		t.Fatal(err)
	}
	return target
}

// run runs a command on a session of its own and returns what it wrote.
func run(ctx context.Context, p *Pool, target *profile.Target, line string) (string, error) {
	s, err := p.Session(ctx, target)
	if err != nil {
		return "", err
	}
	defer s.Close()
	ended := make(chan string, 1)
	go func() {
		how := "without an exit status"
		for req := range s.Requests {
			if how = fmt.Sprintf("%s %x", req.Type, req.Payload); req.WantReply {
				_ = req.Reply(false, nil)
			}
		}
		ended <- how
	}()
	if ok, err := s.SendRequest("exec", true, ssh.Marshal(struct{ C string }{line})); err != nil || !ok {
		return "", fmt.Errorf("exec: accepted %v, %v", ok, err)
	}
	complaint := make(chan []byte, 1)
	go func() { text, _ := io.ReadAll(s.Stderr()); complaint <- text }()
	out, err := io.ReadAll(s)
	text := <-complaint
	if how := <-ended; err == nil && how != "exit-status 00000000" {
		err = fmt.Errorf("the command ended with %s: %s", how, text)
	}
	return string(out), err
}

func mustRun(t *testing.T, p *Pool, target *profile.Target, line, want string) {
	t.Helper()
	got, err := run(t.Context(), p, target, line)
	if err != nil || got != want {
		t.Fatalf("%s: got %q, %v; want %q", line, got, err, want)
	}
}

// countingDialer counts dials and holds each until gate is closed.
func countingDialer(gate <-chan struct{}) (func(context.Context, *profile.Target) (net.Conn, error), *atomic.Int64) {
	var n atomic.Int64
	return func(ctx context.Context, t *profile.Target) (net.Conn, error) {
		n.Add(1)
		select {
		case <-gate:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		var d net.Dialer
		return d.DialContext(ctx, "tcp", t.Addr)
	}, &n
}

func TestSessionsShareOneConnection(t *testing.T) {
	_, p, target := start(t, fakessh.Options{}, Config{})
	for range 20 {
		mustRun(t, p, target, "echo hi", "hi\n")
	}
	if s := p.Stats(); s.Dials != 1 || s.Open != 1 || s.Leases != 20 || s.Reused != 19 || s.Leased != 0 {
		t.Errorf("stats %+v", s)
	}
}

func TestDisabledDialsForEachSession(t *testing.T) {
	host, p, target := start(t, fakessh.Options{}, Config{Disabled: true})
	for range 3 {
		mustRun(t, p, target, "echo hi", "hi\n")
	}
	if s := p.Stats(); s.Dials != 3 || s.Reused != 0 {
		t.Errorf("stats %+v", s)
	}
	if n := host.Stats().Connections; n != 3 {
		t.Errorf("the host saw %d connections", n)
	}
}

func TestOneDialServesAllWhoWait(t *testing.T) {
	gate := make(chan struct{})
	dial, dials := countingDialer(gate)
	_, p, target := start(t, fakessh.Options{}, Config{ChannelsPerConn: 8, Dial: dial})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if out, err := run(t.Context(), p, target, "echo hi"); err != nil || out != "hi\n" {
				t.Errorf("got %q, %v", out, err)
			}
		})
	}
	for p.Stats().Waiting < 8 {
		time.Sleep(time.Millisecond)
	}
	close(gate)
	wg.Wait()
	if n := dials.Load(); n != 1 {
		t.Errorf("%d dials for 8 callers of one connection", n)
	}
}

func TestAsManyConnectionsAsChannelsNeed(t *testing.T) {
	host, p, target := start(t, fakessh.Options{}, Config{ChannelsPerConn: 4, MaxConns: 3})
	var leases []*Lease
	for range 12 {
		l, err := p.Acquire(t.Context(), target)
		if err != nil {
			t.Fatal(err)
		}
		leases = append(leases, l)
	}
	if n := p.Stats().Open; n != 3 {
		t.Errorf("%d connections for 12 leases of 4 each", n)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := p.Acquire(ctx, target)
	wantKind(t, err, KindTimeout)
	for _, l := range leases {
		l.Release()
		l.Release() // a second release does nothing
	}
	mustRun(t, p, target, "echo hi", "hi\n")
	if s := p.Stats(); s.Leased != 0 || s.Waiting != 0 || host.Stats().Connections != 3 {
		t.Errorf("stats %+v", s)
	}
}

func TestChannelLimitIsLearned(t *testing.T) {
	_, p, target := start(t, fakessh.Options{MaxSessions: 2}, Config{MaxConns: 4})
	var wg sync.WaitGroup
	for range 40 {
		wg.Go(func() {
			for range 5 {
				if out, err := run(t.Context(), p, target, "echo hi"); err != nil || out != "hi\n" {
					t.Errorf("got %q, %v", out, err)
				}
			}
		})
	}
	wg.Wait()
	s := p.Stats()
	if s.Refused == 0 || s.Open > 4 || s.Leased != 0 {
		t.Errorf("stats %+v", s)
	}
}

func TestCancelledWaiterLeavesItsDialToTheNext(t *testing.T) {
	gate := make(chan struct{})
	dial, dials := countingDialer(gate)
	_, p, target := start(t, fakessh.Options{}, Config{Dial: dial})
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error)
	go func() { _, err := p.Session(ctx, target); failed <- err }()
	for dials.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	wantKind(t, <-failed, KindTimeout)
	close(gate)
	mustRun(t, p, target, "echo hi", "hi\n")
	if n := dials.Load(); n != 1 {
		t.Errorf("%d dials", n)
	}
}

func TestDeadConnectionIsReplacedBeforeUse(t *testing.T) {
	host, p, target := start(t, fakessh.Options{}, Config{})
	mustRun(t, p, target, "echo hi", "hi\n")
	host.CloseClientConnections()
	mustRun(t, p, target, "echo hi", "hi\n")
	if s := p.Stats(); s.Dials != 2 || s.Open != 1 {
		t.Errorf("stats %+v", s)
	}
}

// TestBrokenConnectionIsReplacedOnce has every connection break when a channel is asked for.
func TestBrokenConnectionIsReplacedOnce(t *testing.T) {
	h := newMemHost(t)
	h.breaks.Store(true)
	p := h.pool(t, Config{})
	_, err := p.Session(t.Context(), target("web", "web"))
	wantKind(t, err, KindConnect)
	if n := h.dials.Load(); n != 2 {
		t.Errorf("%d connections were tried, want 2", n)
	}
}

func TestIdleConnectionsAreEvictedAndLeasedOnesKept(t *testing.T) {
	_, p, target := start(t, fakessh.Options{}, Config{ChannelsPerConn: 1})
	held, err := p.Acquire(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	mustRun(t, p, target, "echo hi", "hi\n")
	sftp, err := p.SFTP(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	sftp.Release()
	p.evictIdle(time.Now().Add(time.Hour))
	p.evictIdle(time.Now().Add(time.Hour)) // the SFTP session's connection becomes idle in the first round
	waitUntil(t, func() bool { s := p.Stats(); return s.Open == 1 && s.SFTPSessions == 0 })
	held.Release()
	p.evictIdle(time.Now().Add(time.Hour))
	waitUntil(t, func() bool { return p.Stats().Open == 0 })
	p.evictIdle(time.Now())
	if s := p.Stats(); s.Targets != 0 {
		t.Errorf("an empty group was kept: %+v", s)
	}
	mustRun(t, p, target, "echo hi", "hi\n")
}

func TestRunEvicts(t *testing.T) {
	_, p, target := start(t, fakessh.Options{}, Config{IdleTimeout: 50 * time.Millisecond})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); p.Run(ctx) }()
	mustRun(t, p, target, "echo hi", "hi\n")
	waitUntil(t, func() bool { return p.Stats().Open == 0 })
	cancel()
	<-done
}

func TestCloseEndsWaiters(t *testing.T) {
	gate := make(chan struct{})
	dial, dials := countingDialer(gate)
	_, p, target := start(t, fakessh.Options{}, Config{Dial: dial})
	failed := make(chan error)
	go func() { _, err := p.Session(t.Context(), target); failed <- err }()
	for dials.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	p.Close()
	if err := <-failed; !errors.Is(err, ErrClosed) && !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if _, err := p.Session(t.Context(), target); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func TestDialErrors(t *testing.T) {
	t.Run("password", func(t *testing.T) {
		host, p, _ := start(t, fakessh.Options{Users: map[string]fakessh.User{"u": {Password: "right"}}}, Config{})
		target := targetOf(t, host, func(dir string) { replace(t, filepath.Join(dir, "secrets/fake.json"), "right", "wrong") })
		_, err := p.Session(t.Context(), target)
		wantKind(t, err, KindAuth)
		if strings.Contains(err.Error(), "wrong") {
			t.Errorf("the error shows the password: %v", err)
		}
	})
	t.Run("host key", func(t *testing.T) {
		host, p, target := start(t, fakessh.Options{}, Config{})
		addr := host.Addr()
		host.Close()
		other := fakessh.Start(fakessh.Options{Addr: addr})
		defer other.Close()
		_, err := p.Session(t.Context(), target)
		wantKind(t, err, KindHostKey)
	})
	t.Run("refused", func(t *testing.T) {
		host, p, target := start(t, fakessh.Options{}, Config{})
		host.Close()
		_, err := p.Session(t.Context(), target)
		wantKind(t, err, KindConnect)
	})
	t.Run("handshake stalls", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		_, p, target := start(t, fakessh.Options{}, Config{DialTimeout: 50 * time.Millisecond, Dial: func(ctx context.Context, _ *profile.Target) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", l.Addr().String())
		}})
		_, err = p.Session(t.Context(), target)
		wantKind(t, err, KindTimeout)
	})
	t.Run("no channel at all", func(t *testing.T) {
		_, p, target := start(t, fakessh.Options{MaxSessions: 1}, Config{Disabled: true})
		s, err := p.Session(t.Context(), target)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		p.Reconfigure(Config{MaxConns: 1, ChannelsPerConn: 2})
		hold, err := p.Session(t.Context(), target)
		if err != nil {
			t.Fatal(err)
		}
		defer hold.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		_, err = p.Session(ctx, target)
		wantKind(t, err, KindTimeout)
	})
}

func TestSFTPSessionsAreReused(t *testing.T) {
	host, p, target := start(t, fakessh.Options{}, Config{MaxSFTP: 2})
	for range 5 {
		s, err := p.SFTP(t.Context(), target)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Stat("/"); err != nil {
			t.Fatal(err)
		}
		s.Release()
	}
	if n := host.Stats().Sessions; n != 1 {
		t.Errorf("%d SFTP sessions for 5 callers in turn", n)
	}
	a, _ := p.SFTP(t.Context(), target)
	b, _ := p.SFTP(t.Context(), target)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := p.SFTP(ctx, target)
	wantKind(t, err, KindTimeout)
	a.Discard()
	c, err := p.SFTP(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	c.Release()
	b.Release()
	if s := p.Stats(); s.SFTPSessions != 2 {
		t.Errorf("stats %+v", s)
	}
}

func TestEndedSFTPSessionIsNotReused(t *testing.T) {
	host, p, target := start(t, fakessh.Options{}, Config{})
	s, err := p.SFTP(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	s.Release()
	host.CloseClientConnections()
	waitUntil(t, func() bool { return p.Stats().SFTPSessions == 0 })
	s, err = p.SFTP(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Stat("/"); err != nil {
		t.Error(err)
	}
	s.Release()
}

func TestIdleSFTPSessionYieldsItsChannel(t *testing.T) {
	_, p, target := start(t, fakessh.Options{}, Config{MaxConns: 1, ChannelsPerConn: 1})
	s, err := p.SFTP(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	waiting := make(chan error)
	go func() {
		_, err := run(t.Context(), p, target, "echo hi")
		waiting <- err
	}()
	waitUntil(t, func() bool { return p.Stats().Waiting == 1 })
	s.Release()
	if err := <-waiting; err != nil {
		t.Error(err)
	}
	s, err = p.SFTP(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	s.Release()
	mustRun(t, p, target, "echo hi", "hi\n") // the idle session is evicted for it
}

func wantKind(t *testing.T, err error, want Kind) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || e.Kind != want {
		t.Errorf("got %v (%T), want an *Error of kind %d", err, err, want)
	}
}

func waitUntil(t *testing.T, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("did not happen within 10 s")
		}
	}
}

func replace(t *testing.T, file, old, with string) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(data), old) {
		t.Fatalf("%s does not hold %q", file, old)
	}
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(string(data), old, with)), 0o600); err != nil {
		t.Fatal(err)
	}
}
