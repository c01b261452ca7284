package server

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
	"github.com/openaccess-mcp/openaccess-mcp/fakessh/wgpeer"
)

// startVPN makes a fixture with the profiles "fake", which has the WireGuard peer "lab", and "fake-inside", which is behind it.
func startVPN(t *testing.T, opts wgpeer.Options) (*fixture, *wgpeer.Peer) {
	t.Helper()
	peer := wgpeer.Start(opts)
	t.Cleanup(func() {
		if err := peer.Close(); err != nil {
			t.Error(err)
		}
	})
	f := start(t, fakessh.Options{}, func(f *fixture) {
		if err := peer.WriteProfile(f.dir, "fake", f.host, f.dir); err != nil {
			t.Fatal(err)
		}
	})
	return f, peer
}

func toggle(action string) args {
	return args{"profile_id": "fake", "peer_id": "lab", "action": action}
}

func TestVPNTool(t *testing.T) {
	f, peer := startVPN(t, wgpeer.Options{})
	c := f.connect(t.Context(), t)
	defer c.end()
	exec := args{"profile_id": "fake-inside", "command": "echo inside"}
	c.call("ssh_exec", exec).wantCode(t, CodeConnectionFailed, "WireGuard peer fake/lab: is down: bring it up with vpn_wireguard_toggle",
		`profile_id "fake", peer_id "lab", action "up"`)

	before := time.Now()
	e := c.call("vpn_wireguard_toggle", toggle("up"))
	if list := string(c.request("tools/call", map[string]any{"name": "profile_list"}).Result); !strings.Contains(list, `"vpn_peers":["lab"]`) || !strings.Contains(list, `"via_vpn":"fake/lab"`) {
		t.Errorf("profile_list does not tell of the peer: %s", list)
	}
	if !e.Success || e.Data["status"] != "up" || e.Data["interface"] != "userspace" || e.Data["ip_address"] != "10.66.66.2" || e.Data["peer_id"] != "lab" {
		t.Fatalf("up: %+v", e)
	}
	at, err := time.Parse(time.RFC3339, e.Data["last_handshake"].(string))
	if err != nil || at.Before(before) || at.After(time.Now()) {
		t.Errorf("last handshake %v, %v", e.Data["last_handshake"], err)
	}
	if again := c.call("vpn.wireguard_toggle", toggle("up")); !again.Success || again.Data["last_handshake"] != e.Data["last_handshake"] {
		t.Errorf("up when it is up: %+v", again)
	}
	if e := c.call("ssh_exec", exec); !e.Success || e.Data["stdout"] != "inside\n" {
		t.Errorf("through the tunnel: %+v", e)
	}
	if n := peer.Host.Stats().Connections; n != 1 {
		t.Errorf("the host inside has %d connections", n)
	}

	for range 2 {
		if e := c.call("vpn_wireguard_toggle", toggle("down")); !e.Success || e.Data["status"] != "down" || e.Data["interface"] != nil || e.Data["last_handshake"] != nil {
			t.Errorf("down: %+v", e)
		}
	}
	if open := f.server.pool.Stats().Open; open != 0 {
		t.Errorf("%d SSH connections are left", open)
	}
	waitUntil(t, "the host inside has heard of the end", func() bool { return peer.Host.Stats().OpenConnections == 0 })
	c.call("ssh_exec", exec).wantCode(t, CodeConnectionFailed, "is down: bring it up")
}

func TestVPNToolAgainAndAgain(t *testing.T) {
	f, _ := startVPN(t, wgpeer.Options{PresharedKey: true})
	c := f.connect(t.Context(), t)
	defer c.end()
	for i := range 10 {
		if e := c.call("vpn_wireguard_toggle", toggle("up")); !e.Success {
			t.Fatalf("up: %+v", e)
		}
		want := fmt.Sprintln("pass", i)
		if e := c.call("ssh_exec", args{"profile_id": "fake-inside", "command": "echo pass " + fmt.Sprint(i)}); e.Data["stdout"] != want {
			t.Fatalf("traffic: %+v", e)
		}
		if e := c.call("vpn_wireguard_toggle", toggle("down")); !e.Success {
			t.Fatalf("down: %+v", e)
		}
	}
}

