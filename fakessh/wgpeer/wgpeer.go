// Package wgpeer is a WireGuard peer in the process that asks for it, in the shape of net/http/httptest: [Start] listens on a UDP port of
// loopback, [Peer.Endpoint] tells which, [Peer.Close] waits until all is gone.
//
// Behind the peer, and reachable through it alone, are an echo service ([Peer.EchoAddr], TCP and UDP) and an SSH host ([Peer.Host]).
// [Peer.WriteProfile] leaves the profiles and secrets of a server that shall use them. The peer needs no rights: its network is a stack in
// memory (network.go). The protocol is wireguard-go's.
package wgpeer

import (
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.zx2c4.com/wireguard/device"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
)

// Options configures a peer. The zero value listens on a free loopback port.
type Options struct {
	// Addr is the UDP address to listen on, "127.0.0.1:0" if empty.
	Addr string
	// Network is the one in the tunnel: the peer has its first address, the client its second. 10.66.66.0/24 if zero.
	Network netip.Prefix
	// PresharedKey makes a key that both ends must have besides their own.
	PresharedKey bool
	// Host configures the SSH host behind the peer; its Addr and Listener are set here.
	Host fakessh.Options
}

// Where the services in the tunnel listen.
const (
	sshPort  = 22
	echoPort = 7
)

// PeerID is the id of the peer in the profiles that WriteProfile writes.
const PeerID = "lab"

// mtu leaves room for WireGuard's headers in an Ethernet frame.
const mtu = 1420

// Peer is a running peer with one client, whose keys it has made. It is safe for concurrent use. The one who started it calls Close.
type Peer struct {
	// Host is the SSH host behind the peer. Close closes it.
	Host *fakessh.Host

	network   netip.Prefix
	own       *ecdh.PrivateKey
	client    *ecdh.PrivateKey
	preshared []byte // nil is none
	socket    *socket
	inside    *network
	device    *device.Device
	echo      *echo
	close     sync.Once
	closeErr  error
}

// Start starts a peer. It panics if it cannot listen on the address, since there is nothing that a test could do about it.
func Start(opts Options) *Peer {
	p, err := Listen(opts)
	if err != nil {
		panic(err)
	}
	return p
}

// Listen is Start for programs: it returns the error that Start panics with.
func Listen(opts Options) (*Peer, error) {
	if opts.Addr == "" {
		opts.Addr = "127.0.0.1:0"
	}
	if !opts.Network.IsValid() {
		opts.Network = netip.MustParsePrefix("10.66.66.0/24")
	}
	p := &Peer{network: opts.Network.Masked(), own: newKey(), client: newKey()}
	if opts.PresharedKey {
		p.preshared = make([]byte, 32)
		rand.Read(p.preshared) // never fails
	}
	if !p.network.Contains(p.clientAddr()) {
		return nil, fmt.Errorf("wgpeer: network %s has no room for two addresses", p.network)
	}
	var err error
	if p.socket, err = listenUDP(opts.Addr); err != nil {
		return nil, fmt.Errorf("wgpeer: %v", err)
	}
	if err := p.start(opts.Host); err != nil {
		return nil, errors.Join(fmt.Errorf("wgpeer: %v", err), p.Close())
	}
	return p, nil
}

func (p *Peer) start(host fakessh.Options) error {
	p.inside = newNetwork(p.addr())
	p.device = device.NewDevice(p.inside, p.socket, &device.Logger{Verbosef: device.DiscardLogf, Errorf: device.DiscardLogf})
	if err := p.device.IpcSet(p.configuration()); err != nil {
		return err
	}
	if err := p.device.Up(); err != nil {
		return err
	}
	var err error
	if p.echo, err = startEcho(p.inside); err != nil {
		return err
	}
	if host.Listener, err = p.inside.listenTCP(sshPort); err != nil {
		return err
	}
	p.Host, err = fakessh.Listen(host)
	return err
}

// configuration is that of the device in WireGuard's configuration protocol.
func (p *Peer) configuration() string {
	var b strings.Builder
	fmt.Fprintf(&b, "private_key=%s\npublic_key=%s\nallowed_ip=%s/%d\n", hex.EncodeToString(p.own.Bytes()),
		hex.EncodeToString(p.client.PublicKey().Bytes()), p.clientAddr(), p.clientAddr().BitLen())
	if p.preshared != nil {
		fmt.Fprintf(&b, "preshared_key=%s\n", hex.EncodeToString(p.preshared))
	}
	return b.String()
}

