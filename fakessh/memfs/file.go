package memfs

import (
	"io"
	"io/fs"
	"os"
	"sync"
	"syscall"
	"time"
)

// File is an open file or directory. All methods are safe for concurrent use;
// Read, Write, Seek and ReadDir share one position. A file that is removed while
// open keeps its content until the last Close.
type File struct {
	fs    *FS
	node  *node
	name  string
	flags int

	mu      sync.Mutex
	pos     int64
	entries []fs.DirEntry // what ReadDir has yet to return
	listed  bool
	closed  bool
}

// OpenFile opens name with the flags of package os: one of O_RDONLY, O_WRONLY
// and O_RDWR, and any of O_CREATE, O_EXCL, O_TRUNC and O_APPEND. O_APPEND makes
// Write append; WriteAt keeps to its offset. The caller closes the file.
func (f *FS) OpenFile(name string, flags int, perm fs.FileMode) (*File, error) {
	file, err := f.open(clean(name), flags, perm)
	if err != nil {
		return nil, pathError("open", name, err)
	}
	file.name = name
	return file, nil
}

func (f *FS) open(name string, flags int, perm fs.FileMode) (*File, error) {
	n, err := f.openNode(name, flags, perm)
	if err != nil {
		return nil, err
	}
	if flags&os.O_TRUNC != 0 && writable(flags) {
		n.mu.Lock()
		f.used.Add(-n.data.truncate(0))
		n.mtime = time.Now()
		n.mu.Unlock()
	}
	return &File{fs: f, node: n, name: name, flags: flags}, nil
}

func writable(flags int) bool { return flags&(os.O_WRONLY|os.O_RDWR) != 0 }

// openNode finds or creates the node and counts the handle while the tree is
// locked, so that no removal comes between.
func (f *FS) openNode(name string, flags int, perm fs.FileMode) (*node, error) {
	if flags&os.O_CREATE == 0 {
		f.mu.RLock()
		defer f.mu.RUnlock()
	} else {
		f.mu.Lock()
		defer f.mu.Unlock()
	}
	at, err := f.lookup(name, flags&os.O_EXCL == 0)
	switch {
	case err != nil:
		return nil, err
	case at.node == nil && flags&os.O_CREATE == 0:
		return nil, syscall.ENOENT
	case at.node == nil:
		if at.node, err = at.add(newNode(perm.Perm())); err != nil {
			return nil, err
		}
	case flags&(os.O_CREATE|os.O_EXCL) == os.O_CREATE|os.O_EXCL:
		return nil, syscall.EEXIST
	case at.node.isLink(): // O_EXCL without O_CREATE does not follow
		return nil, syscall.ELOOP
	default:
		if err := at.node.mayOpen(flags); err != nil {
			return nil, err
		}
	}
	at.node.mu.Lock()
	at.node.opens++
	at.node.mu.Unlock()
	return at.node, nil
}

func (n *node) mayOpen(flags int) error {
	if n.isDir() && (writable(flags) || flags&os.O_CREATE != 0) {
		return syscall.EISDIR
	}
	need := fs.FileMode(0o400)
	switch {
	case flags&os.O_RDWR != 0:
		need = 0o600
	case flags&os.O_WRONLY != 0:
		need = 0o200
	}
	if !n.allows(need) {
		return syscall.EACCES
	}
	return nil
}

// Name returns the name the file was opened with.
func (h *File) Name() string { return h.name }

// Stat describes the file as it is now.
func (h *File) Stat() (fs.FileInfo, error) {
	if err := h.usable(h.flags); err != nil {
		return nil, pathError("stat", h.name, err)
	}
	return h.node.info(baseName(h.name)), nil
}

// usable fails on a closed file and where the file was not opened for what
// access (O_RDONLY, O_WRONLY) asks.
func (h *File) usable(access int) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.usableLocked(access)
}

func (h *File) usableLocked(access int) error {
	mode := h.flags & (os.O_WRONLY | os.O_RDWR)
	switch {
	case h.closed:
		return fs.ErrClosed
	case access == os.O_RDONLY && mode == os.O_WRONLY, access == os.O_WRONLY && mode == os.O_RDONLY:
		return syscall.EBADF
	}
	return nil
}

