package remote

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/pool"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/profile"
)

// TunnelKind says which end of a tunnel listens.
type TunnelKind string

// The kinds of tunnel.
const (
	LocalTunnel   TunnelKind = "local"   // this machine listens, the host connects to the target
	RemoteTunnel  TunnelKind = "remote"  // the host listens, this machine connects to the target
	DynamicTunnel TunnelKind = "dynamic" // this machine listens, and each client names its target by SOCKS5
)

// TunnelState says whether connections get through.
type TunnelState string

// The states of a tunnel. One that is closed has none.
const (
	TunnelOpen         TunnelState = "open"
	TunnelReconnecting TunnelState = "reconnecting" // the host was not reached; see Tunnel for when it is tried again
	TunnelDead         TunnelState = "dead"         // it carries nothing any more
)

// TunnelSpec describes a tunnel.
type TunnelSpec struct {
	Kind       TunnelKind
	ListenHost string
	ListenPort int    // 0 takes a free port
	TargetHost string // not for dynamic tunnels
	TargetPort int

	// Resolve gives the host to go through. It is asked for each connection, so that a changed profile counts.
	Resolve func(context.Context) (*profile.Target, error)
	// Allow judges a connection to host and port before it is made; nil allows all.
	Allow func(host string, port int) error
}

// Limits of a tunnel.
const (
	maxTunnelStreams = 1024             // connections carried at once; more are closed at once
	connectTimeout   = 10 * time.Second // for reaching the host and for its reaching the target
	retryTimeout     = 2 * time.Second  // likewise, while the host was not reached last time
)

// Tunnel carries TCP connections through a host's pooled connections. It survives their end. A local or dynamic tunnel takes a pooled
// connection for each stream: while the host is not reached it closes its clients' connections, trying again for each of them. A remote
// tunnel has the host listen again, on the same port, or is dead after two minutes of trying. Its maker calls Close.
type Tunnel struct {
	spec TunnelSpec
	pool *pool.Pool
	host string // listening
	port int

	ctx      context.Context // ends when open streams are to be cut
	cut      context.CancelFunc
	stopping context.Context // ends when no more streams are taken
	stop     context.CancelFunc
	work     sync.WaitGroup // accept loop and streams
	done     chan struct{}  // closed at the end of Close

	in, out, total, failed, open atomic.Int64

	mu     sync.Mutex
	state  TunnelState
	reason string
	unbind func() // stops listening; Accept then fails
}

// TunnelStatus is a snapshot of a Tunnel.
type TunnelStatus struct {
	ListenHost string
	ListenPort int
	State      TunnelState
	Reason     string // why it is not open
	BytesIn    int64  // from those who connected to the target
	BytesOut   int64  // from the target to those who connected
	Open       int64  // connections being carried
	Total      int64  // connections ever accepted, failed ones included
	Failed     int64  // connections that did not reach their target
}

// OpenTunnel listens, and checks that the host can be reached; the target is not tried. ctx bounds that only. The error is a *pool.Error,
// or an *Error of Kind Local when this machine does not listen. info says what it took to reach the host.
func OpenTunnel(ctx context.Context, p *pool.Pool, spec TunnelSpec) (t *Tunnel, info pool.Info, err error) {
	t = &Tunnel{spec: spec, pool: p, host: spec.ListenHost, port: spec.ListenPort, done: make(chan struct{}), state: TunnelOpen}
	t.ctx, t.cut = context.WithCancel(context.WithoutCancel(ctx))
	t.stopping, t.stop = context.WithCancel(t.ctx)
	if spec.Kind == RemoteTunnel {
		info, err = t.openRemote(ctx)
	} else {
		info, err = t.openLocal(ctx)
	}
	if err != nil {
		t.cut()
		return nil, info, err
	}
	return t, info, nil
}

// Close stops listening, gives open connections grace to end, cuts the rest and waits for the tunnel's goroutines. Further calls wait,
// too.
func (t *Tunnel) Close(grace time.Duration) {
	t.mu.Lock()
	first := t.stopping.Err() == nil
	t.stop()
	unbind := t.unbind
	t.mu.Unlock()
	if !first {
		<-t.done
		return
	}
	cut := time.AfterFunc(grace, t.cut)
	if unbind != nil {
		unbind()
	}
	t.work.Wait()
	cut.Stop()
	t.cut()
	close(t.done)
}

// Status returns the tunnel's figures now.
func (t *Tunnel) Status() TunnelStatus {
	t.mu.Lock()
	defer t.mu.Unlock()
	return TunnelStatus{
		ListenHost: t.host, ListenPort: t.port, State: t.state, Reason: t.reason,
		BytesIn: t.in.Load(), BytesOut: t.out.Load(), Open: t.open.Load(), Total: t.total.Load(), Failed: t.failed.Load(),
	}
}

func (t *Tunnel) setState(s TunnelState, reason string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.state, t.reason = s, reason
}

// bind makes unbind what Close calls to stop listening. It reports false once the tunnel is closing.
func (t *Tunnel) bind(unbind func()) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stopping.Err() != nil {
		return false
	}
	t.unbind = unbind
	return true
}

// take starts carry for an accepted connection in a goroutine that Close waits for, or closes the connection where there are too many.
// Only the accept loop calls it.
func (t *Tunnel) take(near duplex, carry func()) {
	t.total.Add(1)
	if t.stopping.Err() != nil || t.open.Load() >= maxTunnelStreams {
		t.failed.Add(1)
		abort(near)
		return
	}
	t.open.Add(1)
	t.work.Go(func() {
		defer t.open.Add(-1)
		carry()
	})
}

// dial has the host connect to the target for a client at from, and keeps account of whether the host is reached.
func (t *Tunnel) dial(host string, port int, from net.Addr) (*pool.Stream, error) {
	timeout := connectTimeout
	if t.Status().State == TunnelReconnecting {
		timeout = retryTimeout
	}
	ctx, cancel := context.WithTimeout(t.ctx, timeout)
	defer cancel()
	target, err := t.spec.Resolve(ctx)
	if err != nil {
		t.setState(TunnelReconnecting, err.Error())
		return nil, err
	}
	s, err := t.pool.Dial(ctx, target, host, port, from)
	var failed *pool.Error
	if err == nil || errors.As(err, &failed) && failed.Kind == pool.KindRefused {
		t.setState(TunnelOpen, "")
	} else if t.ctx.Err() == nil {
		t.setState(TunnelReconnecting, err.Error())
	}
	return s, err
}

func (t *Tunnel) allowed(host string, port int) error {
	if t.spec.Allow == nil {
		return nil
	}
	return t.spec.Allow(host, port)
}

// localHost is the address to bind for a listen_host: "localhost" must not be what a resolver makes of it.
func localHost(host string) string {
	if strings.EqualFold(host, "localhost") {
		return "127.0.0.1"
	}
	return host
}
