package vpn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

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

const (
	nic       = 1 // the stack's only interface
	settling  = 200 * time.Millisecond
	sendQueue = 1024 // packets from the stack that wait to be encrypted; more are dropped, which TCP takes as congestion
)

// userspace is a link to a network stack in this process. It is the stack's network card and the device's TUN at once.
type userspace struct {
	stack  *stack.Stack
	card   *channel.Endpoint
	mtu    int
	events chan tun.Event
}

func openUserspace(p *Peer) (*userspace, error) {
	u := &userspace{
		stack: stack.New(stack.Options{
			NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol, ipv6.NewProtocol},
			TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol},
		}),
		card: channel.New(sendQueue, uint32(p.MTU), ""), mtu: p.MTU, events: make(chan tun.Event),
	}
	if err := u.attach(p.Addresses); err != nil {
		u.Close()
		return nil, err
	}
	return u, nil
}

// attach puts the card with its addresses into the stack.
func (u *userspace) attach(addresses []netip.Prefix) error {
	selective := tcpip.TCPSACKEnabled(true)
	if err := u.stack.SetTransportProtocolOption(tcp.ProtocolNumber, &selective); err != nil {
		return fmt.Errorf("network stack: %s", err)
	}
	if err := u.stack.CreateNIC(nic, u.card); err != nil {
		return fmt.Errorf("network stack: %s", err)
	}
	for _, p := range addresses {
		protocol, all := ipv4.ProtocolNumber, header.IPv4EmptySubnet
		if p.Addr().Is6() {
			protocol, all = ipv6.ProtocolNumber, header.IPv6EmptySubnet
		}
		address := tcpip.ProtocolAddress{Protocol: protocol, AddressWithPrefix: tcpip.AddrFromSlice(p.Addr().AsSlice()).WithPrefix()}
		if err := u.stack.AddProtocolAddress(nic, address, stack.AddressProperties{}); err != nil {
			return fmt.Errorf("network stack: address %s: %s", p, err)
		}
		u.stack.AddRoute(tcpip.Route{Destination: all, NIC: nic})
	}
	return nil
}

func (u *userspace) dial(ctx context.Context, network string, to netip.AddrPort) (net.Conn, error) {
	protocol := ipv4.ProtocolNumber
	if to.Addr().Is6() {
		protocol = ipv6.ProtocolNumber
	}
	addr := tcpip.FullAddress{NIC: nic, Addr: tcpip.AddrFromSlice(to.Addr().AsSlice()), Port: to.Port()}
	switch network {
	case "tcp":
		c, err := gonet.DialContextTCP(ctx, u.stack, addr, protocol)
		if err != nil { // not a nil *TCPConn in a net.Conn
			return nil, err
		}
		return c, nil
	case "udp":
		c, err := gonet.DialUDP(u.stack, nil, &addr, protocol)
		if err != nil {
			return nil, err
		}
		return c, nil
	}
	return nil, net.UnknownNetworkError(network)
}

// settle waits until the other ends have confirmed the end of what was closed, which those that are gone never do.
func (u *userspace) settle() {
	for deadline := time.Now().Add(settling); u.closing() && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
}

func (u *userspace) closing() bool {
	for _, e := range u.stack.RegisteredEndpoints() {
		if c, ok := e.(*tcp.Endpoint); ok {
			switch c.EndpointState() {
			case tcp.StateEstablished, tcp.StateFinWait1, tcp.StateClosing, tcp.StateCloseWait, tcp.StateLastAck:
				return true
			}
		}
	}
	return false
}

// Read implements tun.Device: it gives the next packet that the stack sends.
func (u *userspace) Read(bufs [][]byte, sizes []int, offset int) (int, error) {
	packet := u.card.ReadContext(context.Background())
	if packet == nil {
		return 0, os.ErrClosed
	}
	defer packet.DecRef()
	n := offset
	for _, part := range packet.AsSlices() {
		n += copy(bufs[0][n:], part)
	}
	sizes[0] = n - offset
	return 1, nil
}

// Write implements tun.Device: it hands the stack packets that have arrived.
func (u *userspace) Write(bufs [][]byte, offset int) (int, error) {
	for i, b := range bufs {
		b = b[offset:]
		if len(b) == 0 {
			continue
		}
		var protocol tcpip.NetworkProtocolNumber
		switch b[0] >> 4 {
		case 4:
			protocol = ipv4.ProtocolNumber
		case 6:
			protocol = ipv6.ProtocolNumber
		default:
			return i, errors.New("a packet is neither of IPv4 nor of IPv6")
		}
		packet := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(b)})
		u.card.InjectInbound(protocol, packet)
		packet.DecRef()
	}
	return len(bufs), nil
}

// Close implements tun.Device.
func (u *userspace) Close() error {
	u.stack.Close()
	u.stack.RemoveNIC(nic)
	u.card.Close()
	close(u.events)
	return nil
}

func (u *userspace) File() *os.File           { return nil }
func (u *userspace) MTU() (int, error)        { return u.mtu, nil }
func (u *userspace) Name() (string, error)    { return "userspace", nil }
func (u *userspace) Events() <-chan tun.Event { return u.events }
func (u *userspace) BatchSize() int           { return 1 }
