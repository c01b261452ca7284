package remote

import (
	"context"
	"io"
	"io/fs"
	"path"
	"strings"
	"time"
)

// tree is one side of a sync through the sftp engine: a directory and what lies in it. Names are relative to it, with slashes; "." is
// the directory itself. Only it may be reached through a symbolic link. Everything is safe for concurrent use.
type tree interface {
	// root returns the directory itself, following links. The error matches fs.ErrNotExist where there is none yet.
	root() (entry, error)
	// makeRoot makes the directory and its parents.
	makeRoot() error
	// list returns the entries of a directory, in any order.
	list(ctx context.Context, dir string) ([]entry, error)

	// look returns one entry, but for a link's target.
	look(name string) (entry, error)

	open(name string) (treeFile, error)
	// create makes a new file with the given permission bits, less the umask where they need not be exact. After an error the file may
	// be there.
	create(name string, mode fs.FileMode, exact bool) (treeFile, error)
	mkdir(name string) error
	symlink(target, name string) error
	// rename replaces a file or link of the new name at once.
	rename(old, name string) error
	remove(name string) error // a file or link
	rmdir(name string) error
	chmod(name string, mode fs.FileMode) error
	chtimes(name string, t time.Time) error

	// full reports whether err, met while need more bytes were to be stored, means that there is no space left.
	full(err error, need int64) bool
	// classify gives an error of the other methods its Kind.
	classify(err error) *Error
}

// treeFile is an open file of a tree.
type treeFile interface {
	io.ReadWriteCloser
	io.ReaderAt
	io.ReaderFrom
	io.WriterTo
	Stat() (fs.FileInfo, error)
	Chmod(fs.FileMode) error
}

// entry is one name in a tree.
type entry struct {
	name   string // as the tree's methods take it
	mode   fs.FileMode
	size   int64
	mtime  time.Time
	target string // of a symbolic link
}

func newEntry(name string, info fs.FileInfo) entry {
	return entry{name: name, mode: info.Mode(), size: info.Size(), mtime: info.ModTime()}
}

func (e *entry) isDir() bool  { return e.mode.IsDir() }
func (e *entry) isFile() bool { return e.mode.IsRegular() }
func (e *entry) isLink() bool { return e.mode&fs.ModeSymlink != 0 }

// known reports whether a sync copies things of this kind.
func (e *entry) known() bool { return e.isDir() || e.isFile() || e.isLink() }

// modeBits are those that a sync preserves.
const modeBits = fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky

func (e *entry) bits() fs.FileMode { return e.mode & modeBits }

// sameTime compares in whole seconds modulo 2³², which is what version 3 of SFTP carries.
func sameTime(a, b time.Time) bool { return uint32(a.Unix()) == uint32(b.Unix()) }

// unchanged reports whether a second look at a source file shows the same state.
func (e *entry) unchanged(now *entry) bool {
	return e.mode == now.mode && e.size == now.size && e.mtime.Equal(now.mtime)
}

// kindName says what an entry that is not copied is.
func kindName(m fs.FileMode) string {
	switch {
	case m&fs.ModeNamedPipe != 0:
		return "a named pipe"
	case m&fs.ModeSocket != 0:
		return "a socket"
	case m&fs.ModeDevice != 0:
		return "a device"
	}
	return "a special file"
}

// validName reports whether the other side may call an entry so: a name that is a path would lead elsewhere.
func validName(name string) bool {
	return name != "" && name != "." && name != ".." && !strings.ContainsAny(name, "/\x00")
}

func parent(name string) string { return path.Dir(name) }

// depth is the number of directories above name.
func depth(name string) int {
	if name == "." {
		return -1
	}
	return strings.Count(name, "/")
}
