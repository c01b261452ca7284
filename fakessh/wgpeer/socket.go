package wgpeer

import (
	"net"
	"net/netip"
	"sync/atomic"

	"golang.zx2c4.com/wireguard/conn"
)

// socket is the UDP port that the peer listens on. wireguard-go's own listens on every interface.
type socket struct {
	udp    *net.UDPConn
	addr   netip.AddrPort
	opened atomic.Bool // by the device
}

// remote is where a packet came from.
type remote struct{ netip.AddrPort }

func listenUDP(addr string) (*socket, error) {
	a, err := net.ResolveUDPAddr("udp", addr)
	if err != nil {
		return nil, err
	}
	udp, err := net.ListenUDP("udp", a)
	if err != nil {
		return nil, err
	}
	return &socket{udp: udp, addr: udp.LocalAddr().(*net.UDPAddr).AddrPort()}, nil
}

// Open implements conn.Bind. The port is the one that listenUDP has taken.
func (s *socket) Open(uint16) ([]conn.ReceiveFunc, uint16, error) {
	s.opened.Store(true)
	return []conn.ReceiveFunc{s.receive}, s.addr.Port(), nil
}

func (s *socket) receive(packets [][]byte, sizes []int, from []conn.Endpoint) (int, error) {
	n, addr, err := s.udp.ReadFromUDPAddrPort(packets[0])
	if err != nil {
		return 0, err
	}
	sizes[0], from[0] = n, remote{addr}
	return 1, nil
}

// Close implements conn.Bind. The device calls it also before it opens the socket.
func (s *socket) Close() error {
	if s.opened.Load() {
		s.udp.Close()
	}
	return nil
}

// Send implements conn.Bind.
func (s *socket) Send(packets [][]byte, to conn.Endpoint) error {
	for _, p := range packets {
		if _, err := s.udp.WriteToUDPAddrPort(p, to.(remote).AddrPort); err != nil {
			return err
		}
	}
	return nil
}

// ParseEndpoint implements conn.Bind.
func (s *socket) ParseEndpoint(text string) (conn.Endpoint, error) {
	a, err := netip.ParseAddrPort(text)
	return remote{a}, err
}

// SetMark implements conn.Bind.
func (s *socket) SetMark(uint32) error { return nil }

// BatchSize implements conn.Bind.
func (s *socket) BatchSize() int { return 1 }

func (remote) ClearSrc()             {}
func (remote) SrcToString() string   { return "" }
func (remote) SrcIP() netip.Addr     { return netip.Addr{} }
func (r remote) DstToString() string { return r.String() }
func (r remote) DstIP() netip.Addr   { return r.Addr() }
func (r remote) DstToBytes() []byte {
	b, _ := r.MarshalBinary() // never fails
	return b
}
