package profile

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/secret"
)

// VPN is the section for WireGuard peers.
type VPN struct {
	Peers []Peer `json:"peers" yaml:"peers"`
}

// The modes of a Peer.
const (
	ModeUserspace = "userspace" // a network stack in the process; needs no rights
	ModeTUN       = "tun"       // an interface of the kernel; Linux, needs root
)

// Bounds of a peer's numbers.
const (
	defaultMTU   = 1420
	minMTU       = 576
	minMTU6      = 1280
	maxMTU       = 65000
	maxKeepalive = 65535
)

// Peer is a WireGuard peer and this end of the tunnel to it, as written but for
// defaults. It is immutable once validated.
type Peer struct {
	ID        string `json:"id" yaml:"id"`
	PublicKey string `json:"public_key" yaml:"public_key"` // the peer's, in base64
	Endpoint  string `json:"endpoint" yaml:"endpoint"`     // where the peer listens, host:port
	// Addresses are those of this end in the tunnel: "10.8.0.2/32".
	Addresses []string `json:"addresses" yaml:"addresses"`
	// AllowedIPs are the networks that are reached through the peer.
	AllowedIPs []string `json:"allowed_ips" yaml:"allowed_ips"`
	// PrivateKeyRef is the secret with this end's wireguard_private_key,
	// PresharedKeyRef that with wireguard_preshared_key, if the peer wants one.
	PrivateKeyRef   secret.Ref `json:"private_key_ref" yaml:"private_key_ref"`
	PresharedKeyRef secret.Ref `json:"preshared_key_ref,omitzero" yaml:"preshared_key_ref"`
	// DNS are name servers in the tunnel; without any, names are resolved outside.
	DNS                 []string `json:"dns,omitempty" yaml:"dns"`
	PersistentKeepalive int      `json:"persistent_keepalive,omitempty" yaml:"persistent_keepalive"` // seconds; 0 is none
	MTU                 int      `json:"mtu" yaml:"mtu"`                                             // 1420 where the file names none
	Mode                string   `json:"mode" yaml:"mode"`                                           // ModeUserspace where the file names none

	publicKey [32]byte
	addresses []netip.Prefix
	allowed   []netip.Prefix
	dns       []netip.Addr
}

// WireGuard is a Peer ready for use. It holds nothing open.
type WireGuard struct {
	Name         string // PROFILE/PEER
	Mode         string
	PublicKey    [32]byte
	Endpoint     string // host:port
	Addresses    []netip.Prefix
	AllowedIPs   []netip.Prefix
	DNS          []netip.Addr
	Keepalive    time.Duration // 0 is none
	MTU          int
	PrivateKey   secret.Value // in base64
	PresharedKey secret.Value // likewise; empty is none
}

// PeerError says that a profile has no such peer.
type PeerError struct {
	Profile, Peer string
	Known         []string
}

func (e *PeerError) Error() string {
	if len(e.Known) == 0 {
		return fmt.Sprintf("profile %s has no WireGuard peers: add one to vpn.peers", e.Profile)
	}
	return fmt.Sprintf("profile %s has no WireGuard peer %q: use %s", e.Profile, e.Peer, strings.Join(e.Known, ", "))
}

