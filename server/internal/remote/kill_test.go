package remote

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/pool"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/profile"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/secret"
)

// tally counts on the host how often each command was begun and how often it ended by itself.
type tally struct {
	mu           sync.Mutex
	begun, ended map[string]int
}

func (c *tally) handle(ctx context.Context, cmd *fakessh.Command) int {
	id := cmd.Args[1]
	c.mu.Lock()
	c.begun[id]++
	c.mu.Unlock()
	select {
	case <-time.After(20 * time.Millisecond):
	case <-ctx.Done():
		return 1
	}
	c.mu.Lock()
	c.ended[id]++
	c.mu.Unlock()
	return 0
}

// TestHostIsKilledUnderCalls kills a host while 200 callers use it, and starts it again. Every call must end, and say the truth about its
// command: it ran, it did not, or nobody knows; and none may run twice.
func TestHostIsKilledUnderCalls(t *testing.T) {
	const callers, interval = 200, 300 * time.Millisecond
	_, key, _ := ed25519.GenerateKey(nil)
	signer, err := ssh.NewSignerFromSigner(key)
	if err != nil {
		t.Fatal(err)
	}
	counted := &tally{begun: map[string]int{}, ended: map[string]int{}}
	opts := fakessh.Options{HostKey: signer, Handlers: map[string]fakessh.Handler{"count": counted.handle}, Users: map[string]fakessh.User{"u": {Password: "p"}}}
	host := fakessh.Start(opts)
	opts.Addr = host.Addr()
	dir := t.TempDir()
	if err := host.WriteProfile(dir, "fake"); err != nil {
		t.Fatal(err)
	}
	store, err := profile.Open(profile.Config{Dir: filepath.Join(dir, "profiles"), Secrets: &secret.Resolver{Dir: filepath.Join(dir, "secrets")}})
	if err != nil {
		t.Fatal(err)
	}
	target, err := store.Resolve(t.Context(), "fake")
	if err != nil {
		t.Fatal(err)
	}
	p := pool.New(pool.Config{MaxConns: 4, BreakerFailures: 3, BreakerInterval: interval})
	defer p.Close()

	dead := make(chan struct{}) // the host is
	never, unknown := make([]int, callers), make([]int, callers)
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			for n := 0; ; n++ {
				id := fmt.Sprintf("%d-%d", i, n)
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				_, err := Exec(ctx, p, target, Command{Line: "count " + id, MaxOutput: 1 << 10})
				if ctx.Err() != nil {
					t.Errorf("%s came to its deadline: %v", id, err)
				}
				cancel()
				counted.judge(t, id, err, &never[i], &unknown[i])
				select {
				case <-dead:
					if err != nil && strings.Contains(err.Error(), "the next attempt is made in") {
						return
					}
				default:
				}
			}
		})
	}
	waitUntil(t, "many commands run", func() bool { return host.Stats().Commands["count"].Finished > 2*callers })
	if err := host.Close(); err != nil {
		t.Error(err)
	}
	close(dead)
	ended := make(chan struct{})
	go func() { defer close(ended); wg.Wait() }()
	select {
	case <-ended:
	case <-time.After(60 * time.Second):
		t.Fatal("calls hang")
	}
	sum := func(n []int) (s int) {
		for _, v := range n {
			s += v
		}
		return s
	}
	if sum(unknown) == 0 || sum(never) == 0 {
		t.Errorf("%d commands of unknown fate, %d that never ran: the host was not killed in the middle", sum(unknown), sum(never))
	}

	host = fakessh.Start(opts)
	defer host.Close()
	time.Sleep(interval)
	if _, err := Exec(t.Context(), p, target, Command{Line: "count again", MaxOutput: 1}); err != nil {
		t.Errorf("after one interval: %v", err)
	}
	if s := p.Stats(); s.BreakersOpen != 0 || s.Leased != 0 || s.Waiting != 0 {
		t.Errorf("stats %+v", s)
	}
}

// judge compares what a call said about its command with what the host knows, and counts those that never ran and those of unknown fate.
func (c *tally) judge(t *testing.T, id string, err error, never, unknown *int) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	begun, ended := c.begun[id], c.ended[id]
	var before *pool.Error
	var work *Error
	switch {
	case begun > 1:
		t.Errorf("%s ran %d times", id, begun)
	case err == nil && ended != 1:
		t.Errorf("%s succeeded without having run", id)
	case errors.As(err, &before):
		if *never++; begun != 0 {
			t.Errorf("%s has run, and the call says: %v", id, err)
		}
	case errors.As(err, &work):
		if *unknown++; work.Kind != Unknown {
			t.Errorf("%s: kind %d: %v", id, work.Kind, err)
		}
	case err != nil:
		t.Errorf("%s: %T: %v", id, err, err)
	}
}
