package remote

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"syscall"
	"time"
)

// localTree is a directory of this machine, below one of the profile's local roots.
type localTree struct {
	path *LocalPath
	dir  *os.Root // nil until root or makeRoot has found it
}

func (l *localTree) close() {
	if l.dir != nil {
		l.dir.Close()
	}
}

func (l *localTree) root() (entry, error) {
	info, err := l.path.root.Stat(l.path.name)
	if err != nil {
		return entry{}, err
	}
	if info.IsDir() && l.dir == nil {
		if l.dir, err = l.path.root.OpenRoot(l.path.name); err != nil {
			return entry{}, err
		}
	}
	return newEntry(".", info), nil
}

func (l *localTree) makeRoot() (err error) {
	if err = l.path.root.MkdirAll(l.path.name, 0o755); err == nil {
		l.dir, err = l.path.root.OpenRoot(l.path.name)
	}
	return err
}

func (l *localTree) list(ctx context.Context, dir string) ([]entry, error) {
	f, err := l.dir.Open(filepath.FromSlash(dir))
	if err != nil {
		return nil, err
	}
	names, err := f.Readdirnames(-1)
	f.Close()
	if err != nil {
		return nil, err
	}
	entries := make([]entry, 0, len(names))
	for _, name := range names {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		e, err := l.look(path.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue // gone since
		}
		if err != nil {
			return nil, err
		}
		entries = append(entries, e)
	}
	return entries, nil
}

func (l *localTree) look(name string) (entry, error) {
	info, err := l.dir.Lstat(filepath.FromSlash(name))
	if err != nil {
		return entry{}, err
	}
	e := newEntry(name, info)
	if e.isLink() {
		e.target, err = l.dir.Readlink(filepath.FromSlash(name))
	}
	return e, err
}

// openFlags keep a pipe that took a file's place from holding the open for ever.
const openFlags = os.O_RDONLY | syscall.O_NONBLOCK

func (l *localTree) open(name string) (treeFile, error) {
	f, err := l.dir.OpenFile(filepath.FromSlash(name), openFlags, 0)
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		f.Close()
		return nil, errors.Join(err, errors.New("is no regular file any more"))
	}
	return f, nil
}

// orNil keeps a nil file from becoming an interface that is not nil.
func orNil(f *os.File, err error) (treeFile, error) {
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (l *localTree) create(name string, mode fs.FileMode, exact bool) (treeFile, error) {
	const flags = os.O_WRONLY | os.O_CREATE | os.O_EXCL
	if !exact {
		return orNil(l.dir.OpenFile(filepath.FromSlash(name), flags, mode.Perm()))
	}
	f, err := l.dir.OpenFile(filepath.FromSlash(name), flags, 0o600)
	if err != nil {
		return nil, err
	}
	if err := f.Chmod(mode); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func (l *localTree) mkdir(name string) error { return l.dir.Mkdir(filepath.FromSlash(name), 0o777) }

func (l *localTree) symlink(target, name string) error {
	return l.dir.Symlink(target, filepath.FromSlash(name))
}

func (l *localTree) rename(old, name string) error {
	return l.dir.Rename(filepath.FromSlash(old), filepath.FromSlash(name))
}

func (l *localTree) remove(name string) error {
	return l.removeIf(name, false)
}

func (l *localTree) rmdir(name string) error {
	return l.removeIf(name, true)
}

// removeIf removes what is, or is not, a directory: os.Root.Remove would take either, and what stands there may have changed.
func (l *localTree) removeIf(name string, dir bool) error {
	e, err := l.look(name)
	if err != nil {
		return err
	}
	if e.isDir() != dir {
		return errors.New("changed its kind since it was looked at")
	}
	return l.dir.Remove(filepath.FromSlash(name))
}

func (l *localTree) chmod(name string, mode fs.FileMode) error {
	return l.dir.Chmod(filepath.FromSlash(name), mode)
}

func (l *localTree) chtimes(name string, t time.Time) error {
	return l.dir.Chtimes(filepath.FromSlash(name), t, t)
}

func (l *localTree) full(err error, _ int64) bool { return localFull(err) }

func (l *localTree) classify(err error) *Error {
	e := &Error{Kind: Local, Err: err}
	var path *fs.PathError
	if errors.As(err, &path) { // our own message says the path
		e.Err = path.Err
	}
	return e
}
