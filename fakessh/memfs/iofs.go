package memfs

import (
	"cmp"
	"io/fs"
	"os"
	"slices"
	"syscall"
	"time"
)

var (
	_ fs.ReadFileFS = (*FS)(nil)
	_ fs.ReadDirFS  = (*FS)(nil)
	_ fs.StatFS     = (*FS)(nil)
	_ fs.ReadLinkFS = (*FS)(nil)
)

// info is a snapshot of a node. Beside fs.FileInfo it tells owner and group.
type info struct {
	name     string
	size     int64
	mode     fs.FileMode
	mtime    time.Time
	uid, gid uint32
}

func (i *info) Name() string       { return i.name }
func (i *info) Size() int64        { return i.size }
func (i *info) Mode() fs.FileMode  { return i.mode }
func (i *info) ModTime() time.Time { return i.mtime }
func (i *info) IsDir() bool        { return i.mode.IsDir() }
func (i *info) Sys() any           { return nil }
func (i *info) Uid() uint32        { return i.uid }
func (i *info) Gid() uint32        { return i.gid }

func (n *node) info(name string) *info {
	n.mu.RLock()
	defer n.mu.RUnlock()
	i := &info{name: name, size: n.data.size, mode: n.mode, mtime: n.mtime, uid: n.uid, gid: n.gid}
	if n.isLink() {
		i.size = int64(len(n.target))
	}
	return i
}

func (n *node) size() int64 {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.data.size
}

// infos describes the children of a directory, sorted by name.
func (f *FS) infos(dir *node) []*info {
	f.mu.RLock()
	out := make([]*info, 0, len(dir.children))
	for name, child := range dir.children {
		out = append(out, child.info(name))
	}
	f.mu.RUnlock()
	slices.SortFunc(out, func(a, b *info) int { return cmp.Compare(a.name, b.name) })
	return out
}

func (f *FS) entries(dir *node) []fs.DirEntry {
	infos := f.infos(dir)
	out := make([]fs.DirEntry, len(infos))
	for i, in := range infos {
		out[i] = fs.FileInfoToDirEntry(in)
	}
	return out
}

// Open is fs.FS. What it returns is a *File.
func (f *FS) Open(name string) (fs.File, error) {
	if !fs.ValidPath(name) {
		return nil, pathError("open", name, fs.ErrInvalid)
	}
	h, err := f.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	return h, nil
}

// ReadFile is fs.ReadFileFS.
func (f *FS) ReadFile(name string) ([]byte, error) {
	opened, err := f.Open(name)
	if err != nil {
		return nil, err
	}
	defer opened.Close()
	h := opened.(*File)
	if h.node.isDir() {
		return nil, pathError("read", name, syscall.EISDIR)
	}
	h.node.mu.RLock()
	defer h.node.mu.RUnlock()
	content := make([]byte, h.node.data.size)
	h.node.data.readAt(content, 0) // all of it: the size is locked
	return content, nil
}

// ReadDir is fs.ReadDirFS.
func (f *FS) ReadDir(name string) ([]fs.DirEntry, error) {
	h, err := f.Open(name)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	return h.(*File).ReadDir(-1)
}

// Stat is fs.StatFS; it follows symbolic links.
func (f *FS) Stat(name string) (fs.FileInfo, error) {
	if !fs.ValidPath(name) {
		return nil, pathError("stat", name, fs.ErrInvalid)
	}
	return f.stat("stat", name, true)
}

// Lstat is Stat without following a symbolic link.
func (f *FS) Lstat(name string) (fs.FileInfo, error) {
	if !fs.ValidPath(name) {
		return nil, pathError("lstat", name, fs.ErrInvalid)
	}
	return f.stat("lstat", name, false)
}

func (f *FS) stat(op, name string, follow bool) (*info, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	n, err := f.find(clean(name), follow)
	if err != nil {
		return nil, pathError(op, name, err)
	}
	return n.info(baseName(name)), nil
}

// ReadLink is fs.ReadLinkFS: the target of a symbolic link as it was given.
func (f *FS) ReadLink(name string) (string, error) {
	if !fs.ValidPath(name) {
		return "", pathError("readlink", name, fs.ErrInvalid)
	}
	return f.readLink(name)
}

func (f *FS) readLink(name string) (string, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	n, err := f.find(clean(name), false)
	if err == nil && !n.isLink() {
		err = syscall.EINVAL
	}
	if err != nil {
		return "", pathError("readlink", name, err)
	}
	return n.target, nil
}
