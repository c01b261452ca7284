package policy

import (
	"net"
	"strconv"
	"strings"
	"testing"
)

func TestTunnelTargets(t *testing.T) {
	p, err := Compile(Rules{Protocols: []string{"tunnel"}, TunnelTargets: []string{
		"db.internal:5432", "*.web.internal:8000-8100", "10.0.0.0/8:*", "192.0.2.7:22", "[fd00::/8]:443", "*:9",
	}})
	if err != nil {
		t.Fatal(err)
	}
	for target, want := range map[string]bool{
		"db.internal:5432": true, "DB.Internal.:5432": true, "db.internal:5433": false, "xdb.internal:5432": false,
		"a.web.internal:8000": true, "a.b.web.internal:8100": true, "web.internal:8000": false, "a.web.internal:8101": false,
		".web.internal:8000": false,
		"10.1.2.3:1":         true, "11.1.2.3:1": false, "[::ffff:10.1.2.3]:1": true, "10.1.2.3.evil.org:1": false, "167838211:1": false,
		"192.0.2.7:22": true, "192.0.2.8:22": false, "[fd12::1]:443": true, "[fd12::1]:80": false, "[fe80::1%eth0]:443": false,
		"anything:9": true, "[2001:db8::1]:9": true, ":5432": false, "db.internal": false, "db.internal:x": false,
	} {
		d := p.Decide(Call{Operation: "tunnel.create", Protocol: "tunnel", Target: target})
		if d.Allowed != want || !want && d.Rule != "tunnel_targets" {
			t.Errorf("%s: %+v, want %v", target, d, want)
		}
	}
}

func TestTunnelListenHosts(t *testing.T) {
	p, err := Compile(Rules{Protocols: []string{"tunnel"}, TunnelListenHosts: []string{"10.0.0.5", "::", "Relay"}})
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]bool{
		"127.0.0.1": true, "127.9.9.9": true, "::1": true, "localhost": true, "::ffff:127.0.0.1": true,
		"10.0.0.5": true, "0:0::0": true, "relay": true,
		"10.0.0.6": false, "0.0.0.0": false, "*": false, "localhost.evil.org": false,
	} {
		d := p.Decide(Call{Operation: "tunnel.create", Protocol: "tunnel", Listen: host})
		if d.Allowed != want || !want && d.Rule != "tunnel_listen_hosts" {
			t.Errorf("%s: %+v, want %v", host, d, want)
		}
	}
}

func TestTunnelRulesThatCannotBeUsed(t *testing.T) {
	_, err := Compile(Rules{
		TunnelTargets:     []string{"db.internal", "db:0", "db:9-8", "db:70000", "10.0.0.300:1", "10.0.0.0/40:1", "a*b:1", ":1", "ok:1"},
		TunnelListenHosts: []string{"*", "10.0.0.5:80", "", "ok"},
		MaxTunnels:        -1,
	})
	mistakes := Mistakes(err)
	if len(mistakes) != 12 {
		t.Fatalf("%d mistakes, want 12: %v", len(mistakes), err)
	}
	for _, m := range mistakes {
		if m.Message == "" || m.Remedy == "" || strings.Contains(m.Field, "[8]") {
			t.Errorf("%+v", m)
		}
	}
}

// TestTunnelCloseOutlivesItsProtocol closes what was opened before the profile lost its tunnels.
func TestTunnelCloseOutlivesItsProtocol(t *testing.T) {
	p, err := Compile(Rules{Protocols: []string{"ssh"}, RequireChangeTicketFor: []string{"tunnel.close"}})
	if err != nil {
		t.Fatal(err)
	}
	call := Call{Operation: "tunnel.close", Protocol: "tunnel", ChangeTicket: "CHG-1"}
	if d := p.Decide(call); !d.Allowed {
		t.Errorf("%+v", d)
	}
	call.ChangeTicket = ""
	if d := p.Decide(call); d.Allowed {
		t.Error("closed without the ticket that the profile asks for")
	}
	if p.TunnelLimit() != DefaultTunnels {
		t.Errorf("limit %d", p.TunnelLimit())
	}
}

// FuzzParseAddress looks for patterns that do not match what they spell, or that panic.
func FuzzParseAddress(f *testing.F) {
	for _, s := range []string{"db.internal:5432", "*.x:1-2", "10.0.0.0/8:*", "[fd00::/8]:443", "*:9", "[fe80::1%eth0]:1", ":", "a:b"} {
		f.Add(s, "host", 5)
	}
	f.Fuzz(func(t *testing.T, pattern, host string, port int) {
		a, err := parseAddress(pattern)
		if err != nil {
			return
		}
		if a.low < 1 || a.low > a.high || a.high > 65535 {
			t.Errorf("%q: ports %d to %d", pattern, a.low, a.high)
		}
		if a.matches(host, port) && (port < 1 || port > 65535) {
			t.Errorf("%q matches port %d", pattern, port)
		}
		literal, _, _ := net.SplitHostPort(pattern)
		if !strings.ContainsAny(literal, "*/") && !a.matches(literal, a.low) {
			t.Errorf("%q does not match %s", pattern, net.JoinHostPort(literal, strconv.Itoa(a.low)))
		}
	})
}
