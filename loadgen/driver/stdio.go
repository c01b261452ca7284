package driver

import (
	"context"
	"errors"
	"fmt"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
)

// Stdio starts a server as a child process and speaks MCP over its standard input and output. All sessions of the driver share the child's
// one connection. ctx bounds the start; Close ends the child. The error matches ErrServerStart when the server is to blame.
func Stdio(ctx context.Context, cfg StdioConfig) (loadgen.Driver, error) {
	cfg.complete()
	c, err := startChild(cfg, true, nil)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, cfg.StartTimeout)
	defer cancel()
	d := &streamDriver{conn: newConn(c.stdout, c.stdin, c.explain), end: c.end}
	res, err := d.conn.initialize(ctx, cfg.Protocol)
	if err != nil {
		_ = d.Close() // what went wrong before says more
		return nil, startError(ctx, cfg.Path, cfg.StartTimeout.String(), err, c.tail)
	}
	d.info = loadgen.DriverInfo{
		Kind: "stdio", ServerName: res.ServerInfo.Name, ServerVersion: res.ServerInfo.Version,
		PID: c.cmd.Process.Pid, Address: cfg.Path, SharedSession: true,
	}
	return d, nil
}

// startError says why a server is not ready.
func startError(ctx context.Context, path, limit string, err error, t *tail) error {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%w: %s: no answer to the handshake within %s%s", ErrServerStart, path, limit, t.last())
	case ctx.Err() != nil:
		return fmt.Errorf("start %s: %w", path, ctx.Err())
	}
	return fmt.Errorf("%w: %v", ErrServerStart, err)
}

// streamDriver drives a server over one pair of streams.
type streamDriver struct {
	conn *conn
	info loadgen.DriverInfo
	end  func() error // ends the server and makes the streams fail
}

func (d *streamDriver) Open(ctx context.Context) (loadgen.Session, error) {
	if err := d.conn.failure(); err != nil {
		return nil, err
	}
	return streamSession{d.conn}, nil
}

func (d *streamDriver) Info() loadgen.DriverInfo { return d.info }

func (d *streamDriver) Close() error {
	err := d.end()
	d.conn.fail(errClosed)
	d.conn.wait()
	return err
}

// streamSession is one user's view of the shared connection; there is nothing to close.
type streamSession struct{ conn *conn }

func (s streamSession) Call(ctx context.Context, c loadgen.Call) (loadgen.Reply, error) {
	return s.conn.call(ctx, c)
}

func (s streamSession) Close() error { return nil }
