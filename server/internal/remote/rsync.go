//go:build unix

package remote

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/pool"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/profile"
)

// rsyncEngine syncs with the rsync programs of both sides. The local one runs as a child of this process, and its remote shell hands its
// data to a session of the pool. One run starts in rsync_run.go, with what rsync_args.go and rsync_place.go put together, is carried by
// rsync_shell.go and read by rsync_output.go.
type rsyncEngine struct {
	pool    *pool.Pool
	target  *profile.Target
	sync    Sync
	program *rsyncProgram

	planned *SyncPlan       // the last plan
	dirs    map[string]bool // which of its deletions are directories
}

// newRsyncEngine returns the engine that runs the installed rsync, or says why it cannot do s.
func newRsyncEngine(_ context.Context, p *pool.Pool, t *profile.Target, s Sync) (engine, error) {
	if _, err := newFilter(s.Include, s.Exclude); err != nil { // what rsync would take, but the other engine refuses
		return nil, &Error{Kind: Refused, Err: err}
	}
	program, err := localRsync()
	if err != nil {
		return nil, &Error{Kind: Refused, Err: err}
	}
	return &rsyncEngine{pool: p, target: t, sync: s, program: program}, nil
}

func (e *rsyncEngine) name() string { return EngineRsync }

func (e *rsyncEngine) close() {}

// plan lets rsync say what it would do.
func (e *rsyncEngine) plan(ctx context.Context) (*SyncPlan, error) {
	p, dirs, err := e.compare(ctx)
	if err != nil {
		return nil, unchanged(err)
	}
	e.planned, e.dirs = p, dirs
	return p, nil
}

// unchanged adds to the error of a run that changes nothing that it has not.
func unchanged(err error) error {
	var e *Error
	if errors.As(err, &e) && (e.Kind == Stopped || e.Kind == Broken) {
		return &Error{Kind: e.Kind, Path: e.Path, Err: fmt.Errorf("while the directories were compared, so that nothing was changed: %w", e.Err)}
	}
	return err
}

// compare returns what differs, and which of its deletions are directories.
func (e *rsyncEngine) compare(ctx context.Context) (*SyncPlan, map[string]bool, error) {
	at, err := e.place()
	if err != nil {
		return nil, nil, err
	}
	defer at.close()
	run, err := e.run(ctx, at, rsyncOptions{dryRun: true})
	if err != nil {
		return nil, nil, err
	}
	p := &SyncPlan{Engine: EngineRsync, Changes: run.output.planned(), Skipped: byPath(run.output.skipped), Problems: byPath(run.problems)}
	if run.unread { // what cannot be read may be there, so that nothing can be called extra
		p.Changes = slices.DeleteFunc(p.Changes, func(c Change) bool { return c.Action == ActionDelete })
	}
	sortChanges(p.Changes)
	return p, run.output.dirs, nil
}

func sortChanges(c []Change) {
	slices.SortFunc(c, func(a, b Change) int { return cmp.Compare(a.Path, b.Path) })
}

// apply deletes what p lists, by its paths and over SFTP, and then runs rsync without its option --delete: that would delete what it
// finds extra by then, which need not be what was shown. Deletions come first, as with rsync's --delete-before: they make room, and way
// for what takes the place of a directory.
func (e *rsyncEngine) apply(ctx context.Context, p *SyncPlan) (SyncStats, error) {
	if p != nil && p != e.planned {
		return SyncStats{}, &Error{Kind: Refused, Err: errors.New("the plan is not the last one that was made")}
	}
	var stats SyncStats
	var err error
	if p != nil && len(p.Deletions()) > 0 {
		stats, err = e.delete(ctx, p)
	}
	if err == nil {
		err = e.copy(ctx, p, &stats)
	}
	sortChanges(stats.Changes)
	stats.Problems = byPath(stats.Problems)
	return stats, err
}

// delete removes what p says, with the means of the sftp engine.
func (e *rsyncEngine) delete(ctx context.Context, p *SyncPlan) (stats SyncStats, err error) {
	var items []item
	for _, c := range p.Changes {
		if c.Action != ActionDelete {
			continue
		}
		at := &entry{name: c.Path, mode: 0o700}
		if e.dirs[c.Path] {
			at.mode |= fs.ModeDir
		}
		items = append(items, item{Change: c, dst: at})
	}
	from := func(t tree) error {
		a := newApplier(&e.sync, nil, t, items, nil)
		err := a.run(ctx)
		stats = a.stats
		return err
	}
	if e.sync.Direction == Upload {
		return stats, e.overSFTP(ctx, func(t *remoteTree) error { return from(t) })
	}
	local := &localTree{path: e.sync.Local}
	defer local.close()
	if _, err := local.root(); err != nil {
		return stats, local.classify(err)
	}
	return stats, from(local)
}

