package remote

import (
	"context"
	"errors"
	"io/fs"
	"sync"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/pool"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/profile"
)

// sweepTimeout bounds the removal of temporary files over a second session.
const sweepTimeout = 5 * time.Second

// sweepAgain are the pauses before temporary files that were not found are looked for again.
var sweepAgain = []time.Duration{50 * time.Millisecond, 200 * time.Millisecond, 750 * time.Millisecond}

// sweep removes the temporary files that a session could not remove any more, over another one, within sweepTimeout.
func sweep(ctx context.Context, p *pool.Pool, t *profile.Target, names []string, remove func(s *pool.SFTP, name string) error) {
	if len(names) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), sweepTimeout)
	defer cancel()
	s, err := p.SFTP(ctx, t)
	if err != nil {
		return
	}
	stop := context.AfterFunc(ctx, s.Interrupt)
	sweepNames(ctx, names, func(name string) error { return remove(s, name) })
	if stop() {
		s.Release()
	} else {
		s.Discard()
	}
}

// sweepNames removes names. The host may still carry out what it was sent over the session that has ended, so what is not there is looked
// for again: it may be a file whose creation was under way.
func sweepNames(ctx context.Context, names []string, remove func(name string) error) {
	for pass := 0; ; pass++ {
		var mu sync.Mutex
		var missing []string
		atOnce(ctx, names, func(name string) {
			if errors.Is(remove(name), fs.ErrNotExist) {
				mu.Lock()
				defer mu.Unlock()
				missing = append(missing, name)
			}
		})
		names = missing
		if len(names) == 0 || pass == len(sweepAgain) {
			return
		}
		select {
		case <-time.After(sweepAgain[pass]):
		case <-ctx.Done():
			return
		}
	}
}
