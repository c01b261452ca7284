package driver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
)

// InProcess runs a server inside this process, as run, over two pipes. run serves until in ends or its context does. Figures of such a server
// leave out the process boundary and share the generator's CPU time, so they are labelled and never graded. ctx bounds the handshake alone.
func InProcess(ctx context.Context, run func(ctx context.Context, in io.Reader, out io.Writer) error) (loadgen.Driver, error) {
	serverIn, out := io.Pipe()
	in, serverOut := io.Pipe()
	serverCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s := &inProcess{in: out, out: in, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(s.done)
		s.err = run(serverCtx, serverIn, serverOut)
		serverIn.CloseWithError(io.ErrClosedPipe)
		serverOut.CloseWithError(s.endError())
	}()
	d := &inProcessDriver{conn: newConn(in, out, newWire(ProtocolStateful), s.explain), end: s.end}
	ctx, stop := context.WithTimeout(ctx, defaultStartTimeout)
	defer stop()
	g, err := d.conn.hello(ctx)
	if err != nil {
		_ = d.Close() // what went wrong before says more
		return nil, fmt.Errorf("%w: %w", ErrServerStart, err)
	}
	d.info = loadgen.DriverInfo{
		Kind: "inprocess", ServerName: g.name, ServerVersion: g.serverVersion, Protocol: g.version, Sessions: SessionsShared, SharedSession: true,
	}
	return d, nil
}

// inProcessDriver drives a server over one pair of pipes.
type inProcessDriver struct {
	conn *conn
	info loadgen.DriverInfo
	end  func() error // ends the server and makes the pipes fail
}

func (d *inProcessDriver) Open(context.Context) (loadgen.Session, error) {
	if err := d.conn.failure(); err != nil {
		return nil, err
	}
	return inProcessSession{d.conn}, nil
}

func (d *inProcessDriver) Info() loadgen.DriverInfo { return d.info }

func (d *inProcessDriver) Close() error {
	err := d.end()
	d.conn.fail(errClosed)
	d.conn.wait()
	return err
}

// inProcessSession is one user's view of the shared connection; there is nothing to close.
type inProcessSession struct{ conn *conn }

func (s inProcessSession) Call(ctx context.Context, c loadgen.Call) (loadgen.Reply, error) {
	return s.conn.call(ctx, c)
}

func (s inProcessSession) Close() error { return nil }

// inProcess is a server that runs as a function.
type inProcess struct {
	in     *io.PipeWriter
	out    *io.PipeReader
	cancel context.CancelFunc
	done   chan struct{} // closed with err set
	err    error
}

// explain puts run's error, once there is one, in the place of the broken pipe it caused.
func (s *inProcess) explain(err error) error {
	timer := time.NewTimer(exitGrace)
	defer timer.Stop()
	select {
	case <-s.done:
		if s.err != nil {
			return s.endError()
		}
	case <-timer.C:
	}
	return err
}

func (s *inProcess) endError() error {
	if s.err != nil {
		return fmt.Errorf("the server ended: %w", s.err)
	}
	return io.EOF
}

// end closes the server's input, then ends its context, each with time to take effect.
func (s *inProcess) end() error {
	defer s.out.Close()
	defer s.cancel()
	s.in.Close()
	if s.ended() {
		return s.result()
	}
	s.cancel()
	s.out.Close() // nobody may be reading what it still writes
	if s.ended() {
		return s.result()
	}
	return fmt.Errorf("the server in this process still runs %v after its context ended", defaultStopTimeout)
}

// result is run's error; ending with its context is none.
func (s *inProcess) result() error {
	if s.err == nil || errors.Is(s.err, context.Canceled) {
		return nil
	}
	return s.endError()
}

func (s *inProcess) ended() bool {
	timer := time.NewTimer(defaultStopTimeout)
	defer timer.Stop()
	select {
	case <-s.done:
		return true
	case <-timer.C:
		return false
	}
}