// newKey makes a private key. It panics where the system has no randomness.
func newKey() *ecdh.PrivateKey {
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	return key
}

func (p *Peer) addr() netip.Addr       { return p.network.Addr().Next() }
func (p *Peer) clientAddr() netip.Addr { return p.addr().Next() }

// Endpoint returns the host and port that the client sends to.
func (p *Peer) Endpoint() string { return p.socket.addr.String() }

// PublicKey returns the peer's public key, in base64.
func (p *Peer) PublicKey() string {
	return base64.StdEncoding.EncodeToString(p.own.PublicKey().Bytes())
}

// ClientKey returns the private key that the peer has made for its client, in base64.
func (p *Peer) ClientKey() string { return base64.StdEncoding.EncodeToString(p.client.Bytes()) }

// PresharedKey returns the key that both ends have besides, in base64; empty is none.
func (p *Peer) PresharedKey() string { return base64.StdEncoding.EncodeToString(p.preshared) }

// Network returns the network in the tunnel.
func (p *Peer) Network() netip.Prefix { return p.network }

// ClientAddr returns the client's address in the tunnel.
func (p *Peer) ClientAddr() netip.Prefix { return netip.PrefixFrom(p.clientAddr(), p.addr().BitLen()) }

// EchoAddr returns the host and port in the tunnel that send back what they get, over TCP and UDP.
func (p *Peer) EchoAddr() string { return netip.AddrPortFrom(p.addr(), echoPort).String() }

// Listen listens on a TCP port of the peer's address in the tunnel. The one who asked for the listener closes it before the peer.
func (p *Peer) Listen(port uint16) (net.Listener, error) { return p.inside.listenTCP(port) }

// ListenPacket is Listen for UDP.
func (p *Peer) ListenPacket(port uint16) (net.PacketConn, error) { return p.inside.listenUDP(port) }

// Close closes the SSH host, the services and the device, and waits for them. The error is that of the host.
func (p *Peer) Close() error {
	p.close.Do(func() {
		if p.Host != nil {
			p.closeErr = p.Host.Close()
		}
		if p.echo != nil {
			p.echo.close()
		}
		if p.device != nil {
			p.device.Close()
		}
		p.socket.udp.Close()
	})
	return p.closeErr
}

// WriteProfile writes the profile id of the SSH host outer, with this peer as the only one of vpn.peers, and the profile ID-inside of
// Host, which is reached via it; their secrets and that of the client's key as well. See fakessh's Host.WriteProfile for the rest.
func (p *Peer) WriteProfile(dir, id string, outer *fakessh.Host, localRoots ...string) error {
	secret := id + "-wireguard"
	if err := p.writeSecret(filepath.Join(dir, "secrets"), secret); err != nil {
		return fmt.Errorf("wgpeer: %w", err)
	}
	ref := map[string]any{"type": "file_ref", "ref": secret}
	peer := map[string]any{
		"id": PeerID, "public_key": p.PublicKey(), "endpoint": p.Endpoint(), "addresses": []string{p.ClientAddr().String()},
		"allowed_ips": []string{p.network.String()}, "private_key_ref": ref,
	}
	if p.preshared != nil {
		peer["preshared_key_ref"] = ref
	}
	if err := outer.WriteProfileWith(dir, id, map[string]any{"vpn": map[string]any{"peers": []any{peer}}}, localRoots...); err != nil {
		return err
	}
	via := map[string]any{"via_vpn": id + "/" + PeerID, "description": "fakessh behind the WireGuard peer " + id + "/" + PeerID}
	return p.Host.WriteProfileWith(dir, id+"-inside", via, localRoots...)
}

// writeSecret writes dir/name.json for its owner only, in one step.
func (p *Peer) writeSecret(dir, name string) error {
	doc := map[string]string{"wireguard_private_key": p.ClientKey()}
	if p.preshared != nil {
		doc["wireguard_preshared_key"] = p.PresharedKey()
	}
	text, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	temp, err := os.CreateTemp(dir, ".new-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = temp.Write(append(text, '\n'))
	if err = errors.Join(err, temp.Close()); err == nil {
		err = os.Rename(temp.Name(), filepath.Join(dir, name+".json"))
	}
	if err != nil {
		os.Remove(temp.Name())
	}
	return err
}
