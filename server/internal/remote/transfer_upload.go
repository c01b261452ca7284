package remote

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"

	"github.com/pkg/sftp"
)

// upload moves what the local path names.
func (c *carrier) upload() error {
	info, err := c.Local.stat()
	if err != nil {
		return &Error{Kind: Local, Path: c.Local.Full, Err: err}
	}
	if info.IsDir() {
		if !c.Recursive {
			return &Error{Kind: Local, Path: c.Local.Full, Err: errIsDirectory}
		}
		return c.uploadTree(info)
	}
	c.total = info.Size()
	m := &mover{carrier: c, local: c.Local, remote: c.Remote, sum: sha256.New()}
	return m.upload()
}

var errIsDirectory = errors.New("is a directory; set recursive to move it with all that it holds")

// upload moves one file.
func (m *mover) upload() error {
	in, info, err := m.local.openRegular()
	if err != nil {
		return &Error{Kind: Local, Path: m.local.Full, Err: err}
	}
	defer in.Close()
	out, tmp, err := m.openUpload(in, info)
	if err != nil {
		return m.storeError(m.remote, err, 0)
	}
	err = m.fillAndCheck(out, in, tmp, info)
	var bad *Error
	if m.kept > 0 && errors.As(err, &bad) && bad.Kind == Corrupted {
		err = m.fillAgain(in, tmp, info)
	}
	if err != nil {
		err = m.storeError(m.remote, err, m.missing(tmp, info, err))
		if m.keeps(err) {
			m.forget(tmp)
		} else {
			m.discard(tmp)
		}
		return err
	}
	return m.publish(tmp)
}

// openUpload opens the temporary file: a new one, or what an earlier transfer kept.
func (m *mover) openUpload(in *os.File, info os.FileInfo) (out *sftp.File, tmp string, err error) {
	if m.Resume {
		tmp = m.remoteKept()
		if out, err = m.continueUpload(tmp, in, info); out != nil || err != nil {
			return out, tmp, err
		}
	} else {
		tmp = temporary(path.Dir(m.remote), path.Base(m.remote))
	}
	m.remember(tmp) // before the request is out: should its answer be lost, the file may be there
	if out, err = m.createRemote(tmp); err != nil && !lost(err) && m.ctx.Err() == nil {
		m.forget(tmp)
	}
	return out, tmp, err
}

// createRemote opens a new file, making its directory when that is what is missing.
func (m *mover) createRemote(name string) (*sftp.File, error) {
	const flags = os.O_WRONLY | os.O_CREATE | os.O_EXCL
	out, err := m.s.OpenFile(name, flags)
	if errors.Is(err, fs.ErrNotExist) && m.CreateDirs && !m.tree {
		if err := m.s.MkdirAll(path.Dir(name)); err != nil {
			return nil, err
		}
		out, err = m.s.OpenFile(name, flags)
	}
	return out, err
}

// fillAndCheck brings all of in to the temporary file, compares it where that is asked for or due, and sets its final mode.
func (m *mover) fillAndCheck(out *sftp.File, in *os.File, tmp string, info os.FileInfo) error {
	err := m.fill(out, in, tmp, info)
	if err == nil && (m.Verify || m.kept > 0) {
		err = m.compare(tmp)
	}
	if mode := m.mode(info.Mode()); err == nil && mode != mode|ownerAccess {
		err = m.s.Chmod(tmp, mode)
	}
	if err == nil && m.tree && m.Resume {
		err = m.s.Chtimes(tmp, info.ModTime(), info.ModTime())
	}
	return err
}

// fillAgain moves the whole file, after what an earlier transfer kept was not what it seemed.
func (m *mover) fillAgain(in *os.File, tmp string, info os.FileInfo) error {
	m.startOver()
	if err := errors.Join(seek(in, 0), m.s.Remove(tmp)); err != nil {
		return err
	}
	out, err := m.createRemote(tmp)
	if err != nil {
		return err
	}
	return m.fillAndCheck(out, in, tmp, info)
}

// ownerAccess is what a temporary file's owner needs to read it back and to go on writing it.
const ownerAccess = 0o600

// fill copies in from its offset on to out, whose name is tmp, and closes out. The mode is set while the data goes over: early, so that
// nobody reads what they may not, and beside it, to spare a round trip.
func (m *mover) fill(out *sftp.File, in *os.File, tmp string, info os.FileInfo) error {
	chmod := make(chan error, 1)
	go func() { chmod <- m.s.Chmod(tmp, m.mode(info.Mode())|ownerAccess) }()
	src := &source{m: m, r: m.Limit.Reader(m.ctx, io.LimitReader(in, limitOf(info)-m.bytes)), size: info.Size() - m.bytes}
	_, err := out.ReadFrom(src)
	if e := <-chmod; err == nil {
		err = e
	}
	if e := out.Close(); err == nil {
		err = e
	}
	if src.err != nil && m.ctx.Err() == nil {
		return &Error{Kind: Local, Path: m.local.Full, Err: src.err}
	}
	if err == nil {
		if after, e := in.Stat(); e == nil {
			m.warnIfChanged(m.local.Full, info, after)
		}
	}
	return err
}

