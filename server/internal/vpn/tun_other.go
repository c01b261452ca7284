//go:build !linux

package vpn

import (
	"errors"
	"net/netip"
)

func openTUN(*Peer, netip.AddrPort) (*userspace, error) {
	return nil, errors.New("mode tun works on Linux only: use mode userspace")
}
