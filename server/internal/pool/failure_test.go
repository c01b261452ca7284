package pool

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
	"github.com/openaccess-mcp/openaccess-mcp/fakessh/netem"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/profile"
)

// failing is one way for a lease not to come about.
type failing struct {
	name   string
	cfg    Config
	faults fakessh.Faults // while it is tried
	try    func(t *testing.T, ctx context.Context, f *failed) error
	kind   Kind
	closed bool // ErrClosed rather than an *Error, and nothing works any more
}

type failed struct {
	host   *fakessh.Host
	p      *Pool
	target *profile.Target
}

// each calls try for a session, an SFTP session, a stream and a hold, one after another, and returns the last error.
func each(try func(t *testing.T, ctx context.Context, f *failed, one func(context.Context) error) error) func(*testing.T, context.Context, *failed) error {
	return func(t *testing.T, ctx context.Context, f *failed) (err error) {
		for _, one := range []func(context.Context) error{
			func(ctx context.Context) error { s, err := f.p.SFTP(ctx, f.target); return end(s, err, s.Discard) },
			func(ctx context.Context) error {
				s, err := f.p.Dial(ctx, f.target, fakessh.EchoHost, fakessh.EchoPort, nil)
				return end(s, err, func() { s.Close() })
			},
			func(ctx context.Context) error { l, err := f.p.Hold(ctx, f.target); return end(l, err, l.Release) },
			func(ctx context.Context) error {
				s, err := f.p.Session(ctx, f.target)
				return end(s, err, func() { s.Close() })
			},
		} {
			if e := try(t, ctx, f, one); e != nil {
				err = e
			}
		}
		return err
	}
}

func end[T any](_ *T, err error, give func()) error {
	if err == nil {
		give()
	}
	return err
}

// soonOver is a context that ends in a moment.
func soonOver(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, 80*time.Millisecond)
}

