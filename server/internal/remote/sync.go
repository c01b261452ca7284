package remote

import (
	"context"
	"errors"
	"fmt"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/pool"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/profile"
)

// Sync makes the contents of one directory those of another. It is always the contents that go into the destination: a slash at the
// end of a path changes nothing. The destination is made where it is missing.
//
// Regular files, directories and symbolic links are copied; a link is copied as a link. Anything else is skipped with a warning. Files
// are held to be equal when their sizes and modification times, in whole seconds, are; the check is the same when Times is not set,
// so that such a sync copies again whatever it has copied before at another time. Owners and groups stay as they fall.
type Sync struct {
	Direction Direction  // Upload makes the remote directory like the local one, Download the reverse
	Local     *LocalPath // a directory; the caller closes it
	Remote    string     // a directory, as the host reads it; relative to the login directory
	Bounds    *Bounds    // of the remote directory; nil is none

	// Include and Exclude hold rsync's patterns. All of Include are tried before those of Exclude, and the first that matches decides.
	// What is excluded is neither copied nor deleted.
	Include, Exclude []string

	Delete      bool // remove from the destination what the source does not have
	Content     bool // compare files of equal size by content instead of modification time
	Permissions bool // give the destination the source's permission bits; else new files get them less the umask
	Times       bool // give files and directories, but not links, the source's modification times

	BandwidthKBps int                     // 1024 bytes a second; 0 is no limit
	Progress      func(done, total int64) // payload bytes through and to go; may be called by several goroutines; nil is none
}

// The actions of a Change.
const (
	ActionCreate     = "create"     // a file that the destination does not have
	ActionUpdate     = "update"     // a file that differs
	ActionMkdir      = "mkdir"      // a directory that the destination does not have
	ActionSymlink    = "symlink"    // a link that the destination does not have, or that differs
	ActionAttributes = "attributes" // a file or directory of which only permissions or time differ
	ActionDelete     = "delete"     // what the source does not have
)

// Change is one difference between source and destination, and what is done about it.
type Change struct {
	Path   string // relative to both directories, with slashes; "." is the directory itself
	Action string
	Bytes  int64 // size of a file to create or update; else 0
}

// Problem is a path that could not be dealt with.
type Problem struct {
	Path string
	Err  error
}

// Error implements error.
func (p Problem) Error() string { return p.Path + ": " + p.Err.Error() }

// Unwrap returns the cause.
func (p Problem) Unwrap() error { return p.Err }

// SyncPlan is what a Sync would do.
type SyncPlan struct {
	Engine   string
	Changes  []Change  // sorted by path
	Skipped  []Problem // special files, which no sync copies
	Problems []Problem // what could not be read. With any at the source, nothing is deleted.
	Lease    pool.Info // of the session that carried the comparison
	delta    bool      // a file that is large on both sides differs
}

// Deletions returns the paths that the plan deletes, sorted.
func (p *SyncPlan) Deletions() []string {
	var paths []string
	for _, c := range p.Changes {
		if c.Action == ActionDelete {
			paths = append(paths, c.Path)
		}
	}
	return paths
}

// Bytes is the size of all files to create or update.
func (p *SyncPlan) Bytes() (total int64) {
	for _, c := range p.Changes {
		total += c.Bytes
	}
	return total
}

// SyncStats is what a sync has done, each item confirmed by the destination.
type SyncStats struct {
	Changes          []Change  // what was done, sorted by path
	Skipped          []Problem // special files, which no sync copies
	FilesTransferred int       // regular files created or updated
	BytesTransferred int64     // bytes of file content that went over the connection
	Deleted          int       // files, links and directories removed
	Problems         []Problem // what could not be done or read; the rest was done
	Lease            pool.Info // of the session that carried it
}

// engine is a way to do one Sync. Errors are *pool.Error (nothing happened) or *Error.
type engine interface {
	// name is what a caller calls the engine.
	name() string
	// plan compares both sides and changes nothing.
	plan(ctx context.Context) (*SyncPlan, error)
	// apply does what p, the engine's own plan, lists, deletes nothing else, and goes on past what concerns a single path. With a nil p,
	// which comes only without Delete, it does what plan would list, if it can without the cost of planning. Beside an error the
	// statistics say what was done before it.
	apply(ctx context.Context, p *SyncPlan) (SyncStats, error)
	// close releases what the engine holds. It is called once.
	close()
}

