package vpn

import (
	"bufio"
	"context"
	"crypto/ecdh"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/secret"
)

const (
	// spacing keeps two initiations apart: a peer answers the second of two from the same key with silence when they come within 20 ms, or
	// carry the same time stamp, which has a grain of 17 ms.
	spacing = 50 * time.Millisecond
	// firstRetry is how long an answer may take before the handshake is initiated again; it doubles up to maxRetry. WireGuard itself waits 5 s.
	firstRetry = 200 * time.Millisecond
	maxRetry   = 5 * time.Second
	// sessionLife is how long after a handshake its keys are accepted.
	sessionLife = device.RejectAfterTime
)

// link is where a tunnel's packets enter and leave this machine. The device closes its tun.Device.
type link interface {
	tun.Device
	// dial connects to a host behind the peer; network is tcp or udp.
	dial(ctx context.Context, network string, to netip.AddrPort) (net.Conn, error)
	// settle gives closed connections a moment to tell their other ends so.
	settle()
}

// tunnel is a WireGuard device with one peer.
type tunnel struct {
	peer     Peer
	private  [32]byte
	device   *device.Device
	link     link
	name     string // of the interface
	opened   time.Time
	resolver *net.Resolver
	ctx      context.Context // ends at close
	cancel   context.CancelFunc

	mu     sync.Mutex
	conns  map[*tunnelConn]struct{}
	closed bool
}

// open makes the device of p. Nothing has been sent to the peer then.
func open(ctx context.Context, p Peer) (*tunnel, error) {
	fail := func(kind Kind, err error) (*tunnel, error) { return nil, &Error{Kind: kind, Name: p.Name, Err: err} }
	private, err := secret.ParseWireGuardKey(p.PrivateKey.Reveal())
	if err != nil {
		return fail(KindUnsupported, fmt.Errorf("private key: %w", err))
	}
	endpoint, err := resolveEndpoint(ctx, p.Endpoint)
	if err != nil {
		return fail(KindUnreachable, fmt.Errorf("endpoint: %w", err))
	}
	l, bind, err := openLink(&p, endpoint)
	if err != nil {
		return fail(KindUnsupported, err)
	}
	t := &tunnel{peer: p, private: private, link: l, conns: map[*tunnelConn]struct{}{}}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	t.resolver = t.newResolver()
	t.device = device.NewDevice(l, bind, &device.Logger{Verbosef: device.DiscardLogf, Errorf: device.DiscardLogf})
	if t.name, err = l.Name(); err == nil {
		err = t.configure(endpoint)
	}
	t.opened = time.Now()
	if err == nil {
		err = t.device.Up()
	}
	if err != nil {
		t.close()
		return fail(KindUnsupported, err)
	}
	return t, nil
}

// openLink opens the link that p asks for, with the sockets that suit it.
func openLink(p *Peer, endpoint netip.AddrPort) (link, conn.Bind, error) {
	if p.TUN {
		l, err := openTUN(p, endpoint)
		return l, conn.NewDefaultBind(), err
	}
	l, err := openUserspace(p)
	return l, &udpBind{family: endpoint.Addr()}, err
}

// resolveEndpoint finds the address of host:port.
func resolveEndpoint(ctx context.Context, endpoint string) (netip.AddrPort, error) {
	host, port, err := net.SplitHostPort(endpoint)
	if err != nil {
		return netip.AddrPort{}, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return netip.AddrPort{}, err
	}
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return netip.AddrPort{}, err
	}
	return netip.AddrPortFrom(addrs[0].Unmap(), uint16(n)), nil
}

// configure gives the device its keys and its peer, in WireGuard's configuration protocol.
func (t *tunnel) configure(endpoint netip.AddrPort) error {
	var b strings.Builder
	fmt.Fprintf(&b, "private_key=%s\n", hex.EncodeToString(t.private[:]))
	fmt.Fprintf(&b, "public_key=%s\nendpoint=%s\n", hex.EncodeToString(t.peer.PublicKey[:]), endpoint)
	if !t.peer.PresharedKey.IsZero() {
		key, err := secret.ParseWireGuardKey(t.peer.PresharedKey.Reveal())
		if err != nil {
			return fmt.Errorf("preshared key: %w", err)
		}
		fmt.Fprintf(&b, "preshared_key=%s\n", hex.EncodeToString(key[:]))
	}
	for _, n := range t.peer.AllowedIPs {
		fmt.Fprintf(&b, "allowed_ip=%s\n", n)
	}
	return t.device.IpcSet(b.String())
}

// keepAlive starts the keepalive packets, which would otherwise have initiated the first handshake unasked.
func (t *tunnel) keepAlive() {
	if seconds := int(t.peer.Keepalive.Seconds()); seconds > 0 {
		_ = t.device.IpcSet(fmt.Sprintf("public_key=%s\nupdate_only=true\npersistent_keepalive_interval=%d\n",
			hex.EncodeToString(t.peer.PublicKey[:]), seconds)) // fails only on malformed lines
	}
}

// shakeHands returns once a handshake has completed after since. initiated is when the last one was initiated with these keys, and is kept.
func (t *tunnel) shakeHands(ctx context.Context, since time.Time, initiated *time.Time) error {
	peer := t.device.LookupPeer(t.peer.PublicKey)
	if peer == nil { // wireguard-go ignores a peer with our own key
		return t.fail(KindUnreachable, errors.New("its public key belongs to our own private key: exchange one of them"))
	}
	for wait := firstRetry; ; wait = min(2*wait, maxRetry) {
		if !sleep(ctx, time.Until(initiated.Add(spacing))) {
			return t.noAnswer(ctx)
		}
		if wait > firstRetry {
			peer.ExpireCurrentKeypairs() // else it would keep to its own pace
		}
		*initiated = time.Now()
		if err := peer.SendHandshakeInitiation(false); err != nil {
			return t.fail(KindUnreachable, fmt.Errorf("cannot send to %s: %w", t.peer.Endpoint, err))
		}
		if t.answered(ctx, since, wait) {
			return nil
		}
		if ctx.Err() != nil {
			return t.noAnswer(ctx)
		}
	}
}

