package fakessh

import (
	"encoding/binary"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/pkg/sftp"
)

// mounted sends SFTP requests below /rsync to the directory there, and all
// others to the tree.
type mounted struct {
	sftp.Handlers // of memfs, which implement all that is asserted here
	disk          disk
}

// rel returns the path of a request below the mount point.
func (m mounted) rel(name string) (string, bool) {
	rel, ok := below(rsyncMount, name)
	return filepath.FromSlash(rel), ok
}

func (m mounted) Fileread(r *sftp.Request) (io.ReaderAt, error) {
	if name, ok := m.rel(r.Filepath); ok {
		return m.disk.open(name, r)
	}
	return m.FileGet.Fileread(r)
}

func (m mounted) Filewrite(r *sftp.Request) (io.WriterAt, error) {
	if name, ok := m.rel(r.Filepath); ok {
		return m.disk.open(name, r)
	}
	return m.FilePut.Filewrite(r)
}

func (m mounted) OpenFile(r *sftp.Request) (sftp.WriterAtReaderAt, error) {
	if name, ok := m.rel(r.Filepath); ok {
		return m.disk.open(name, r)
	}
	return m.FilePut.(sftp.OpenFileWriter).OpenFile(r)
}

// Filecmd keeps a rename or link from crossing the mount point.
func (m mounted) Filecmd(r *sftp.Request) error {
	name, ok := m.rel(r.Filepath)
	target, targetOK := m.rel(r.Target)
	switch {
	case r.Method == "Symlink": // Filepath is the text of the link, Target its name
		if targetOK {
			return m.disk.root.Symlink(r.Filepath, target)
		}
	case r.Target != "" && ok != targetOK:
		return syscall.EXDEV
	case ok:
		return m.disk.command(r, name, target)
	}
	return m.FileCmd.Filecmd(r)
}

func (m mounted) PosixRename(r *sftp.Request) error {
	from, ok := m.rel(r.Filepath)
	to, toOK := m.rel(r.Target)
	switch {
	case ok != toOK:
		return syscall.EXDEV
	case ok:
		return m.disk.root.Rename(from, to)
	}
	return m.FileCmd.(sftp.PosixRenameFileCmder).PosixRename(r)
}

func (m mounted) StatVFS(r *sftp.Request) (*sftp.StatVFS, error) {
	if _, ok := m.rel(r.Filepath); ok {
		return nil, sftp.ErrSSHFxOpUnsupported
	}
	return m.FileCmd.(sftp.StatVFSFileCmder).StatVFS(r)
}

func (m mounted) Filelist(r *sftp.Request) (sftp.ListerAt, error) {
	name, ok := m.rel(r.Filepath)
	switch {
	case !ok:
		return m.FileList.Filelist(r)
	case r.Method == "List":
		return m.disk.list(name)
	}
	info, err := m.disk.root.Stat(name)
	return infos{info}, err
}

func (m mounted) Lstat(r *sftp.Request) (sftp.ListerAt, error) {
	if name, ok := m.rel(r.Filepath); ok {
		info, err := m.disk.root.Lstat(name)
		return infos{info}, err
	}
	return m.FileList.(sftp.LstatFileLister).Lstat(r)
}

func (m mounted) Readlink(name string) (string, error) {
	if rel, ok := m.rel(name); ok {
		return m.disk.root.Readlink(rel)
	}
	return m.FileList.(sftp.ReadlinkFileLister).Readlink(name)
}

// disk serves a directory of this machine over SFTP. Nothing leads out of it.
type disk struct{ root *os.Root }

func (d disk) open(name string, r *sftp.Request) (*os.File, error) {
	p := r.Pflags()
	flags := os.O_RDONLY
	switch {
	case p.Read && p.Write:
		flags = os.O_RDWR
	case p.Write || p.Append || p.Creat || p.Trunc:
		flags = os.O_WRONLY
	}
	for _, f := range []struct {
		set  bool
		flag int
	}{{p.Creat, os.O_CREATE}, {p.Excl, os.O_EXCL}, {p.Trunc, os.O_TRUNC}} { // clients that append send offsets
		if f.set {
			flags |= f.flag
		}
	}
	perm := fs.FileMode(0o644)
	if len(r.Attrs) == 4 { // permissions alone
		perm = fs.FileMode(binary.BigEndian.Uint32(r.Attrs)).Perm()
	}
	return d.root.OpenFile(name, flags|syscall.O_NONBLOCK, perm)
}

func (d disk) command(r *sftp.Request, name, target string) error {
	if name == "." && r.Method != "Setstat" {
		return syscall.EBUSY
	}
	switch r.Method {
	case "Setstat":
		return d.setstat(r, name)
	case "Rename":
		if _, err := d.root.Lstat(target); err == nil {
			return syscall.EEXIST
		}
		return d.root.Rename(name, target)
	case "Remove", "Rmdir":
		info, err := d.root.Lstat(name)
		switch {
		case err != nil:
			return err
		case info.IsDir() && r.Method == "Remove":
			return syscall.EISDIR
		case !info.IsDir() && r.Method == "Rmdir":
			return syscall.ENOTDIR
		}
		return d.root.Remove(name)
	case "Mkdir":
		return d.root.Mkdir(name, 0o755)
	case "Link":
		return d.root.Link(name, target)
	}
	return sftp.ErrSSHFxOpUnsupported
}

func (d disk) setstat(r *sftp.Request, name string) error {
	set, attrs := r.AttrFlags(), r.Attributes()
	if set.Size {
		f, err := d.root.OpenFile(name, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		err = f.Truncate(int64(attrs.Size))
		f.Close()
		if err != nil {
			return err
		}
	}
	if set.Permissions {
		if err := d.root.Chmod(name, attrs.FileMode()); err != nil {
			return err
		}
	}
	if set.Acmodtime {
		return d.root.Chtimes(name, attrs.AccessTime(), attrs.ModTime())
	}
	return nil
}

func (d disk) list(name string) (sftp.ListerAt, error) {
	f, err := d.root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	list, err := f.Readdir(-1)
	return infos(list), err
}

// infos is a directory as it was when it was opened.
type infos []fs.FileInfo

// ListAt is sftp.ListerAt.
func (l infos) ListAt(out []os.FileInfo, off int64) (int, error) {
	if off >= int64(len(l)) {
		return 0, io.EOF
	}
	n := copy(out, l[off:])
	if n < len(out) {
		return n, io.EOF
	}
	return n, nil
}
