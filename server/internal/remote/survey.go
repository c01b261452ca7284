package remote

import (
	"context"
	"io/fs"
)

// Survey is what a local path holds.
type Survey struct {
	Files, Dirs, Links int
	Bytes              int64 // of the files
}

// Survey counts what an upload of l would move. It changes nothing. Errors are *Error.
func (l *LocalPath) Survey(ctx context.Context, recursive bool) (found Survey, err error) {
	info, err := l.stat()
	switch {
	case err != nil:
		return found, &Error{Kind: Local, Path: l.Full, Err: err}
	case info.IsDir() && !recursive:
		return found, &Error{Kind: Local, Path: l.Full, Err: errIsDirectory}
	case info.IsDir():
		err = l.survey(ctx, &found)
		return found, err
	}
	f, info, err := l.openRegular()
	if err != nil {
		return found, &Error{Kind: Local, Path: l.Full, Err: err}
	}
	return Survey{Files: 1, Bytes: info.Size()}, f.Close()
}

// survey counts the directory l with all that it holds.
func (l *LocalPath) survey(ctx context.Context, found *Survey) error {
	if ctx.Err() != nil {
		return &Error{Kind: Stopped, Path: l.Full, Err: context.Cause(ctx)}
	}
	found.Dirs++
	names, err := l.list()
	if err != nil {
		return &Error{Kind: Local, Path: l.Full, Err: err}
	}
	for _, name := range names {
		at := l.in(name)
		info, err := at.lstat()
		switch {
		case err != nil:
			return &Error{Kind: Local, Path: at.Full, Err: err}
		case info.IsDir():
			if err := at.survey(ctx, found); err != nil {
				return err
			}
		case info.Mode()&fs.ModeSymlink != 0:
			found.Links++
		case info.Mode().IsRegular():
			found.Files++
			found.Bytes += info.Size()
		}
	}
	return nil
}
