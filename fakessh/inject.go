package fakessh

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh/netem"
)

// source is randomness for one kind of draw, so that the draws of one kind do
// not depend on how many there were of another.
type source struct {
	mu   sync.Mutex
	rand *rand.Rand
}

// The streams of randomness that a seed gives.
const (
	streamConnect = iota
	streamAuth
	streamExec
	streamSFTP
	streamDisk
	streamWorkers
	streams
)

func newSource(seed, stream uint64) *source {
	return &source{rand: rand.New(rand.NewPCG(seed, stream))}
}

func (s *source) draw(d netem.Dist) time.Duration {
	if d == (netem.Dist{}) {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return d.Draw(s.rand)
}

// chance is true with the probability share.
func (s *source) chance(share float64) bool {
	if share == 0 {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rand.Float64() < share
}

// faults are Faults at work.
type faults struct {
	Faults
	sources [streams]*source
	workers *workers // nil for none
	disk    bandwidth
}

// newFaults puts f to work. Workers that stay the same keep their queue.
func newFaults(f Faults, before *faults) *faults {
	n := &faults{Faults: f, disk: bandwidth{rate: f.Disk.Bandwidth}}
	for i := range n.sources {
		n.sources[i] = newSource(f.Seed, uint64(i))
	}
	switch {
	case f.Workers.Count == 0:
	case before != nil && before.Workers == f.Workers && before.Seed == f.Seed:
		n.workers = before.workers
	default:
		n.workers = newWorkers(f.Workers, n.sources[streamWorkers])
	}
	return n
}

// injector makes the operations of a host late or fail, and records how late
// they were.
type injector struct {
	timer   *netem.Timer // nil waits with Go's timers
	network netem.Network
	latency delays // of Options
	now     atomic.Pointer[faults]
	waited  recorders

	mu       sync.Mutex
	schedule context.CancelFunc // ends the one under way; nil for none
}

func (in *injector) init(opts Options) {
	if !opts.GoTimers {
		in.timer = new(netem.Timer)
	}
	in.latency.init(opts.Latency)
	in.network.Timer = in.timer
}

// SetFaults replaces all faults by f, also for connections and sessions that
// are open, and begins its schedule. The error is that of [Faults.Validate];
// nothing has changed then. Safe for concurrent use.
func (h *Host) SetFaults(f Faults) error {
	if err := f.Validate(); err != nil {
		return err
	}
	in := &h.inject
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.schedule != nil {
		in.schedule()
		in.schedule = nil
	}
	h.apply(f)
	if len(f.Schedule) == 0 {
		return nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	began := time.Now()
	if !h.spawn(func() { h.follow(ctx, began, f) }) {
		cancel()
		return nil
	}
	in.schedule = cancel
	return nil
}

// Faults returns those that hold now, with the schedule left out.
func (h *Host) Faults() Faults {
	f := h.inject.now.Load().Faults
	f.Schedule = nil
	return f
}

// follow makes the changes of a schedule until ctx ends.
func (h *Host) follow(ctx context.Context, began time.Time, f Faults) {
	for _, c := range f.Schedule {
		if h.inject.timer.Wait(ctx, began.Add(c.At)) != nil {
			return
		}
		if c.Faults.Seed == 0 {
			c.Faults.Seed = f.Seed
		}
		h.inject.mu.Lock()
		if ctx.Err() == nil {
			h.apply(c.Faults)
		}
		h.inject.mu.Unlock()
	}
}

// apply makes f hold. The caller holds inject.mu.
func (h *Host) apply(f Faults) {
	h.inject.now.Store(newFaults(f, h.inject.now.Load()))
	h.inject.network.Set(f.Seed, f.Network)
	capacity := h.capacity
	if f.Disk.Capacity > 0 {
		capacity = f.Disk.Capacity
	}
	h.fs.SetCapacity(capacity)
}

// stop ends the schedule.
func (in *injector) stop() {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.schedule != nil {
		in.schedule()
		in.schedule = nil
	}
}

// connect waits as a new connection has to and reports whether the client is
// still there.
func (in *injector) connect(ctx context.Context, arrived time.Time) bool {
	f := in.now.Load()
	return in.hold(ctx, &in.waited.connect, arrived,
		arrived.Add(in.latency.draw(in.latency.connect)+f.sources[streamConnect].draw(f.Connect.Delay)))
}

// exec waits as a command has to, and reports likewise.
func (in *injector) exec(ctx context.Context, name string, arrived time.Time) bool {
	f := in.now.Load()
	if f.Exec.Except != "" && name == f.Exec.Except {
		return ctx.Err() == nil
	}
	until := arrived
	if f.workers != nil {
		until = f.workers.book(arrived)
	}
	return in.hold(ctx, &in.waited.exec, arrived,
		until.Add(in.latency.draw(in.latency.exec)+f.sources[streamExec].draw(f.Exec.Delay)))
}

// auth waits as an answer to a key or password has to.
func (in *injector) auth(ctx context.Context) {
	f := in.now.Load()
	_ = in.timer.Wait(ctx, time.Now().Add(f.sources[streamAuth].draw(f.Auth.Delay)))
}

// Kinds of SFTP requests, by what they ask of the disk.
type diskUse int

const (
	noData diskUse = iota
	readData
	writeData
)

// sftp waits as an SFTP request for n bytes has to.
func (in *injector) sftp(ctx context.Context, use diskUse, n int) {
	arrived := time.Now()
	f := in.now.Load()
	until := arrived.Add(in.latency.draw(in.latency.sftp) + f.sources[streamSFTP].draw(f.SFTP.Delay))
	if use != noData {
		each := f.Disk.Read
		if use == writeData {
			each = f.Disk.Write
		}
		until = f.disk.book(until, n).Add(f.sources[streamDisk].draw(each))
	}
	in.hold(ctx, &in.waited.sftp, arrived, until)
}

// hold waits until a point in time and records how long the operation has then
// been in the host. It reports whether ctx has not ended; what has was never
// answered, and is not recorded.
func (in *injector) hold(ctx context.Context, r *recorder, arrived, until time.Time) bool {
	if in.timer.Wait(ctx, until) != nil {
		return false
	}
	r.record(time.Since(arrived))
	return true
}