// answered waits until a handshake has completed after since.
func (t *tunnel) answered(ctx context.Context, since time.Time, wait time.Duration) bool {
	for deadline := time.Now().Add(wait); ; {
		if t.lastHandshake().After(since) {
			return true
		}
		left := time.Until(deadline)
		if left <= 0 || !sleep(ctx, min(left, time.Millisecond+(wait-left)/20)) {
			return false
		}
	}
}

func (t *tunnel) noAnswer(ctx context.Context) error {
	return t.fail(KindTimeout, fmt.Errorf("%w: check that it listens on %s, has the public key of the profile and knows ours, %s",
		context.Cause(ctx), t.peer.Endpoint, t.publicKey()))
}

func (t *tunnel) fail(kind Kind, err error) error {
	return &Error{Kind: kind, Name: t.peer.Name, Err: err}
}

// publicKey is this end's, in base64.
func (t *tunnel) publicKey() string {
	key, err := ecdh.X25519().NewPrivateKey(t.private[:])
	if err != nil { // never for 32 bytes
		return "unknown"
	}
	return base64.StdEncoding.EncodeToString(key.PublicKey().Bytes())
}

// lastHandshake asks the device; zero is none yet.
func (t *tunnel) lastHandshake() time.Time {
	text, err := t.device.IpcGet()
	if err != nil {
		return time.Time{}
	}
	var sec, nsec int64
	for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
		switch key, value, _ := strings.Cut(lines.Text(), "="); key {
		case "last_handshake_time_sec":
			sec, _ = strconv.ParseInt(value, 10, 64)
		case "last_handshake_time_nsec":
			nsec, _ = strconv.ParseInt(value, 10, 64)
		}
	}
	if sec == 0 && nsec == 0 {
		return time.Time{}
	}
	return time.Unix(sec, nsec)
}

// alive is false once the device has ended by itself, since its interface has gone.
func (t *tunnel) alive() bool {
	select {
	case <-t.device.Wait():
		return false
	default:
		return true
	}
}

func (t *tunnel) status() Status {
	return Status{Up: true, Interface: t.name, Addresses: t.peer.Addresses, LastHandshake: t.lastHandshake()}
}

// dial connects to host:port behind the peer over TCP, trying the host's addresses in turn.
func (t *tunnel) dial(ctx context.Context, addr string) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(t.ctx, cancel)()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, err
	}
	addrs, err := t.lookup(ctx, host)
	for _, a := range addrs {
		var c net.Conn
		if c, err = t.link.dial(ctx, "tcp", netip.AddrPortFrom(a, uint16(n))); err == nil {
			return t.keep(c)
		}
	}
	if t.ctx.Err() != nil {
		return nil, downError(t.peer.Name)
	}
	return nil, err
}

// lookup finds the addresses of a host that are behind the peer.
func (t *tunnel) lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	addrs, err := t.resolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	var behind []netip.Addr
	for _, a := range addrs {
		a = a.Unmap()
		if slices.ContainsFunc(t.peer.AllowedIPs, func(n netip.Prefix) bool { return n.Contains(a) }) {
			behind = append(behind, a)
		}
	}
	if len(behind) == 0 {
		return nil, t.fail(KindUnreachable, fmt.Errorf("%s (%v) is not in its allowed_ips %v", host, addrs, t.peer.AllowedIPs))
	}
	return behind, nil
}

// newResolver asks the name servers in the tunnel in turn, or those of this machine where the peer has none.
func (t *tunnel) newResolver() *net.Resolver {
	if len(t.peer.DNS) == 0 {
		return net.DefaultResolver
	}
	var next atomic.Uint32
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		server := t.peer.DNS[int(next.Add(1)-1)%len(t.peer.DNS)]
		return t.link.dial(ctx, network[:3], netip.AddrPortFrom(server, 53))
	}}
}

// tunnelConn is a connection that ends with its tunnel.
type tunnelConn struct {
	net.Conn
	tunnel *tunnel
}

// Close implements net.Conn.
func (c *tunnelConn) Close() error {
	c.tunnel.mu.Lock()
	delete(c.tunnel.conns, c)
	c.tunnel.mu.Unlock()
	return c.Conn.Close()
}

// keep puts c among the connections that close closes.
func (t *tunnel) keep(c net.Conn) (net.Conn, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		c.Close()
		return nil, downError(t.peer.Name)
	}
	tc := &tunnelConn{c, t}
	t.conns[tc] = struct{}{}
	return tc, nil
}

// close closes the connections in the tunnel and the device.
func (t *tunnel) close() {
	t.cancel()
	t.mu.Lock()
	t.closed = true
	open := len(t.conns)
	for c := range t.conns {
		c.Conn.Close()
	}
	clear(t.conns)
	t.mu.Unlock()
	if open > 0 {
		t.link.settle()
	}
	t.device.Close()
}

func downError(name string) error {
	profile, peer, _ := strings.Cut(name, "/")
	return &Error{Kind: KindDown, Name: name, Err: fmt.Errorf(
		`is down: bring it up with vpn_wireguard_toggle (profile_id %q, peer_id %q, action "up")`, profile, peer)}
}

// sleep waits for d and reports false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
