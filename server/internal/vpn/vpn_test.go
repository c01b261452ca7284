package vpn

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh/wgpeer"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/secret"
)

func wantKind(t *testing.T, err error, kind Kind, words ...string) {
	t.Helper()
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Kind != kind || e.Name != name {
		t.Errorf("got %v, want an error of kind %d", err, kind)
		return
	}
	for _, w := range words {
		if !strings.Contains(e.Error(), w) {
			t.Errorf("the error %q does not mention %q", e, w)
		}
	}
}

func TestUpCarriesTraffic(t *testing.T) {
	for title, opts := range map[string]wgpeer.Options{
		"IPv4": {}, "IPv6": {Network: netip.MustParsePrefix("fd66::/64")}, "preshared key": {PresharedKey: true}, "IPv6 endpoint": {Addr: "[::1]:0"},
	} {
		t.Run(title, func(t *testing.T) {
			w, p, tunnels := start(t, opts)
			p.Keepalive = 25 * time.Second
			before := time.Now()
			s := mustUp(t, tunnels, p)
			if !s.Up || s.Interface != "userspace" || s.Addresses[0] != w.ClientAddr() || s.LastHandshake.Before(before) || !tunnels.IsUp(name) {
				t.Errorf("up: %+v", s)
			}
			mustEcho(t, tunnels, w.EchoAddr(), strings.Repeat("traffic ", 1<<15))
			if again := mustUp(t, tunnels, p); !again.LastHandshake.Equal(s.LastHandshake) {
				t.Errorf("up when it is up: another handshake, %v after %v", again.LastHandshake, s.LastHandshake)
			}
		})
	}
}