// ReadAt is io.ReaderAt.
func (h *File) ReadAt(p []byte, off int64) (int, error) {
	if err := h.usable(os.O_RDONLY); err != nil {
		return 0, pathError("read", h.name, err)
	}
	return h.readAt(p, off)
}

func (h *File) readAt(p []byte, off int64) (int, error) {
	if h.node.isDir() {
		return 0, pathError("read", h.name, syscall.EISDIR)
	}
	if off < 0 {
		return 0, pathError("read", h.name, syscall.EINVAL)
	}
	h.node.mu.RLock()
	defer h.node.mu.RUnlock()
	return h.node.data.readAt(p, off)
}

// WriteAt is io.WriterAt. A write that does not fit under the capacity stores
// nothing.
func (h *File) WriteAt(p []byte, off int64) (int, error) {
	if err := h.usable(os.O_WRONLY); err != nil {
		return 0, pathError("write", h.name, err)
	}
	_, err := h.store(p, func(int64) int64 { return off })
	if err != nil {
		return 0, pathError("write", h.name, err)
	}
	return len(p), nil
}

// store writes p at the offset that at derives from the current size, and
// returns where p ends.
func (h *File) store(p []byte, at func(size int64) int64) (int64, error) {
	n := h.node
	n.mu.Lock()
	defer n.mu.Unlock()
	off := at(n.data.size)
	if off < 0 {
		return off, syscall.EINVAL
	}
	if off > maxFileSize-int64(len(p)) {
		return off, syscall.EFBIG
	}
	if err := h.fs.reserve(n.data.cost(off, len(p))); err != nil {
		return off, err
	}
	n.data.writeAt(p, off)
	n.mtime = time.Now()
	return off + int64(len(p)), nil
}

// Read is io.Reader.
func (h *File) Read(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.usableLocked(os.O_RDONLY); err != nil {
		return 0, pathError("read", h.name, err)
	}
	n, err := h.readAt(p, h.pos)
	h.pos += int64(n)
	if n > 0 && err == io.EOF {
		err = nil
	}
	return n, err
}

// Write is io.Writer: at the position, or at the end of a file opened with
// O_APPEND.
func (h *File) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.usableLocked(os.O_WRONLY); err != nil {
		return 0, pathError("write", h.name, err)
	}
	end, err := h.store(p, func(size int64) int64 {
		if h.flags&os.O_APPEND != 0 {
			return size
		}
		return h.pos
	})
	if err != nil {
		return 0, pathError("write", h.name, err)
	}
	h.pos = end
	return len(p), nil
}

// Seek is io.Seeker.
func (h *File) Seek(offset int64, whence int) (int64, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return 0, pathError("seek", h.name, fs.ErrClosed)
	}
	switch whence {
	case io.SeekStart:
	case io.SeekCurrent:
		offset += h.pos
	case io.SeekEnd:
		offset += h.node.size()
	default:
		offset = -1
	}
	if offset < 0 {
		return 0, pathError("seek", h.name, syscall.EINVAL)
	}
	h.pos = offset
	return offset, nil
}

// Truncate sets the size in bytes; growing leaves a hole.
func (h *File) Truncate(size int64) error {
	err := h.usable(os.O_WRONLY)
	if err == nil {
		err = h.node.resize(h.fs, size)
	}
	return pathError("truncate", h.name, err)
}

// ReadDir is fs.ReadDirFile: the entries by name, as they were at the first
// call.
func (h *File) ReadDir(n int) ([]fs.DirEntry, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, pathError("readdir", h.name, fs.ErrClosed)
	}
	if !h.node.isDir() {
		return nil, pathError("readdir", h.name, syscall.ENOTDIR)
	}
	if !h.listed {
		h.entries, h.listed = h.fs.entries(h.node), true
	}
	if n <= 0 {
		n = len(h.entries)
	} else if len(h.entries) == 0 {
		return nil, io.EOF
	}
	n = min(n, len(h.entries))
	out := h.entries[:n:n]
	h.entries = h.entries[n:]
	return out, nil
}

// Close ends the use of the file. A second Close fails with fs.ErrClosed.
func (h *File) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return pathError("close", h.name, fs.ErrClosed)
	}
	h.closed = true
	h.node.mu.Lock()
	defer h.node.mu.Unlock()
	h.node.opens--
	h.node.release(h.fs)
	return nil
}
