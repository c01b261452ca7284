//go:build realssh && linux

package vpn

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh/wgpeer"
)

// TestTUN makes a real interface. It needs root and /dev/net/tun.
func TestTUN(t *testing.T) {
	for _, network := range []string{"10.213.57.0/24", "fd66:213:57::/64"} {
		t.Run(network, func(t *testing.T) { testTUN(t, netip.MustParsePrefix(network)) })
	}
}

func testTUN(t *testing.T, network netip.Prefix) {
	w, p, tunnels := start(t, wgpeer.Options{Network: network})
	p.TUN = true
	for range 3 {
		s := mustUp(t, tunnels, p)
		if !strings.HasPrefix(s.Interface, "oawg") || s.LastHandshake.IsZero() {
			t.Errorf("up: %+v", s)
		}
		i, err := net.InterfaceByName(s.Interface)
		if err != nil {
			t.Fatal(err)
		}
		addrs, err := i.Addrs()
		if err != nil || i.MTU != p.MTU || i.Flags&net.FlagUp == 0 || len(addrs) == 0 || addrs[0].String() != w.ClientAddr().String() {
			t.Errorf("interface %+v, addresses %v, %v", i, addrs, err)
		}
		mustEcho(t, tunnels, w.EchoAddr(), strings.Repeat("traffic ", 1<<15))
		c, err := net.Dial("tcp", w.EchoAddr()) // by its route, as any program would
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		if c, err = tunnels.Dial(t.Context(), name, w.EchoAddr()); err != nil {
			t.Fatal(err)
		}
		mustDown(t, tunnels)
		wantEnded(t, c)
		c.Close()
		if _, err := net.InterfaceByName(s.Interface); err == nil {
			t.Errorf("%s is left behind", s.Interface)
		}
	}
}

// TestTUNTakenAway deletes the interface under the tunnel.
func TestTUNTakenAway(t *testing.T) {
	w, p, tunnels := start(t, wgpeer.Options{Network: netip.MustParsePrefix("10.213.59.0/24")})
	p.TUN = true
	s := mustUp(t, tunnels, p)
	l, err := netlink.LinkByName(s.Interface)
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkDel(l); err != nil {
		t.Fatal(err)
	}
	<-tunnels.tunnel(name).device.Wait()
	_, err = tunnels.Dial(t.Context(), name, w.EchoAddr())
	wantKind(t, err, KindDown)
	mustUp(t, tunnels, p)
	mustEcho(t, tunnels, w.EchoAddr(), "back")
}

// TestTUNRefuses leaves no interface behind, whatever went wrong.
func TestTUNRefuses(t *testing.T) {
	_, p, tunnels := start(t, wgpeer.Options{Network: netip.MustParsePrefix("10.213.58.0/24")})
	p.TUN = true
	loop := p
	loop.AllowedIPs = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}
	_, err := tunnels.Up(t.Context(), loop)
	wantKind(t, err, KindUnsupported, "allowed_ips 0.0.0.0/0 holds the endpoint 127.0.0.1 itself", "use mode userspace")

	twice := p
	twice.Addresses = append(twice.Addresses, twice.Addresses[0])
	_, err = tunnels.Up(t.Context(), twice)
	wantKind(t, err, KindUnsupported, "mode tun: address 10.213.58.2/32: file exists")
	interfaces, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range interfaces {
		if strings.HasPrefix(i.Name, "oawg") {
			t.Errorf("%s is left behind", i.Name)
		}
	}
}
