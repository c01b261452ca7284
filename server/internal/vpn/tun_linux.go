package vpn

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/tun"
)

// interfaceNames is what the kernel makes a name of: the first number that is free.
const interfaceNames = "oawg%d"

// kernelTUN is a link to the kernel's network stack. The interface goes when the device is closed, with its addresses and routes.
type kernelTUN struct {
	tun.Device
	name string
}

func openTUN(p *Peer, endpoint netip.AddrPort) (*kernelTUN, error) {
	for _, n := range p.AllowedIPs {
		if n.Contains(endpoint.Addr()) {
			return nil, fmt.Errorf("mode tun: allowed_ips %s holds the endpoint %s itself, so that the tunnel's own packets would go into it: "+
				"list narrower networks, or use mode userspace", n, endpoint.Addr())
		}
	}
	d, err := tun.CreateTUN(interfaceNames, p.MTU)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("mode tun needs root, or CAP_NET_ADMIN and access to /dev/net/tun: use mode userspace, which needs neither (%w)", err)
	case err != nil:
		return nil, fmt.Errorf("mode tun: %w: use mode userspace, which needs no TUN device", err)
	}
	k := &kernelTUN{Device: d}
	if err := k.configure(p); err != nil {
		d.Close()
		return nil, fmt.Errorf("mode tun: %w", err)
	}
	return k, nil
}

// configure gives the interface its addresses and routes and brings it up.
func (k *kernelTUN) configure(p *Peer) (err error) {
	if k.name, err = k.Name(); err != nil {
		return err
	}
	l, err := netlink.LinkByName(k.name)
	if err != nil {
		return err
	}
	for _, a := range p.Addresses {
		if err := netlink.AddrAdd(l, &netlink.Addr{IPNet: ipNet(a)}); err != nil {
			return fmt.Errorf("address %s: %w", a, err)
		}
	}
	if err := netlink.LinkSetUp(l); err != nil {
		return err
	}
	for _, n := range p.AllowedIPs {
		if slices.ContainsFunc(p.Addresses, func(a netip.Prefix) bool { return a.Masked() == n }) {
			continue // came with the address
		}
		route := netlink.Route{LinkIndex: l.Attrs().Index, Dst: ipNet(n), Scope: netlink.SCOPE_LINK}
		if err := netlink.RouteAdd(&route); err != nil {
			return fmt.Errorf("route to %s: %w", n, err)
		}
	}
	return nil
}

// settle can only wait: what is on its way through the kernel does not show.
func (k *kernelTUN) settle() { time.Sleep(settling / 10) }

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// dial keeps to the interface, whatever the routes say.
func (k *kernelTUN) dial(ctx context.Context, network string, to netip.AddrPort) (net.Conn, error) {
	d := net.Dialer{Control: func(_, _ string, c syscall.RawConn) (err error) {
		if failed := c.Control(func(fd uintptr) { err = unix.BindToDevice(int(fd), k.name) }); failed != nil {
			return failed
		}
		return err
	}}
	return d.DialContext(ctx, network, to.String())
}
