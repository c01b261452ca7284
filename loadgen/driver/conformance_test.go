package driver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
)

// subject is a driver under test, and how to ask it for what the suite needs.
type subject struct {
	name string
	open func(t *testing.T, counts counters) (loadgen.Driver, error)

	echo     func(text string) loadgen.Call // answers with text in the field named by out
	big      func(n int) loadgen.Call       // answers with bigText(n)
	block    loadgen.Call                   // lasts until it is cancelled; counts "started" and "cancelled"
	die      loadgen.Call                   // ends the server
	lastWord string                         // which the errors after that hold
	fail     map[string]loadgen.Call        // by the code they give

	info      loadgen.DriverInfo // Kind, Protocol, Sessions, SharedSession
	child     bool               // the server is a process of ours
	mcp       bool               // it speaks MCP: progress, structured content
	handshake int                // what three sessions with two calls each cost, with a driver that is opened for it
	conns     int                // likewise, HTTP connections
	goodbyes  int                // likewise, DELETE requests
	processes int                // likewise, while the sessions are open
}

// viaMCP is an MCP subject over the test fixture.
func viaMCP(name, kind, protocol, sessions string) subject {
	s := subject{
		name: name, mcp: true, child: kind != "inprocess", lastWord: "about to die",
		echo: func(text string) loadgen.Call {
			return loadgen.Call{Tool: "echo", Args: map[string]any{"stdout": text}}
		},
		big:   func(n int) loadgen.Call { return loadgen.Call{Tool: "big", Args: map[string]any{"n": n}} },
		block: loadgen.Call{Tool: "block"}, die: loadgen.Call{Tool: "die"},
		fail: map[string]loadgen.Call{"AUTHENTICATION_FAILED": {Tool: "fail"}, CodeTool: {Tool: "plainfail"}, CodeProtocol: {Tool: "unknown"}},
		info: loadgen.DriverInfo{Kind: kind, Protocol: protocol, Sessions: sessions, SharedSession: sessions == SessionsShared},
	}
	how := Client{Protocol: protocol, Sessions: sessions}
	s.open = func(t *testing.T, counts counters) (loadgen.Driver, error) {
		cfg := fixtureConfig(kind)
		cfg.Client, cfg.Env = how, append(cfg.Env, countsEnv+"="+string(counts))
		switch kind {
		case "stdio":
			return Stdio(t.Context(), cfg)
		case "http":
			return HTTPChild(t.Context(), cfg)
		}
		return InProcess(t.Context(), func(ctx context.Context, in io.Reader, out io.Writer) error { return runFixture(ctx, in, out, counts) })
	}
	return s
}

// costs says what three sessions with two calls each cost.
func (s subject) costs(handshakes, conns, goodbyes, processes int) subject {
	s.handshake, s.conns, s.goodbyes, s.processes = handshakes, conns, goodbyes, processes
	return s
}

// processPerCall reports whether every call starts a server.
func (s subject) processPerCall() bool {
	return s.info.Kind == "stdio" && s.info.Sessions == SessionsPerCall
}

// rawSSH is the subject without MCP, over a fake host.
func rawSSH() subject {
	run := func(line string) loadgen.Call {
		return loadgen.Call{Tool: "ssh_exec", Args: map[string]any{"profile_id": "web", "command": line}}
	}
	return subject{
		name: "raw-ssh", lastWord: "connection to 127.0.0.1",
		echo:  func(text string) loadgen.Call { return run("say '" + text + "'") },
		big:   func(n int) loadgen.Call { return run(fmt.Sprintf("big %d", n)) },
		block: run("block"), die: run("die"),
		fail: map[string]loadgen.Call{
			CodeProtocol: {Tool: "sftp_transfer"}, "PROFILE_NOT_FOUND": {Tool: "ssh_exec"},
			"INVALID_PARAMETERS": {Tool: "ssh_exec", Args: map[string]any{"profile_id": "web", "sudo": true}},
		},
		info: loadgen.DriverInfo{Kind: "raw-ssh", Sessions: SessionsShared, SharedSession: true},
		open: func(t *testing.T, counts counters) (loadgen.Driver, error) {
			target, err := fakeHost(t, counts)
			if err != nil {
				return nil, err
			}
			return RawSSH(t.Context(), RawSSHConfig{Targets: []SSHTarget{target}, Connections: 2})
		},
	}
}

