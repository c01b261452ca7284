package profile

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
)

var wgKey = base64.StdEncoding.EncodeToString([]byte(strings.Repeat("w", 32)))

var peerText = `{"id": "lab", "public_key": "` + wgKey + `", "endpoint": "vpn.example.org:51820", "addresses": ["10.8.0.2/24", "fd00::2"],
	"allowed_ips": ["10.8.0.9/24"], "private_key_ref": {"type": "file_ref", "ref": "wg"}, "dns": ["10.8.0.1"], "persistent_keepalive": 25}`

// peers is a vpn section to append to a profile.
func peers(list ...string) string {
	return ",\n\"vpn\": {\"peers\": [\n" + strings.Join(list, ",\n") + "]}"
}

// with is peerText with the value of a field changed.
func with(old, text string) string {
	if !strings.Contains(peerText, old) {
		panic(old)
	}
	return strings.Replace(peerText, old, text, 1)
}

func TestPeerMistakes(t *testing.T) {
	for _, tt := range []struct{ name, peer, want string }{
		{"id", with(`"lab"`, `"Lab"`), `FILE:3:2: vpn.peers[0].id: "Lab" is no id: use at most`},
		{"public key", with(wgKey, "short"), "FILE:3:15: vpn.peers[0].public_key: not 32 bytes in base64: write"},
		{"zero key", with(wgKey, base64.StdEncoding.EncodeToString(make([]byte, 32))), "vpn.peers[0].public_key: all zero, which is no key"},
		{"endpoint without port", with("vpn.example.org:51820", "vpn.example.org"), `vpn.peers[0].endpoint: "vpn.example.org" is not host:port: write where`},
		{"endpoint port", with(":51820", ":65536"), `vpn.peers[0].endpoint: "vpn.example.org:65536" is not host:port`},
		{"endpoint with user", with("vpn.", "u@vpn."), `vpn.peers[0].endpoint: "u@vpn`},
		{"address", with("10.8.0.2/24", "10.8.0.2/33"), `vpn.peers[0].addresses[0]: "10.8.0.2/33" is no address with prefix length: write this end's`},
		{"no address", with(`["10.8.0.2/24", "fd00::2"]`, "[]"), "vpn.peers[0].addresses: missing: list this end's"},
		{"allowed", with("10.8.0.9/24", "all"), `vpn.peers[0].allowed_ips[0]: "all" is no address`},
		{"no secret", with(`"private_key_ref": {"type": "file_ref", "ref": "wg"}, `, ""), "FILE:3:1: vpn.peers[0].private_key_ref: missing: set it to"},
		{"secret outside", with(`"wg"`, `"../wg"`), `vpn.peers[0].private_key_ref.ref: "../wg" is not a plain file name`},
		{"agent", with(`"file_ref"`, `"agent"`), "vpn.peers[0].private_key_ref.type: an SSH agent holds no WireGuard keys: use"},
		{"key in the profile", with(`"private_key_ref"`, `"private_key": "x", "private_key_ref"`), `vpn.peers[0].private_key: unknown field`},
		{"dns", with(`"10.8.0.1"`, `"ns"`), `vpn.peers[0].dns[0]: "ns" is no IP address`},
		{"mtu", with(`"dns"`, `"mtu": 1279, "dns"`), "vpn.peers[0].mtu: 1279 is out of range: use 1280 to 65000, or leave it out for 1420"},
		{"keepalive", with("25", "65536"), "vpn.peers[0].persistent_keepalive: 65536 is out of range"},
		{"mode", with(`"dns"`, `"mode": "kernel", "dns"`), `vpn.peers[0].mode: unknown mode "kernel": use userspace or tun`},
		{"preshared", with(`"dns"`, `"preshared_key_ref": {"type": "file_ref"}, "dns"`), `vpn.peers[0].preshared_key_ref.ref: "" is not`},
		{"number", "7", "vpn.peers[0]: must be an object, not a number"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := decode("FILE", []byte(minimal("web", peers(tt.peer))))
			d.validate("web", nil)
			var all []string
			for _, p := range d.problems {
				all = append(all, p.Error())
			}
			if text := strings.Join(all, "\n"); !strings.Contains(text, tt.want) || tt.name != "number" && len(all) != 1 {
				t.Errorf("got  %s\nwant %s", text, tt.want)
			}
		})
	}
	d := decode("FILE", []byte(minimal("web", peers(peerText, peerText))))
	d.validate("web", nil)
	if len(d.problems) != 1 || d.problems[0].Field != "vpn.peers[1].id" {
		t.Errorf("the same id twice: %v", d.problems)
	}
}

