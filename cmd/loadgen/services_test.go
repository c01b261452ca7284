package main

import (
	"io"
	"net"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
)

func host(id, via string, peers ...string) hostProfile {
	p := hostProfile{ID: id, ViaVPN: via}
	for _, peer := range peers {
		p.VPN.Peers = append(p.VPN.Peers, struct {
			ID string `yaml:"id"`
		}{peer})
	}
	return p
}

func TestVPNRoute(t *testing.T) {
	for name, tt := range map[string]struct {
		hosts  []hostProfile
		chosen []string
		want   vpnRoute
	}{
		"none":         {[]hostProfile{host("a", "")}, []string{"a"}, vpnRoute{}},
		"peer alone":   {[]hostProfile{host("a", "", "lab")}, []string{"a"}, vpnRoute{}},
		"another":      {[]hostProfile{host("a", ""), host("b", "a/lab"), host("c", "d/lab"), host("d", "", "x", "lab")}, []string{"a", "d"}, vpnRoute{"d", "lab", "c"}},
		"itself":       {[]hostProfile{host("a", "lab", "lab")}, []string{"a"}, vpnRoute{"a", "lab", "a"}},
		"other's own":  {[]hostProfile{host("a", "", "lab"), host("b", "lab")}, []string{"a"}, vpnRoute{}},
		"not chosen":   {[]hostProfile{host("a", "", "lab"), host("b", "a/lab")}, []string{"b"}, vpnRoute{}},
		"first of two": {[]hostProfile{host("a", "", "x", "y"), host("b", "a/y"), host("c", "a/x")}, []string{"a"}, vpnRoute{"a", "x", "c"}},
	} {
		tgt := &target{hosts: tt.hosts, profiles: tt.chosen}
		if got, ok := tgt.vpn(); got != tt.want || ok != (tt.want != vpnRoute{}) {
			t.Errorf("%s: %+v %v, want %+v", name, got, ok, tt.want)
		}
	}
}

func TestFitOnTarget(t *testing.T) {
	step := func(command string) *loadgen.Plan {
		return &loadgen.Plan{Name: "x", Executor: loadgen.Executor{Kind: loadgen.Closed, VUs: 1, Iterations: 1},
			Target: &loadgen.Target{Target: 1, Acceptable: 1},
			Steps:  []loadgen.Step{{Name: "s", Tool: "t", Args: map[string]any{"c": command}}}}
	}
	plain, vpn := step("echo"), step("${vpn_peer}")
	tgt := &target{hosts: []hostProfile{host("a", ""), host("b", "", "lab"), host("in", "b/lab")}, profiles: []string{"a", "b", "in"}, echo: endpoint{"h", 7}}
	if err := tgt.choose(nil); err != nil || !slices.Equal(tgt.profiles, []string{"a", "b"}) {
		t.Errorf("profiles %v, %v: one behind a VPN is not for plain plans", tgt.profiles, err)
	}
	if got := tgt.fit(plain, loadgen.Options{}); !slices.Equal(got.Profiles, []string{"a", "b"}) || !reflect.DeepEqual(got.Vars, map[string]any{"echo_host": "h", "echo_port": 7}) {
		t.Errorf("plain: %+v", got)
	}
	if got := tgt.fit(vpn, loadgen.Options{}); !slices.Equal(got.Profiles, []string{"b"}) || got.Vars["vpn_peer"] != "lab" || got.Vars["inside_profile"] != "in" {
		t.Errorf("vpn: %+v", got)
	}
	plans := []*loadgen.Plan{plain, vpn}
	if kept, out, err := tgt.leaveOut(plans, true); err != nil || len(kept) != 2 || len(out) != 0 {
		t.Errorf("with a peer: %v %v %v", kept, out, err)
	}
	without := &target{hosts: tgt.hosts[:1], profiles: []string{"a"}}
	if kept, out, err := without.leaveOut(plans, false); err != nil || len(kept) != 1 || len(out) != 1 || out[0].Why != noVPN {
		t.Errorf("without: %v %v %v", kept, out, err)
	}
	if _, _, err := without.leaveOut(plans, true); err == nil || !strings.Contains(err.Error(), "scenario x toggles a VPN") {
		t.Errorf("without, by name: %v", err)
	}
	onlyInside := &target{hosts: []hostProfile{host("in", "b/lab")}, profiles: []string{"in"}}
	if err := onlyInside.choose(nil); err == nil || !strings.Contains(err.Error(), "behind a VPN") {
		t.Errorf("no profile left: %v", err)
	}
}

func TestParseEndpoint(t *testing.T) {
	for s, want := range map[string]endpoint{"h:7": {"h", 7}, "[::1]:65535": {"::1", 65535}, "h": {}, "h:0": {}, ":7": {}, "h:65536": {}, "h:x": {}, "": {}} {
		if got, err := parseEndpoint(s); got != want || (err == nil) != (want != endpoint{}) {
			t.Errorf("%q: %v, %v", s, got, err)
		}
	}
}

func TestEchoService(t *testing.T) {
	e, err := startEcho()
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", e.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	got := make([]byte, 5)
	if _, err := c.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, got); err != nil || string(got) != "hello" {
		t.Errorf("%q, %v", got, err)
	}
	if err := e.close(); err != nil { // waits for the connection, which it cuts
		t.Error(err)
	}
	if n, err := c.Read(got); err == nil {
		t.Errorf("%d bytes after the end", n)
	}
}
