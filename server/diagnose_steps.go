package server

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/pool"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/profile"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/remote"
)

// The steps of a diagnosis after those of pool.Hop.
const (
	stepVPN           = "vpn"
	stepRoundTrip     = "round_trip"
	stepChannel       = "channel"
	stepCommand       = "command"
	stepSFTP          = "sftp"
	stepPooledChannel = "pooled_channel"
	stepPooledCommand = "pooled_command"
	stepPooledSFTP    = "pooled_sftp"
	stepPooled        = "pooled_connection"
)

// stepTimeout bounds a step on an open connection.
const stepTimeout = 10 * time.Second

// sessionRoom is how many session channels a host is asked for at once on one connection: as many as the pool uses.
const sessionRoom = 10

// stepKey names a step of the host of a profile.
type stepKey struct{ profile, step string }

// series is what became of one step over the repeats.
type series struct {
	times  []time.Duration
	failed int
	err    error
	note   string
}

// diagnosis is one that runs.
type diagnosis struct {
	c      *call
	opts   DiagnoseOptions
	scope  scope
	target *profile.Target

	mu     sync.Mutex // guards what hops report from the goroutine of a dial
	order  []stepKey
	series map[stepKey]*series
	drops  int // connections that the host closed before the login
	logins int

	tried      int
	room       int           // session channels that the host granted at once; -1 is not known
	queued     time.Duration // the longest wait for a slot of the pool
	grown      growth
	unexpected string // what the harmless command said, where it failed
}

// of finds or makes a series; d.mu is held.
func (d *diagnosis) of(t *profile.Target, step string) *series {
	key := stepKey{t.Profile.ID, step}
	s := d.series[key]
	if s == nil {
		s = &series{}
		d.series[key] = s
		d.order = append(d.order, key)
	}
	return s
}

func (d *diagnosis) took(t *profile.Target, step string, took time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.of(t, step)
	s.times = append(s.times, took)
}

func (d *diagnosis) failed(t *profile.Target, step string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.of(t, step)
	s.failed++
	s.err = err
}

func (d *diagnosis) note(step, text string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.of(d.target, step).note = text
}

// hop takes the steps of one attempt to connect.
func (d *diagnosis) hop(h pool.Hop) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, step := range []struct {
		name pool.Step
		took time.Duration
	}{{pool.StepDNS, h.DNS}, {pool.StepTCP, h.TCP}, {pool.StepBanner, h.Banner}, {pool.StepKeyExchange, h.KeyExchange}, {pool.StepAuth, h.Auth}} {
		s := d.of(h.Target, string(step.name))
		switch {
		case step.name == h.Failed:
			if pool.Dropped(h.Err) {
				d.drops++
			}
			s.failed++
			s.err = h.Err
			return
		case step.name == pool.StepDNS && !h.Named:
			s.note = unnamed(h.Target)
		default:
			s.times = append(s.times, step.took)
		}
	}
	d.logins++
}

func unnamed(t *profile.Target) string {
	switch {
	case t.Jump != nil:
		return "the jump host looks it up; part of tcp"
	case t.VPN != "":
		return "part of tcp, inside the tunnel"
	}
	return "not needed, the address is an IP address"
}

// run measures everything.
func (d *diagnosis) run(ctx context.Context) {
	d.room = -1
	if d.opts.BringUpVPN && !d.bringUp(ctx) {
		return
	}
	before := takeGrowth()
	connected := d.repeat(ctx)
	if connected && d.scope != (scope{}) {
		d.measureRoom(ctx)
	}
	d.grown = before.until(ctx)
	if connected || d.c.s.pool.Condition(d.target).Open > 0 {
		d.pooled(ctx)
	}
}

// bringUp brings up the tunnel on the way.
func (d *diagnosis) bringUp(ctx context.Context) bool {
	entrance := way(d.target)[0]
	id, peer, ok := strings.Cut(entrance.VPN, "/")
	if !ok {
		return true
	}
	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, d.connectTimeout())
	defer cancel()
	if _, err := d.c.s.setVPN(ctx, id, peer, true); err != nil {
		d.failed(entrance, stepVPN, err)
		return false
	}
	d.took(entrance, stepVPN, time.Since(start))
	return true
}

func (d *diagnosis) connectTimeout() time.Duration {
	return d.c.s.current().Pooling.ConnectionTimeout.Duration()
}