// WireGuard returns a peer of a profile with its keys as the files are now.
// Errors are those of Get, a *PeerError, a *CredentialError, or that of ctx.
func (s *Store) WireGuard(ctx context.Context, id, peer string) (*WireGuard, error) {
	p, err := s.Get(id)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(p.VPN.Peers, func(o Peer) bool { return o.ID == peer })
	if i < 0 {
		e := &PeerError{Profile: id, Peer: peer}
		for _, o := range p.VPN.Peers {
			e.Known = append(e.Known, o.ID)
		}
		return nil, e
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	o := &p.VPN.Peers[i]
	w := &WireGuard{
		Name: id + "/" + peer, Mode: o.Mode, PublicKey: o.publicKey, Endpoint: o.Endpoint, Addresses: o.addresses, AllowedIPs: o.allowed,
		DNS: o.dns, Keepalive: time.Duration(o.PersistentKeepalive) * time.Second, MTU: o.MTU,
	}
	w.PrivateKey, err = s.secrets.WireGuardKey(o.PrivateKeyRef, secret.WireGuardPrivateKey)
	if err == nil && o.PresharedKeyRef != (secret.Ref{}) {
		w.PresharedKey, err = s.secrets.WireGuardKey(o.PresharedKeyRef, secret.WireGuardPresharedKey)
	}
	if err != nil {
		return nil, &CredentialError{Profile: id, Err: err}
	}
	return w, nil
}

// via takes via_vpn apart; the profile is p's own where it names none.
func (p *Profile) via() (id, peer string) {
	if id, peer, ok := strings.Cut(p.ViaVPN, "/"); ok {
		return id, peer
	}
	return p.ID, p.ViaVPN
}

// viaName is via_vpn as PROFILE/PEER, or "".
func (p *Profile) viaName() string {
	if p.ViaVPN == "" {
		return ""
	}
	id, peer := p.via()
	return id + "/" + peer
}

// vpn checks the section of peers and sets its defaults.
func (d *document) vpn() {
	seen := map[string]bool{}
	for i := range d.profile.VPN.Peers {
		c := peerCheck{d, &d.profile.VPN.Peers[i], fmt.Sprintf("vpn.peers[%d]", i)}
		c.identity(seen)
		c.keys()
		c.endpoint()
		c.networks()
		c.numbers()
	}
	if d.profile.ViaVPN != "" && d.profile.Jump != "" {
		d.problem("via_vpn", "jump is set as well", "set via_vpn in the profile of the jump host, or remove one of the two")
	}
}

// peerCheck validates one peer.
type peerCheck struct {
	d    *document
	p    *Peer
	path string // "vpn.peers[0]"
}

func (c peerCheck) problem(field, message, remedy string) {
	c.d.problem(c.path+"."+field, message, remedy)
}

func (c peerCheck) identity(seen map[string]bool) {
	switch {
	case !validID.MatchString(c.p.ID):
		c.problem("id", fmt.Sprintf("%q is no id", c.p.ID), "use at most 64 lower-case letters, digits, dots, dashes and underscores, a letter or digit first")
	case seen[c.p.ID]:
		c.problem("id", fmt.Sprintf("another peer is %q already", c.p.ID), "give each peer an id of its own")
	}
	seen[c.p.ID] = true
	switch c.p.Mode {
	case ModeUserspace, ModeTUN:
	case "":
		c.p.Mode = ModeUserspace
	default:
		c.problem("mode", fmt.Sprintf("unknown mode %q", c.p.Mode), "use userspace or tun")
	}
}

func (c peerCheck) keys() {
	var err error
	if c.p.publicKey, err = secret.ParseWireGuardKey(c.p.PublicKey); err != nil {
		c.problem("public_key", err.Error(), "write the peer's public key as `wg pubkey` prints it")
	}
	if !c.d.has(c.path + ".private_key_ref") {
		c.problem("private_key_ref", "missing", `set it to {"type": "file_ref", "ref": "SECRET"}; that secret holds wireguard_private_key`)
	} else {
		c.ref("private_key_ref", c.p.PrivateKeyRef)
	}
	if c.p.PresharedKeyRef != (secret.Ref{}) {
		c.ref("preshared_key_ref", c.p.PresharedKeyRef)
	}
}

func (c peerCheck) ref(field string, ref secret.Ref) {
	if err := secret.CheckWireGuardRef(ref); err != nil {
		c.d.secretProblems(c.path+"."+field, err)
	}
}

func (c peerCheck) endpoint() {
	host, port, err := net.SplitHostPort(c.p.Endpoint)
	n, numErr := strconv.ParseUint(port, 10, 16)
	_, ipErr := netip.ParseAddr(host)
	if err != nil || numErr != nil || n == 0 || ipErr != nil && !validHost.MatchString(host) {
		c.problem("endpoint", fmt.Sprintf("%q is not host:port", c.p.Endpoint), `write where the peer listens, such as "vpn.example.org:51820"`)
	}
}

func (c peerCheck) networks() {
	c.p.addresses = c.prefixes("addresses", c.p.Addresses, "this end's address in the tunnel, such as 10.8.0.2/32")
	c.p.allowed = c.prefixes("allowed_ips", c.p.AllowedIPs, "the networks behind the peer, such as 10.8.0.0/24")
	for i, p := range c.p.allowed {
		c.p.allowed[i] = p.Masked()
	}
	for i, text := range c.p.DNS {
		a, err := netip.ParseAddr(text)
		if err != nil || a.Zone() != "" {
			c.problem(fmt.Sprintf("dns[%d]", i), fmt.Sprintf("%q is no IP address", text), "write the address of a name server in the tunnel")
		}
		c.p.dns = append(c.p.dns, a)
	}
}

// prefixes reads networks; a bare address is one of its own.
func (c peerCheck) prefixes(field string, texts []string, want string) []netip.Prefix {
	if len(texts) == 0 {
		c.problem(field, "missing", "list "+want)
	}
	out := make([]netip.Prefix, 0, len(texts))
	for i, text := range texts {
		p, err := netip.ParsePrefix(text)
		if a, bare := netip.ParseAddr(text); err != nil && bare == nil && a.Zone() == "" {
			p, err = netip.PrefixFrom(a, a.BitLen()), nil
		}
		if err != nil || p.Addr().Is4In6() {
			c.problem(fmt.Sprintf("%s[%d]", field, i), fmt.Sprintf("%q is no address with prefix length", text), "write "+want)
			continue
		}
		out = append(out, p)
	}
	return out
}

func (c peerCheck) numbers() {
	least := minMTU
	if slices.ContainsFunc(c.p.addresses, func(p netip.Prefix) bool { return p.Addr().Is6() }) {
		least = minMTU6
	}
	switch {
	case !c.d.has(c.path + ".mtu"):
		c.p.MTU = defaultMTU
	case c.p.MTU < least || c.p.MTU > maxMTU:
		c.problem("mtu", fmt.Sprintf("%d is out of range", c.p.MTU), fmt.Sprintf("use %d to %d, or leave it out for %d", least, maxMTU, defaultMTU))
	}
	if c.p.PersistentKeepalive < 0 || c.p.PersistentKeepalive > maxKeepalive {
		c.problem("persistent_keepalive", fmt.Sprintf("%d is out of range", c.p.PersistentKeepalive), "use seconds from 1 to 65535, such as 25, or 0 for none")
	}
}

// checkVia finds the peer that via_vpn names.
func (set *loaded) checkVia(d *document) {
	p := d.profile
	if p.ViaVPN == "" {
		return
	}
	id, peer := p.via()
	of, ok := set.docs[id]
	if !ok {
		d.problem("via_vpn", fmt.Sprintf("no profile has the id %q", id), "write PEER of this profile, or PROFILE/PEER")
		return
	}
	peers := of.profile.VPN.Peers
	i := slices.IndexFunc(peers, func(o Peer) bool { return o.ID == peer })
	if i < 0 {
		d.problem("via_vpn", fmt.Sprintf("profile %s has no peer %q in vpn.peers", id, peer), "write PEER of this profile, or PROFILE/PEER")
		return
	}
	host, err := netip.ParseAddr(p.Host)
	if err == nil && len(of.problems) == 0 && !slices.ContainsFunc(peers[i].allowed, func(n netip.Prefix) bool { return n.Contains(host) }) {
		d.problem("host", fmt.Sprintf("%s is not in the allowed_ips of WireGuard peer %s/%s, so the tunnel does not lead there", p.Host, id, peer),
			"correct host or allowed_ips, or remove via_vpn")
	}
}

// checkKeys reads the secrets of the peers.
func (d *document) checkKeys(r *secret.Resolver) {
	for i, p := range d.profile.VPN.Peers {
		path := fmt.Sprintf("vpn.peers[%d]", i)
		if _, err := r.WireGuardKey(p.PrivateKeyRef, secret.WireGuardPrivateKey); err != nil {
			d.secretProblems(path+".private_key_ref", err)
		}
		if p.PresharedKeyRef == (secret.Ref{}) {
			continue
		}
		if _, err := r.WireGuardKey(p.PresharedKeyRef, secret.WireGuardPresharedKey); err != nil {
			d.secretProblems(path+".preshared_key_ref", err)
		}
	}
}
