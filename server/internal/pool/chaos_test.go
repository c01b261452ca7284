package pool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
	"github.com/openaccess-mcp/openaccess-mcp/fakessh/netem"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/profile"
)

// chaos draws what goes wrong at a host next: connections dropped, muted, delayed or stalled, channels refused, or nothing.
func chaos(r *rand.Rand) fakessh.Faults {
	var f fakessh.Faults
	f.Seed = r.Uint64()
	switch r.IntN(6) {
	case 0:
		f.Connect.Refuse = 0.5
	case 1:
		f.Connect.Mute = 0.3
	case 2:
		f.Connect.MaxStartups = 1
	case 3:
		f.MaxSessions = 1 + r.IntN(3)
	case 4:
		f.Network.Stall = netem.Stall{For: 20 * time.Millisecond, Every: 60 * time.Millisecond}
	}
	return f
}

// runs counts on the host how often each numbered command was run.
type runs struct {
	mu sync.Mutex
	n  map[string]int
}

func (r *runs) handle(_ context.Context, c *fakessh.Command) int {
	r.mu.Lock()
	r.n[c.Args[1]]++
	r.mu.Unlock()
	_, _ = io.WriteString(c.Stdout, c.Args[1]+"\n")
	return 0
}

// once checks that no command ran more than once.
func (r *runs) once(t *testing.T) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, n := range r.n {
		if n > 1 {
			t.Errorf("command %s ran %d times", id, n)
		}
	}
}

// TestChaos uses a host at random while it drops, stalls and refuses, and checks that no lease is lost or counted twice and no command runs
// twice.
func TestChaos(t *testing.T) {
	const users = 16
	each := operations(1600, 20_000) / users
	ran := &runs{n: map[string]int{}}
	host, p, one := start(t, fakessh.Options{MaxSessions: 5, Handlers: map[string]fakessh.Handler{"count": ran.handle}}, Config{
		MaxConns: 3, ChannelsPerConn: 8, MaxSFTP: 3, DialTimeout: 300 * time.Millisecond, KeepaliveInterval: 100 * time.Millisecond,
		KeepaliveTimeout: 500 * time.Millisecond, BreakerFailures: 3, BreakerInterval: 10 * time.Millisecond, MaxLifetime: 2 * time.Second, IdleTimeout: time.Second,
	})
	ctx, cancel := context.WithCancel(t.Context())
	var background sync.WaitGroup
	background.Go(func() { p.Run(ctx) })
	background.Go(func() {
		r := rand.New(rand.NewPCG(0, 6))
		for sleep(ctx, 50*time.Millisecond) {
			if err := host.SetFaults(chaos(r)); err != nil {
				t.Error(err)
			}
			if r.IntN(4) == 0 {
				host.CloseClientConnections()
			}
		}
	})
	behind := *one
	behind.Key, behind.Jump = "behind", one
	var succeeded atomic.Int64
	var wg sync.WaitGroup
	for seed := range uint64(users) {
		wg.Go(func() {
			u := &chaosUser{Rand: rand.New(rand.NewPCG(seed, 5)), t: t, p: p, targets: []*profile.Target{one, one, &behind}}
			for n := range each {
				id := fmt.Sprintf("%d-%d", seed, n)
				switch err := u.step(id); {
				case err == nil:
					succeeded.Add(1)
				case errors.Is(err, errLost):
				default:
					var e *Error
					if !errors.As(err, &e) {
						t.Errorf("%T: %v", err, err)
					}
				}
			}
		})
	}
	wg.Wait()
	cancel()
	background.Wait()
	if err := host.SetFaults(fakessh.Faults{}); err != nil {
		t.Fatal(err)
	}
	waitUntil(t, func() bool {
		p.evictIdle(time.Now().Add(time.Hour))
		s := p.Stats()
		return s.Leased == 0 && s.Held == 0 && s.Waiting == 0 && s.Open == 0 && s.SFTPSessions == 0 && host.Stats().OpenConnections == 0
	})
	ran.once(t)
	mustRun(t, p, one, "echo hi", "hi\n")
	mustRun(t, p, &behind, "echo hi", "hi\n")
	if succeeded.Load() == 0 {
		t.Error("nothing ever succeeded")
	}
	t.Logf("%d of %d operations succeeded: %+v", succeeded.Load(), users*each, p.Stats())
}

// errLost stands for the end of a connection after the pool had given it out.
var errLost = errors.New("lost")

type chaosUser struct {
	*rand.Rand
	t       *testing.T
	p       *Pool
	targets []*profile.Target
}

// step does one operation. Its error is the pool's, or errLost.
func (u *chaosUser) step(id string) error {
	ctx, cancel := context.WithTimeout(u.t.Context(), time.Duration(1+u.IntN(400))*time.Millisecond)
	defer cancel()
	target := u.targets[u.IntN(len(u.targets))]
	switch u.IntN(10) {
	case 0, 1:
		return u.sftp(ctx, target)
	case 2:
		return u.echo(ctx, target)
	case 3:
		l, err := u.p.Acquire(ctx, target)
		if err == nil {
			time.Sleep(time.Duration(u.IntN(5)) * time.Millisecond)
			l.Release()
		}
		return err
	}
	return u.exec(ctx, target, id)
}

func (u *chaosUser) exec(ctx context.Context, target *profile.Target, id string) error {
	s, err := u.p.Session(ctx, target)
	if err != nil {
		return err
	}
	defer s.Close()
	s.Another()
	go ssh.DiscardRequests(s.Requests)
	stop := context.AfterFunc(ctx, func() { s.Channel.Close() })
	defer stop()
	if _, err := s.SendRequest("exec", false, ssh.Marshal(struct{ C string }{"count " + id})); err != nil {
		return errLost
	}
	out, _ := io.ReadAll(s)
	if len(out) == 0 {
		return errLost
	}
	if string(out) != id+"\n" {
		u.t.Errorf("command %s answers %q", id, out)
	}
	return nil
}

func (u *chaosUser) sftp(ctx context.Context, target *profile.Target) error {
	s, err := u.p.SFTP(ctx, target)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, s.Interrupt)
	_, err = s.Stat("/")
	if stop() && err == nil && u.IntN(3) > 0 {
		s.Release()
	} else {
		s.Discard()
	}
	if err != nil {
		return errLost
	}
	return nil
}

// echo sends something through the host's echo service and back.
func (u *chaosUser) echo(ctx context.Context, target *profile.Target) error {
	s, err := u.p.Dial(ctx, target, fakessh.EchoHost, fakessh.EchoPort, nil)
	if err != nil {
		return err
	}
	defer s.Close()
	stop := context.AfterFunc(ctx, func() { s.Close() })
	defer stop()
	word := strings.Repeat("x", 1+u.IntN(1000))
	if _, err := io.WriteString(s, word); err != nil {
		return errLost
	}
	got := make([]byte, len(word))
	if _, err := io.ReadFull(s, got); err != nil {
		return errLost
	}
	if string(got) != word {
		u.t.Errorf("the echo is %q instead of %q", got, word)
	}
	return nil
}
