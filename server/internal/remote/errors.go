package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/pkg/sftp"
)

// Kind says what became of work that did not succeed.
type Kind int

// The kinds of Error.
const (
	Refused   Kind = iota // the host would not do it; nothing was changed
	Stopped               // the caller's deadline or cancellation ended it
	Unknown               // it may or may not have happened
	Broken                // the connection broke; nothing was changed
	Local                 // a local file could not be read or written; nothing was changed at the other end
	NotFound              // a remote path does not exist
	Denied                // the host denied access to a path
	Failed                // the host failed; the destination is unchanged
	Corrupted             // what the host stored is not what was sent; the destination is unchanged
	Full                  // no space is left where a file was to go, here or on the host; that file's destination is unchanged
)

// Error says how far the work came.
type Error struct {
	Kind Kind
	Path string // the path concerned, or ""
	Err  error
}

// Error implements error.
func (e *Error) Error() string {
	if e.Path == "" {
		return e.Err.Error()
	}
	return e.Path + ": " + e.Err.Error()
}

// Unwrap returns the cause, such as context.DeadlineExceeded behind Stopped.
func (e *Error) Unwrap() error { return e.Err }

// sftpError classifies an error of the SFTP session about path.
func sftpError(ctx context.Context, path string, err error) error {
	var ours *Error
	var status *sftp.StatusError
	switch {
	case errors.As(err, &ours):
		return err
	case ctx.Err() != nil:
		return &Error{Kind: Stopped, Path: path, Err: fmt.Errorf("stopped, the destination is unchanged: %w", context.Cause(ctx))}
	case errors.Is(err, fs.ErrNotExist):
		return &Error{Kind: NotFound, Path: path, Err: errors.New("no such file or directory on the host")}
	case errors.Is(err, fs.ErrPermission):
		return &Error{Kind: Denied, Path: path, Err: errors.New("the host denied access")}
	case lost(err):
		return &Error{Kind: Broken, Path: path, Err: errors.New("the SFTP session broke off, the destination is unchanged")}
	case errors.As(err, &status):
		return &Error{Kind: Failed, Path: path, Err: fmt.Errorf("the host reports: %w", err)}
	default:
		return &Error{Kind: Failed, Path: path, Err: err}
	}
}

// lost reports whether err means that the SFTP session is gone: it is none of the answers that a host gives, and no error of a file of
// this machine.
func lost(err error) bool {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrClosedPipe) || errors.Is(err, os.ErrClosed) || errors.Is(err, io.ErrUnexpectedEOF) {
		return true
	}
	var ours *Error
	var answer *sftp.StatusError
	var pathError *fs.PathError
	var linkError *os.LinkError
	return err != nil && !errors.As(err, &ours) && !errors.As(err, &answer) && !errors.As(err, &pathError) && !errors.As(err, &linkError) &&
		!errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission)
}
