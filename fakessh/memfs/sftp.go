package memfs

import (
	"encoding/binary"
	"io"
	"io/fs"
	"os"
	"sync"
	"syscall"

	"github.com/pkg/sftp"
)

// Handlers returns the tree as handlers for sftp.NewRequestServer. They may
// serve any number of sessions at once. A session resolves relative paths
// against its start directory, "/" unless sftp.WithStartDirectory says
// otherwise; realpath is lexical and does not follow symbolic links.
//
// Status codes follow OpenSSH's server: no such file, permission denied, and
// failure for everything else, with the system's words as the message. Rename
// refuses an existing target; posix-rename replaces it.
func (f *FS) Handlers() sftp.Handlers {
	h := handlers{f}
	return sftp.Handlers{FileGet: h, FilePut: h, FileCmd: h, FileList: h}
}

type handlers struct{ fs *FS }

var (
	_ sftp.FileReader           = handlers{}
	_ sftp.OpenFileWriter       = handlers{}
	_ sftp.PosixRenameFileCmder = handlers{}
	_ sftp.StatVFSFileCmder     = handlers{}
	_ sftp.LstatFileLister      = handlers{}
	_ sftp.ReadlinkFileLister   = handlers{}
)

// Fileread serves an open for reading.
func (h handlers) Fileread(r *sftp.Request) (io.ReaderAt, error) { return h.open(r) }

// Filewrite serves an open for writing.
func (h handlers) Filewrite(r *sftp.Request) (io.WriterAt, error) { return h.open(r) }

// OpenFile serves an open for both.
func (h handlers) OpenFile(r *sftp.Request) (sftp.WriterAtReaderAt, error) { return h.open(r) }

func (h handlers) open(r *sftp.Request) (sftp.WriterAtReaderAt, error) {
	file, err := h.fs.OpenFile(r.Filepath, openFlags(r.Pflags()), openPerm(r))
	if err != nil {
		return nil, err
	}
	if file.node.isDir() {
		file.Close()
		return nil, pathError("open", r.Filepath, syscall.EISDIR)
	}
	if r.Pflags().Append {
		return &appender{File: file, base: file.node.size()}, nil
	}
	return file, nil
}

func openFlags(p sftp.FileOpenFlags) int {
	flags := os.O_RDONLY
	switch {
	case p.Read && (p.Write || p.Append):
		flags = os.O_RDWR
	case p.Write || p.Append || p.Creat || p.Trunc:
		flags = os.O_WRONLY
	}
	for _, f := range []struct {
		set  bool
		flag int
	}{{p.Creat, os.O_CREATE}, {p.Excl, os.O_EXCL}, {p.Trunc, os.O_TRUNC}, {p.Append, os.O_APPEND}} {
		if f.set {
			flags |= f.flag
		}
	}
	return flags
}

// openPerm finds the permissions of a file to create. The request carries the
// attributes of an open packet without the flags that say which they are; only
// permissions alone are four bytes long. The umask is 022.
func openPerm(r *sftp.Request) fs.FileMode {
	if len(r.Attrs) != 4 {
		return 0o644
	}
	return fs.FileMode(binary.BigEndian.Uint32(r.Attrs)) & 0o755
}

// appender is a file opened for appending. Some clients send offsets from the
// start of the file, some from where their own writing began. The first write
// tells which: below the size at the open, it is the latter. Writes may then
// overtake each other without harm.
type appender struct {
	*File
	base int64

	once  sync.Once
	shift int64
}

// WriteAt appends p; off only orders it among the other writes.
func (a *appender) WriteAt(p []byte, off int64) (int, error) {
	a.once.Do(func() {
		if off < a.base {
			a.shift = a.base
		}
	})
	return a.File.WriteAt(p, off+a.shift)
}

// Filecmd serves everything that returns only a status.
func (h handlers) Filecmd(r *sftp.Request) error {
	switch r.Method {
	case "Setstat":
		return h.setstat(r)
	case "Rename":
		return h.fs.rename(r.Filepath, r.Target, false)
	case "Rmdir":
		return h.fs.remove("rmdir", r.Filepath, false, true)
	case "Remove":
		return h.fs.remove("remove", r.Filepath, true, false)
	case "Mkdir":
		return h.fs.Mkdir(r.Filepath, 0o755)
	case "Link":
		return h.fs.Link(r.Filepath, r.Target)
	case "Symlink": // Filepath is the text of the link, Target its name
		return h.fs.Symlink(r.Filepath, r.Target)
	}
	return sftp.ErrSSHFxOpUnsupported
}

// setstat applies the attributes in the order of the packet and stops at the
// first that fails.
func (h handlers) setstat(r *sftp.Request) error {
	set, attrs := r.AttrFlags(), r.Attributes()
	if set.Size {
		if attrs.Size > maxFileSize {
			return pathError("truncate", r.Filepath, syscall.EFBIG)
		}
		if err := h.fs.Truncate(r.Filepath, int64(attrs.Size)); err != nil {
			return err
		}
	}
	if set.UidGid {
		if err := h.fs.Chown(r.Filepath, attrs.UID, attrs.GID); err != nil {
			return err
		}
	}
	if set.Permissions {
		if err := h.fs.Chmod(r.Filepath, attrs.FileMode()); err != nil {
			return err
		}
	}
	if set.Acmodtime {
		return h.fs.Chtimes(r.Filepath, attrs.ModTime())
	}
	return nil
}

// PosixRename replaces the target if there is one.
func (h handlers) PosixRename(r *sftp.Request) error {
	return h.fs.rename(r.Filepath, r.Target, true)
}

// StatVFS reports the capacity; an unbounded tree claims a tebibyte more than
// it holds.
func (h handlers) StatVFS(r *sftp.Request) (*sftp.StatVFS, error) {
	if _, err := h.fs.stat("statvfs", r.Filepath, true); err != nil {
		return nil, err
	}
	const unit = 4096
	used, total := h.fs.Used(), h.fs.Capacity()
	if total == 0 {
		total = used + 1<<40
	}
	free := uint64(max(0, total-used)) / unit
	return &sftp.StatVFS{
		Bsize: unit, Frsize: unit, Blocks: uint64(total) / unit, Bfree: free, Bavail: free,
		Files: 1 << 32, Ffree: 1 << 31, Favail: 1 << 31, Namemax: maxName,
	}, nil
}

// Filelist serves directory listings and stat.
func (h handlers) Filelist(r *sftp.Request) (sftp.ListerAt, error) {
	if r.Method != "List" {
		in, err := h.fs.stat("stat", r.Filepath, true)
		return listing{in}, err
	}
	dir, err := h.fs.OpenFile(r.Filepath, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	if !dir.node.isDir() {
		return nil, pathError("opendir", r.Filepath, syscall.ENOTDIR)
	}
	return listing(h.fs.infos(dir.node)), nil
}

// Lstat is stat of a symbolic link itself.
func (h handlers) Lstat(r *sftp.Request) (sftp.ListerAt, error) {
	in, err := h.fs.stat("lstat", r.Filepath, false)
	return listing{in}, err
}

// Readlink returns the target of a symbolic link.
func (h handlers) Readlink(name string) (string, error) { return h.fs.readLink(name) }

// listing is a directory as it was when it was opened.
type listing []*info

// ListAt is sftp.ListerAt.
func (l listing) ListAt(out []os.FileInfo, off int64) (int, error) {
	n := 0
	for ; n < len(out) && off+int64(n) < int64(len(l)); n++ {
		out[n] = l[off+int64(n)]
	}
	if n < len(out) {
		return n, io.EOF
	}
	return n, nil
}
