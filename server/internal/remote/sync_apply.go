package remote

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/semaphore"
)

// applier makes one tree like the other, as a comparison found it necessary. It goes on past what concerns one path only.
type applier struct {
	ctx      context.Context
	cancel   context.CancelFunc
	sync     *Sync
	src, dst tree
	items    []item
	dirs     map[string]*item // directories of the source, and what stands in their place
	limit    *Bandwidth
	room     *semaphore.Weighted // bounds how many large files are under way
	total    int64
	through  atomic.Int64 // payload bytes

	mu       sync.Mutex // guards the rest
	stats    SyncStats
	temps    map[string]bool        // temporary files that are or may be there
	finished map[string]*item       // directories whose mode and time are set at the end
	failed   map[string]bool        // directories that could not be made
	unlocked map[string]fs.FileMode // directories that were opened for a deletion, and how they were
	fatal    *Error                 // why the rest was not tried
}

// What may be under way at once: small files hide each other's round trips, and a few large ones keep a session busy.
const (
	applyWidth = 64
	roomUnits  = 4 * applyWidth
	roomUnit   = 64 << 10   // bytes of a file; the first is for free
	maxUnits   = applyWidth // that one file takes
)

var (
	errFull     = errors.New("no space left on the destination's file system, or in its user's quota: free some there, or choose another destination")
	errNoParent = errors.New("its directory could not be made")
)

func newApplier(s *Sync, src, dst tree, items []item, dirs map[string]*item) *applier {
	a := &applier{
		sync: s, src: src, dst: dst, items: items, dirs: dirs, limit: NewBandwidth(s.BandwidthKBps), room: semaphore.NewWeighted(roomUnits),
		temps: map[string]bool{}, finished: map[string]*item{}, failed: map[string]bool{}, unlocked: map[string]fs.FileMode{},
	}
	for i := range items {
		a.total += items[i].Bytes
	}
	return a
}

// run makes all changes: deletions first, which make room, then directories from the top, what is in them, and at last what the
// directories themselves look like, from the bottom.
func (a *applier) run(ctx context.Context) error {
	a.ctx, a.cancel = context.WithCancel(ctx)
	defer a.cancel()
	a.unlock()
	var gone, emptied, made, leaves []*item
	for i := range a.items {
		it := &a.items[i]
		switch {
		case it.Action == ActionDelete && it.dst.isDir():
			emptied = append(emptied, it)
		case it.Action == ActionDelete:
			gone = append(gone, it)
		case it.Action == ActionMkdir:
			made = append(made, it)
		case it.src.isDir():
			a.finished[it.Path] = it
		default:
			leaves = append(leaves, it)
		}
	}
	atOnce(a.ctx, gone, a.delete)
	byLevel(a.ctx, emptied, -1, a.delete)
	a.relock()
	byLevel(a.ctx, made, 1, a.mkdir)
	atOnce(a.ctx, leaves, a.leaf)
	byLevel(a.ctx, slices.Collect(maps.Values(a.finished)), -1, a.finish)
	return a.verdict(ctx)
}

// atOnce calls fn for each element, applyWidth at once, until ctx ends.
func atOnce[T any](ctx context.Context, list []T, fn func(T)) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(applyWidth, len(list)) {
		wg.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= len(list) {
					return
				}
				fn(list[i])
			}
		})
	}
	wg.Wait()
}

// byLevel calls fn for the directories of each depth at once, from the top with order 1 and from the bottom with -1.
func byLevel(ctx context.Context, dirs []*item, order int, fn func(*item)) {
	slices.SortFunc(dirs, func(a, b *item) int { return order * cmp.Compare(depth(a.Path), depth(b.Path)) })
	for len(dirs) > 0 {
		n := 1
		for n < len(dirs) && depth(dirs[n].Path) == depth(dirs[0].Path) {
			n++
		}
		atOnce(ctx, dirs[:n], fn)
		dirs = dirs[n:]
	}
}

// did notes a change that was made.
func (a *applier) did(it *item) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stats.Changes = append(a.stats.Changes, it.Change)
	switch it.Action {
	case ActionDelete:
		a.stats.Deleted++
	case ActionCreate, ActionUpdate:
		a.stats.FilesTransferred++
		a.stats.BytesTransferred += it.Bytes
	}
}

// problem notes that it could not be done. An error that concerns everything ends the rest.
func (a *applier) problem(it *item, err *Error) {
	if err == nil || a.ctx.Err() != nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if err.Kind == Broken || errors.Is(err, errFull) {
		if a.fatal == nil {
			a.fatal = &Error{Kind: err.Kind, Path: it.Path, Err: err.Err}
		}
		a.cancel()
	}
	if err.Kind != Broken {
		a.stats.Problems = append(a.stats.Problems, Problem{it.Path, err})
	}
	if it.Action == ActionMkdir {
		a.failed[it.Path] = true
	}
}

// blocked reports whether a directory above the path could not be made.
func (a *applier) blocked(name string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for dir := name; dir != "."; {
		if dir = parent(dir); a.failed[dir] {
			return true
		}
	}
	return false
}

// stored classifies an error of the destination, met while need more bytes were to be stored there.
func (a *applier) stored(err error, need int64) *Error {
	if err == nil {
		return nil
	}
	e := a.dst.classify(err)
	if e.Kind != Broken && e.Kind != NotFound && e.Kind != Denied && a.dst.full(err, need) {
		return &Error{Kind: Full, Err: errFull}
	}
	return e
}