// limitOf is how much of a file to read: its size, so that one that grows for ever comes to an end. Files of /proc have size 0 and yet
// content.
func limitOf(info fs.FileInfo) int64 {
	if info.Size() == 0 {
		return unbounded
	}
	return info.Size()
}

// warnIfChanged compares what a file is after it was read, if that is known, with what it was before.
func (m *mover) warnIfChanged(name string, before, after fs.FileInfo) {
	switch {
	case m.bytes < before.Size():
		m.warn(name, fmt.Errorf("it shrank from %d to %d bytes while it was read", before.Size(), m.bytes))
	case after == nil:
	case after.Size() != before.Size():
		m.warn(name, fmt.Errorf("its size changed from %d to %d bytes while it was read; %d were moved", before.Size(), after.Size(), m.bytes))
	case !after.ModTime().Equal(before.ModTime()):
		m.warn(name, errors.New("it was written to while it was read; old and new content may be mixed"))
	}
}

// source hashes and counts what is read, and tells pkg/sftp its size, which makes it write with many requests in flight.
type source struct {
	m    *mover
	r    io.Reader
	size int64
	err  error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	s.m.sum.Write(p[:n])
	s.m.bytes += int64(n)
	if n > 0 {
		s.m.advance(n)
	}
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// Size is read by sftp.File.ReadFrom.
func (s *source) Size() int64 { return s.size }

// compare reads the remote file again and compares its SHA-256 with what was moved.
func (m *mover) compare(name string) error {
	in, err := m.s.Open(name)
	if err != nil {
		return err
	}
	defer in.Close()
	again := sha256.New()
	info, err := m.fetch(in, 0, m.bytes, again)
	if err != nil {
		return err
	}
	if got, want := hexSum(again), hexSum(m.sum); got != want {
		return &Error{Kind: Corrupted, Path: m.remote, Err: fmt.Errorf("the host's copy has SHA-256 %s instead of %s", got, want)}
	}
	if m.Direction == Upload && info != nil && info.Size() > m.bytes {
		return &Error{Kind: Corrupted, Path: m.remote, Err: fmt.Errorf("the host's copy has %d bytes instead of %d", info.Size(), m.bytes)}
	}
	return nil
}

func hexSum(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)) }

// publish gives the temporary file its name. Once the request is out, a broken session leaves the outcome unknown.
func (m *mover) publish(tmp string) error {
	err := rename(m.s, tmp, m.remote)
	switch {
	case err == nil:
		m.forget(tmp)
		m.finish()
		return nil
	case m.ctx.Err() != nil || lost(err):
		return &Error{Kind: Unknown, Path: m.remote, Err: fmt.Errorf("the session ended during the final rename, which may have happened: %w", err)}
	}
	if isDir(m.s, m.remote) {
		err = &Error{Kind: Refused, Path: m.remote, Err: errors.New("is a directory on the host; name the file in it")}
	}
	err = m.storeError(m.remote, err, 0)
	m.discard(tmp)
	return err
}

// missing is how many bytes of the temporary file the host has not stored. It is asked after a failure only.
func (m *mover) missing(tmp string, info fs.FileInfo, err error) int64 {
	if status := (*sftp.StatusError)(nil); !errors.As(err, &status) {
		return 0
	}
	stored, err := m.s.Stat(tmp)
	if err != nil {
		return 0
	}
	return info.Size() - stored.Size()
}

// storeError classifies an error met while need more bytes were to be stored under name on the host, before what was stored is removed,
// which makes room.
func (c *carrier) storeError(name string, err error, need int64) error {
	if c.ctx.Err() == nil && hostFull(c.s, path.Dir(name), err, need) {
		return &Error{Kind: Full, Path: name, Err: errHostFull}
	}
	return sftpError(c.ctx, name, err)
}

// rename replaces a remote file or link by another.
func rename(s *sftp.Client, from, to string) error {
	err := s.PosixRename(from, to)
	var status *sftp.StatusError
	if !errors.As(err, &status) || status.FxCode() != sftp.ErrSSHFxOpUnsupported {
		return err
	}
	err = s.Rename(from, to)
	if errors.As(err, &status) { // version 3 of the protocol does not rename over an existing file
		if s.Remove(to) == nil {
			err = s.Rename(from, to)
		}
	}
	return err
}

// isDir is asked after a failure only, to name its cause.
func isDir(s *sftp.Client, name string) bool {
	info, err := s.Stat(name)
	return err == nil && info.IsDir()
}
