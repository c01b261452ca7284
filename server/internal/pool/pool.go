// Package pool shares SSH connections, and the SFTP sessions on them, between calls.
//
// Start with Pool.Session, which every remote command takes: it waits for a slot on a shared connection, opens a session
// channel there and gives both back on Close. A connection carries several channels at once; when all are full, another is
// dialled, up to Config.MaxConns for each target. Dialling happens outside every lock, and one dial serves all who wait for it.
// Pool.Dial and Pool.Listen (forward.go) carry TCP connections beside the sessions, without slots.
//
// Two targets share a connection only when their keys are equal, and a key covers host, port, user, credential, jump chain and
// host-key policy (see profile.Target).
package pool

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/profile"
)

// Config bounds a pool. The zero value of each field but Disabled takes the default named beside it.
type Config struct {
	Disabled        bool // every lease dials a connection of its own and closes it on release
	MaxConns        int  // connections for each target; 10
	ChannelsPerConn int  // channels a connection carries until its server refuses one; 10, OpenSSH's MaxSessions
	MaxPerProfile   int  // leases that a profile has at once, besides SFTP sessions; no bound but that of the connections
	MaxWaiting      int  // callers of a profile that wait for a lease, and callers that wait for a target's SFTP sessions; 1024 each
	MaxSFTP         int  // SFTP sessions for each target; 10
	NoSpares        bool // channels are opened when they are needed only, not one ahead on a connection that is in use

	DialTimeout time.Duration // TCP, key exchange and authentication together, those of the jump hosts included; 30 s
	IdleTimeout time.Duration // an unused connection or SFTP session is closed after this; 5 min
	// MaxLifetime is how old a connection gets before it takes no new work, as far as others can, and is closed when its last lease ends;
	// 1 h. It is spread by a tenth either way.
	MaxLifetime time.Duration
	// A connection from which nothing has come for KeepaliveInterval (30 s) is asked whether it is alive, and closed when nothing comes for
	// KeepaliveTimeout (10 s) then.
	KeepaliveInterval time.Duration
	KeepaliveTimeout  time.Duration

	// After BreakerFailures (5) failed dials in a row, while no connection to the host is up, nothing is dialled there for BreakerInterval
	// (5 s) and callers fail at once; then one dial shows whether the host is back.
	BreakerFailures int
	BreakerInterval time.Duration

	// Dial opens the byte stream to t.Addr, through the tunnel t.VPN where that is set; nil means TCP, and fails where it is set. It is not
	// asked for targets with a jump.
	Dial func(ctx context.Context, t *profile.Target) (net.Conn, error)

	// Dialled hears how long each successful dial took, login included; nil is nobody.
	Dialled func(time.Duration)

	// Trace hears of each attempt to connect to a host, jump hosts included, when it has ended; nil is nobody. It must not block.
	Trace func(Hop)
}

func (c Config) withDefaults() *Config {
	for v, d := range map[*int]int{&c.MaxConns: 10, &c.ChannelsPerConn: 10, &c.MaxWaiting: 1024, &c.MaxSFTP: 10, &c.BreakerFailures: 5} {
		if *v <= 0 {
			*v = d
		}
	}
	for v, d := range map[*time.Duration]time.Duration{
		&c.DialTimeout: 30 * time.Second, &c.IdleTimeout: 5 * time.Minute, &c.MaxLifetime: time.Hour,
		&c.KeepaliveInterval: 30 * time.Second, &c.KeepaliveTimeout: 10 * time.Second, &c.BreakerInterval: 5 * time.Second,
	} {
		if *v <= 0 {
			*v = d
		}
	}
	c.MaxPerProfile = max(0, c.MaxPerProfile)
	if c.Dial == nil {
		c.Dial = dialTCP
	}
	return &c
}

func dialTCP(ctx context.Context, t *profile.Target) (net.Conn, error) {
	if t.VPN != "" {
		return nil, fmt.Errorf("there is no way into the tunnel %s", t.VPN)
	}
	var d net.Dialer
	return d.DialContext(ctx, "tcp", t.Addr)
}

// Pool holds the shared connections. It is safe for concurrent use. New starts nothing; Run looks after what is open; Close ends all.
type Pool struct {
	cfg    atomic.Pointer[Config]
	ctx    context.Context // ends at Close; bounds dials that outlive their callers
	cancel context.CancelFunc

	life   sync.RWMutex // orders spawn before or after Close
	closed bool
	work   sync.WaitGroup // dials, probes and connection monitors

	mu     sync.Mutex // guards groups and hosts; taken before a group's mutex, never after
	groups map[string]*group
	hosts  map[string]*host

	spareLife time.Duration // of a channel opened ahead that nobody takes

	nextID atomic.Int64
	count  counters
}

type counters struct {
	dials, dialFailures, leases, reused, refused atomic.Int64
	limited, expired, evicted, silent            atomic.Int64
	dialNanos                                    atomic.Int64
}

