package driver

import (
	"context"
	"sync"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
)

// sharedSession is one user's view of a session that all share, and that the driver closes.
type sharedSession struct{ loadgen.Session }

func (sharedSession) Close() error { return nil }

// perCall opens a session of its own for each call. Its sessions are no more than the right to make calls.
type perCall struct {
	loadgen.Driver

	mu       sync.Mutex
	closed   bool
	goodbyes sync.WaitGroup // of calls that were given up
}

func (d *perCall) Open(ctx context.Context) (loadgen.Session, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return perCallSession{d}, nil
}

func (d *perCall) Close() error {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	err := d.Driver.Close()
	d.goodbyes.Wait()
	return err
}

// closeLater closes a session that nobody waits for. Once the driver is closed so is the session.
func (d *perCall) closeLater(s loadgen.Session) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.closed {
		d.goodbyes.Go(func() { _ = s.Close() })
	}
}

type perCallSession struct{ d *perCall }

// Call opens a session, calls and says goodbye, all of which a caller who comes for one call waits for.
func (s perCallSession) Call(ctx context.Context, c loadgen.Call) (loadgen.Reply, error) {
	own, err := s.d.Driver.Open(ctx)
	if err != nil {
		return loadgen.Reply{}, err
	}
	r, err := own.Call(ctx, c)
	if ctx.Err() != nil { // the caller does not wait
		s.d.closeLater(own)
		return r, err
	}
	if closeErr := own.Close(); err == nil {
		err = closeErr
	}
	return r, err
}

func (perCallSession) Close() error { return nil }
