package server

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
	"github.com/openaccess-mcp/openaccess-mcp/fakessh/netem"
)

// tally counts on the host how often each command was begun. A command takes until it is killed, or told to end.
type tally struct {
	mu    sync.Mutex
	begun map[string]int
	end   chan struct{}
}

func (c *tally) handle(ctx context.Context, cmd *fakessh.Command) int {
	c.mu.Lock()
	c.begun[cmd.Args[1]]++
	c.mu.Unlock()
	select {
	case <-c.end:
		return 0
	case <-ctx.Done():
		return 1
	}
}

func (c *tally) of(id string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.begun[id]
}

func (c *tally) all() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.begun)
}

// TestHostGoesUnder200Calls has a host die, or fall silent, while 100 calls run their commands there and 100 wait for room. Every call must
// end before its deadline: those that ran must say that nobody knows what became of them, the others that nothing was run. These are then
// tried again, on the host that is back, and no command may have run twice.
func TestHostGoesUnder200Calls(t *testing.T) {
	const calls, room, interval, deadline = 200, 100, 300 * time.Millisecond, 60
	_, key, _ := ed25519.GenerateKey(nil)
	signer, err := ssh.NewSignerFromSigner(key)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		goes func(host *fakessh.Host) error
		back func(host *fakessh.Host, opts fakessh.Options) (*fakessh.Host, error)
	}{
		{"killed", (*fakessh.Host).Close, func(_ *fakessh.Host, opts fakessh.Options) (*fakessh.Host, error) { return fakessh.Start(opts), nil }},
		{"silent", func(host *fakessh.Host) error {
			return host.SetFaults(fakessh.Faults{Network: netem.Shape{Stall: netem.Stall{For: time.Hour}}})
		}, func(host *fakessh.Host, _ fakessh.Options) (*fakessh.Host, error) {
			host.CloseClientConnections()
			return host, host.SetFaults(fakessh.Faults{})
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			counted := &tally{begun: map[string]int{}, end: make(chan struct{})}
			opts := fakessh.Options{HostKey: signer, Handlers: map[string]fakessh.Handler{"count": counted.handle}}
			f := start(t, opts, nil)
			opts.Addr = f.host.Addr()
			next := f.server.cfg
			next.Limits.MaxConcurrentOperations = calls
			next.Pooling.MaxSSHConnections, next.Pooling.ProbeInterval = room/10, Seconds(interval.Seconds())
			next.Pooling.KeepaliveInterval, next.Pooling.KeepaliveTimeout, next.Pooling.ConnectionTimeout = 0.4, 2, 2
			if _, _, err := f.server.Reload(next); err != nil {
				t.Fatal(err)
			}
			c := f.connect(t.Context(), t)
			call := func(id string) <-chan message {
				_, answer := c.send("tools/call", map[string]any{"name": "ssh_exec", "arguments": args{
					"profile_id": "fake", "command": "count " + id, "timeout_seconds": deadline,
				}})
				return answer
			}
			answers := map[string]<-chan message{}
			for i := range calls {
				id := fmt.Sprint(i)
				answers[id] = call(id)
			}
			waitUntil(t, "as many run as there is room for, and the others wait", func() bool {
				s := f.server.pool.Stats()
				return counted.all() == room && s.Leased == room && s.Waiting == calls-room
			})
			if err := tc.goes(f.host); err != nil {
				t.Fatal(err)
			}
			unknown, never := 0, []string{}
			for id, answer := range answers {
				e := c.envelope(c.await(answer))
				switch begun := counted.of(id); {
				case e.Success || begun > 1:
					t.Errorf("command %s began %d times: %+v", id, begun, e)
				case begun == 1 && e.Metadata.ErrorCode == CodeOutcomeUnknown:
					unknown++
				case begun == 0 && (e.Metadata.ErrorCode == CodeConnectionFailed || e.Metadata.ErrorCode == CodeTimeout):
					never = append(never, id)
				default:
					t.Errorf("command %s began %d times, and the call says %s: %s", id, begun, e.Metadata.ErrorCode, e.Error)
				}
			}
			if unknown != room || len(never) != calls-room {
				t.Errorf("%d of unknown outcome, %d that never ran", unknown, len(never))
			}
			if f.host, err = tc.back(f.host, opts); err != nil {
				t.Fatal(err)
			}
			close(counted.end)
			if tc.name == "killed" {
				time.Sleep(interval)
			} else { // an attempt into the silence may still be under way
				waitUntil(t, "the host can be reached", func() bool {
					return c.call("ssh_exec", args{"profile_id": "fake", "command": "echo hi"}).Success
				})
			}
			for _, id := range never {
				answers[id] = call(id)
			}
			for _, id := range never {
				if e := c.envelope(c.await(answers[id])); !e.Success || counted.of(id) != 1 {
					t.Errorf("command %s, tried again, began %d times: %+v", id, counted.of(id), e)
				}
			}
			if s := f.server.pool.Stats(); s.Waiting != 0 || s.BreakersOpen != 0 || s.Leased != s.SFTPSessions {
				t.Errorf("stats %+v", s)
			}
			if running, waiting := f.server.limits.Stats(); running+waiting != 0 {
				t.Errorf("%d run, %d wait", running, waiting)
			}
			c.end()
		})
	}
}
