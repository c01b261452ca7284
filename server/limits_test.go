package server

import (
	"fmt"
	"testing"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/admission"
)

// TestLimits starts more calls than the limits admit: the profile's own limit, that of the configuration for profiles without one, and
// the limit over all must each hold.
func TestLimits(t *testing.T) {
	f := start(t, fakessh.Options{}, func(f *fixture) {
		for id, limit := range map[string]int{"own": 2, "unset": 0} {
			f.profile(t, id, func(p map[string]any) {
				p["policy"].(map[string]any)["max_concurrent_sessions"] = limit
			})
		}
	})
	cfg := f.server.cfg
	cfg.Limits.MaxPerProfile, cfg.Limits.MaxConcurrentOperations = 3, 4
	if _, restart, err := f.server.Reload(cfg); err != nil || len(restart) > 0 {
		t.Fatalf("%v after a restart, %v", restart, err)
	}
	c := f.connect(t.Context(), t)
	for _, tc := range []struct {
		profiles       []string
		running, extra int
	}{
		{[]string{"own"}, 2, 3},
		{[]string{"unset"}, 3, 2},
		{[]string{"own", "unset"}, 4, 2},
		{[]string{"fake"}, 4, 1},
	} {
		var answers []<-chan message
		for i := range tc.running + tc.extra {
			_, ch := c.send("tools/call", map[string]any{"name": "ssh_exec", "arguments": args{
				"profile_id": tc.profiles[i%len(tc.profiles)], "command": "sleep 0.3",
			}})
			answers = append(answers, ch)
		}
		waitUntil(t, fmt.Sprintf("%v: %d run and %d wait", tc.profiles, tc.running, tc.extra), func() bool {
			r, w := f.server.limits.Stats()
			if r > tc.running {
				t.Errorf("%v: %d run", tc.profiles, r)
			}
			return r == tc.running && w == tc.extra
		})
		for _, ch := range answers {
			if e := c.envelope(c.await(ch)); !e.Success {
				t.Errorf("%v: %+v", tc.profiles, e)
			}
		}
	}
	c.end()
}

func TestRefusedForWantOfMemory(t *testing.T) {
	f := start(t, fakessh.Options{}, nil)
	c := f.connect(t.Context(), t)
	f.server.limits.Refuse(&admission.Refusal{Reason: "memory is short", RetryAfter: 5e9})
	e := c.call("ssh_exec", args{"profile_id": "fake", "command": "echo hi"})
	e.wantCode(t, CodeLimitExceeded, "memory is short", "try again in 5s")
	if e.Metadata.RetryAfter != 5 {
		t.Errorf("retry after %v s", e.Metadata.RetryAfter)
	}
	if e := c.call("profile_list", args{}); !e.Success {
		t.Errorf("work that needs no memory was refused: %+v", e)
	}
	f.server.limits.Refuse(nil)
	if e := c.call("ssh_exec", args{"profile_id": "fake", "command": "echo hi"}); !e.Success {
		t.Errorf("got %+v", e)
	}
	c.end()
}

// TestShrink has idle connections go when memory is short.
func TestShrink(t *testing.T) {
	f := start(t, fakessh.Options{}, nil)
	c := f.connect(t.Context(), t)
	c.call("ssh_exec", args{"profile_id": "fake", "command": "echo hi"})
	if n := f.server.pool.Stats().Open; n != 1 {
		t.Fatalf("%d connections", n)
	}
	f.server.shrink()
	if n := f.server.pool.Stats().Open; n != 0 {
		t.Errorf("%d connections are left", n)
	}
	c.end()
}
