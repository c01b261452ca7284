package server

import (
	"context"
	"errors"
	"syscall"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/admission"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/pool"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/profile"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/remote"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/vpn"
)

// callError is a failure found in this package itself.
type callError struct {
	code Code
	msg  string
}

func (e *callError) Error() string { return e.msg }

// codeOf maps the typed errors of the internal packages to the code that clients see.
func codeOf(err error) Code {
	var own *callError
	var hostKey *profile.HostKeyError
	var credential *profile.CredentialError
	var connect *pool.Error
	var work *remote.Error
	var peer *profile.PeerError
	var broken *profile.Problem
	var wireGuard *vpn.Error
	switch {
	case errors.As(err, &own):
		return own.code
	case starved(err): // whatever it was that needed a file
		return CodeLimitExceeded
	case errors.Is(err, profile.ErrNotFound):
		return CodeProfileNotFound
	case errors.As(err, &broken): // its file was never good
		return CodeProfileNotFound
	case errors.As(err, &hostKey):
		return CodeHostKeyMismatch
	case errors.As(err, &credential):
		return CodeAuthenticationFailed
	case errors.Is(err, admission.ErrLimit):
		return CodeLimitExceeded
	case errors.As(err, &connect):
		return connectCode(connect.Kind)
	case errors.As(err, &work):
		return workCode(work.Kind)
	case errors.As(err, &peer):
		return CodeInvalidParameters
	case errors.As(err, &wireGuard):
		return vpnCode(wireGuard.Kind)
	case errors.Is(err, pool.ErrClosed):
		return CodeConnectionFailed
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return CodeTimeout
	}
	return CodeInternalError
}

// starved reports whether the server may open no more files.
func starved(err error) bool { return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) }

// retryAfter is the number of seconds that a caller should wait, where the refusal says so; else 0.
func retryAfter(err error) float64 {
	if r, ok := errors.AsType[*admission.Refusal](err); ok {
		return r.RetryAfter.Seconds()
	}
	if c, ok := errors.AsType[*pool.Error](err); ok {
		return c.RetryAfter.Seconds()
	}
	return 0
}

func connectCode(k pool.Kind) Code {
	switch k {
	case pool.KindAuth:
		return CodeAuthenticationFailed
	case pool.KindHostKey:
		return CodeHostKeyMismatch
	case pool.KindTimeout:
		return CodeTimeout
	case pool.KindLimit:
		return CodeLimitExceeded
	}
	return CodeConnectionFailed
}

func vpnCode(k vpn.Kind) Code {
	if k == vpn.KindTimeout {
		return CodeTimeout
	}
	return CodeConnectionFailed
}

func workCode(k remote.Kind) Code {
	switch k {
	case remote.Stopped:
		return CodeTimeout
	case remote.Unknown:
		return CodeOutcomeUnknown
	case remote.Broken:
		return CodeConnectionFailed
	case remote.Local, remote.NotFound, remote.Refused:
		return CodeInvalidParameters
	case remote.Denied:
		return CodeAuthorizationFailed
	case remote.Full:
		return CodeLimitExceeded
	}
	return CodeInternalError
}