func TestWireGuard(t *testing.T) {
	f := newFolder(t)
	f.profile("gate.json", minimal("gate", peers(peerText)))
	f.profile("bare.json", minimal("bare", ""))
	f.secret("wg.json", fmt.Sprintf(`{"wireguard_private_key": %q}`, wgKey))
	s := f.open()
	w, err := s.WireGuard(t.Context(), "gate", "lab")
	if err != nil {
		t.Fatal(err)
	}
	if w.Name != "gate/lab" || w.Mode != ModeUserspace || w.MTU != 1420 || w.Keepalive != 25*time.Second || w.PrivateKey.Reveal() != wgKey ||
		!w.PresharedKey.IsZero() || w.PublicKey != [32]byte([]byte(strings.Repeat("w", 32))) || w.Endpoint != "vpn.example.org:51820" {
		t.Errorf("got %+v", w)
	}
	if fmt.Sprint(w.Addresses) != "[10.8.0.2/24 fd00::2/128]" || w.AllowedIPs[0] != netip.MustParsePrefix("10.8.0.0/24") || fmt.Sprint(w.DNS) != "[10.8.0.1]" {
		t.Errorf("networks %v %v %v", w.Addresses, w.AllowedIPs, w.DNS)
	}
	_, err = s.WireGuard(t.Context(), "gate", "lob")
	if e, ok := errors.AsType[*PeerError](err); !ok || !strings.Contains(e.Error(), `no WireGuard peer "lob": use lab`) {
		t.Errorf("unknown peer: %v", err)
	}
	if _, err = s.WireGuard(t.Context(), "bare", "lab"); err == nil || !strings.Contains(err.Error(), "bare has no WireGuard peers") {
		t.Errorf("no peers: %v", err)
	}
	f.secret("wg.json", `{"wireguard_private_key": "hunter2"}`)
	_, err = s.WireGuard(t.Context(), "gate", "lab")
	if _, ok := errors.AsType[*CredentialError](err); !ok || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), "not 32 bytes") {
		t.Errorf("bad key: %v", err)
	}
}

func TestCheckReadsWireGuardKeys(t *testing.T) {
	f := newFolder(t)
	path := f.profile("gate.json", minimal("gate", peers(with(`"dns"`, `"preshared_key_ref": {"type": "file_ref", "ref": "psk"}, "dns"`))))
	f.secret("s.json", `{"password": "p"}`)
	psk := f.secret("psk.json", "{\n \"wireguard_preshared_key\": \"hunter2\"}")
	problems := Check(f.cfg)
	if len(problems) != 2 {
		t.Fatalf("got %v", problems)
	}
	got := problems[0].Error() + "\n" + problems[1].Error()
	for _, want := range []string{path + ":4:74: vpn.peers[0].private_key_ref.ref: ", "wg.json: no such secret file", psk + ":2:29: wireguard_preshared_key: not 32 bytes"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if strings.Contains(got, "hunter2") {
		t.Error("shows the secret")
	}
}

func TestViaVPN(t *testing.T) {
	f := newFolder(t)
	f.secret("s.json", `{"password": "p"}`)
	f.profile("gate.json", minimal("gate", peers(strings.Replace(peerText, "10.8.0.9/24", "10.0.0.0/24", 1))+`, "via_vpn": "lab"`))
	f.profile("inside.json", minimal("inside", `, "via_vpn": "gate/lab"`))
	f.profile("outside.json", minimal("outside", ""))
	s := f.open()
	keys := map[string]string{}
	for id, want := range map[string]string{"gate": "gate/lab", "inside": "gate/lab", "outside": ""} {
		target, err := s.Resolve(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if target.VPN != want {
			t.Errorf("%s goes through %q, want %q", id, target.VPN, want)
		}
		keys[id] = target.Key
	}
	if keys["gate"] != keys["inside"] || keys["inside"] == keys["outside"] {
		t.Errorf("a connection through the tunnel and one beside it may not be shared, two through it may: %v", keys)
	}

	f.profile("inside.json", minimal("inside", `, "via_vpn": "gate/lab", "jump": "gate"`))
	f.profile("outside.json", strings.Replace(minimal("outside", `, "via_vpn": "gate/lab"`), "10.0.0.1", "10.9.0.1", 1))
	var got string
	for _, p := range Check(f.cfg) {
		got += p.Error() + "\n"
	}
	for _, want := range []string{"via_vpn: jump is set as well: set via_vpn in", "host: 10.9.0.1 is not in the allowed_ips of WireGuard peer gate/lab"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in %s", want, got)
		}
	}
}
