package memfs

import (
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"
	"time"
)

// add puts n at an empty place; the caller holds FS.mu for writing.
func (at place) add(n *node) (*node, error) {
	if err := at.mayChange(); err != nil {
		return nil, err
	}
	at.parent.children[at.name] = n
	at.parent.touch()
	return n, nil
}

// cut removes the name of an existing place.
func (at place) cut() {
	delete(at.parent.children, at.name)
	at.parent.touch()
}

func (at place) mayChange() error {
	if at.parent == nil { // the root, or a way back up
		return syscall.EBUSY
	}
	if !at.parent.allows(0o200) {
		return syscall.EACCES
	}
	return nil
}

// unlink takes one name from n and frees its content with the last.
func (f *FS) unlink(n *node) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.links--
	n.release(f)
}

// Mkdir makes a directory; its parent must exist.
func (f *FS) Mkdir(name string, perm fs.FileMode) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return pathError("mkdir", name, f.mkdir(clean(name), perm))
}

func (f *FS) mkdir(name string, perm fs.FileMode) error {
	at, err := f.lookup(name, false)
	if err != nil {
		return err
	}
	if at.node != nil {
		return syscall.EEXIST
	}
	_, err = at.add(newNode(fs.ModeDir | perm.Perm()))
	return err
}

// MkdirAll makes a directory and its missing parents. A directory that exists
// already is no error.
func (f *FS) MkdirAll(name string, perm fs.FileMode) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	full := clean(name)
	for i := 1; i <= len(full); i++ {
		if i < len(full) && full[i] != '/' {
			continue
		}
		n, err := f.find(full[:i], true)
		if err == syscall.ENOENT {
			err = f.mkdir(full[:i], perm)
		} else if err == nil && !n.isDir() {
			err = syscall.ENOTDIR
		}
		if err != nil {
			return pathError("mkdir", name, err)
		}
	}
	return nil
}

// WriteFile stores content under name, replacing what a file of that name held.
// The parent directory must exist; perm applies to a new file only.
func (f *FS) WriteFile(name string, content []byte, perm fs.FileMode) error {
	h, err := f.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, perm)
	if err != nil {
		return err
	}
	defer h.Close()
	_, err = h.WriteAt(content, 0)
	return err
}

// Remove removes a file, a symbolic link or an empty directory.
func (f *FS) Remove(name string) error { return f.remove("remove", name, true, true) }

// remove removes what the two switches admit.
func (f *FS) remove(op, name string, files, dirs bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	at, err := f.lookup(clean(name), false)
	switch {
	case err != nil:
	case at.node == nil:
		err = syscall.ENOENT
	case at.node.isDir() && !dirs:
		err = syscall.EISDIR
	case !at.node.isDir() && !files:
		err = syscall.ENOTDIR
	case len(at.node.children) > 0:
		err = syscall.ENOTEMPTY
	default:
		err = at.mayChange()
	}
	if err != nil {
		return pathError(op, name, err)
	}
	at.cut()
	f.unlink(at.node)
	return nil
}

// RemoveAll removes name and all below it, whatever their permissions. A name
// that does not exist is no error. The root itself stays and is emptied.
func (f *FS) RemoveAll(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	at, err := f.lookup(clean(name), false)
	if err == syscall.ENOENT || err == nil && at.node == nil {
		return nil
	}
	if err == nil && at.parent != nil {
		err = at.mayChange()
	}
	if err != nil {
		return pathError("removeall", name, err)
	}
	if at.parent == nil {
		for child, n := range at.node.children {
			delete(at.node.children, child)
			f.drop(n)
		}
		return nil
	}
	at.cut()
	f.drop(at.node)
	return nil
}

// drop unlinks a whole subtree that no name leads to any more.
func (f *FS) drop(n *node) {
	for name, child := range n.children {
		delete(n.children, name)
		f.drop(child)
	}
	f.unlink(n)
}

// Rename moves a file or directory. As rename(2) does, it replaces a file by a
// file and an empty directory by a directory, in one step that no reader sees
// half done.
func (f *FS) Rename(from, to string) error { return f.rename(from, to, true) }