func fakeHost(t *testing.T, counts counters) (SSHTarget, error) {
	host := fakessh.Start(fakessh.Options{})
	t.Cleanup(func() { host.Close() })
	host.Handle("say", func(_ context.Context, c *fakessh.Command) int {
		fmt.Fprint(c.Stdout, c.Args[1])
		return 0
	})
	host.Handle("big", func(_ context.Context, c *fakessh.Command) int {
		var n int
		fmt.Sscan(c.Args[1], &n)
		io.WriteString(c.Stdout, bigText(n))
		return 0
	})
	host.Handle("block", func(ctx context.Context, c *fakessh.Command) int {
		counts.add("started")
		<-ctx.Done()
		counts.add("cancelled")
		return 1
	})
	host.Handle("die", func(ctx context.Context, c *fakessh.Command) int {
		go host.CloseClientConnections()
		<-ctx.Done()
		return 1
	})
	dir := t.TempDir()
	if err := host.WriteProfile(dir, "web"); err != nil {
		return SSHTarget{}, err
	}
	return ReadSSHTarget(dir+"/profiles", dir+"/secrets", "web")
}

func bigText(n int) string { return strings.Repeat("a\"\n", n/3) }

// subjects are all drivers in all their ways.
var subjects = []subject{
	viaMCP("stdio", "stdio", ProtocolStateful, SessionsShared).costs(1, 0, 0, 1),
	viaMCP("stdio stateless", "stdio", ProtocolStateless, SessionsShared).costs(0, 0, 0, 1),
	viaMCP("stdio per-vu", "stdio", ProtocolStateful, SessionsPerVU).costs(3, 0, 0, 3),
	viaMCP("stdio per-call", "stdio", ProtocolStateful, SessionsPerCall).costs(6, 0, 0, 0),
	viaMCP("http", "http", ProtocolStateful, SessionsPerVU).costs(3, 3, 3, 1),
	viaMCP("http shared", "http", ProtocolStateful, SessionsShared).costs(1, 1, 1, 1),
	viaMCP("http per-call", "http", ProtocolStateful, SessionsPerCall).costs(6, 6, 6, 1),
	viaMCP("http stateless", "http", ProtocolStateless, SessionsPerVU).costs(0, 3, 0, 1),
	viaMCP("http stateless shared", "http", ProtocolStateless, SessionsShared).costs(0, 1, 0, 1),
	viaMCP("http stateless per-call", "http", ProtocolStateless, SessionsPerCall).costs(0, 6, 0, 1),
	viaMCP("inprocess", "inprocess", ProtocolStateful, SessionsShared).costs(1, 0, 0, 0),
	rawSSH(),
}

var errDied = errors.New("fixture: about to die")

func runFixture(ctx context.Context, in io.Reader, out io.Writer, counts counters) error {
	ctx, die := context.WithCancelCause(ctx)
	defer die(nil)
	err := fixtureStdio(ctx, in, out, counts, func() {
		die(errDied)
		_ = out.(*io.PipeWriter).CloseWithError(errDied)
	})
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// each runs a test over every driver.
func each(t *testing.T, test func(t *testing.T, x subject, d loadgen.Driver, counts counters)) {
	for _, x := range subjects {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			counts := counters(t.TempDir())
			d, err := x.open(t, counts)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := d.Close(); err != nil && !strings.Contains(t.Name(), "Death") {
					t.Errorf("Close: %v", err)
				}
			})
			test(t, x, d, counts)
		})
	}
}