// verdict says how it ended; ctx is the caller's.
func (a *applier) verdict(ctx context.Context) error {
	slices.SortFunc(a.stats.Changes, func(x, y Change) int { return cmp.Compare(x.Path, y.Path) })
	count := fmt.Sprintf("%d of %d changes are confirmed", len(a.stats.Changes), len(a.items))
	switch {
	case ctx.Err() != nil:
		return &Error{Kind: Stopped, Err: fmt.Errorf("stopped in the middle, %s; the same sync again makes the rest: %w", count, context.Cause(ctx))}
	case a.fatal == nil:
		return nil
	case a.fatal.Kind == Broken:
		return &Error{Kind: Unknown, Err: fmt.Errorf("the connection broke in the middle, %s, and some more may have been made; the same sync again makes the rest", count)}
	}
	return &Error{Kind: a.fatal.Kind, Path: a.fatal.Path, Err: fmt.Errorf("%w; %s", a.fatal.Err, count)}
}

// unlock lets the owner write to existing directories in which something will change. finish sets their mode again.
func (a *applier) unlock() {
	var locked []*item
	for i := range a.items {
		it := &a.items[i]
		dir := a.dirs[parent(it.Path)]
		if it.Path == "." || it.Action == ActionAttributes || dir == nil || a.finished[dir.Path] != nil {
			continue
		}
		a.finished[dir.Path] = dir
		if dir.dst != nil && dir.dst.isDir() && dir.dst.bits()&0o700 != 0o700 {
			locked = append(locked, dir)
		}
	}
	atOnce(a.ctx, locked, func(it *item) {
		a.problem(it, a.stored(a.dst.chmod(it.Path, it.dst.bits()|0o700), 0))
	})
}

// delete removes one thing that the source does not have. A directory goes only when it is empty.
func (a *applier) delete(it *item) {
	err := a.deleteOnce(it)
	if errors.Is(err, fs.ErrPermission) && a.unlockAbove(it) {
		err = a.deleteOnce(it)
	}
	switch e := a.stored(err, 0); {
	case e == nil:
		a.did(it)
	case e.Kind == NotFound || errors.Is(err, fs.ErrNotExist): // gone already
	default:
		a.problem(it, e)
	}
}

func (a *applier) deleteOnce(it *item) error {
	if it.dst.isDir() {
		return a.dst.rmdir(it.Path)
	}
	return a.dst.remove(it.Path)
}

// unlockAbove lets the owner write to the directory that holds it, if that was what kept it from being deleted.
func (a *applier) unlockAbove(it *item) bool {
	dir := parent(it.Path)
	now, err := a.dst.look(dir)
	if err != nil || !now.isDir() {
		return false
	}
	locked := now.bits()&0o700 != 0o700
	a.mu.Lock()
	_, done := a.unlocked[dir]
	if locked && !done {
		a.unlocked[dir] = now.bits()
	}
	a.mu.Unlock()
	return !locked && done || locked && a.dst.chmod(dir, now.bits()|0o700) == nil
}

// relock gives the directories that unlockAbove has opened, and that are still there, their mode back.
func (a *applier) relock() {
	for _, it := range a.stats.Changes {
		if it.Action == ActionDelete {
			delete(a.unlocked, it.Path)
		}
	}
	for dir, mode := range a.unlocked {
		if a.finished[dir] == nil {
			_ = a.dst.chmod(dir, mode)
		}
	}
}

// mkdir makes a directory, in the place of whatever else stands there.
func (a *applier) mkdir(it *item) {
	if a.blocked(it.Path) {
		a.problem(it, &Error{Kind: Refused, Err: errNoParent})
		return
	}
	var err error
	switch {
	case it.Path == ".":
		err = a.dst.makeRoot()
	case it.dst != nil:
		if err = a.dst.remove(it.Path); err != nil {
			break
		}
		fallthrough
	default:
		err = a.dst.mkdir(it.Path)
	}
	if err != nil {
		a.problem(it, a.stored(err, 0))
		return
	}
	a.did(it)
	a.mu.Lock()
	a.finished[it.Path] = it
	a.mu.Unlock()
}

// finish gives a directory its mode and time, after everything in it.
func (a *applier) finish(it *item) {
	if a.blocked(it.Path + "/") {
		return
	}
	err := a.finishMode(it)
	if err == nil && a.sync.Times {
		err = a.dst.chtimes(it.Path, it.src.mtime)
	}
	if err != nil {
		a.problem(it, a.stored(err, 0))
	} else if it.Action == ActionAttributes {
		a.did(it)
	}
}

func (a *applier) finishMode(it *item) error {
	existed := it.dst != nil && it.dst.isDir()
	switch {
	case a.sync.Permissions && (!existed || it.src.bits() != it.dst.bits() || it.dst.bits()&0o700 != 0o700):
		return a.dst.chmod(it.Path, it.src.bits())
	case !a.sync.Permissions && existed && it.dst.bits()&0o700 != 0o700:
		return a.dst.chmod(it.Path, it.dst.bits())
	case a.sync.Permissions || existed:
		return nil
	}
	now, err := a.dst.look(it.Path) // what the umask made of it
	if want := now.mode.Perm() & it.src.mode.Perm(); err == nil && want != now.mode.Perm() {
		err = a.dst.chmod(it.Path, want)
	}
	return err
}
