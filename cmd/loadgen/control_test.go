package main

import (
	"bufio"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
	"github.com/openaccess-mcp/openaccess-mcp/fakessh/netem"
)

// TestHostControl asks a host in this process, and one at the other end of two pipes as the isolated one is.
func TestHostControl(t *testing.T) {
	for name, connect := range map[string]func(t *testing.T, host *fakessh.Host) hostControl{
		"local":  func(_ *testing.T, host *fakessh.Host) hostControl { return localControl{host} },
		"remote": pipedControl,
	} {
		t.Run(name, func(t *testing.T) {
			host := fakessh.Start(fakessh.Options{})
			defer host.Close()
			c := connect(t, host)
			want := fakessh.Faults{
				Seed: 3, MaxSessions: 7, Connect: fakessh.ConnectFaults{Delay: netem.LogNormal(2*time.Millisecond, 0.1)},
				Network: netem.Shape{Corrupt: 1e-7, Cut: netem.Cut{AfterBytes: 1 << 40}},
			}
			if err := c.setFaults(want); err != nil {
				t.Fatal(err)
			}
			got := host.Faults()
			if got.Schedule = nil; got.Connect != want.Connect || got.Network != want.Network || got.Seed != 3 || got.MaxSessions != 7 {
				t.Errorf("it holds %+v, want %+v", got, want)
			}
			if err := c.setFaults(fakessh.Faults{MaxSessions: -1}); err == nil || !strings.Contains(err.Error(), "max_sessions: -1 is negative") {
				t.Errorf("bad faults give %v", err)
			}
			checkDelays(t, c, host)
		})
	}
}

func checkDelays(t *testing.T, c hostControl, host *fakessh.Host) {
	t.Helper()
	conn, err := net.Dial("tcp", host.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.ReadFull(conn, make([]byte, 4)); err != nil { // its handshake begins after the delay
		t.Fatal(err)
	}
	d, err := c.delays()
	if err != nil {
		t.Fatal(err)
	}
	if d.connect.Count() != 1 || d.connect.Min() < time.Millisecond || d.exec.Count() != 0 || d.sftp.Count() != 0 {
		t.Errorf("%d connects, the first after %v, %d commands, %d requests; want one of 2ms", d.connect.Count(), d.connect.Min(), d.exec.Count(), d.sftp.Count())
	}
	s, err := c.stats()
	if err != nil || s.Connections != 1 {
		t.Errorf("%+v, %v", s, err)
	}
	if err := c.reset(); err != nil {
		t.Fatal(err)
	}
	if d, err = c.delays(); err != nil || d.connect.Count() != 0 {
		t.Errorf("%d connects after the reset, %v", d.connect.Count(), err)
	}
}

// pipedControl serves a host's control over pipes.
func pipedControl(t *testing.T, host *fakessh.Host) hostControl {
	requests, in := io.Pipe()
	out, replies := io.Pipe()
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := serveControl(host, requests, replies); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { in.Close(); wg.Wait() })
	c := &remoteControl{in: in, out: bufio.NewReader(out)}
	if _, err := c.ask("nonsense"); err == nil || !strings.Contains(err.Error(), `unknown request "nonsense"`) {
		t.Errorf("nonsense gives %v", err)
	}
	return c
}

func TestHostControlThatIsGone(t *testing.T) {
	requests, in := io.Pipe()
	requests.Close()
	c := &remoteControl{in: in, out: bufio.NewReader(strings.NewReader(""))}
	if err := c.reset(); err == nil || !strings.Contains(err.Error(), "the fake host does not listen") {
		t.Errorf("reset gives %v", err)
	}
	c.in = io.Discard
	if _, err := c.delays(); err == nil || !strings.Contains(err.Error(), "the fake host does not answer") {
		t.Errorf("delays gives %v", err)
	}
}