func TestVPNToolRefuses(t *testing.T) {
	f, _ := startVPN(t, wgpeer.Options{})
	f.profile(t, "no-vpn", func(p map[string]any) { p["protocols"] = []string{"ssh"} })
	f.profile(t, "ticket", func(p map[string]any) {
		p["policy"] = map[string]any{"require_change_ticket_for": []string{"vpn.wireguard_toggle"}}
	})
	f.profile(t, "no-key", func(p map[string]any) {
		peer := p["vpn"].(map[string]any)["peers"].([]any)[0].(map[string]any)
		peer["private_key_ref"] = map[string]any{"type": "env_ref", "ref": "OPENACCESS_TEST_NO_KEY"}
	})
	server, err := New(f.server.cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	f.server = server
	c := f.connect(t.Context(), t)
	defer c.end()
	for _, tt := range []struct {
		profile, peer, action, ticket string
		code                          Code
		words                         string
	}{
		{"none", "lab", "up", "", CodeProfileNotFound, "none"},
		{"fake", "lob", "up", "", CodeInvalidParameters, `no WireGuard peer "lob": use lab`},
		{"fake", "lob", "down", "", CodeInvalidParameters, `no WireGuard peer "lob": use lab`},
		{"fake-inside", "lab", "up", "", CodeInvalidParameters, "no WireGuard peers"},
		{"fake", "lab", "sideways", "", CodeInvalidParameters, `action must be up or down, not "sideways"`},
		{"fake", "", "up", "", CodeInvalidParameters, "peer_id is required"},
		{"no-vpn", "lab", "up", "", CodePolicyViolation, "protocols"},
		{"ticket", "lab", "up", "", CodePolicyViolation, "change_ticket"},
		{"no-key", "lab", "up", "", CodeAuthenticationFailed, "OPENACCESS_TEST_NO_KEY: not set"},
	} {
		e := c.call("vpn_wireguard_toggle", args{"profile_id": tt.profile, "peer_id": tt.peer, "action": tt.action, "change_ticket": tt.ticket})
		e.wantCode(t, tt.code, tt.words)
	}
	ok := c.call("vpn_wireguard_toggle", args{"profile_id": "ticket", "peer_id": "lab", "action": "up", "change_ticket": "CHG-1"})
	if !ok.Success {
		t.Errorf("with a ticket: %+v", ok)
	}
}

// TestVPNDownEndsCommands brings a tunnel down under a command.
func TestVPNDownEndsCommands(t *testing.T) {
	f, peer := startVPN(t, wgpeer.Options{})
	c := f.connect(t.Context(), t)
	defer c.end()
	c.call("vpn_wireguard_toggle", toggle("up"))
	_, running := c.send("tools/call", map[string]any{"name": "ssh_exec", "arguments": args{"profile_id": "fake-inside", "command": "sleep 60"}})
	waitUntil(t, "the command runs", func() bool { return peer.Host.Stats().Commands["sleep"].Started > 0 })
	if e := c.call("vpn_wireguard_toggle", toggle("down")); !e.Success {
		t.Errorf("down: %+v", e)
	}
	c.envelope(c.await(running)).wantCode(t, CodeOutcomeUnknown)
	if e := c.call("vpn_wireguard_toggle", toggle("up")); !e.Success || strings.Contains(e.Error, "down") {
		t.Errorf("up again: %+v", e)
	}
	if e := c.call("ssh_exec", args{"profile_id": "fake-inside", "command": "echo back"}); e.Data["stdout"] != "back\n" {
		t.Errorf("after it: %+v", e)
	}
}