// New returns an empty pool.
func New(cfg Config) *Pool {
	ctx, cancel := context.WithCancel(context.Background())
	p := &Pool{ctx: ctx, cancel: cancel, groups: map[string]*group{}, hosts: map[string]*host{}, spareLife: spareLife}
	p.Reconfigure(cfg)
	return p
}

// Reconfigure sets other bounds. Whatever is leased stays so; connections and sessions beyond a lower bound go as they become idle.
func (p *Pool) Reconfigure(cfg Config) { p.cfg.Store(cfg.withDefaults()) }

func (p *Pool) config() *Config { return p.cfg.Load() }

// Close closes every connection, also those in use, and waits for the pool's goroutines. Waiting callers get ErrClosed.
func (p *Pool) Close() {
	p.life.Lock()
	p.closed = true
	p.life.Unlock()
	p.cancel()
	p.mu.Lock()
	groups := p.snapshot()
	p.mu.Unlock()
	for _, g := range groups {
		g.closeAll()
	}
	p.work.Wait()
}

// spawn starts f as a goroutine that Close waits for, or reports false after Close.
func (p *Pool) spawn(f func()) bool {
	p.life.RLock()
	defer p.life.RUnlock()
	if p.closed {
		return false
	}
	p.work.Go(f)
	return true
}

// promise is spawn for what begins later: Close waits for the end of f, which begin starts. begin is called once.
func (p *Pool) promise(f func()) (begin func(), ok bool) {
	p.life.RLock()
	defer p.life.RUnlock()
	if p.closed {
		return nil, false
	}
	p.work.Add(1)
	return func() {
		go func() {
			defer p.work.Done()
			f()
		}()
	}, true
}

// snapshot lists the groups; p.mu is held.
func (p *Pool) snapshot() []*group {
	gs := make([]*group, 0, len(p.groups))
	for _, g := range p.groups {
		gs = append(gs, g)
	}
	return gs
}

// group returns the connections of t's key, making the group on first use. It fails where t's jumps lead in a circle.
func (p *Pool) group(t *profile.Target) (*group, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if g := p.groups[t.Key]; g != nil {
		return g, nil
	}
	if err := checkJumps(t); err != nil {
		return nil, err
	}
	g := &group{pool: p, key: t.Key, vpn: entrance(t), host: p.host(t), channelLimit: p.config().ChannelsPerConn, raisePause: raisePause}
	g.host.groups++
	p.groups[t.Key] = g
	return g, nil
}

// host returns what is known of t's host; p.mu is held.
func (p *Pool) host(t *profile.Target) *host {
	key := hostKey(t)
	h := p.hosts[key]
	if h == nil {
		h = &host{pool: p, key: key, addr: t.Addr, parallel: maxParallelDials}
		p.hosts[key] = h
	}
	return h
}

// checkJumps refuses a chain of jump hosts that comes back to itself.
func checkJumps(t *profile.Target) error {
	var seen []string
	for at := t; at != nil; at = at.Jump {
		if slices.Contains(seen, at.Key) {
			return &Error{Kind: KindConnect, Addr: t.Addr, Err: fmt.Errorf("the jump hosts lead in a circle: %s comes again", at.Addr)}
		}
		seen = append(seen, at.Key)
	}
	return nil
}

// entrance is the tunnel through which t is reached in the end, or "".
func entrance(t *profile.Target) string {
	for t.Jump != nil {
		t = t.Jump
	}
	return t.VPN
}

// DropVPN closes the connections that go through the tunnel vpn (see profile.Target), also those in use. A dial under way goes on.
func (p *Pool) DropVPN(vpn string) {
	p.mu.Lock()
	groups := p.snapshot()
	p.mu.Unlock()
	for _, g := range groups {
		if g.vpn == vpn {
			g.dropAll()
		}
	}
}

// Warm makes sure that a connection to t is open, so that the first call need not dial. The error is an *Error or ErrClosed.
func (p *Pool) Warm(ctx context.Context, t *profile.Target) error {
	if p.config().Disabled {
		return nil
	}
	l, err := p.Hold(ctx, t)
	if err == nil {
		l.Release()
	}
	return err
}

func (p *Pool) evictIdle(before time.Time) (closed int) {
	p.mu.Lock()
	groups := p.snapshot()
	p.mu.Unlock()
	for _, g := range groups {
		closed += g.evictIdle(before)
		p.mu.Lock()
		if g.retire() {
			delete(p.groups, g.key)
			g.host.groups--
		}
		p.mu.Unlock()
	}
	p.count.evicted.Add(int64(closed))
	p.mu.Lock()
	defer p.mu.Unlock()
	for key, h := range p.hosts {
		if h.forgettable(before) {
			delete(p.hosts, key)
		}
	}
	return closed
}