// The names that OpenSync takes for an engine.
const (
	EngineAuto  = "auto"
	EngineSFTP  = "sftp"
	EngineRsync = "rsync"
)

// deltaSize is from how many bytes on a file that exists on both sides is worth rsync's delta transfer.
const deltaSize = 8 << 20

// Syncer carries one Sync from its plan to its end. It serves one goroutine.
type Syncer struct {
	pool   *pool.Pool
	target *profile.Target
	sync   Sync
	auto   bool
	engine engine
}

// OpenSync checks s and prepares it for an engine: EngineSFTP, EngineRsync or EngineAuto, which takes rsync where both sides have it and
// a large file has changed in part, and sftp otherwise. Nothing is changed until Apply. Close the result.
func OpenSync(ctx context.Context, p *pool.Pool, t *profile.Target, s Sync, engineName string) (*Syncer, error) {
	y := &Syncer{pool: p, target: t, sync: s, auto: engineName == EngineAuto}
	if y.auto {
		engineName = EngineSFTP
	}
	if s.Bounds != nil && s.Bounds.Some && engineName == EngineRsync {
		return nil, &Error{Kind: Refused, Err: errors.New("engine rsync cannot leave out what the profile denies on the host; use sftp or auto")}
	}
	var err error
	if y.sync.Remote, err = s.Bounds.resolveOver(ctx, p, t, s.Remote); err != nil {
		return nil, err
	}
	if y.engine, err = y.engineFor(ctx, engineName); err != nil {
		return nil, err
	}
	return y, nil
}

// engineFor opens the engine of that name, or says why it cannot do this sync.
func (y *Syncer) engineFor(ctx context.Context, name string) (engine, error) {
	switch name {
	case EngineSFTP:
		return newSFTPEngine(ctx, y.pool, y.target, y.sync)
	case EngineRsync:
		return newRsyncEngine(ctx, y.pool, y.target, y.sync)
	}
	return nil, &Error{Kind: Refused, Err: fmt.Errorf("unknown engine %q: use auto, sftp or rsync", name)}
}

// Engine names the engine in use. Plan may change it from sftp to rsync where auto was asked for.
func (y *Syncer) Engine() string { return y.engine.name() }

// Plan compares both sides and changes nothing. Errors are *pool.Error or *Error.
func (y *Syncer) Plan(ctx context.Context) (*SyncPlan, error) {
	plan, err := y.engine.plan(ctx)
	if err != nil || !y.takeDelta(ctx, plan) {
		return plan, err
	}
	return y.engine.plan(ctx)
}

// takeDelta goes over to the rsync engine where the choice was left to us, the plan makes it worth while, and both sides have it.
func (y *Syncer) takeDelta(ctx context.Context, plan *SyncPlan) bool {
	if !y.auto || !plan.delta || y.sync.Bounds != nil && y.sync.Bounds.Some {
		return false
	}
	if !hasRsync(ctx, y.pool, y.target) {
		return false
	}
	delta, err := y.engineFor(ctx, EngineRsync)
	if err != nil {
		return false
	}
	y.engine.close()
	y.engine, y.auto = delta, false
	return true
}

// Apply does what plan, the last result of Plan, lists. A nil plan does what Plan would list; it is refused for a sync that deletes. What
// concerns a single path is a Problem in the statistics and no error. Errors are *pool.Error (nothing happened) or *Error; beside one
// of Kind Stopped or Unknown, what the statistics count is done, and the rest is not or may not be.
func (y *Syncer) Apply(ctx context.Context, plan *SyncPlan) (SyncStats, error) {
	if plan != nil {
		return y.engine.apply(ctx, plan)
	}
	if y.sync.Delete {
		return SyncStats{}, &Error{Kind: Refused, Err: errors.New("a sync that deletes needs a plan")}
	}
	if y.auto {
		var err error
		if plan, err = y.engine.plan(ctx); err != nil {
			return SyncStats{}, err
		}
		if y.takeDelta(ctx, plan) {
			plan = nil
		}
	}
	return y.engine.apply(ctx, plan)
}

// Close releases the sessions that the engine holds.
func (y *Syncer) Close() { y.engine.close() }
