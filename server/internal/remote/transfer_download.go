package remote

import (
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/pkg/sftp"
)

// download moves what the remote path names. Its kind is asked before it is opened: opening a pipe would hang, and a device may react.
func (c *carrier) download() error {
	info, err := c.s.Stat(c.Remote)
	if err != nil {
		return sftpError(c.ctx, c.Remote, err)
	}
	switch {
	case info.IsDir() && c.Recursive:
		return c.downloadTree(info)
	case info.IsDir():
		return &Error{Kind: Refused, Path: c.Remote, Err: errIsDirectory}
	}
	c.total = info.Size()
	m := &mover{carrier: c, local: c.Local, remote: c.Remote, sum: sha256.New()}
	return m.download(info)
}

// download moves one file, which was as info says.
func (m *mover) download(info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return &Error{Kind: Refused, Path: m.remote, Err: errors.New("is not a regular file on the host")}
	}
	in, err := m.s.Open(m.remote)
	if err != nil {
		return sftpError(m.ctx, m.remote, err)
	}
	out, tmp, err := m.openDownload(in, info)
	if err != nil {
		in.Close()
		return err
	}
	err = m.drain(out, in, tmp, info)
	closed := make(chan struct{})
	go func() { in.Close(); close(closed) }() // what it answers does not matter, but the session must not be given back before
	defer func() { <-closed }()
	if err == nil && m.Verify {
		if err = m.compare(m.remote); err != nil {
			err = sftpError(m.ctx, m.remote, err)
		}
	}
	if err == nil {
		if err = m.local.root.Rename(tmp, m.local.name); err == nil {
			m.finish()
			return nil
		}
		err = localError(m.local.Full, err)
	}
	if m.keeps(err) {
		m.note(tmp)
	} else {
		_ = m.local.root.Remove(tmp)
	}
	return err
}

// openDownload opens the temporary file: a new one, or what an earlier transfer kept.
func (m *mover) openDownload(in *sftp.File, info fs.FileInfo) (out *os.File, tmp string, err error) {
	if m.Resume {
		tmp = m.localKept(info)
		if out, err = m.continueDownload(tmp, in, info); out != nil || err != nil {
			return out, tmp, err
		}
	} else {
		tmp = filepath.FromSlash(temporary(filepath.ToSlash(filepath.Dir(m.local.name)), filepath.Base(m.local.name)))
	}
	if out, err = m.createLocal(tmp); err != nil {
		err = localError(m.local.Full, err)
	}
	return out, tmp, err
}

func (m *mover) createLocal(name string) (*os.File, error) {
	const flags = os.O_WRONLY | os.O_CREATE | os.O_EXCL
	out, err := m.local.root.OpenFile(name, flags, 0o600)
	if errors.Is(err, fs.ErrNotExist) && m.CreateDirs && !m.tree {
		if err := m.local.root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return nil, err
		}
		out, err = m.local.root.OpenFile(name, flags, 0o600)
	}
	return out, err
}

// drain copies in to out from the latter's offset on, sets the mode of the temporary file and closes it.
func (m *mover) drain(out *os.File, in *sftp.File, tmp string, info fs.FileInfo) (err error) {
	defer func() {
		if e := out.Close(); err == nil && e != nil {
			err = localError(m.local.Full, e)
		}
	}()
	dst := &sink{m: m, w: out}
	after, err := m.fetch(in, m.bytes, limitOf(info), dst)
	if err != nil {
		if dst.err != nil {
			return localError(m.local.Full, dst.err)
		}
		return sftpError(m.ctx, m.remote, err)
	}
	m.warnIfChanged(m.remote, info, after)
	err = out.Chmod(m.mode(info.Mode()))
	if err == nil && m.tree && m.Resume {
		err = m.local.root.Chtimes(tmp, info.ModTime(), info.ModTime())
	}
	if err != nil {
		return localError(m.local.Full, err)
	}
	return nil
}

// sink hashes and counts what it writes and keeps apart the errors of this machine.
type sink struct {
	m   *mover
	w   io.Writer
	err error
}

func (s *sink) Write(p []byte) (int, error) {
	n, err := s.w.Write(p)
	s.m.sum.Write(p[:n])
	s.m.bytes += int64(n)
	s.m.advance(n)
	s.err = err
	return n, err
}