// maxFailures is how many repeats in a row may fail before the rest is not tried.
const maxFailures = 3

// repeat measures fresh connections, and reports whether there was one. A credential or host key that was refused is not tried again: hosts lock
// those out who insist.
func (d *diagnosis) repeat(ctx context.Context) (connected bool) {
	failures := 0
	for d.tried < d.opts.Iterations && ctx.Err() == nil {
		d.tried++
		d.c.progress(int64(d.tried-1), int64(d.opts.Iterations), "fresh connections")
		err := d.fresh(ctx)
		if err == nil {
			connected, failures = true, 0
			continue
		}
		failures++
		var e *pool.Error
		final := errors.As(err, &e) && (e.Kind == pool.KindAuth || e.Kind == pool.KindHostKey || e.Kind == pool.KindTimeout && !connected)
		if final || failures == maxFailures {
			return connected
		}
	}
	return connected
}

// fresh measures one connection that nobody shares, and the connections to its jump hosts. The error is of connecting.
func (d *diagnosis) fresh(ctx context.Context) error {
	p := pool.New(pool.Config{Dial: d.c.s.dial, DialTimeout: d.connectTimeout(), MaxConns: 1, Trace: d.hop})
	defer p.Close()
	for _, t := range way(d.target) {
		lease, err := p.Hold(ctx, t)
		if err != nil {
			return err
		}
		defer lease.Release()
		d.roundTrips(ctx, p, t)
	}
	switch {
	case d.scope.exec:
		d.command(ctx, p, stepChannel, stepCommand)
	case d.scope.channelsOnly:
		d.channel(ctx, p, stepChannel)
	}
	if d.scope.sftp {
		d.sftp(ctx, p, stepSFTP)
	}
	return nil
}

// roundTrips takes the shortest of three, since the host may still be busy with the login.
func (d *diagnosis) roundTrips(ctx context.Context, p *pool.Pool, t *profile.Target) {
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	var best time.Duration
	for i := range 3 {
		took, err := p.RoundTrip(ctx, t)
		if err != nil {
			d.failed(t, stepRoundTrip, err)
			return
		}
		if i == 0 || took < best {
			best = took
		}
	}
	d.took(t, stepRoundTrip, best)
}

// command runs the harmless command, and reports what it took to get there.
func (d *diagnosis) command(ctx context.Context, p *pool.Pool, channel, command string) pool.Info {
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	out, err := remote.Exec(ctx, p, d.target, remote.Command{Line: harmless, MaxOutput: 4096})
	if out == nil {
		d.failed(d.target, channel, err)
		return pool.Info{}
	}
	d.took(d.target, channel, out.Lease.Channel)
	if err != nil {
		d.failed(d.target, command, err)
		return out.Lease
	}
	d.took(d.target, command, out.Remote)
	if out.ExitCode != 0 {
		d.unexpected = fmt.Sprintf("`%s` exited with %d and said %q", harmless, out.ExitCode, strings.TrimSpace(string(out.Stdout)+string(out.Stderr)))
		d.note(command, d.unexpected)
	}
	return out.Lease
}

// channel opens a session channel and runs nothing in it.
func (d *diagnosis) channel(ctx context.Context, p *pool.Pool, step string) pool.Info {
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	s, err := p.Session(ctx, d.target)
	if err != nil {
		d.failed(d.target, step, err)
		return pool.Info{}
	}
	go discard(s)
	defer s.Close()
	d.took(d.target, step, s.Info.Channel)
	return s.Info
}

// discard refuses whatever the host asks for until the session ends.
func discard(s *pool.Session) {
	for req := range s.Requests {
		_ = req.Reply(false, nil)
	}
}

// sftp opens an SFTP session, or takes a pooled one, and asks it about the login directory.
func (d *diagnosis) sftp(ctx context.Context, p *pool.Pool, step string) pool.Info {
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	start := time.Now()
	f, err := p.SFTP(ctx, d.target)
	if err != nil {
		d.failed(d.target, step, err)
		return pool.Info{}
	}
	stop := context.AfterFunc(ctx, f.Interrupt)
	_, err = f.Stat(".")
	if !stop() {
		err = context.Cause(ctx)
	}
	if err != nil {
		f.Discard()
		d.failed(d.target, step, fmt.Errorf("the SFTP session does not answer: %w", err))
		return pool.Info{}
	}
	defer f.Release()
	d.took(d.target, step, time.Since(start)-f.Queue-f.Dial)
	return f.Info
}

