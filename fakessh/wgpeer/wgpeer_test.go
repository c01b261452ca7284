package wgpeer

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestStartAndClose(t *testing.T) {
	for range 3 {
		p := Start(Options{})
		if !strings.HasPrefix(p.Endpoint(), "127.0.0.1:") || p.EchoAddr() != "10.66.66.1:7" || p.Host.Addr() != "10.66.66.1:22" ||
			p.ClientAddr().String() != "10.66.66.2/32" || p.PresharedKey() != "" || p.PublicKey() == p.ClientKey() {
			t.Errorf("endpoint %s, echo %s, host %s, client %s", p.Endpoint(), p.EchoAddr(), p.Host.Addr(), p.ClientAddr())
		}
		for range 2 {
			if err := p.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestListenFails(t *testing.T) {
	if _, err := Listen(Options{Addr: "192.0.2.1:0"}); err == nil {
		t.Error("it listens on an address of nobody")
	}
	if _, err := Listen(Options{Network: netip.MustParsePrefix("10.0.0.1/32")}); err == nil || !strings.Contains(err.Error(), "no room for two") {
		t.Errorf("network of one: %v", err)
	}
}

func TestWriteProfile(t *testing.T) {
	p := Start(Options{Network: netip.MustParsePrefix("fd66::/64"), PresharedKey: true})
	defer p.Close()
	outer := fakessh.Start(fakessh.Options{})
	defer outer.Close()
	dir := t.TempDir()
	if err := p.WriteProfile(dir, "fake", outer, "/srv"); err != nil {
		t.Fatal(err)
	}
	read := func(name string) (doc map[string]any) {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err == nil {
			err = json.Unmarshal(text, &doc)
		}
		if err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
		return doc
	}
	peer := read("profiles/fake.json")["vpn"].(map[string]any)["peers"].([]any)[0].(map[string]any)
	if peer["id"] != "lab" || peer["public_key"] != p.PublicKey() || peer["endpoint"] != p.Endpoint() || peer["addresses"].([]any)[0] != "fd66::2/128" ||
		peer["allowed_ips"].([]any)[0] != "fd66::/64" || peer["preshared_key_ref"] == nil {
		t.Errorf("peer %v", peer)
	}
	inside := read("profiles/fake-inside.json")
	if inside["via_vpn"] != "fake/lab" || inside["host"] != "fd66::1" || inside["port"] != 22.0 || inside["host_key"] != p.Host.HostKeyLine() {
		t.Errorf("inside %v", inside)
	}
	if s := read("secrets/fake-wireguard.json"); s["wireguard_private_key"] != p.ClientKey() || s["wireguard_preshared_key"] != p.PresharedKey() {
		t.Error("the secret does not hold the keys")
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "secrets/.new-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
