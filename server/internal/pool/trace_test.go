package pool

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"net"
	"net/http/httptrace"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
	"github.com/openaccess-mcp/openaccess-mcp/fakessh/netem"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/profile"
)

// hops collects what a pool's Trace hears.
type hops struct {
	mu  sync.Mutex
	all []Hop
}

func (h *hops) add(hop Hop) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all = append(h.all, hop)
}

// paced is a host in virtual time, each step of which takes as long as the test says.
type paced struct {
	dns, tcp, banner, auth time.Duration
	refuse                 bool // the login
}

func (p paced) serve(t *testing.T, far net.Conn, key ssh.Signer) {
	defer far.Close()
	time.Sleep(p.banner)
	cfg := &ssh.ServerConfig{PasswordCallback: func(ssh.ConnMetadata, []byte) (*ssh.Permissions, error) {
		time.Sleep(p.auth)
		if p.refuse {
			return nil, errors.New("no")
		}
		return nil, nil
	}}
	cfg.KeyExchanges = []string{"curve25519-sha256"}
	cfg.AddHostKey(key)
	conn, chans, reqs, err := ssh.NewServerConn(far, cfg)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(reqs)
	for nc := range chans {
		_ = nc.Reject(ssh.Prohibited, "none")
	}
	_ = conn.Wait()
}

func (p paced) dial(t *testing.T, key ssh.Signer) func(context.Context, *profile.Target) (net.Conn, error) {
	return func(ctx context.Context, _ *profile.Target) (net.Conn, error) {
		if p.dns > 0 { // as net's dialer does it
			trace := httptrace.ContextClientTrace(ctx)
			trace.DNSStart(httptrace.DNSStartInfo{})
			time.Sleep(p.dns)
			trace.DNSDone(httptrace.DNSDoneInfo{})
		}
		time.Sleep(p.tcp)
		near, far := netem.Pipe()
		go p.serve(t, far, key)
		return near, nil
	}
}

func newSigner(t *testing.T) ssh.Signer {
	t.Helper()
	_, key, _ := ed25519.GenerateKey(nil)
	signer, err := ssh.NewSignerFromSigner(key)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

// TestTrace wants the time of each step told apart, exactly.
func TestTrace(t *testing.T) {
	key := newSigner(t)
	synctest.Test(t, func(t *testing.T) {
		host := paced{dns: 3 * time.Second, tcp: 2 * time.Second, banner: 5 * time.Second, auth: 7 * time.Second}
		var seen hops
		p := New(Config{Dial: host.dial(t, key), Trace: seen.add})
		defer p.Close()
		web := target("web", "web")
		web.Auth = []ssh.AuthMethod{ssh.Password("x")}
		if err := p.Warm(t.Context(), web); err != nil {
			t.Fatal(err)
		}
		want := Hop{Target: web, DNS: host.dns, TCP: host.tcp, Banner: host.banner, Auth: host.auth, Named: true}
		if len(seen.all) != 1 || seen.all[0] != want {
			t.Errorf("got %+v, want %+v", seen.all, want)
		}
		if d, err := p.RoundTrip(t.Context(), web); err != nil || d != 0 {
			t.Errorf("round trip %v, %v", d, err)
		}
	})
}

// TestTraceOfFailures wants the step named in which an attempt failed.
func TestTraceOfFailures(t *testing.T) {
	key := newSigner(t)
	for _, tc := range []struct {
		name   string
		host   paced
		failed Step
	}{
		{name: "banner", host: paced{banner: time.Hour}, failed: StepBanner},
		{name: "auth", host: paced{auth: time.Hour}, failed: StepAuth},
		{name: "refused", host: paced{refuse: true}, failed: StepAuth},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var seen hops
				p := New(Config{Dial: tc.host.dial(t, key), Trace: seen.add, DialTimeout: 10 * time.Second})
				web := target("web", "web")
				web.Auth = []ssh.AuthMethod{ssh.Password("x")}
				if err := p.Warm(t.Context(), web); err == nil {
					t.Error("connected")
				}
				p.Close()
				if len(seen.all) == 0 || seen.all[0].Err == nil {
					t.Fatalf("got %+v", seen.all)
				}
				if got := seen.all[0].Failed; got != tc.failed {
					t.Errorf("failed in %q, want %q: %v", got, tc.failed, seen.all[0].Err)
				}
				time.Sleep(2 * time.Hour) // the host's own sleeps
			})
		})
	}
	t.Run("no address", func(t *testing.T) {
		var seen hops
		none := &net.DNSError{Err: "no such host", Name: "none", IsNotFound: true}
		p := New(Config{Trace: seen.add, Dial: func(ctx context.Context, _ *profile.Target) (net.Conn, error) {
			trace := httptrace.ContextClientTrace(ctx)
			trace.DNSStart(httptrace.DNSStartInfo{})
			trace.DNSDone(httptrace.DNSDoneInfo{Err: none})
			return nil, none
		}})
		defer p.Close()
		if err := p.Warm(t.Context(), target("web", "web")); err == nil {
			t.Fatal("connected")
		}
		if h := seen.all[0]; !h.Named || h.Err == nil || h.Failed != StepDNS {
			t.Errorf("got %+v", h)
		}
	})
}

// TestTraceThroughJumps wants a hop of each host on the way.
func TestTraceThroughJumps(t *testing.T) {
	var seen hops
	_, p, jump := start(t, fakessh.Options{}, Config{Trace: seen.add})
	host := fakessh.Start(fakessh.Options{Faults: fakessh.Faults{Auth: fakessh.AuthFaults{Delay: netem.Fixed(50 * time.Millisecond)}}})
	t.Cleanup(func() { host.Close() })
	web := *targetOf(t, host, nil)
	web.Jump, web.Key = jump, "through"
	if _, err := run(t.Context(), p, &web, "true"); err != nil {
		t.Fatal(err)
	}
	if len(seen.all) != 2 || seen.all[0].Target != jump || seen.all[1].Target != &web {
		t.Fatalf("got %+v", seen.all)
	}
	for i, h := range seen.all {
		if h.Err != nil || h.Named || h.TCP <= 0 || h.Banner <= 0 || h.KeyExchange <= 0 || (h.Auth >= 50*time.Millisecond) != (i == 1) {
			t.Errorf("hop %d: %+v", i, h)
		}
	}
}

// TestRoom counts the session channels that a host grants on one connection.
func TestRoom(t *testing.T) {
	h := newMemHost(t)
	p := h.pool(t, Config{})
	for _, limit := range []int64{0, 3, 1} {
		h.sessions.Store(limit)
		web := target("web", fmt.Sprint("web", limit))
		want := int(limit)
		if limit == 0 {
			want = 10
		}
		if n, err := p.Room(t.Context(), web, 10); err != nil || n != want {
			t.Errorf("limit %d: %d, %v", limit, n, err)
		}
	}
}
