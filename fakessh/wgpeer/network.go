package wgpeer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"golang.zx2c4.com/wireguard/tun"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/channel"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
)

// network is the peer's end of the tunnel: a network stack in memory. It is what the WireGuard device takes for its TUN interface, which
// closes it.
type network struct {
	addr     netip.Addr
	protocol tcpip.NetworkProtocolNumber
	stack    *stack.Stack
	wire     *channel.Endpoint
	events   chan tun.Event
}

// newNetwork panics where gVisor refuses what it always takes.
func newNetwork(addr netip.Addr) *network {
	n := &network{
		addr: addr, protocol: ipv4.ProtocolNumber, wire: channel.New(4096, mtu, ""), events: make(chan tun.Event),
		stack: stack.New(stack.Options{
			NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol, ipv6.NewProtocol},
			TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol},
		}),
	}
	everywhere := header.IPv4EmptySubnet
	if addr.Is6() {
		n.protocol, everywhere = ipv6.ProtocolNumber, header.IPv6EmptySubnet
	}
	selective := tcpip.TCPSACKEnabled(true)
	must(n.stack.SetTransportProtocolOption(tcp.ProtocolNumber, &selective))
	must(n.stack.CreateNIC(1, n.wire))
	must(n.stack.AddProtocolAddress(1, tcpip.ProtocolAddress{
		Protocol: n.protocol, AddressWithPrefix: tcpip.AddrFromSlice(addr.AsSlice()).WithPrefix(),
	}, stack.AddressProperties{}))
	n.stack.SetRouteTable([]tcpip.Route{{Destination: everywhere, NIC: 1}})
	return n
}

func must(err tcpip.Error) {
	if err != nil {
		panic(fmt.Sprintf("wgpeer: network stack: %s", err))
	}
}

func (n *network) at(port uint16) tcpip.FullAddress {
	return tcpip.FullAddress{NIC: 1, Addr: tcpip.AddrFromSlice(n.addr.AsSlice()), Port: port}
}

func (n *network) listenTCP(port uint16) (net.Listener, error) {
	return gonet.ListenTCP(n.stack, n.at(port), n.protocol)
}

func (n *network) listenUDP(port uint16) (net.PacketConn, error) {
	local := n.at(port)
	return gonet.DialUDP(n.stack, &local, nil, n.protocol)
}

// Read implements tun.Device: packets on their way to the client.
func (n *network) Read(bufs [][]byte, sizes []int, offset int) (int, error) {
	packet := n.wire.ReadContext(context.Background())
	if packet == nil {
		return 0, os.ErrClosed
	}
	view := packet.ToView()
	packet.DecRef()
	defer view.Release()
	sizes[0] = copy(bufs[0][offset:], view.AsSlice())
	return 1, nil
}

// Write implements tun.Device: packets from the client.
func (n *network) Write(bufs [][]byte, offset int) (int, error) {
	for i, b := range bufs {
		if len(b) == offset {
			continue
		}
		version := header.IPVersion(b[offset:])
		if version != header.IPv4Version && version != header.IPv6Version {
			return i, errors.New("wgpeer: a packet of no IP version")
		}
		protocol := ipv4.ProtocolNumber
		if version == header.IPv6Version {
			protocol = ipv6.ProtocolNumber
		}
		packet := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(b[offset:])})
		n.wire.InjectInbound(protocol, packet)
		packet.DecRef()
	}
	return len(bufs), nil
}

// Close implements tun.Device.
func (n *network) Close() error {
	n.stack.Close()
	n.wire.Close()
	close(n.events)
	return nil
}

func (n *network) File() *os.File           { return nil }
func (n *network) MTU() (int, error)        { return mtu, nil }
func (n *network) Name() (string, error)    { return "wgpeer", nil }
func (n *network) Events() <-chan tun.Event { return n.events }
func (n *network) BatchSize() int           { return 1 }
