package server

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
)

func TestTunnelRefusals(t *testing.T) {
	f := start(t, fakessh.Options{}, func(f *fixture) {
		f.profile(t, "nontunnel", func(p map[string]any) { p["protocols"] = []string{"ssh"} })
		f.profile(t, "narrow", func(p map[string]any) { profilePolicy(p)["tunnel_targets"] = []string{"10.0.0.0/8:*", "*.db:5432"} })
		f.profile(t, "ticket", func(p map[string]any) { profilePolicy(p)["require_change_ticket_for"] = []string{"tunnel.create"} })
		f.profile(t, "two", func(p map[string]any) { profilePolicy(p)["max_tunnels"] = 2 })
		f.profile(t, "wide", func(p map[string]any) { profilePolicy(p)["tunnel_listen_hosts"] = []string{"0.0.0.0"} })
		f.profile(t, "closed", func(p map[string]any) { p["port"] = 1 })
	})
	c := f.connect(t.Context(), t)
	defer c.end()
	taken := echo(t, "127.0.0.1:0")
	local := func(more args) args {
		a := args{"profile_id": "fake", "tunnel_type": "local", "target_host": "echo.fake", "target_port": 7}
		for k, v := range more {
			a[k] = v
		}
		return a
	}
	for name, tc := range map[string]struct {
		args  args
		code  Code
		words []string
	}{
		"no type":           {args{"profile_id": "fake"}, CodeInvalidParameters, []string{"tunnel_type is required"}},
		"unknown type":      {args{"profile_id": "fake", "tunnel_type": "sideways"}, CodeInvalidParameters, []string{"sideways", "dynamic"}},
		"no target":         {args{"profile_id": "fake", "tunnel_type": "remote"}, CodeInvalidParameters, []string{"target_host", "target_port"}},
		"dynamic target":    {args{"profile_id": "fake", "tunnel_type": "dynamic", "target_host": "x"}, CodeInvalidParameters, []string{"dynamic"}},
		"target with port":  {local(args{"target_host": "a:1"}), CodeInvalidParameters, []string{"target_host", "a:1"}},
		"odd port":          {local(args{"target_port": 7.5}), CodeInvalidParameters, []string{"target_port", "whole"}},
		"port out of range": {local(args{"listen_port": 65536}), CodeInvalidParameters, []string{"listen_port"}},
		"ttl":               {local(args{"ttl_seconds": 0}), CodeInvalidParameters, []string{"ttl_seconds"}},
		"profile":           {local(args{"profile_id": "none"}), CodeProfileNotFound, nil},
		"protocol":          {local(args{"profile_id": "nontunnel"}), CodePolicyViolation, []string{"protocols"}},
		"target":            {local(args{"profile_id": "narrow"}), CodePolicyViolation, []string{"tunnel_targets", "echo.fake:7"}},
		"listen host":       {local(args{"listen_host": "0.0.0.0"}), CodePolicyViolation, []string{"tunnel_listen_hosts", "loopback"}},
		"other host":        {local(args{"profile_id": "wide", "listen_host": "0.0.0.1"}), CodePolicyViolation, []string{"tunnel_listen_hosts"}},
		"ticket":            {local(args{"profile_id": "ticket"}), CodePolicyViolation, []string{"require_change_ticket_for"}},
		"port taken":        {local(args{"listen_port": taken.Port}), CodeInvalidParameters, []string{"in use"}},
		"unreachable":       {local(args{"profile_id": "closed"}), CodeConnectionFailed, []string{"refused"}},
	} {
		t.Run(name, func(t *testing.T) { c.call("tunnel_create", tc.args).wantCode(t, tc.code, tc.words...) })
	}
	for _, a := range []args{
		local(args{"profile_id": "wide", "listen_host": "0.0.0.0"}), local(args{"profile_id": "ticket", "change_ticket": "CHG-1"}),
		local(args{"profile_id": "narrow", "target_host": "a.db", "target_port": 5432}), local(args{"profile_id": "two"}), local(args{"profile_id": "two"}),
	} {
		if e := c.call("tunnel_create", a); !e.Success {
			t.Errorf("%v: %+v", a, e)
		}
	}
	c.call("tunnel_create", local(args{"profile_id": "two"})).wantCode(t, CodeLimitExceeded, "max_tunnels")
	for _, one := range f.server.tunnels.list() {
		if one.profileID == "two" {
			c.call("tunnel_close", args{"tunnel_id": one.id})
			break
		}
	}
	if e := c.call("tunnel_create", local(args{"profile_id": "two"})); !e.Success {
		t.Errorf("after one was closed: %+v", e)
	}
}

func TestTunnelRulesAreChecked(t *testing.T) {
	dir := t.TempDir()
	mustWrite(t, filepath.Join(dir, "a.yaml"), "id: a\nhost: h\nauth: {type: agent}\npolicy:\n"+
		"  tunnel_targets:\n    - ok:1\n    - db.internal\n  tunnel_listen_hosts: ['*']\n  max_tunnels: -1\n")
	_, err := New(Config{Profiles: dir})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"a.yaml:7:", "policy.tunnel_targets[1]", "a.yaml:8:", "policy.tunnel_listen_hosts[0]", "a.yaml:9:", "policy.max_tunnels"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not mention %q:\n%v", want, err)
		}
	}
}

// TestTunnelFollowsItsProfile narrows a profile whose tunnel is open.
func TestTunnelFollowsItsProfile(t *testing.T) {
	f := start(t, fakessh.Options{}, nil)
	c := f.connect(t.Context(), t)
	defer c.end()
	id, addr := c.echoTunnel()
	if err := dialEcho(addr, "x"); err != nil {
		t.Fatal(err)
	}
	f.profile(t, "fake", func(p map[string]any) { profilePolicy(p)["tunnel_targets"] = []string{"elsewhere:1"} })
	waitUntil(t, "connections are refused", func() bool { return dialEcho(addr, "x") != nil })
	if err := os.Remove(filepath.Join(f.dir, "profiles/fake.json")); err != nil {
		t.Fatal(err)
	}
	if e := c.call("tunnel_close", args{"tunnel_id": id}); !e.Success {
		t.Errorf("tunnel_close without the profile: %+v", e)
	}
}
