package server

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/cache"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/remote"
)

// responses remembers the results of commands that profiles declare read-only. What a profile's host was asked to change makes all
// results of that profile void, when it begins and when it ends; meanwhile nothing is remembered.
type responses struct {
	cache *cache.Cache[responseKey, execution]
	off   atomic.Bool

	bypassed atomic.Int64 // calls that asked not to use it

	mu      sync.Mutex
	writers map[string]int // calls that may change a profile's host, by profile
}

// responseKey is everything that a result may depend on.
type responseKey struct {
	profile, target string // the target covers address, user, credential and host key
	actor           string
	command         string
	pty             bool
	maxOutput       int64
	timeout         float64 // a caller with more patience must not share the end of one with less
}

// execution is what running a command gave.
type execution struct {
	data   *ExecData // shared; never changed
	timing Timing
	bytes  int64

	redacted int64 // secrets that were taken out
}

// responseOverhead is about what a result takes beside its text, in bytes.
const responseOverhead = 512

func (c Caching) response() cache.Config {
	return cache.Config{MaxEntries: c.ResponseCacheSize, MaxBytes: int64(c.ResponseCacheMB) << 20, TTL: c.ResponseCacheTTL.Duration()}
}

func newResponses(c Caching) *responses {
	r := &responses{cache: cache.New[responseKey, execution](c.response()), writers: map[string]int{}}
	r.off.Store(!*c.Enabled)
	return r
}

func (r *responses) configure(c Caching) {
	r.off.Store(!*c.Enabled)
	r.cache.Configure(c.response())
}

// write notes that a call may change the profile's host from now on until done.
func (r *responses) write(profile string) (done func()) {
	r.mu.Lock()
	r.writers[profile]++
	r.mu.Unlock()
	r.cache.Invalidate(profile)
	return func() {
		r.cache.Invalidate(profile)
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.writers[profile]--; r.writers[profile] == 0 {
			delete(r.writers, profile)
		}
	}
}

// usable says whether results of the profile may be remembered and given out now.
func (r *responses) usable(profile string) bool {
	if r.off.Load() {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.writers[profile] == 0
}

// execute runs the command, or gives its remembered result.
func (c *call) execute(ctx context.Context, cmd remote.Command, timeout float64, noCache bool) (*ExecData, error) {
	r, id := c.s.responses, c.profile.ID
	if cmd.Sudo || !c.policy.ReadOnly(cmd.Line) {
		defer r.write(id)()
		return c.finish(c.runCommand(ctx, cmd, timeout))
	}
	if !r.usable(id) {
		return c.finish(c.runCommand(ctx, cmd, timeout))
	}
	t, err := c.s.profiles.Resolve(ctx, id)
	if err != nil {
		return nil, err
	}
	key := responseKey{id, t.Key, c.metadata.Actor, cmd.Line, cmd.PTY, cmd.MaxOutput, timeout}
	if noCache {
		r.bypassed.Add(1)
		defer r.cache.Forget(id, key)
		return c.finish(c.runCommand(ctx, cmd, timeout))
	}
	found, err := r.cache.Do(ctx, id, key, func(ctx context.Context) (cache.Loaded[execution], error) {
		own := *c // the caller may be gone before the command has ended
		x, err := own.runCommand(ctx, cmd, timeout)
		return cache.Loaded[execution]{Value: x, Size: x.size(cmd), Keep: err == nil && x.data.ExitCode == 0 && r.usable(id)}, err
	})
	if !found.Hit {
		return c.finish(found.Value, err)
	}
	data := *found.Value.data
	data.Cached, data.AgeS = true, found.Age.Seconds()
	c.metadata.Redacted = found.Value.redacted
	return &data, nil
}

// finish takes over what running a command gave.
func (c *call) finish(x execution, err error) (*ExecData, error) {
	c.metadata.Timing, c.bytes, c.metadata.Redacted = x.timing, x.bytes, x.redacted
	return x.data, err
}

func (x execution) size(cmd remote.Command) int64 {
	size := responseOverhead + len(cmd.Line)
	if d := x.data; d != nil {
		size += len(d.Stdout) + len(d.Stderr) + len(d.StdoutBase64) + len(d.StderrBase64)
	}
	return int64(size)
}
