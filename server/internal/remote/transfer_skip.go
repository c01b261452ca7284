package remote

import (
	"errors"
	"io"
	"io/fs"
)

// A directory that is moved with Resume gives its files the source's modification times, so that a later call finds those that are
// complete by size and time, as rsync does.

// has reports whether the host has the file complete, and counts it then.
func (u uploader) has(m *mover, it member) (bool, error) {
	info, err := u.s.Lstat(m.remote)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, sftpError(u.ctx, m.remote, err)
	}
	return m.complete(it.info, info)
}

// has reports whether this machine has the file complete, and counts it then.
func (d downloader) has(m *mover, it member) (bool, error) {
	info, err := m.local.lstat()
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, &Error{Kind: Local, Path: m.local.Full, Err: err}
	}
	return m.complete(it.info, info)
}

// complete compares a source with its destination: sizes and times in seconds, and with Verify the content too.
func (m *mover) complete(source, dest fs.FileInfo) (bool, error) {
	if !dest.Mode().IsRegular() || dest.Size() != source.Size() || dest.ModTime().Unix() != source.ModTime().Unix() {
		return false, nil
	}
	if m.Verify {
		same, err := m.sameContent()
		if !same || err != nil {
			return false, err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.moved.Unchanged++
	m.done += source.Size()
	return true, nil
}

// sameContent compares the remote file with the local one.
func (m *mover) sameContent() (bool, error) {
	f, _, err := m.local.openRegular()
	if err != nil {
		return false, &Error{Kind: Local, Path: m.local.Full, Err: err}
	}
	defer f.Close()
	m.bytes, err = io.Copy(m.sum, f)
	if err != nil {
		return false, &Error{Kind: Local, Path: m.local.Full, Err: err}
	}
	err = m.compare(m.remote)
	m.sum.Reset()
	m.bytes = 0
	var e *Error
	if errors.As(err, &e) && e.Kind == Corrupted {
		return false, nil
	}
	if err != nil {
		return false, sftpError(m.ctx, m.remote, err)
	}
	return true, nil
}
