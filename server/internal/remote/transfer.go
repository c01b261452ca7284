package remote

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"time"

	"github.com/pkg/sftp"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/pool"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/profile"
)

// Direction is the way that a file goes.
type Direction string

// The directions of Transfer.
const (
	Upload   Direction = "upload"
	Download Direction = "download"
)

// File is one regular file to move. The destination gets its name only when all of it has arrived: it is written beside it under a
// temporary name and renamed.
type File struct {
	Direction  Direction
	Local      *LocalPath
	Remote     string       // as the host reads it; relative to the login directory
	CreateDirs bool         // make missing parent directories of the destination
	Mode       *fs.FileMode // permission bits of the destination; nil takes the source's
	Verify     bool         // read the remote copy again and compare its SHA-256
}

// Moved is what a transfer did.
type Moved struct {
	Bytes  int64
	SHA256 string // hexadecimal, of the bytes read from or written to the local file
	Lease  pool.Info
	Remote time.Duration // from the first SFTP request to the rename
}

// Transfer moves f to or from t over a pooled SFTP session. When ctx ends, the session is closed at once and the temporary file
// removed. Errors are *pool.Error (nothing happened) or *Error.
func Transfer(ctx context.Context, p *pool.Pool, t *profile.Target, f File) (*Moved, error) {
	s, err := p.SFTP(ctx, t)
	if err != nil {
		return nil, err
	}
	m := &mover{ctx: ctx, s: s.Client, File: f, sum: sha256.New()}
	start := time.Now()
	stop := context.AfterFunc(ctx, s.Interrupt)
	if f.Direction == Upload {
		err = m.upload()
	} else {
		err = m.download()
	}
	if stop() && !broken(err) {
		s.Release()
	} else {
		s.Discard()
		m.sweep(p, t)
	}
	if err != nil {
		return nil, err
	}
	return &Moved{Bytes: m.bytes, SHA256: hex.EncodeToString(m.sum.Sum(nil)), Lease: s.Info, Remote: time.Since(start)}, nil
}

func broken(err error) bool {
	var e *Error
	return errors.As(err, &e) && (e.Kind == Broken || e.Kind == Unknown)
}

// mover is one transfer under way.
type mover struct {
	File
	ctx      context.Context
	s        *sftp.Client
	sum      hash.Hash
	bytes    int64
	leftover string // remote temporary file that could not be removed yet
}

// temporary returns a name beside name that no other transfer uses.
func temporary(dir, base string) string {
	return path.Join(dir, "."+base+"."+rand.Text()[:8]+".part")
}

func (m *mover) upload() error {
	in, info, err := m.Local.openRegular()
	if err != nil {
		return &Error{Kind: Local, Path: m.Local.Full, Err: err}
	}
	defer in.Close()
	tmp := temporary(path.Dir(m.Remote), path.Base(m.Remote))
	out, err := m.createRemote(tmp)
	if err != nil {
		return sftpError(m.ctx, m.Remote, err)
	}
	m.leftover = tmp
	err = m.fill(out, in, info)
	if err == nil && m.Verify {
		err = m.compare(tmp)
	}
	if err != nil {
		m.removeTemporary()
		return sftpError(m.ctx, m.Remote, err)
	}
	return m.publish(tmp)
}

// createRemote opens a new file, making its directory when that is what is missing.
func (m *mover) createRemote(name string) (*sftp.File, error) {
	const flags = os.O_WRONLY | os.O_CREATE | os.O_EXCL
	out, err := m.s.OpenFile(name, flags)
	if errors.Is(err, fs.ErrNotExist) && m.CreateDirs {
		if err := m.s.MkdirAll(path.Dir(name)); err != nil {
			return nil, err
		}
		out, err = m.s.OpenFile(name, flags)
	}
	return out, err
}

// fill copies in to out, sets its mode and closes it.
func (m *mover) fill(out *sftp.File, in *os.File, info os.FileInfo) (err error) {
	defer func() {
		if e := out.Close(); err == nil {
			err = e
		}
	}()
	src := &source{r: in, sum: m.sum, size: info.Size()}
	if m.bytes, err = out.ReadFrom(src); err != nil {
		if src.err != nil {
			return &Error{Kind: Local, Path: m.Local.Full, Err: src.err}
		}
		return err
	}
	return out.Chmod(m.mode(info.Mode()))
}

func (m *mover) mode(source fs.FileMode) fs.FileMode {
	if m.Mode != nil {
		return *m.Mode
	}
	return source.Perm()
}

// source hashes what is read and tells pkg/sftp its size, which makes it write with many requests in flight.
type source struct {
	r    io.Reader
	sum  hash.Hash
	size int64
	err  error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	s.sum.Write(p[:n])
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
	if _, err := in.WriteTo(again); err != nil {
		return err
	}
	if got, want := hex.EncodeToString(again.Sum(nil)), hex.EncodeToString(m.sum.Sum(nil)); got != want {
		return &Error{Kind: Corrupted, Path: m.Remote, Err: fmt.Errorf("the host's copy has SHA-256 %s instead of %s", got, want)}
	}
	return nil
}

