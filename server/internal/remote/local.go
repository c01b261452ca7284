package remote

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// LocalPath is a path of this machine, held inside one of a profile's local roots by os.Root: neither ".." nor a symbolic link leads
// out of it, also when links change during the call.
type LocalPath struct {
	root *os.Root
	name string // relative to root
	Full string // as messages show it
}

// ErrOutsideRoots is behind the error for a path that no local root holds.
var ErrOutsideRoots = errors.New("outside the profile's local_roots")

// maxLocalPath bounds the bytes of a path that a caller names. No system takes longer ones at once.
const maxLocalPath = 4096

// OpenLocal finds the root that holds path. A relative path is taken from the working directory of the server. Close the result.
func OpenLocal(roots []string, path string) (*LocalPath, error) {
	if path == "" || strings.ContainsRune(path, 0) {
		return nil, fmt.Errorf("local_path %q is not a path", path)
	}
	if len(path) > maxLocalPath {
		return nil, fmt.Errorf("local_path is longer than %d bytes", maxLocalPath)
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	for _, dir := range roots {
		name, ok := within(dir, abs)
		if !ok {
			continue
		}
		root, err := os.OpenRoot(dir)
		if err != nil {
			return nil, fmt.Errorf("local root: %w", err)
		}
		return &LocalPath{root: root, name: name, Full: abs}, nil
	}
	return nil, fmt.Errorf("%s is %w (%s)", path, ErrOutsideRoots, strings.Join(roots, ", "))
}

// within returns abs relative to dir if it lies lexically inside dir, or inside what dir is a link to.
func within(dir, abs string) (string, bool) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", false
	}
	dirs := []string{dir}
	if resolved, err := filepath.EvalSymlinks(dir); err == nil && resolved != dir {
		dirs = append(dirs, resolved)
	}
	for _, d := range dirs {
		if rel, err := filepath.Rel(d, abs); err == nil && filepath.IsLocal(rel) {
			return rel, true
		}
	}
	return "", false
}

// Close releases the root.
func (l *LocalPath) Close() error { return l.root.Close() }

// in returns what the directory l has under name. Both share the root, which is closed once.
func (l *LocalPath) in(name string) *LocalPath {
	return &LocalPath{root: l.root, name: filepath.Join(l.name, name), Full: filepath.Join(l.Full, name)}
}

// dir returns the directory that holds l.
func (l *LocalPath) dir() *LocalPath {
	return &LocalPath{root: l.root, name: filepath.Dir(l.name), Full: filepath.Dir(l.Full)}
}

func (l *LocalPath) stat() (os.FileInfo, error)  { return l.root.Stat(l.name) }
func (l *LocalPath) lstat() (os.FileInfo, error) { return l.root.Lstat(l.name) }

// list returns the names in the directory l, sorted.
func (l *LocalPath) list() ([]string, error) {
	d, err := l.root.Open(l.name)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	slices.Sort(names)
	return names, err
}

// openRegular opens the file for reading; a directory, pipe or device is refused before it is opened.
func (l *LocalPath) openRegular() (*os.File, os.FileInfo, error) {
	info, err := l.root.Stat(l.name)
	if err != nil {
		return nil, nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, nil, errors.New("is not a regular file")
	}
	f, err := l.root.OpenFile(l.name, os.O_RDONLY|syscall.O_NONBLOCK, 0) // should a pipe have taken its place, opening it does not hang
	if err != nil {
		return nil, nil, err
	}
	if info, err = f.Stat(); err != nil || !info.Mode().IsRegular() {
		f.Close()
		return nil, nil, errors.Join(err, errors.New("is not a regular file"))
	}
	return f, info, nil
}
