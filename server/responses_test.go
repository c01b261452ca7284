package server

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
)

// counting starts a fixture whose profile declares "count …" to be read-only; the command tells how often it has run. "count fail" exits
// with 3, and "count wait" runs until it is stopped.
func counting(t testing.TB) *fixture {
	var runs atomic.Int64
	count := func(ctx context.Context, c *fakessh.Command) int {
		fmt.Fprintf(c.Stdout, "run %d", runs.Add(1))
		switch strings.Join(c.Args[1:], " ") {
		case "fail":
			return 3
		case "wait":
			<-ctx.Done()
		case "slow":
			time.Sleep(200 * time.Millisecond)
		}
		return 0
	}
	return start(t, fakessh.Options{Handlers: map[string]fakessh.Handler{"count": count}}, func(f *fixture) {
		f.profile(t, "fake", func(p map[string]any) {
			p["policy"].(map[string]any)["read_only_commands"] = []string{"^count\\b"}
		})
	})
}

func TestResponseCache(t *testing.T) {
	f := counting(t)
	c := f.connect(t.Context(), t)
	mustWrite(t, filepath.Join(f.dir, "file"), "content")
	read := func(want string, cached bool, more ...args) {
		t.Helper()
		a := args{"profile_id": "fake", "command": "count"}
		for _, m := range more {
			for k, v := range m {
				a[k] = v
			}
		}
		e := c.call("ssh_exec", a)
		_, aged := e.Data["age_s"]
		if !strings.HasPrefix(fmt.Sprint(e.Data["stdout"]), want) || e.Data["cached"] != cached || aged != cached {
			t.Errorf("%v: got %v, want %s, cached %v", a, e.Data, want, cached)
		}
	}
	read("run 1", false)
	read("run 1", true)
	read("run 2", false, args{"command": "count other"})
	read("run 3", false, args{"max_output_bytes": 100})
	read("run 4", false, args{"no_cache": true})
	read("run 5", false) // what the one before saw must not be undone
	read("run 5", true)
	read("run 6", false, args{"command": "count fail"})
	read("run 7", false, args{"command": "count fail"})
	read("run 5", true)
	read("run 5", true, args{"caller": "somebody"}) // a claim changes nothing
	for i, write := range []func() envelope{
		func() envelope { return c.call("ssh_exec", args{"profile_id": "fake", "command": "true"}) },
		func() envelope {
			return c.call("ssh_exec", args{"profile_id": "fake", "command": "count", "sudo": true})
		},
		func() envelope {
			return c.call("sftp_transfer", args{"profile_id": "fake", "direction": "upload", "local_path": filepath.Join(f.dir, "file"), "remote_path": "f"})
		},
		func() envelope {
			return c.call("rsync_sync", args{"profile_id": "fake", "direction": "push", "source": filepath.Join(f.dir, "secrets"), "dest": "d", "dry_run": false})
		},
	} {
		if e := write(); !e.Success {
			t.Errorf("write %d: %+v", i, e)
		}
		before := f.server.responses.cache.Stats().Misses
		read("run", false)
		read("run", true)
		if f.server.responses.cache.Stats().Misses != before+1 {
			t.Errorf("write %d did not make the result void, or the next read was not remembered", i)
		}
	}
	for i, harmless := range []func() envelope{
		func() envelope {
			return c.call("sftp_transfer", args{"profile_id": "fake", "direction": "download", "local_path": filepath.Join(f.dir, "got"), "remote_path": "f"})
		},
		func() envelope {
			return c.call("rsync_sync", args{"profile_id": "fake", "direction": "push", "source": filepath.Join(f.dir, "secrets"), "dest": "d"})
		},
	} {
		if e := harmless(); !e.Success {
			t.Errorf("harmless %d: %+v", i, e)
		}
		read("run", true)
	}
	e := c.call("server_stats", args{})
	stats := e.Data["response_cache"].(map[string]any)
	if stats["hits"].(float64) < 5 || stats["entries"].(float64) < 1 || stats["hit_ratio"].(float64) <= 0 {
		t.Errorf("stats %v", stats)
	}
	c.end()
}