// TestNothingIsLeftAfterFailure has every way to a lease fail in every way there is, and wants all counts back at zero and the next call to
// succeed.
func TestNothingIsLeftAfterFailure(t *testing.T) {
	plain := each(func(_ *testing.T, ctx context.Context, _ *failed, one func(context.Context) error) error {
		return one(ctx)
	})
	hasty := each(func(_ *testing.T, ctx context.Context, _ *failed, one func(context.Context) error) error {
		ctx, cancel := soonOver(ctx)
		defer cancel()
		return one(ctx)
	})
	var stalled fakessh.Faults
	stalled.Network.Stall = netem.Stall{For: time.Hour}
	connect := func(change func(c *fakessh.ConnectFaults)) (f fakessh.Faults) {
		change(&f.Connect)
		return f
	}
	refused := func(context.Context, *profile.Target) (net.Conn, error) { return nil, errNobody }
	for _, tc := range []failing{
		{name: "nobody listens", cfg: Config{Dial: refused}, try: plain, kind: KindConnect},
		{name: "dropped before the login", faults: connect(func(c *fakessh.ConnectFaults) { c.Refuse = 1 }), cfg: Config{DialTimeout: 300 * time.Millisecond},
			try: plain, kind: KindConnect},
		{name: "handshake hangs", faults: connect(func(c *fakessh.ConnectFaults) { c.Mute = 1 }), cfg: Config{DialTimeout: 60 * time.Millisecond}, try: plain, kind: KindTimeout},
		{name: "caller leaves during the handshake", faults: connect(func(c *fakessh.ConnectFaults) { c.Mute = 1 }), cfg: Config{DialTimeout: 400 * time.Millisecond},
			try: hasty, kind: KindTimeout},
		{name: "login refused", faults: fakessh.Faults{Auth: fakessh.AuthFaults{Fail: 1}}, try: plain, kind: KindAuth},
		{name: "channel does not open in time", cfg: Config{KeepaliveTimeout: 200 * time.Millisecond}, try: func(t *testing.T, ctx context.Context, f *failed) error {
			mustRun(t, f.p, f.target, "echo hi", "hi\n")
			if err := f.host.SetFaults(stalled); err != nil {
				t.Fatal(err)
			}
			defer f.host.CloseClientConnections() // it would not hear of their end for an hour
			return hasty(t, ctx, f)
		}, kind: KindTimeout},
		{name: "no slot in time", cfg: Config{MaxConns: 1, ChannelsPerConn: 1}, try: func(t *testing.T, ctx context.Context, f *failed) error {
			s := session(t, f.p, f.target)
			defer s.Close()
			return hasty(t, ctx, f)
		}, kind: KindTimeout},
		{name: "queue is full", cfg: Config{MaxConns: 1, ChannelsPerConn: 1, MaxWaiting: 1}, try: func(t *testing.T, ctx context.Context, f *failed) error {
			s := session(t, f.p, f.target)
			defer s.Close()
			ctx, leave := context.WithCancel(ctx)
			var wg sync.WaitGroup
			defer wg.Wait()
			defer leave()
			wg.Go(func() { _, _ = f.p.Session(ctx, f.target) })
			waitUntil(t, func() bool { return f.p.Stats().Waiting == 1 })
			_, err := f.p.Session(ctx, f.target)
			return err
		}, kind: KindLimit},
		{name: "channels refused", cfg: Config{MaxConns: 2, ChannelsPerConn: 4}, faults: fakessh.Faults{MaxSessions: 1}, try: func(t *testing.T, ctx context.Context, f *failed) error {
			a, b := session(t, f.p, f.target), session(t, f.p, f.target)
			defer a.Close()
			defer b.Close()
			return hasty(t, ctx, f)
		}, kind: KindTimeout},
		{name: "connections break", try: func(t *testing.T, ctx context.Context, f *failed) error {
			var wg sync.WaitGroup
			for range 20 {
				wg.Go(func() { _, _ = run(ctx, f.p, f.target, "sleep 60") })
			}
			waitUntil(t, func() bool { return f.host.Stats().Running == 20 })
			f.host.CloseClientConnections()
			wg.Wait()
			return &Error{Kind: KindConnect}
		}, kind: KindConnect},
		{name: "jump host is down", try: func(t *testing.T, ctx context.Context, f *failed) error {
			behind := *f.target
			behind.Key, behind.Jump = "behind", target("jump", "jump")
			behind.Jump.Addr = "127.0.0.1:1"
			g := *f
			g.target = &behind
			return plain(t, ctx, &g)
		}, kind: KindConnect},
		{name: "jumps in a circle", try: func(t *testing.T, ctx context.Context, f *failed) error {
			behind := *f.target
			behind.Key, behind.Jump = "behind", &behind
			g := *f
			g.target = &behind
			return plain(t, ctx, &g)
		}, kind: KindConnect},
		{name: "pool is closed", cfg: Config{MaxConns: 1, ChannelsPerConn: 1}, try: func(t *testing.T, ctx context.Context, f *failed) error {
			s := session(t, f.p, f.target)
			defer s.Close()
			failed := make(chan error)
			go func() { _, err := f.p.Session(ctx, f.target); failed <- err }()
			waitUntil(t, func() bool { return f.p.Stats().Waiting == 1 })
			f.p.Close()
			return errors.Join(<-failed, plain(t, ctx, f))
		}, closed: true},
	} {
		t.Run(tc.name, func(t *testing.T) { tc.run(t) })
	}
}

func (tc *failing) run(t *testing.T) {
	tc.cfg.BreakerFailures = 1000
	host, p, target := start(t, fakessh.Options{}, tc.cfg)
	if err := host.SetFaults(tc.faults); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	err := tc.try(t, ctx, &failed{host, p, target})
	if tc.closed && !errors.Is(err, ErrClosed) {
		t.Errorf("got %v", err)
	} else if !tc.closed {
		wantKind(t, err, tc.kind)
	}
	if err := host.SetFaults(fakessh.Faults{}); err != nil {
		t.Fatal(err)
	}
	waitUntil(t, func() bool { // also for a dial that its caller has left
		s := p.Stats()
		return s.Leased == s.SFTPSessions && s.Held == 0 && s.Waiting == 0 && p.dialing() == 0
	})
	if !tc.closed && tc.cfg.Dial == nil {
		mustRun(t, p, target, "echo hi", "hi\n")
	}
	defer func() {
		if t.Failed() {
			t.Logf("pool %+v, host %+v", p.Stats(), host.Stats())
		}
	}()
	waitUntil(t, func() bool {
		p.CloseIdle()
		s := p.Stats()
		dialing, connected := p.atHosts()
		return dialing+connected == 0 && s.Open == 0 && s.Leased == 0 && s.Held == 0 && s.SFTPSessions == 0 && host.Stats().OpenConnections == 0
	})
}

func (p *Pool) dialing() (n int) {
	n, _ = p.atHosts()
	return n
}

// atHosts counts the hosts' handshakes, under way and to come, and their connections.
func (p *Pool) atHosts() (dialing, connected int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, h := range p.hosts {
		h.mu.Lock()
		dialing += h.startups.used + h.startups.turns.len()
		connected += h.live
		h.mu.Unlock()
	}
	return dialing, connected
}