// measureRoom counts the session channels that the host grants at once on one connection.
func (d *diagnosis) measureRoom(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, d.connectTimeout()+stepTimeout)
	defer cancel()
	p := pool.New(pool.Config{Dial: d.c.s.dial, DialTimeout: d.connectTimeout(), MaxConns: 1})
	defer p.Close()
	if room, err := p.Room(ctx, d.target, sessionRoom); err == nil {
		d.room = room
	}
}

// pooled does the same over the server's own connections, as calls do. What had to be dialled is left out.
func (d *diagnosis) pooled(ctx context.Context) {
	p := d.c.s.pool
	if !d.c.s.cfg.Pooling.enabled() {
		d.note(stepPooled, "connection_pooling.enabled is false")
		return
	}
	warm, cancel := context.WithTimeout(ctx, d.connectTimeout())
	defer cancel()
	start := time.Now()
	if err := p.Warm(warm, d.target); err != nil {
		d.failed(d.target, stepPooled, err)
		return
	}
	d.took(d.target, stepPooled, time.Since(start))
	for range min(d.opts.Iterations, max(1, d.tried)) {
		if ctx.Err() != nil {
			return
		}
		var infos []pool.Info
		switch {
		case d.scope.exec:
			infos = append(infos, d.command(ctx, p, stepPooledChannel, stepPooledCommand))
		case d.scope.channelsOnly:
			infos = append(infos, d.channel(ctx, p, stepPooledChannel))
		}
		if d.scope.sftp {
			infos = append(infos, d.sftp(ctx, p, stepPooledSFTP))
		}
		for _, info := range infos {
			d.queued = max(d.queued, info.Queue)
		}
	}
}

// growth is what the process holds; see until.
type growth struct{ goroutines, descriptors int }

func takeGrowth() growth { return growth{runtime.NumGoroutine(), descriptors()} }

// descriptors is how many files and sockets the process has open; 0 where that cannot be found out.
func descriptors() int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(entries)
}

// settle is how long what a diagnosis has started may take to end.
const settle = time.Second

// until is what has grown since, once what is ending has ended.
func (g growth) until(ctx context.Context) (grown growth) {
	for deadline := time.Now().Add(settle); ; time.Sleep(20 * time.Millisecond) {
		now := takeGrowth()
		grown = growth{now.goroutines - g.goroutines, now.descriptors - g.descriptors}
		if grown.goroutines <= 0 && grown.descriptors <= 0 || time.Now().After(deadline) || ctx.Err() != nil {
			return grown
		}
	}
}

// result sums up.
func (d *diagnosis) result() *Diagnosis {
	r := &Diagnosis{
		ProfileID: d.opts.Profile, Address: d.target.Addr, Through: through(d.target), Operation: d.opts.Operation,
		Iterations: d.tried, Healthy: true, Steps: []Step{},
	}
	if d.scope.noExec != "" {
		d.note(stepCommand, d.scope.noExec)
	}
	if d.scope.noSFTP != "" {
		d.note(stepSFTP, d.scope.noSFTP)
	}
	for _, key := range d.order {
		s := d.series[key]
		r.Steps = append(r.Steps, s.step(key))
		r.Healthy = r.Healthy && s.failed == 0
	}
	r.Findings = d.findings(r.Steps)
	return r
}

// step sums up the repeats of one step.
func (s *series) step(key stepKey) Step {
	out := Step{Step: key.step, ProfileID: key.profile, Count: len(s.times), Failed: s.failed, Note: s.note}
	if s.err != nil {
		out.Error = s.err.Error()
	}
	n := len(s.times)
	if n == 0 {
		return out
	}
	sorted := slices.Sorted(slices.Values(s.times))
	out.MinS, out.MaxS = sorted[0].Seconds(), sorted[n-1].Seconds()
	out.MedianS = (sorted[(n-1)/2].Seconds() + sorted[n/2].Seconds()) / 2
	if n >= 20 {
		p95 := sorted[(95*n+99)/100-1].Seconds()
		out.P95S = &p95
	}
	return out
}