// TestNothingRememberedDuringAWrite reads while a command that may change the host runs.
func TestNothingRememberedDuringAWrite(t *testing.T) {
	f := counting(t)
	c := f.connect(t.Context(), t)
	defer c.end()
	id, _ := c.send("tools/call", map[string]any{"name": "ssh_exec", "arguments": args{"profile_id": "fake", "command": "sleep 60"}})
	waitUntil(t, "the write runs", func() bool { return f.host.Stats().Running == 1 })
	for range 2 {
		if e := c.call("ssh_exec", args{"profile_id": "fake", "command": "count"}); e.Data["cached"] != false {
			t.Errorf("during a write: %v", e.Data)
		}
	}
	c.notify("notifications/cancelled", map[string]any{"requestId": id})
	waitUntil(t, "the write has ended", func() bool { return f.server.responses.usable("fake") })
	for _, cached := range []bool{false, true} {
		if e := c.call("ssh_exec", args{"profile_id": "fake", "command": "count"}); e.Data["cached"] != cached {
			t.Errorf("after a write: %v, want cached %v", e.Data, cached)
		}
	}
}

// TestIdenticalCallsRunOnce sends equal calls at once, cancels the first, and wants the others answered by the one run.
func TestIdenticalCallsRunOnce(t *testing.T) {
	f := counting(t)
	c := f.connect(t.Context(), t)
	defer c.end()
	call := map[string]any{"name": "ssh_exec", "arguments": args{"profile_id": "fake", "command": "count slow"}}
	first, _ := c.send("tools/call", call)
	waitUntil(t, "the command runs", func() bool { return f.host.Stats().Running == 1 })
	var answers []<-chan message
	for range 8 {
		_, ch := c.send("tools/call", call)
		answers = append(answers, ch)
	}
	waitUntil(t, "the others wait", func() bool { return f.server.responses.cache.Stats().Shared == 8 })
	c.notify("notifications/cancelled", map[string]any{"requestId": first})
	for _, ch := range answers {
		if e := c.envelope(c.await(ch)); e.Data["stdout"] != "run 1" {
			t.Errorf("got %+v", e)
		}
	}
}

// TestAbandonedReadStops cancels the only caller of a read-only command: the command must not go on.
func TestAbandonedReadStops(t *testing.T) {
	f := counting(t)
	c := f.connect(t.Context(), t)
	defer c.end()
	id, _ := c.send("tools/call", map[string]any{"name": "ssh_exec", "arguments": args{"profile_id": "fake", "command": "count wait"}})
	waitUntil(t, "the command runs", func() bool { return f.host.Stats().Running == 1 })
	c.notify("notifications/cancelled", map[string]any{"requestId": id})
	waitUntil(t, "the command is stopped", func() bool { return f.host.Stats().Running == 0 })
	c.call("ssh_exec", args{"profile_id": "fake", "command": "count wait", "timeout": 0.05}).wantCode(t, CodeTimeout)
}

func TestCachingSwitchedOff(t *testing.T) {
	f := counting(t)
	off := false
	cfg := f.server.cfg
	cfg.Caching.Enabled = &off
	if _, restart, err := f.server.Reload(cfg); err != nil || len(restart) > 0 {
		t.Fatalf("%v, %v", restart, err)
	}
	c := f.connect(t.Context(), t)
	for range 2 {
		if e := c.call("ssh_exec", args{"profile_id": "fake", "command": "count"}); e.Data["cached"] != false {
			t.Errorf("got %v", e.Data)
		}
	}
	c.end()
}

// handleCall has the server answer one tool call in this process.
func handleCall(ctx context.Context, b *testing.B, s *Server, line json.RawMessage, want string) {
	answer, err := json.Marshal(s.mcp.HandleMessage(ctx, line))
	if err != nil || !strings.Contains(string(answer), want) {
		b.Fatalf("%s, %v", answer, err)
	}
}

// BenchmarkResponseHit compares a remembered result with a tool that does nothing, both in process, without a transport.
func BenchmarkResponseHit(b *testing.B) {
	line := json.RawMessage(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"ssh_exec","arguments":{"profile_id":"fake","command":"count"}}}`)
	b.Run("noop", func(b *testing.B) {
		s := NewNoop(Config{}, Noop{})
		defer s.Close()
		b.ReportAllocs()
		for b.Loop() {
			handleCall(b.Context(), b, s, line, "loadgen")
		}
	})
	b.Run("hit", func(b *testing.B) {
		f := counting(b)
		handleCall(b.Context(), b, f.server, line, "run 1")
		b.ReportAllocs()
		for b.Loop() {
			handleCall(b.Context(), b, f.server, line, `cached\":true`)
		}
	})
}
