package server

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
)

// logged is a log that may be read while it is written.
type logged struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logged) has(words ...string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.buf.String()) {
		if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) }) {
			return true
		}
	}
	return false
}

// TestWarmUp has profiles connected to at the start and after a reload; those that cannot be are told of and hold up nothing.
func TestWarmUp(t *testing.T) {
	f := start(t, fakessh.Options{}, func(f *fixture) {
		f.profile(t, "down", func(p map[string]any) { p["port"] = 1 })
		f.profile(t, "user", func(p map[string]any) { p["jump"] = "fake" })
	})
	var log logged
	f.server.cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
	f.server.cfg.Pooling.WarmUp = []string{"down", "nowhere", "fake"}
	c := f.connect(t.Context(), t)
	waitUntil(t, "a connection is open", func() bool { return f.server.pool.Stats().Open == 1 })
	waitUntil(t, "the log tells of all three", func() bool {
		return log.has("INFO", "warmed up", "profile=fake") && log.has("WARN", "profile=down", "refused") && log.has("WARN", "profile=nowhere", "no such profile")
	})
	if e := c.call("ssh_exec", args{"profile_id": "fake", "command": "echo hi"}); !e.Success || !e.Metadata.Timing.Reused || e.Metadata.Timing.Dial != 0 {
		t.Errorf("the first call had to connect: %+v", e)
	}
	next := f.server.cfg
	next.Pooling.WarmUp = []string{"user"}
	if changed, restart, err := f.server.Reload(next); err != nil || len(restart) > 0 || !slices.Equal(changed, []string{"connection_pooling.warm_up"}) {
		t.Errorf("changed %v, after a restart %v, %v", changed, restart, err)
	}
	waitUntil(t, "the profile behind another is connected to", func() bool { return f.server.pool.Stats().Open == 2 })
	c.end()
}

// TestCheckWarmUp wants check to name a profile that is none.
func TestCheckWarmUp(t *testing.T) {
	f := start(t, fakessh.Options{}, nil)
	cfg := f.server.cfg
	cfg.Pooling.WarmUp = []string{"fake", "fkae"}
	_, problems := Check(cfg)
	if len(problems) != 1 || !strings.Contains(problems[0].Error(), `connection_pooling.warm_up: no such profile: "fkae": did you mean "fake"?`) {
		t.Errorf("problems %v", problems)
	}
}

// TestReloadPooling changes the pool's bounds under a running server: the connection in use stays, and what comes later is bounded anew.
func TestReloadPooling(t *testing.T) {
	f := start(t, fakessh.Options{}, nil)
	c := f.connect(t.Context(), t)
	_, running := c.send("tools/call", map[string]any{"name": "ssh_exec", "arguments": args{"profile_id": "fake", "command": "sleep 0.3"}})
	waitUntil(t, "the command runs", func() bool { return f.host.Stats().Running == 1 })
	off := false
	next := f.server.cfg
	next.Pooling.Enabled, next.Caching.ProfileCacheTTL = &off, 7
	if _, restart, err := f.server.Reload(next); err != nil || len(restart) > 0 {
		t.Fatalf("after a restart %v, %v", restart, err)
	}
	if e := c.call("ssh_exec", args{"profile_id": "fake", "command": "echo hi"}); !e.Success || e.Metadata.Timing.Reused {
		t.Errorf("pooling is off: %+v", e)
	}
	if e := c.envelope(c.await(running)); !e.Success {
		t.Errorf("the running call was dropped: %+v", e)
	}
	waitUntil(t, "no connection is left", func() bool { return f.server.pool.Stats().Open == 0 && f.host.Stats().OpenConnections == 0 })
	if e := c.call("server_stats", nil); e.Data["pool"].(map[string]any)["enabled"] != false {
		t.Errorf("stats %v", e.Data["pool"])
	}
	c.end()
}

// TestEditedProfile edits profiles under a running server, breaks and removes them.
func TestEditedProfile(t *testing.T) {
	f := start(t, fakessh.Options{}, nil)
	f.server.profiles.SetTTL(1 << 60) // only what is seen to change counts
	c := f.connect(t.Context(), t)
	defer c.end()
	file := filepath.Join(f.dir, "profiles/fake.json")
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	echo := func() envelope { return c.call("ssh_exec", args{"profile_id": "fake", "command": "echo hi"}) }
	if e := echo(); !e.Success {
		t.Fatalf("got %+v", e)
	}
	waitUntil(t, "the files are watched", func() bool { return f.server.profiles.Stats().Watched })
	f.profile(t, "fake", func(p map[string]any) { p["policy"].(map[string]any)["command_denylist"] = []string{"echo"} })
	waitUntil(t, "the edit counts", func() bool { return echo().Metadata.ErrorCode == CodePolicyViolation })

	mustWrite(t, file, string(good)+"}")
	mustWrite(t, filepath.Join(f.dir, "profiles/bad.json"), "{")
	waitUntil(t, "profile_list tells of both", func() bool {
		data := c.call("profile_list", nil).Data
		fake := data["profiles"].([]any)[0].(map[string]any)
		broken, _ := data["broken"].([]any)
		problem, _ := fake["problem"].(string)
		return strings.Contains(problem, file+":") && len(broken) == 1 && broken[0].(map[string]any)["id"] == "bad"
	})
	echo().wantCode(t, CodePolicyViolation, "denylist") // the last good one
	c.call("ssh_exec", args{"profile_id": "bad", "command": "echo hi"}).wantCode(t, CodeProfileNotFound, "bad.json:1")
	if s := c.call("server_stats", nil).Data["profiles"].(map[string]any); s["broken"] != 2.0 || s["loaded"] != 1.0 || s["watched"] != true || s["hits"] == 0.0 {
		t.Errorf("stats %v", s)
	}
	mustWrite(t, file, string(good))
	waitUntil(t, "mended", func() bool { return echo().Success })
	if err := errors.Join(os.Remove(file), os.Remove(filepath.Join(f.dir, "profiles/bad.json"))); err != nil {
		t.Fatal(err)
	}
	waitUntil(t, "removed", func() bool { return echo().Metadata.ErrorCode == CodeProfileNotFound })
	if data := c.call("profile_list", nil).Data; len(data["profiles"].([]any)) != 0 || data["broken"] != nil {
		t.Errorf("list %v", data)
	}
}
