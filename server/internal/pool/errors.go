package pool

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/profile"
)

// ErrClosed is returned once the pool was closed.
var ErrClosed = errors.New("the connection pool is closed")

// errRetired tells a caller that its group was forgotten meanwhile; it asks the pool for another.
var errRetired = errors.New("group retired")

// Kind says what kept a connection or channel from opening. Nothing was run on the host in any of these cases.
type Kind int

// The kinds of Error.
const (
	KindConnect Kind = iota // the host was not reached, or broke off
	KindAuth                // the host refused the credential
	KindHostKey             // the host's key is not the one expected
	KindTimeout             // the deadline passed or the caller gave up first
	KindRefused             // the host is connected but opens no channel
	KindLimit               // too many callers wait already; see Error.RetryAfter
)

// Error says why no channel could be had. It is always safe to try again.
type Error struct {
	Kind       Kind
	Addr       string        // host:port
	RetryAfter time.Duration // when it is worth while to try again; 0 is not known
	Err        error
}

// Error implements error.
func (e *Error) Error() string { return fmt.Sprintf("%s: %v", e.Addr, e.Err) }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// errDropped is behind the error of a connection that its host ended before the login.
var errDropped = errors.New("the host closed the connection before the login")

// wayError is a failure on the way to a host, of a jump host or a tunnel, which says nothing about the host itself.
type wayError struct{ err error }

func (e *wayError) Error() string { return e.err.Error() }
func (e *wayError) Unwrap() error { return e.err }

// unreachable reports whether err, of a dial, leaves it open whether the host is there at all.
func unreachable(err error) bool {
	var e *Error
	return errors.As(err, &e) && (e.Kind == KindConnect || e.Kind == KindTimeout)
}

// causeOf returns what is behind an *Error.
func causeOf(err error) error {
	var e *Error
	if errors.As(err, &e) {
		return e.Err
	}
	return err
}

// dialError classifies what a dial or handshake ended with.
func dialError(addr string, err error) error {
	var ours *Error
	if errors.As(err, &ours) { // a jump host's error already says which host
		return err
	}
	e := &Error{Kind: KindConnect, Addr: addr, Err: err}
	var hostKey *profile.HostKeyError
	var netErr net.Error
	switch {
	case errors.As(err, &hostKey):
		e.Kind, e.Err = KindHostKey, hostKey
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &netErr) && netErr.Timeout():
		e.Kind, e.Err = KindTimeout, fmt.Errorf("connecting took too long: %w", err)
	case errors.Is(err, context.Canceled):
		e.Kind = KindTimeout
	}
	return e
}

// trimSSH drops the prefixes that x/crypto puts before its message.
func trimSSH(err error) string {
	s := err.Error()
	for _, p := range []string{"ssh: handshake failed: ", "ssh: "} {
		s = strings.TrimPrefix(s, p)
	}
	return s
}

// limitError is for a caller that finds the queue full.
func limitError(addr, what string, waiting int, retry time.Duration) error {
	return &Error{Kind: KindLimit, Addr: addr, RetryAfter: retry,
		Err: fmt.Errorf("%d callers wait for %s already; try again in %s", waiting, what, retry.Round(10*time.Millisecond))}
}

// waitError is for a caller whose context ended before it got a slot.
func waitError(ctx context.Context, addr, what string) error {
	return &Error{Kind: KindTimeout, Addr: addr, Err: fmt.Errorf("%s: %w", what, context.Cause(ctx))}
}
