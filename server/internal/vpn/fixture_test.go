package vpn

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh/wgpeer"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const name = "gate/lab"

// start makes a peer, its settings and an empty set of tunnels.
func start(t *testing.T, opts wgpeer.Options) (*wgpeer.Peer, Peer, *Tunnels) {
	t.Helper()
	w := wgpeer.Start(opts)
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	tunnels := New(0)
	t.Cleanup(tunnels.Close)
	return w, settings(t, w), tunnels
}

func settings(t *testing.T, w *wgpeer.Peer) Peer {
	t.Helper()
	public, err := secret.ParseWireGuardKey(w.PublicKey())
	if err != nil {
		t.Fatal(err)
	}
	return Peer{
		Name: name, PublicKey: public, Endpoint: w.Endpoint(), Addresses: []netip.Prefix{w.ClientAddr()}, AllowedIPs: []netip.Prefix{w.Network()},
		MTU: 1420, PrivateKey: secret.NewValue(w.ClientKey()), PresharedKey: secret.NewValue(w.PresharedKey()),
	}
}

func mustUp(t *testing.T, tunnels *Tunnels, p Peer) Status {
	t.Helper()
	s, err := tunnels.Up(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mustDown(t *testing.T, tunnels *Tunnels) {
	t.Helper()
	if s, err := tunnels.Down(t.Context(), name); err != nil || s.Up {
		t.Fatalf("down: %+v, %v", s, err)
	}
}

// mustEcho passes text through the tunnel and back.
func mustEcho(t *testing.T, tunnels *Tunnels, addr, text string) {
	t.Helper()
	c, err := tunnels.Dial(t.Context(), name, addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	go io.WriteString(c, text)
	got := make([]byte, len(text))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != text {
		t.Fatalf("%d bytes came back, %v", len(got), err)
	}
}

// wantEnded wants that c was closed with its tunnel.
func wantEnded(t *testing.T, c net.Conn) {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	_, err := c.Read(make([]byte, 1))
	if netErr, ok := errors.AsType[net.Error](err); err == nil || ok && netErr.Timeout() {
		t.Errorf("the connection lives on: %v", err)
	}
}

// relay passes packets between a client and the peer's endpoint, but for those that drop picks. It notes when handshakes were initiated.
type relay struct {
	addr string
	drop func(n int) bool // n counts the client's packets from 1

	mu        sync.Mutex
	packets   int
	initiated []time.Time
}

func startRelay(t *testing.T, endpoint string, drop func(n int) bool) *relay {
	t.Helper()
	in, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	out, err := net.Dial("udp", endpoint)
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{addr: in.LocalAddr().String(), drop: drop}
	var client net.Addr
	var wg sync.WaitGroup
	wg.Go(func() {
		b := make([]byte, 1<<16)
		for {
			n, from, err := in.ReadFrom(b)
			if err != nil {
				return
			}
			r.mu.Lock()
			client = from
			r.packets++
			if b[0] == 1 {
				r.initiated = append(r.initiated, time.Now())
			}
			pass := !drop(r.packets)
			r.mu.Unlock()
			if pass {
				out.Write(b[:n])
			}
		}
	})
	wg.Go(func() {
		b := make([]byte, 1<<16)
		for {
			n, err := out.Read(b)
			if err != nil {
				return
			}
			r.mu.Lock()
			in.WriteTo(b[:n], client)
			r.mu.Unlock()
		}
	})
	t.Cleanup(func() {
		in.Close()
		out.Close()
		wg.Wait()
	})
	return r
}

// initiations returns when handshakes were initiated.
func (r *relay) initiations() []time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.initiated
}
