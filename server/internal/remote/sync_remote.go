package remote

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"sync/atomic"
	"time"

	"github.com/pkg/sftp"
)

// remoteTree is a directory of the host, over SFTP.
type remoteTree struct {
	client *sftp.Client
	dir    string        // absolute, or relative to the login directory; without a slash at its end, so that "" is the host's root
	bounds *Bounds       // of what it holds; nil is none
	fresh  atomic.Uint32 // permission bits that the host gives a new file, once known; or 0
}

// at returns the host's path of a name.
func (r *remoteTree) at(name string) string {
	switch {
	case name != ".":
	case r.dir == "":
		return "/"
	default:
		return r.dir
	}
	return r.dir + "/" + name // not cleaned: x/.. is not here where x is a link
}

func (r *remoteTree) root() (entry, error) {
	info, err := r.client.Stat(r.at("."))
	if err != nil {
		return entry{}, err
	}
	return newEntry(".", info), nil
}

func (r *remoteTree) makeRoot() error { return r.client.MkdirAll(r.at(".")) }

func (r *remoteTree) list(ctx context.Context, dir string) ([]entry, error) {
	infos, err := r.client.ReadDirContext(ctx, r.at(dir))
	if err != nil {
		return nil, err
	}
	entries := make([]entry, 0, len(infos))
	for _, info := range infos {
		if !validName(info.Name()) {
			return nil, fmt.Errorf("the host lists an entry with the impossible name %q", info.Name())
		}
		e := newEntry(path.Join(dir, info.Name()), info)
		if r.bounds.denied(r.at(e.name)) != nil {
			continue // as if it were not there
		}
		if e.isLink() {
			if e.target, err = r.client.ReadLink(r.at(e.name)); errors.Is(err, fs.ErrNotExist) {
				continue // gone since
			}
			if err != nil {
				return nil, err
			}
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// alive makes a round trip. pkg/sftp takes a listing for complete that a breaking session has cut short; whoever asks afterwards is told.
func (r *remoteTree) alive() error {
	_, err := r.client.RealPath(".")
	return err
}

func (r *remoteTree) look(name string) (entry, error) {
	info, err := r.client.Lstat(r.at(name))
	if err != nil {
		return entry{}, err
	}
	return newEntry(name, info), nil
}

func (r *remoteTree) open(name string) (treeFile, error) {
	f, err := r.client.Open(r.at(name))
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (r *remoteTree) create(name string, mode fs.FileMode, exact bool) (treeFile, error) {
	if err := r.bounds.denied(r.at(name)); err != nil {
		return nil, err
	}
	f, err := r.client.OpenFile(r.at(name), os.O_WRONLY|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return nil, err
	}
	if err := r.setMode(f, mode, exact); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func (r *remoteTree) setMode(f *sftp.File, mode fs.FileMode, exact bool) error {
	if !exact {
		given, err := r.given(f)
		if err != nil {
			return err
		}
		// The umask hides the execute bits of those whose read bits it hides.
		if mode = mode.Perm() & (given | given&0o444>>2); mode == given {
			return nil
		}
	}
	return f.Chmod(mode)
}

// given returns the permission bits of f, a new file. They tell the host's umask, which version 3 of SFTP does not; it is asked for once.
func (r *remoteTree) given(f *sftp.File) (fs.FileMode, error) {
	if m := r.fresh.Load(); m != 0 {
		return fs.FileMode(m), nil
	}
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	r.fresh.Store(uint32(info.Mode().Perm()))
	return info.Mode().Perm(), nil
}

func (r *remoteTree) mkdir(name string) error {
	if err := r.bounds.denied(r.at(name)); err != nil {
		return err
	}
	return r.client.Mkdir(r.at(name))
}

func (r *remoteTree) symlink(target, name string) error {
	if err := r.bounds.denied(r.at(name)); err != nil {
		return err
	}
	if err := r.bounds.link(r.client, r.at(name), target); err != nil {
		return err
	}
	return r.client.Symlink(target, r.at(name))
}

// rename replaces by the extension that OpenSSH and others have; without it the old file is removed first.
func (r *remoteTree) rename(old, name string) error {
	if err := r.bounds.denied(r.at(name)); err != nil {
		return err
	}
	if _, ok := r.client.HasExtension("posix-rename@openssh.com"); ok {
		return r.client.PosixRename(r.at(old), r.at(name))
	}
	err := r.client.Rename(r.at(old), r.at(name))
	if err != nil && r.remove(name) == nil {
		err = r.client.Rename(r.at(old), r.at(name))
	}
	return err
}

func (r *remoteTree) remove(name string) error {
	return r.client.Remove(r.at(name))
}

func (r *remoteTree) rmdir(name string) error { return r.client.RemoveDirectory(r.at(name)) }

func (r *remoteTree) chmod(name string, mode fs.FileMode) error {
	return r.client.Chmod(r.at(name), mode)
}

func (r *remoteTree) chtimes(name string, t time.Time) error {
	return r.client.Chtimes(r.at(name), t, t)
}

func (r *remoteTree) full(err error, need int64) bool {
	return hostFull(r.client, r.at("."), err, need)
}

func (r *remoteTree) classify(err error) *Error {
	var status *sftp.StatusError
	var ours *Error
	switch {
	case errors.As(err, &ours):
		return ours
	case errors.Is(err, fs.ErrNotExist):
		return &Error{Kind: NotFound, Err: errors.New("no such file or directory on the host")}
	case errors.Is(err, fs.ErrPermission):
		return &Error{Kind: Denied, Err: errors.New("the host denied access")}
	case lost(err):
		return &Error{Kind: Broken, Err: errors.New("the SFTP session broke off")}
	case errors.As(err, &status):
		return &Error{Kind: Failed, Err: fmt.Errorf("the host reports: %s", status)}
	}
	return &Error{Kind: Failed, Err: err}
}
