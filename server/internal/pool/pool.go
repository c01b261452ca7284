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
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/profile"
)

// Config bounds a pool. The zero value of each field but Disabled takes the default named beside it.
type Config struct {
	Disabled        bool          // every lease dials a connection of its own and closes it on release
	MaxConns        int           // connections for each target; 10
	ChannelsPerConn int           // channels a connection carries until its server refuses one; 10, OpenSSH's MaxSessions
	MaxSFTP         int           // SFTP sessions for each target; 10
	DialTimeout     time.Duration // TCP, key exchange and authentication together; 30 s
	IdleTimeout     time.Duration // an unused connection or SFTP session is closed after this; 5 min
	// Dial opens the byte stream to t.Addr, through the tunnel t.VPN where that is set; nil means TCP, and fails where it is set. It is not
	// asked for targets with a jump.
	Dial func(ctx context.Context, t *profile.Target) (net.Conn, error)
}

func (c Config) withDefaults() Config {
	setInt := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	setInt(&c.MaxConns, 10)
	setInt(&c.ChannelsPerConn, 10)
	setInt(&c.MaxSFTP, 10)
	if c.DialTimeout <= 0 {
		c.DialTimeout = 30 * time.Second
	}
	if c.IdleTimeout <= 0 {
		c.IdleTimeout = 5 * time.Minute
	}
	if c.Dial == nil {
		c.Dial = dialTCP
	}
	return c
}

func dialTCP(ctx context.Context, t *profile.Target) (net.Conn, error) {
	if t.VPN != "" {
		return nil, fmt.Errorf("there is no way into the tunnel %s", t.VPN)
	}
	var d net.Dialer
	return d.DialContext(ctx, "tcp", t.Addr)
}

// Pool holds the shared connections. It is safe for concurrent use. New starts nothing; Run evicts what is idle; Close ends all.
type Pool struct {
	cfg    Config
	ctx    context.Context // ends at Close; bounds dials that outlive their callers
	cancel context.CancelFunc

	life   sync.RWMutex // orders spawn before or after Close
	closed bool
	work   sync.WaitGroup // dials and connection monitors

	mu     sync.Mutex // guards groups; taken before a group's mutex, never after
	groups map[string]*group

	nextID  atomic.Int64
	probing probing
	count   counters
}

type counters struct {
	dials, dialFailures, leases, reused, refused atomic.Int64
	dialNanos                                    atomic.Int64
}

// New returns an empty pool.
func New(cfg Config) *Pool {
	ctx, cancel := context.WithCancel(context.Background())
	return &Pool{cfg: cfg.withDefaults(), ctx: ctx, cancel: cancel, groups: map[string]*group{}, probing: defaultProbing}
}

// Run closes connections and SFTP sessions that have been idle for IdleTimeout, until ctx ends.
func (p *Pool) Run(ctx context.Context) {
	tick := time.NewTicker(min(max(p.cfg.IdleTimeout/4, 10*time.Millisecond), 15*time.Second))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			p.evictIdle(time.Now().Add(-p.cfg.IdleTimeout))
		}
	}
}

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

// snapshot lists the groups; p.mu is held.
func (p *Pool) snapshot() []*group {
	gs := make([]*group, 0, len(p.groups))
	for _, g := range p.groups {
		gs = append(gs, g)
	}
	return gs
}

// group returns the connections of t's key, making the group on first use.
func (p *Pool) group(t *profile.Target) *group {
	p.mu.Lock()
	defer p.mu.Unlock()
	g := p.groups[t.Key]
	if g == nil {
		g = &group{pool: p, key: t.Key, vpn: entrance(t), channelLimit: p.cfg.ChannelsPerConn}
		g.sftp.slots = semaphore.NewWeighted(int64(p.cfg.MaxSFTP))
		p.groups[t.Key] = g
	}
	return g
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

func (p *Pool) evictIdle(before time.Time) {
	p.mu.Lock()
	groups := p.snapshot()
	p.mu.Unlock()
	for _, g := range groups {
		g.evictIdle(before)
		p.mu.Lock()
		if g.retire() {
			delete(p.groups, g.key)
		}
		p.mu.Unlock()
	}
}

// Stats is a snapshot of a pool.
type Stats struct {
	Targets        int   // keys with a group
	Open           int   // connections open now
	Leased         int   // slots in use now, SFTP sessions included
	Held           int   // forwarded connections and listeners open now
	Waiting        int   // callers waiting for a slot now
	SFTPSessions   int   // SFTP sessions open now
	Dials          int64 // connections ever dialled with success
	DialFailures   int64
	Leases         int64         // slots ever granted
	Reused         int64         // of Leases, those whose connection was open already
	Refused        int64         // channels that a server refused
	DialTimeMean   time.Duration // over successful dials
	ReusedFraction float64       // Reused / Leases, 0 when there was none
}

// Stats returns the pool's figures now.
func (p *Pool) Stats() Stats {
	p.mu.Lock()
	groups := p.snapshot()
	p.mu.Unlock()
	s := Stats{
		Targets: len(groups), Dials: p.count.dials.Load(), DialFailures: p.count.dialFailures.Load(),
		Leases: p.count.leases.Load(), Reused: p.count.reused.Load(), Refused: p.count.refused.Load(),
	}
	for _, g := range groups {
		g.addTo(&s)
	}
	if s.Dials > 0 {
		s.DialTimeMean = time.Duration(p.count.dialNanos.Load() / s.Dials)
	}
	if s.Leases > 0 {
		s.ReusedFraction = float64(s.Reused) / float64(s.Leases)
	}
	return s
}
