// Package memfs keeps one tree of files in memory and shows it in three ways:
// as an [io/fs] file system for reading in tests, through methods named after
// those of package os, and as the handlers of an SFTP server.
//
// Start with [New] and [FS.WriteFile]; [FS.Handlers] is what an SFTP request
// server wants. File content lies in blocks (data.go), so a write at any offset
// touches only the blocks under it and a hole costs nothing. The tree itself is
// in tree.go, open files in file.go, the read-only view in iofs.go.
//
// Names of the io/fs methods (Open, ReadFile, ReadDir, Stat, Lstat, ReadLink)
// are io/fs names: "a/b", never "/a/b". Every other method takes a slash path
// that is cleaned against the root, so "/a/b", "a/b" and "../a/b" are one file
// and no path leads out of the tree.
//
// Whoever asks is the owner of every file and not the superuser: opening an
// existing file wants its owner's read or write bit, and adding or removing a
// name wants the write bit of the directory.
package memfs

import (
	"io/fs"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Limits of a tree.
const (
	maxFileSize = 64 << 30 // bytes; a larger offset is EFBIG
	maxLinks    = 40       // symbolic links followed in one lookup
	maxName     = 255      // bytes in one name
)

// Options configures a tree. The zero value is an unbounded one.
type Options struct {
	// Capacity bounds the bytes held in files; 0 means no bound. Holes are
	// free. A write that would exceed it stores nothing and fails with
	// syscall.ENOSPC.
	Capacity int64
}

// FS is a tree of files, safe for concurrent use. Its errors are *fs.PathError
// holding a syscall.Errno, so errors.Is matches fs.ErrNotExist, fs.ErrExist,
// fs.ErrPermission and errno values such as syscall.ENOTEMPTY. Make one with
// [New]; nothing needs closing.
type FS struct {
	capacity atomic.Int64
	used     atomic.Int64

	mu   sync.RWMutex // guards the children of every node
	root *node
}

// New returns a tree that holds an empty root directory.
func New(opts Options) *FS {
	f := &FS{root: newNode(fs.ModeDir | 0o755)}
	f.capacity.Store(opts.Capacity)
	return f
}

// Used returns the bytes held in files, those still open after their removal
// included and holes excluded.
func (f *FS) Used() int64 { return f.used.Load() }

// Capacity returns the bound in bytes, 0 if there is none.
func (f *FS) Capacity() int64 { return f.capacity.Load() }

// SetCapacity replaces the bound for writes from now on; 0 removes it. What is
// held stays, also where it is more.
func (f *FS) SetCapacity(n int64) { f.capacity.Store(n) }

// reserve accounts for n more bytes or fails with ENOSPC.
func (f *FS) reserve(n int64) error {
	if n == 0 {
		return nil
	}
	if used, bound := f.used.Add(n), f.capacity.Load(); bound > 0 && used > bound {
		f.used.Add(-n)
		return syscall.ENOSPC
	}
	return nil
}

// node is one file, directory or symbolic link.
type node struct {
	children map[string]*node // directories; guarded by FS.mu
	target   string           // symbolic links; never changes

	mu       sync.RWMutex // guards the rest; taken after FS.mu
	mode     fs.FileMode
	mtime    time.Time
	uid, gid uint32
	links    int // names of the node
	opens    int // open handles
	data     data
}

func newNode(mode fs.FileMode) *node {
	n := &node{mode: mode, mtime: time.Now(), uid: 1000, gid: 1000, links: 1}
	if mode.IsDir() {
		n.children = make(map[string]*node)
	}
	return n
}

// isDir reads no guarded field: only directories have children.
func (n *node) isDir() bool { return n.children != nil }

func (n *node) isLink() bool { return n.target != "" }

func (n *node) touch() {
	n.mu.Lock()
	n.mtime = time.Now()
	n.mu.Unlock()
}

// allows reports whether the owner has all the given permission bits.
func (n *node) allows(bits fs.FileMode) bool {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.mode&bits == bits
}

// release gives the bytes back once neither a name nor a handle is left. The
// caller holds n.mu.
func (n *node) release(f *FS) {
	if n.links == 0 && n.opens == 0 {
		f.used.Add(-n.data.truncate(0))
	}
}

// clean turns any slash path into an absolute one inside the tree.
func clean(name string) string { return path.Clean("/" + name) }

// place is where a lookup ended: a name in a directory and, if it exists, the
// node of that name. The root has no parent.
type place struct {
	parent *node
	name   string
	node   *node
}

// lookup walks an absolute clean path; the caller holds f.mu. A missing last
// element is no error, it leaves place.node nil. follow says whether a symbolic
// link in the last element is followed.
func (f *FS) lookup(name string, follow bool) (place, error) {
	links := 0
	return f.walk(f.root, nil, name, follow, &links)
}

// walk resolves name below dir, whose ancestors are given root first.
func (f *FS) walk(dir *node, up []*node, name string, follow bool, links *int) (place, error) {
	at := place{node: dir, name: "/"}
	for name != "" {
		var elem string
		elem, name, _ = strings.Cut(name, "/")
		if elem == "" || elem == "." {
			continue
		}
		if at.node == nil {
			return place{}, syscall.ENOENT
		}
		if !at.node.isDir() {
			return place{}, syscall.ENOTDIR
		}
		if elem == ".." {
			if len(up) > 0 {
				at, up = place{node: up[len(up)-1], name: "/"}, up[:len(up)-1]
			}
			continue
		}
		if len(elem) > maxName {
			return place{}, syscall.ENAMETOOLONG
		}
		child := at.node.children[elem]
		if child != nil && child.isLink() && (follow || strings.Trim(name, "/") != "") {
			if *links++; *links > maxLinks {
				return place{}, syscall.ELOOP
			}
			base, stack := at.node, up
			if strings.HasPrefix(child.target, "/") {
				base, stack = f.root, nil
			}
			return f.walk(base, stack, child.target+"/"+name, follow, links)
		}
		up = append(up[:len(up):len(up)], at.node)
		at = place{parent: at.node, name: elem, node: child}
	}
	return at, nil
}

// find is lookup for a node that must exist.
func (f *FS) find(name string, follow bool) (*node, error) {
	at, err := f.lookup(name, follow)
	if err == nil && at.node == nil {
		err = syscall.ENOENT
	}
	return at.node, err
}

func pathError(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}
