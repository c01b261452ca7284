package remote

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/pool"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/profile"
)

// sftpEngine syncs over one pooled SFTP session, with nothing installed on either side. One call follows the files sync_compare.go and
// sync_apply.go; both see two trees (sync_tree.go) and not which of them is remote.
type sftpEngine struct {
	pool    *pool.Pool
	target  *profile.Target
	sync    Sync
	session *pool.SFTP
	broken  bool // the session cannot serve another caller
	local   *localTree
	remote  *remoteTree
	filter  *filter

	planned *SyncPlan // the last plan, and what stands behind it
	items   []item
	dirs    map[string]*item
}

func newSFTPEngine(ctx context.Context, p *pool.Pool, t *profile.Target, s Sync) (engine, error) {
	f, err := newFilter(s.Include, s.Exclude)
	if err != nil {
		return nil, &Error{Kind: Refused, Err: err}
	}
	session, err := p.SFTP(ctx, t)
	if err != nil {
		return nil, err
	}
	return &sftpEngine{
		pool: p, target: t, sync: s, session: session, filter: f,
		local:  &localTree{path: s.Local},
		remote: &remoteTree{client: session.Client, dir: strings.TrimRight(s.Remote, "/"), bounds: s.Bounds},
	}, nil
}

func (e *sftpEngine) name() string { return EngineSFTP }

func (e *sftpEngine) close() {
	e.local.close()
	if e.broken {
		e.session.Discard()
	} else {
		e.session.Release()
	}
}

// trees returns the source and the destination.
func (e *sftpEngine) trees() (src, dst tree) {
	if e.sync.Direction == Upload {
		return e.local, e.remote
	}
	return e.remote, e.local
}

// guard lets the end of ctx end whatever hangs in the session. The function that it returns is called when the work is over.
func (e *sftpEngine) guard(ctx context.Context) (done func()) {
	stop := context.AfterFunc(ctx, e.session.Interrupt)
	return func() {
		if !stop() {
			e.broken = true
		}
	}
}

func (e *sftpEngine) plan(ctx context.Context) (*SyncPlan, error) {
	defer e.guard(ctx)()
	src, dst := e.trees()
	c := &comparison{ctx: ctx, sync: &e.sync, filter: e.filter, src: src, dst: dst}
	err := c.run()
	if err == nil {
		err = e.remote.alive()
	}
	if err != nil {
		return nil, e.planError(ctx, err)
	}
	e.items, e.dirs = c.items, c.dirs
	p := &SyncPlan{
		Engine: EngineSFTP, Changes: make([]Change, len(c.items)), Skipped: byPath(c.skipped), Problems: byPath(c.problems), Lease: e.session.Info,
	}
	for i := range c.items {
		p.Changes[i] = c.items[i].Change
		p.delta = p.delta || c.items[i].worthDelta()
	}
	e.planned = p
	return p, nil
}

// planError says that nothing has been changed.
func (e *sftpEngine) planError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return &Error{Kind: Stopped, Err: fmt.Errorf("stopped while the directories were compared, nothing was changed: %w", context.Cause(ctx))}
	}
	var ours *Error
	if errors.As(err, &ours) {
		if ours.Kind == Broken {
			e.broken = true
			return &Error{Kind: Broken, Err: errors.New("the SFTP session broke off while the directories were compared, nothing was changed")}
		}
		return err
	}
	return &Error{Kind: Failed, Err: err}
}

func (e *sftpEngine) apply(ctx context.Context, p *SyncPlan) (SyncStats, error) {
	if p == nil {
		var err error
		if p, err = e.plan(ctx); err != nil {
			return SyncStats{}, err
		}
	}
	if p != e.planned {
		return SyncStats{}, &Error{Kind: Refused, Err: errors.New("the plan is not the last one that was made")}
	}
	src, dst := e.trees()
	a := newApplier(&e.sync, src, dst, e.items, e.dirs)
	done := e.guard(ctx)
	err := a.run(ctx)
	done()
	if a.fatal != nil && a.fatal.Kind == Broken {
		e.broken = true
	}
	e.sweep(ctx, slices.Collect(maps.Keys(a.temps)))
	stats := a.stats
	stats.Skipped, stats.Lease = p.Skipped, e.session.Info
	stats.Problems = byPath(append(stats.Problems, p.Problems...))
	return stats, err
}

func byPath(p []Problem) []Problem {
	slices.SortFunc(p, func(a, b Problem) int { return cmp.Compare(a.Path, b.Path) })
	return p
}

// sweep removes temporary files that the session could not remove any more, over another one.
func (e *sftpEngine) sweep(ctx context.Context, names []string) {
	if _, dst := e.trees(); dst == e.local {
		for _, name := range names {
			_ = dst.remove(name)
		}
		return
	}
	sweep(ctx, e.pool, e.target, names, func(s *pool.SFTP, name string) error {
		return (&remoteTree{client: s.Client, dir: e.remote.dir}).remove(name)
	})
}
