package remote

import (
	"context"
	"errors"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/pool"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/profile"
)

func newSFTPEngine(context.Context, *pool.Pool, *profile.Target, Sync) (engine, error) {
	return nil, &Error{Kind: Refused, Err: errors.New("the sftp engine is not built in")}
}