func TestDownClosesConnections(t *testing.T) {
	w, p, tunnels := start(t, wgpeer.Options{})
	mustDown(t, tunnels)
	_, err := tunnels.Dial(t.Context(), name, w.EchoAddr())
	wantKind(t, err, KindDown, `is down: bring it up with vpn_wireguard_toggle (profile_id "gate", peer_id "lab", action "up")`)
	mustUp(t, tunnels, p)
	c, err := tunnels.Dial(t.Context(), name, w.EchoAddr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	mustDown(t, tunnels)
	wantEnded(t, c)
	if _, err = tunnels.Dial(t.Context(), name, w.EchoAddr()); err == nil || tunnels.IsUp(name) {
		t.Errorf("after down: %v", err)
	}
}

func TestToggledAtOnceItKeepsInitiationsApart(t *testing.T) {
	w, p, tunnels := start(t, wgpeer.Options{})
	r := startRelay(t, w.Endpoint(), func(int) bool { return false })
	p.Endpoint = r.addr
	for range 4 {
		mustUp(t, tunnels, p)
		mustEcho(t, tunnels, w.EchoAddr(), "x")
		mustDown(t, tunnels)
	}
	at := r.initiations()
	if len(at) != 4 {
		t.Errorf("%d initiations for 4 times up: one went unanswered", len(at))
	}
	for i := 1; i < len(at); i++ {
		if gap := at[i].Sub(at[i-1]); gap < spacing/2 {
			t.Errorf("initiation %d came %v after the one before", i+1, gap)
		}
	}
}

// TestSilenceIsRetried loses initiations. WireGuard by itself would try again after 5 s, which is later than this test waits.
func TestSilenceIsRetried(t *testing.T) {
	w, p, _ := start(t, wgpeer.Options{})
	r := startRelay(t, w.Endpoint(), func(n int) bool { return n <= 2 })
	p.Endpoint = r.addr
	tunnels := New(4 * time.Second)
	defer tunnels.Close()
	mustUp(t, tunnels, p)
	mustEcho(t, tunnels, w.EchoAddr(), "after all")
	if n := len(r.initiations()); n != 3 {
		t.Errorf("%d initiations, want 3", n)
	}
}

func TestNoAnswer(t *testing.T) {
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	w, p, _ := start(t, wgpeer.Options{})
	p.Endpoint = silent.LocalAddr().String()
	tunnels := New(300 * time.Millisecond)
	defer tunnels.Close()
	_, err = tunnels.Up(t.Context(), p)
	public := strings.Fields(err.Error())
	wantKind(t, err, KindTimeout, "no answer within 300ms", "listens on "+p.Endpoint)
	if key, err := secret.ParseWireGuardKey(public[len(public)-1]); err != nil || key == p.PublicKey {
		t.Errorf("our public key is not in %q", public)
	}
	if tunnels.IsUp(name) || strings.Contains(err.Error(), w.ClientKey()) {
		t.Errorf("left up, or tells the private key: %v", err)
	}

	p.Endpoint = w.Endpoint()
	p.PrivateKey = secret.NewValue(w.PublicKey()) // any key that the peer does not know
	_, err = tunnels.Up(t.Context(), p)
	wantKind(t, err, KindTimeout)
}

func TestUpFails(t *testing.T) {
	w, p, tunnels := start(t, wgpeer.Options{})
	gaveUp, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := tunnels.Up(gaveUp, p)
	wantKind(t, err, KindTimeout)

	self := p
	self.PublicKey = ourPublicKey(t, p)
	_, err = tunnels.Up(t.Context(), self)
	wantKind(t, err, KindUnreachable, "belongs to our own private key")

	noKey := p
	noKey.PrivateKey = secret.NewValue("hunter2")
	_, err = tunnels.Up(t.Context(), noKey)
	wantKind(t, err, KindUnsupported, "private key: not 32 bytes")

	unsendable := p
	unsendable.Endpoint = "127.0.0.1:0"
	_, err = tunnels.Up(t.Context(), unsendable)
	wantKind(t, err, KindUnreachable, "cannot send to 127.0.0.1:0")

	mustUp(t, tunnels, p)
	mustEcho(t, tunnels, w.EchoAddr(), "the next call works")
	tunnels.Close()
	_, err = tunnels.Up(t.Context(), p)
	wantKind(t, err, KindDown, "closing")
}

func ourPublicKey(t *testing.T, p Peer) [32]byte {
	t.Helper()
	private, err := secret.ParseWireGuardKey(p.PrivateKey.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	key, err := secret.ParseWireGuardKey((&tunnel{private: private}).publicKey())
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestDialOutsideAllowedIPs(t *testing.T) {
	_, p, tunnels := start(t, wgpeer.Options{})
	mustUp(t, tunnels, p)
	_, err := tunnels.Dial(t.Context(), name, "10.77.0.1:22")
	wantKind(t, err, KindUnreachable, "10.77.0.1", "not in its allowed_ips [10.66.66.0/24]")
	if _, err = tunnels.Dial(t.Context(), name, "10.66.66.1:1"); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("closed port: %v", err)
	}
	for _, addr := range []string{"10.66.66.1", "10.66.66.1:http"} {
		if _, err = tunnels.Dial(t.Context(), name, addr); err == nil {
			t.Errorf("%s is dialled", addr)
		}
	}
}

func TestDialEndsWithTheTunnel(t *testing.T) {
	_, p, tunnels := start(t, wgpeer.Options{})
	p.AllowedIPs = append(p.AllowedIPs, netip.MustParsePrefix("10.77.0.0/16"))
	mustUp(t, tunnels, p)
	dialled := make(chan error, 1)
	go func() {
		_, err := tunnels.Dial(t.Context(), name, "10.77.0.1:22") // where nobody answers
		dialled <- err
	}()
	time.Sleep(10 * time.Millisecond) // either order is fine, this one is meant
	mustDown(t, tunnels)
	wantKind(t, <-dialled, KindDown)
}

func TestChangedSettingsAreTaken(t *testing.T) {
	w, p, tunnels := start(t, wgpeer.Options{})
	mustUp(t, tunnels, p)
	c, err := tunnels.Dial(t.Context(), name, w.EchoAddr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	p.MTU = 1300
	mustUp(t, tunnels, p)
	wantEnded(t, c)
	mustEcho(t, tunnels, w.EchoAddr(), "new")
}

func TestExpiredSessionIsRenewed(t *testing.T) {
	w, p, tunnels := start(t, wgpeer.Options{})
	first := mustUp(t, tunnels, p)
	c, err := tunnels.Dial(t.Context(), name, w.EchoAddr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	tunnels.life = time.Nanosecond
	tunnels.slots[name].tunnel.device.LookupPeer(p.PublicKey).ExpireCurrentKeypairs()
	if s := mustUp(t, tunnels, p); !s.LastHandshake.After(first.LastHandshake) {
		t.Error("no new handshake")
	}
	if _, err := c.Write([]byte("x")); err != nil {
		t.Error(err)
	}
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := c.Read(make([]byte, 1)); err != nil {
		t.Errorf("the connection did not live on: %v", err)
	}
}

func TestCallersTakeTurns(t *testing.T) {
	w, p, tunnels := start(t, wgpeer.Options{})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 3 {
				if i%2 == 0 {
					if s, err := tunnels.Up(t.Context(), p); err != nil || !s.Up {
						t.Errorf("up: %+v, %v", s, err)
					}
				} else if s, err := tunnels.Down(t.Context(), name); err != nil || s.Up {
					t.Errorf("down: %+v, %v", s, err)
				}
			}
		})
	}
	wg.Wait()
	mustUp(t, tunnels, p)
	mustEcho(t, tunnels, w.EchoAddr(), "still there")

	slot, err := tunnels.take(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	defer slot.giveUp()
	gaveUp, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	_, err = tunnels.Down(gaveUp, name)
	wantKind(t, err, KindTimeout, "another call is toggling it")
}

func TestNamesAreResolvedInTheTunnel(t *testing.T) {
	w, p, tunnels := start(t, wgpeer.Options{})
	dns, err := w.ListenPacket(53)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		serveDNS(dns, "inside.test.", [4]byte{10, 66, 66, 1})
	}()
	t.Cleanup(func() {
		dns.Close()
		<-served
	})
	p.DNS = []netip.Addr{netip.MustParseAddr("10.66.66.1")}
	mustUp(t, tunnels, p)
	mustEcho(t, tunnels, "inside.test:7", "by name")
	if _, err := tunnels.Dial(t.Context(), name, "other.test.:7"); err == nil || !strings.Contains(err.Error(), "no such host") {
		t.Errorf("unknown name: %v", err)
	}
}

// serveDNS knows one name.
func serveDNS(c net.PacketConn, host string, addr [4]byte) {
	b := make([]byte, 512)
	for {
		n, from, err := c.ReadFrom(b)
		if err != nil {
			return
		}
		var m dnsmessage.Message
		if err := m.Unpack(b[:n]); err != nil || len(m.Questions) != 1 {
			continue
		}
		q := m.Questions[0]
		m.Response, m.Additionals = true, nil
		switch {
		case q.Name.String() != host:
			m.RCode = dnsmessage.RCodeNameError
		case q.Type == dnsmessage.TypeA:
			m.Answers = []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 1}, Body: &dnsmessage.AResource{A: addr}}}
		}
		if reply, err := m.Pack(); err == nil {
			c.WriteTo(reply, from)
		}
	}
}
