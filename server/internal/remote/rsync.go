package remote

import (
	"context"
	"errors"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/pool"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/profile"
)

// newRsyncEngine returns the engine that runs the installed rsync, or says why it cannot do s.
func newRsyncEngine(context.Context, *pool.Pool, *profile.Target, Sync) (engine, error) {
	return nil, &Error{Kind: Refused, Err: errors.New("the rsync engine is not built in")}
}
