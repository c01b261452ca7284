//go:build !unix

package remote

import (
	"context"
	"errors"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/pool"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/profile"
)

// newRsyncEngine refuses, since a running rsync hands over its data as Unix descriptors.
func newRsyncEngine(context.Context, *pool.Pool, *profile.Target, Sync) (engine, error) {
	return nil, &Error{Kind: Refused, Err: errors.New("the engine rsync needs a server on a Unix system; use the engine sftp")}
}

func hasRsync(context.Context, *pool.Pool, *profile.Target) bool { return false }
