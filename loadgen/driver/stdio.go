package driver

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
)

// Stdio starts a server as a child process and speaks MCP over its standard input and output. Unless cfg.Sessions says otherwise, all
// sessions of the driver share that process. ctx bounds the start; Close ends the children. The error matches ErrServerStart when the server
// is to blame.
func Stdio(ctx context.Context, cfg StdioConfig) (loadgen.Driver, error) {
	cfg.complete()
	if err := cfg.check("stdio", SessionsShared); err != nil {
		return nil, err
	}
	d := &stdioDriver{cfg: cfg, processes: map[*process]struct{}{}}
	p, g, err := d.start(ctx)
	if err != nil {
		d.abandoned.Wait()
		return nil, err
	}
	d.first = p
	d.info = loadgen.DriverInfo{
		Kind: cfg.Kind, ServerName: g.name, ServerVersion: g.serverVersion, PID: p.child.pid(), Address: cfg.Path,
		Protocol: g.version, Sessions: cfg.Sessions, SharedSession: cfg.Sessions == SessionsShared,
	}
	if cfg.Sessions == SessionsPerCall {
		return &perCall{Driver: d}, nil
	}
	return d, nil
}

// startError says why a server is not ready. ctx is the caller's, without the limit of the start.
func startError(ctx context.Context, cfg *ChildConfig, err error, t *tail) error {
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("start %s: %w", cfg.Path, ctx.Err())
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%w: %s: no answer to the handshake within %v%s", ErrServerStart, cfg.Path, cfg.StartTimeout, t.last())
	}
	return fmt.Errorf("%w: %v", ErrServerStart, err)
}

// stdioDriver drives children over their standard streams.
type stdioDriver struct {
	cfg  StdioConfig
	info loadgen.DriverInfo

	mu        sync.Mutex
	processes map[*process]struct{}
	first     *process // made with the driver: for the first Open, or for all
	closed    bool
	abandoned sync.WaitGroup // processes whose end nobody but Close waits for
}

// process is a child and the conversation with it, which is one session.
type process struct {
	d     *stdioDriver
	child *child
	conn  *conn
}

// start starts a child and shakes hands with it.
func (d *stdioDriver) start(ctx context.Context) (*process, greeting, error) {
	c, err := startChild(d.cfg, true, nil)
	if err != nil {
		return nil, greeting{}, err
	}
	p := &process{d, c, newConn(throttled(c.stdout, d.cfg.ReadRate), c.stdin, newWire(d.cfg.Protocol), c.explain)}
	if !d.keep(p) {
		_ = p.end() // there is nothing to tell of a child that was not wanted
		return nil, greeting{}, errClosed
	}
	limited, cancel := context.WithTimeout(ctx, d.cfg.StartTimeout)
	defer cancel()
	g, err := p.conn.hello(limited)
	if err != nil {
		err = startError(ctx, &d.cfg, err, c.tail)
		p.endLater()
		return nil, g, err
	}
	return p, g, nil
}

// keep enters a process among those that Close ends, unless that has been called.
func (d *stdioDriver) keep(p *process) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.closed {
		d.processes[p] = struct{}{}
	}
	return !d.closed
}

func (d *stdioDriver) Open(ctx context.Context) (loadgen.Session, error) {
	d.mu.Lock()
	p := d.first
	if !d.info.SharedSession {
		d.first = nil
	}
	closed := d.closed
	d.mu.Unlock()
	switch {
	case closed:
		return nil, errClosed
	case p == nil:
		var err error
		if p, _, err = d.start(ctx); err != nil {
			return nil, err
		}
	default:
		if err := p.conn.failure(); err != nil {
			return nil, err
		}
	}
	if d.info.SharedSession {
		return sharedSession{p}, nil
	}
	return p, nil
}

func (d *stdioDriver) Info() loadgen.DriverInfo {
	d.mu.Lock()
	defer d.mu.Unlock()
	info := d.info
	for p := range d.processes {
		if !p.child.gone() {
			info.PIDs = append(info.PIDs, p.child.pid())
		}
	}
	slices.Sort(info.PIDs)
	return info
}

func (d *stdioDriver) Close() error {
	d.mu.Lock()
	d.closed = true
	left := slices.Collect(maps.Keys(d.processes))
	d.mu.Unlock()
	errs := make([]error, len(left))
	var wg sync.WaitGroup
	for i, p := range left {
		wg.Go(func() { errs[i] = p.end() })
	}
	wg.Wait()
	d.abandoned.Wait()
	return errors.Join(errs...)
}

// end ends the child and what reads and writes it.
func (p *process) end() error {
	p.conn.finish()
	err := p.child.end()
	p.conn.fail(errClosed)
	p.conn.wait()
	return err
}

// forget takes the process off the driver's list.
func (p *process) forget() {
	p.d.mu.Lock()
	defer p.d.mu.Unlock()
	delete(p.d.processes, p)
}

func (p *process) Call(ctx context.Context, c loadgen.Call) (loadgen.Reply, error) {
	return p.conn.call(ctx, c)
}

// Close ends the process and waits for it. The driver's Close gives the same error again.
func (p *process) Close() error {
	err := p.end()
	if err == nil {
		p.forget()
	}
	return err
}

// Abandon closes the pipes at once. Calls under way fail. The process is waited for, and killed where it stays, behind the caller's back.
func (p *process) Abandon() error {
	p.conn.fail(errAbandoned)
	p.child.closePipes()
	p.endLater()
	return nil
}

// endLater ends the process, however it takes it, while the caller goes on. The driver's Close waits for that, or does it.
func (p *process) endLater() {
	p.d.mu.Lock()
	defer p.d.mu.Unlock()
	if !p.d.closed {
		p.d.abandoned.Go(func() {
			_ = p.end()
			p.forget()
		})
	}
}

// errAbandoned is the end of a session that its owner abandoned.
var errAbandoned = errors.New("the session was abandoned")