// overSFTP calls fn with the remote directory over a pooled SFTP session, which ends with ctx.
func (e *rsyncEngine) overSFTP(ctx context.Context, fn func(*remoteTree) error) error {
	s, err := e.pool.SFTP(ctx, e.target)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, s.Interrupt)
	if err = fn(&remoteTree{client: s.Client, dir: strings.TrimRight(e.sync.Remote, "/")}); err != nil {
		err = sftpError(ctx, e.sync.Remote, err)
	}
	if stop() && !broken(err) {
		s.Release()
	} else {
		s.Discard()
	}
	return err
}

// copy runs rsync and adds what it did to stats. p is nil where nothing was planned.
func (e *rsyncEngine) copy(ctx context.Context, p *SyncPlan, stats *SyncStats) error {
	at, err := e.place()
	if err != nil {
		return err
	}
	defer at.close()
	made, err := e.makeDestination(ctx, at)
	if err != nil {
		return err
	}
	var opts rsyncOptions
	if p != nil {
		opts.total = p.Bytes()
	}
	run, err := e.run(ctx, at, opts)
	if e.sync.Direction == Upload && errors.Is(err, errNoParentDir) {
		made = true
		if err = e.overSFTP(ctx, (*remoteTree).makeRoot); err == nil {
			run, err = e.run(ctx, at, opts)
		}
	}
	if !run.began {
		at.unmake()
		return err
	}
	done := withoutTraces(p, e.confirmed(ctx, run, err))
	if made {
		done = append(slices.DeleteFunc(done, func(c Change) bool { return c.Path == "." }), Change{Path: ".", Action: ActionMkdir})
	}
	run.account(stats, done)
	return inTheMiddle(err, len(stats.Changes))
}

// withoutTraces drops from what was done the directories that only the deletions of p have changed, and which rsync has set right.
func withoutTraces(p *SyncPlan, done []Change) []Change {
	if p == nil {
		return done
	}
	touched, planned := map[string]bool{}, map[string]bool{}
	for _, c := range p.Changes {
		if c.Action == ActionDelete {
			touched[parent(c.Path)] = true
		} else {
			planned[c.Path] = true
		}
	}
	return slices.DeleteFunc(done, func(c Change) bool { return c.Action == ActionAttributes && touched[c.Path] && !planned[c.Path] })
}

// account adds a run to stats, with those of its changes that are done.
func (r *rsyncResult) account(stats *SyncStats, done []Change) {
	stats.Changes = append(stats.Changes, done...)
	stats.Skipped, stats.Lease = byPath(r.output.skipped), r.lease
	stats.Problems = append(stats.Problems, r.problems...)
	stats.BytesTransferred = r.output.literal
	for _, c := range done {
		if c.Action == ActionCreate || c.Action == ActionUpdate {
			stats.FilesTransferred++
		}
	}
}

// inTheMiddle makes of the error that ended a run one that says that some of it has been done.
func inTheMiddle(err error, confirmed int) error {
	var e *Error
	if !errors.As(err, &e) {
		return err
	}
	kind := e.Kind
	if kind == Broken {
		kind = Unknown
	}
	const text = "%w; %d changes are confirmed, and some more may have been made; the same sync again makes the rest"
	return &Error{Kind: kind, Path: e.Path, Err: fmt.Errorf(text, e.Err, confirmed)}
}

// confirmTime bounds the comparison that follows a run that failed.
const confirmTime = 10 * time.Second

// confirmed returns those changes of a run that have taken place. rsync names a file when it begins with it, whatever becomes of it; after anything but a clean end, what still differs is not done. Without times, all that was copied differs again, and
// nothing is confirmed.
func (e *rsyncEngine) confirmed(ctx context.Context, run *rsyncResult, err error) []Change {
	listed := run.output.changes
	if err == nil && len(run.problems) == 0 {
		return listed
	}
	if ctx.Err() != nil || !e.sync.Times && !e.sync.Content {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, confirmTime)
	defer cancel()
	again, _, err := e.compare(ctx)
	if err != nil {
		return nil
	}
	differs := map[string]bool{}
	for _, c := range again.Changes {
		differs[c.Path] = true
	}
	return slices.DeleteFunc(listed, func(c Change) bool { return differs[c.Path] })
}