// publish gives the temporary file its name. Once the request is out, a broken session leaves the outcome unknown.
func (m *mover) publish(tmp string) error {
	err := m.s.PosixRename(tmp, m.Remote)
	var status *sftp.StatusError
	if errors.As(err, &status) && status.FxCode() == sftp.ErrSSHFxOpUnsupported {
		err = m.s.Rename(tmp, m.Remote)
		if errors.As(err, &status) { // version 3 of the protocol does not rename over an existing file
			if m.s.Remove(m.Remote) == nil {
				err = m.s.Rename(tmp, m.Remote)
			}
		}
	}
	switch {
	case err == nil:
		m.leftover = ""
		return nil
	case m.ctx.Err() != nil || lost(err):
		return &Error{Kind: Unknown, Path: m.Remote, Err: fmt.Errorf("the session ended during the final rename, which may have happened: %w", err)}
	}
	m.removeTemporary()
	if m.isRemoteDir() {
		return &Error{Kind: Refused, Path: m.Remote, Err: errors.New("is a directory on the host; name the file in it")}
	}
	return sftpError(m.ctx, m.Remote, err)
}

// isRemoteDir is asked after a failure only, to name its cause.
func (m *mover) isRemoteDir() bool {
	info, err := m.s.Stat(m.Remote)
	return err == nil && info.IsDir()
}

func (m *mover) removeTemporary() {
	if err := m.s.Remove(m.leftover); err == nil || errors.Is(err, fs.ErrNotExist) {
		m.leftover = ""
	}
}

// sweepTimeout bounds the removal of a temporary file over a second session.
const sweepTimeout = 5 * time.Second

// sweep removes a temporary file that the transfer's own session could not remove any more.
func (m *mover) sweep(p *pool.Pool, t *profile.Target) {
	if m.leftover == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(m.ctx), sweepTimeout)
	defer cancel()
	s, err := p.SFTP(ctx, t)
	if err != nil {
		return
	}
	stop := context.AfterFunc(ctx, s.Interrupt)
	_ = s.Remove(m.leftover)
	if stop() {
		s.Release()
	} else {
		s.Discard()
	}
}

func (m *mover) download() error {
	in, err := m.s.Open(m.Remote)
	if err != nil {
		if m.isRemoteDir() {
			err = &Error{Kind: Refused, Path: m.Remote, Err: errors.New("is a directory on the host; name a file in it")}
		}
		return sftpError(m.ctx, m.Remote, err)
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return sftpError(m.ctx, m.Remote, err)
	}
	if !info.Mode().IsRegular() {
		return &Error{Kind: Refused, Path: m.Remote, Err: errors.New("is not a regular file on the host")}
	}
	tmp := filepath.FromSlash(temporary(filepath.ToSlash(filepath.Dir(m.Local.name)), filepath.Base(m.Local.name)))
	out, err := m.createLocal(tmp)
	if err != nil {
		return &Error{Kind: Local, Path: m.Local.Full, Err: err}
	}
	err = m.drain(out, in, m.mode(info.Mode()))
	if err == nil && m.Verify {
		err = sftpErrorOrNil(m.ctx, m.Remote, m.compare(m.Remote))
	}
	if err == nil {
		if err = m.Local.root.Rename(tmp, m.Local.name); err != nil {
			err = &Error{Kind: Local, Path: m.Local.Full, Err: err}
		}
	}
	if err != nil {
		_ = m.Local.root.Remove(tmp)
	}
	return err
}

func (m *mover) createLocal(name string) (*os.File, error) {
	const flags = os.O_WRONLY | os.O_CREATE | os.O_EXCL
	out, err := m.Local.root.OpenFile(name, flags, 0o600)
	if errors.Is(err, fs.ErrNotExist) && m.CreateDirs {
		if err := m.Local.root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return nil, err
		}
		out, err = m.Local.root.OpenFile(name, flags, 0o600)
	}
	return out, err
}

// drain copies in to out, sets its mode and closes it.
func (m *mover) drain(out *os.File, in *sftp.File, mode fs.FileMode) (err error) {
	defer func() {
		if e := out.Close(); err == nil && e != nil {
			err = &Error{Kind: Local, Path: m.Local.Full, Err: e}
		}
	}()
	dst := &sink{w: out, sum: m.sum}
	if m.bytes, err = in.WriteTo(dst); err != nil {
		if dst.err != nil {
			return &Error{Kind: Local, Path: m.Local.Full, Err: dst.err}
		}
		return sftpError(m.ctx, m.Remote, err)
	}
	if err := out.Chmod(mode); err != nil {
		return &Error{Kind: Local, Path: m.Local.Full, Err: err}
	}
	return nil
}

// sink hashes what it writes and keeps apart the errors of this machine.
type sink struct {
	w   io.Writer
	sum hash.Hash
	err error
}

func (s *sink) Write(p []byte) (int, error) {
	n, err := s.w.Write(p)
	s.sum.Write(p[:n])
	s.err = err
	return n, err
}

func sftpErrorOrNil(ctx context.Context, path string, err error) error {
	if err == nil {
		return nil
	}
	return sftpError(ctx, path, err)
}