func session(t *testing.T, d loadgen.Driver) loadgen.Session {
	t.Helper()
	s, err := d.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func call(t *testing.T, s loadgen.Session, c loadgen.Call) loadgen.Reply {
	t.Helper()
	r, err := s.Call(t.Context(), c)
	if err != nil {
		t.Fatalf("%s: %v", c.Tool, err)
	}
	return r
}

// reach waits until a counter has come to want.
func (c counters) reach(t *testing.T, name string, want int) {
	t.Helper()
	for range 1000 {
		if c.get(name) == want {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("%s is %d, want %d", name, c.get(name), want)
}

func TestInfo(t *testing.T) {
	each(t, func(t *testing.T, x subject, d loadgen.Driver, _ counters) {
		i := d.Info()
		if i.Kind != x.info.Kind || i.Protocol != x.info.Protocol || i.Sessions != x.info.Sessions || i.SharedSession != x.info.SharedSession {
			t.Errorf("%+v, want %+v", i, x.info)
		}
		if x.mcp && (i.ServerName != "fixture" || i.ServerVersion != "1.2.3") {
			t.Errorf("server %s %s", i.ServerName, i.ServerVersion)
		}
		if x.child != (i.PID != 0) || x.child && !slices.Equal(i.PIDs, []int{i.PID}) {
			t.Errorf("PID %d, PIDs %v", i.PID, i.PIDs)
		}
		if i.Kind == "http" && !strings.HasPrefix(i.Address, "http://127.0.0.1:") || i.Kind == "stdio" && i.Address != os.Args[0] {
			t.Errorf("address %s", i.Address)
		}
	})
}

func TestReply(t *testing.T) {
	each(t, func(t *testing.T, x subject, d loadgen.Driver, _ counters) {
		s := session(t, d)
		if r := call(t, s, x.echo("häß\" \\ <&>\t")); r.Code != "" || r.Data["stdout"] != "häß\" \\ <&>\t" {
			t.Errorf("%+v", r)
		}
		if !x.mcp {
			return
		}
		args := map[string]any{"s": "\n\x01", "n": 7, "f": 1.5, "b": true, "l": []any{"x", nil}, "m": map[string]any{"k": "v"}}
		r := call(t, s, loadgen.Call{Tool: "echo", Args: args})
		if fmt.Sprint(r.Data) != fmt.Sprint(args) || r.Code != "" {
			t.Errorf("%+v", r)
		}
		timing := loadgen.Timing{Queue: time.Millisecond, Dial: 2 * time.Millisecond, Channel: 3 * time.Millisecond, Remote: 15 * time.Microsecond, Reused: true}
		if r.Timing != timing {
			t.Errorf("timing %+v", r.Timing)
		}
		if r := call(t, s, loadgen.Call{Tool: "echo"}); r.Code != "" {
			t.Errorf("without arguments: %+v", r)
		}
		if r := call(t, s, loadgen.Call{Tool: "jsontext"}); r.Data["stdout"] != "as text" || r.Timing != timing {
			t.Errorf("an envelope as text: %+v", r)
		}
		if r := call(t, s, loadgen.Call{Tool: "text"}); r.Data["text"] != "{no JSON" {
			t.Errorf("text alone: %+v", r)
		}
	})
}

func TestErrorCodes(t *testing.T) {
	each(t, func(t *testing.T, x subject, d loadgen.Driver, _ counters) {
		s := session(t, d)
		for want, c := range x.fail {
			if r := call(t, s, c); r.Code != want || r.Error == "" || strings.Contains(r.Error, "{") {
				t.Errorf("%s: %+v, want %s", c.Tool, r, want)
			}
		}
	})
}

func TestConcurrentCalls(t *testing.T) {
	each(t, func(t *testing.T, x subject, d loadgen.Driver, _ counters) {
		sessions := []loadgen.Session{session(t, d), session(t, d)}
		users, calls := 16, 4
		if x.processPerCall() {
			users, calls = 4, 1
		}
		var wg sync.WaitGroup
		for i := range users {
			wg.Go(func() {
				for j := range calls {
					want := fmt.Sprintf("%d/%d", i, j)
					r, err := sessions[i%2].Call(t.Context(), x.echo(want))
					if err != nil || r.Data["stdout"] != want {
						t.Errorf("got %v, %v, want %s", r.Data["stdout"], err, want)
					}
				}
			})
		}
		wg.Wait()
	})
}

func TestBigReply(t *testing.T) {
	each(t, func(t *testing.T, x subject, d loadgen.Driver, _ counters) {
		s := session(t, d)
		r := call(t, s, x.big(512<<10))
		if got, _ := r.Data["stdout"].(string); got != bigText(512<<10) {
			t.Errorf("%d bytes, want %d", len(got), 512<<10)
		}
		if r := call(t, s, x.echo("after")); r.Data["stdout"] != "after" {
			t.Errorf("after it: %+v", r)
		}
	})
}

func TestCancelReachesServer(t *testing.T) {
	each(t, func(t *testing.T, x subject, d loadgen.Driver, counts counters) {
		s := session(t, d)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		errs := make(chan error, 3)
		for range 3 {
			go func() {
				_, err := s.Call(ctx, x.block)
				errs <- err
			}()
		}
		counts.reach(t, "started", 3)
		cancel()
		for range 3 {
			if err := <-errs; !errors.Is(err, context.Canceled) {
				t.Errorf("the call gave %v", err)
			}
		}
		counts.reach(t, "cancelled", 3)
		if r := call(t, s, x.echo("after")); r.Data["stdout"] != "after" {
			t.Errorf("after it: %+v", r)
		}
		if _, err := s.Call(ctx, x.echo("")); !errors.Is(err, context.Canceled) {
			t.Errorf("a call after its time gave %v", err)
		}
		timeout, stop := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer stop()
		if _, err := s.Call(timeout, x.block); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a timeout gave %v", err)
		}
	})
}

func TestServerDeath(t *testing.T) {
	each(t, func(t *testing.T, x subject, d loadgen.Driver, counts counters) {
		s := session(t, d)
		errs := make(chan error, 4)
		for range 4 {
			go func() {
				_, err := s.Call(t.Context(), x.block)
				errs <- err
			}()
		}
		counts.reach(t, "started", 4)
		if _, err := s.Call(t.Context(), x.die); err == nil || !strings.Contains(err.Error(), x.lastWord) {
			t.Errorf("the fatal call gave %v", err)
		}
		if x.processPerCall() {
			return // the other calls have servers of their own
		}
		for range 4 {
			if err := <-errs; err == nil {
				t.Error("a call under way gave no error")
			}
		}
		if _, err := s.Call(t.Context(), x.echo("x")); err == nil {
			t.Error("a call after the death gave no error")
		}
		if err := d.Close(); x.mcp && (err == nil || !strings.Contains(err.Error(), x.lastWord)) {
			t.Errorf("Close gave %v", err)
		}
	})
}

func TestCloseWithCallsUnderWay(t *testing.T) {
	each(t, func(t *testing.T, x subject, d loadgen.Driver, counts counters) {
		s := session(t, d)
		errs := make(chan error, 5)
		for range 5 {
			go func() {
				r, err := s.Call(t.Context(), x.block)
				if err == nil && r.Code == "" {
					err = errors.New("success")
				}
				errs <- err
			}()
		}
		counts.reach(t, "started", 5)
		if err := d.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		for range 5 {
			<-errs
		}
		if s, err := d.Open(t.Context()); err == nil {
			if _, err = s.Call(t.Context(), x.echo("x")); err == nil {
				t.Error("a closed driver opens a session")
			}
		}
		if err := d.Close(); err != nil {
			t.Errorf("a second Close: %v", err)
		}
	})
}

// TestSessions counts what sessions cost the server.
func TestSessions(t *testing.T) {
	each(t, func(t *testing.T, x subject, d loadgen.Driver, counts counters) {
		var open []loadgen.Session
		for range 3 {
			s := session(t, d)
			open = append(open, s)
			call(t, s, x.echo("x"))
		}
		if got := len(d.Info().PIDs); got != x.processes {
			t.Errorf("%d processes, want %d", got, x.processes)
		}
		for _, s := range open { // whichever is closed, the others go on
			call(t, s, x.echo("x"))
			if err := s.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		}
		if err := d.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		if h, c, g := counts.get("handshakes"), counts.get("connections"), counts.get("goodbyes"); h != x.handshake || c != x.conns || g != x.goodbyes {
			t.Errorf("%d handshakes, %d connections, %d goodbyes, want %d, %d, %d", h, c, g, x.handshake, x.conns, x.goodbyes)
		}
	})
}

// TestAbandon leaves sessions without a goodbye, with a call under way.
func TestAbandon(t *testing.T) {
	each(t, func(t *testing.T, x subject, d loadgen.Driver, counts counters) {
		s := session(t, d)
		a, ok := s.(loadgen.Abandoner)
		if ok != (x.info.Sessions == SessionsPerVU) {
			t.Fatalf("can be abandoned: %v", ok)
		}
		if !ok {
			return
		}
		other := session(t, d)
		failed := make(chan error, 1)
		go func() {
			_, err := s.Call(t.Context(), x.block)
			failed <- err
		}()
		counts.reach(t, "started", 1)
		if err := a.Abandon(); err != nil {
			t.Error(err)
		}
		if err := <-failed; err == nil {
			t.Error("the call under way gave no error")
		}
		if _, err := s.Call(t.Context(), x.echo("x")); err == nil {
			t.Error("an abandoned session makes calls")
		}
		if r := call(t, other, x.echo("x")); r.Data["stdout"] != "x" {
			t.Errorf("another session: %+v", r)
		}
		if x.info.Kind == "http" {
			counts.reach(t, "disconnections", 1)
			if n := counts.get("goodbyes"); n != 0 {
				t.Errorf("%d goodbyes", n)
			}
		}
		for range 500 {
			if len(d.Info().PIDs) == 1 {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Errorf("processes %v", d.Info().PIDs)
	})
}

func TestProgress(t *testing.T) {
	each(t, func(t *testing.T, x subject, d loadgen.Driver, _ counters) {
		if !x.mcp {
			return
		}
		s := session(t, d)
		for range 2 { // the connection can be used again
			n := 0
			call(t, s, loadgen.Call{Tool: "progress", Progress: func() { n++ }})
			if n != 3 {
				t.Errorf("%d notifications, want 3", n)
			}
		}
		if r := call(t, s, loadgen.Call{Tool: "progress"}); r.Code != "" {
			t.Errorf("unasked: %+v", r)
		}
	})
}