func (f *FS) rename(from, to string, replace bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	src, err := f.lookup(clean(from), false)
	if err != nil {
		return pathError("rename", from, err)
	}
	dst, err := f.lookup(clean(to), false)
	if err == nil && src.node == nil {
		return pathError("rename", from, syscall.ENOENT)
	}
	if err == nil {
		err = f.mayMove(src, dst, replace)
	}
	if err != nil {
		return pathError("rename", to, err)
	}
	if dst.node == src.node {
		return nil
	}
	src.cut()
	dst.parent.children[dst.name] = src.node
	dst.parent.touch()
	if dst.node != nil {
		f.unlink(dst.node)
	}
	return nil
}

func (f *FS) mayMove(src, dst place, replace bool) error {
	if err := src.mayChange(); err != nil {
		return err
	}
	if err := dst.mayChange(); err != nil {
		return err
	}
	switch {
	case dst.node != nil && !replace:
		return syscall.EEXIST
	case src.node.isDir() && src.node.contains(dst.parent):
		return syscall.EINVAL
	case dst.node == nil || dst.node == src.node:
		return nil
	case dst.node.isDir() && dst.node.contains(src.parent):
		return syscall.ENOTEMPTY
	case dst.node.isDir() && !src.node.isDir():
		return syscall.EISDIR
	case !dst.node.isDir() && src.node.isDir():
		return syscall.ENOTDIR
	case len(dst.node.children) > 0:
		return syscall.ENOTEMPTY
	}
	return nil
}

// contains reports whether other is n or lies below it.
func (n *node) contains(other *node) bool {
	if n == other {
		return true
	}
	for _, child := range n.children {
		if child.isDir() && child.contains(other) {
			return true
		}
	}
	return false
}

// Symlink makes a symbolic link called name that reads as target. Targets are
// resolved when followed; a relative one starts at the directory of the link.
func (f *FS) Symlink(target, name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	at, err := f.lookup(clean(name), false)
	switch {
	case err != nil:
	case at.node != nil:
		err = syscall.EEXIST
	case target == "":
		err = syscall.ENOENT
	default:
		n := newNode(fs.ModeSymlink | 0o777)
		n.target = target
		_, err = at.add(n)
	}
	return pathError("symlink", name, err)
}

// Link gives the existing file from a second name.
func (f *FS) Link(from, name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, err := f.find(clean(from), false)
	if err != nil {
		return pathError("link", from, err)
	}
	at, err := f.lookup(clean(name), false)
	switch {
	case err != nil:
	case at.node != nil:
		err = syscall.EEXIST
	case n.isDir():
		err = syscall.EPERM
	default:
		if _, err = at.add(n); err == nil {
			n.mu.Lock()
			n.links++
			n.mu.Unlock()
		}
	}
	return pathError("link", name, err)
}

// change finds name, following links, and lets fn change its metadata.
func (f *FS) change(op, name string, fn func(n *node) error) error {
	f.mu.RLock()
	defer f.mu.RUnlock()
	n, err := f.find(clean(name), true)
	if err == nil {
		err = fn(n)
	}
	return pathError(op, name, err)
}

const modeBits = fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky

// Chmod sets the permission, set-id and sticky bits.
func (f *FS) Chmod(name string, mode fs.FileMode) error {
	return f.change("chmod", name, func(n *node) error {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.mode = n.mode&^modeBits | mode&modeBits
		return nil
	})
}

// Chown sets the numeric owner and group. They are recorded, not enforced.
func (f *FS) Chown(name string, uid, gid uint32) error {
	return f.change("chown", name, func(n *node) error {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.uid, n.gid = uid, gid
		return nil
	})
}

// Chtimes sets the modification time. Access times are not kept; they read as
// the modification time.
func (f *FS) Chtimes(name string, mtime time.Time) error {
	return f.change("chtimes", name, func(n *node) error {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.mtime = mtime
		return nil
	})
}

// Truncate sets the size of a file in bytes; growing leaves a hole.
func (f *FS) Truncate(name string, size int64) error {
	return f.change("truncate", name, func(n *node) error {
		if !n.allows(0o200) {
			return syscall.EACCES
		}
		return n.resize(f, size)
	})
}

func (n *node) resize(f *FS, size int64) error {
	switch {
	case n.isDir():
		return syscall.EISDIR
	case size < 0:
		return syscall.EINVAL
	case size > maxFileSize:
		return syscall.EFBIG
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	f.used.Add(-n.data.truncate(size))
	n.mtime = time.Now()
	return nil
}

// baseName is path.Base with "." for the root, as io/fs wants it.
func baseName(name string) string {
	if base := path.Base(name); !strings.HasSuffix(base, "/") {
		return base
	}
	return "."
}
