package remote

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/pkg/sftp"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/profile"
)

// What a cut transfer keeps is not taken at its word.
//
// An upload's last bytes are moved again, since writes in flight at the cut may have left holes there; the block before them must be that
// of the source; and in the end the host's copy is read back and compared as a whole. Where it differs, the upload starts over.
//
// A download's bytes are kept together with their SHA-256, and only when the transfer ended in an orderly way. It goes on where the
// source has still the size and time that it had, the kept bytes have that SHA-256, and samples of them are those of the source. Comparing
// all of it would mean to read all of it again; File.Verify does so.
const (
	overlap = inFlight * pieceSize
	sample  = 64 << 10
	samples = 8
)

// destinations are those of the resumable transfers under way in this process, which must not share a temporary file.
var destinations = struct {
	sync.Mutex
	busy map[string]bool
}{busy: map[string]bool{}}

// reserve keeps two resumable transfers from writing to one destination at once.
func (f *File) reserve(t *profile.Target) (free func(), err error) {
	if !f.Resume {
		return func() {}, nil
	}
	to, name := f.Local.Full, f.Local.Full
	if f.Direction == Upload {
		to, name = t.Addr+"\x00"+f.Remote, f.Remote
	}
	destinations.Lock()
	defer destinations.Unlock()
	if destinations.busy[to] {
		return nil, &Error{Kind: Refused, Path: name, Err: errors.New("another resumable transfer to it is under way")}
	}
	destinations.busy[to] = true
	return func() {
		destinations.Lock()
		defer destinations.Unlock()
		delete(destinations.busy, to)
	}, nil
}

// keeps reports whether a transfer that ended with err leaves its temporary file for the next.
func (m *mover) keeps(err error) bool {
	var e *Error
	return m.Resume && errors.As(err, &e) && (e.Kind == Stopped || e.Kind == Broken)
}

// resumable returns the name of the temporary file that a cut transfer to name keeps. The origin tells sources apart.
func resumable(base string, origin ...string) string {
	id := sha256.Sum256([]byte(strings.Join(origin, "\x00")))
	return "." + base + resumeMark + hex.EncodeToString(id[:4]) + ".part"
}

const resumeMark = ".resume-"

func hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return "localhost"
	}
	return name
}

// remoteKept is where a cut upload of m keeps what has arrived.
func (m *mover) remoteKept() string {
	return path.Join(path.Dir(m.remote), resumable(path.Base(m.remote), hostname(), m.local.Full))
}

// localKept is where a cut download of m keeps what has arrived; the source has the size and time of info.
func (m *mover) localKept(info fs.FileInfo) string {
	name := resumable(filepath.Base(m.local.name), m.target.Addr, m.target.Profile.Username, m.remote,
		strconv.FormatInt(info.Size(), 10), strconv.FormatInt(info.ModTime().Unix(), 10))
	return filepath.Join(filepath.Dir(m.local.name), name)
}

// resumeAt is the offset from which on a kept file of that size is moved again.
func resumeAt(kept, size int64) int64 {
	return max(0, min(kept, size)-overlap) / pieceSize * pieceSize
}

// continueUpload opens what an earlier upload kept at tmp and sets both sides to where it goes on, or removes it and returns nil.
func (m *mover) continueUpload(tmp string, in *os.File, info fs.FileInfo) (*sftp.File, error) {
	kept, err := m.s.Lstat(tmp)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	at := resumeAt(kept.Size(), info.Size())
	same := kept.Mode().IsRegular() && at > 0
	if same {
		if same, err = m.sameAsKept(tmp, in, at); err != nil {
			return nil, err
		}
	}
	if !same {
		return nil, m.s.Remove(tmp)
	}
	out, err := m.s.OpenFile(tmp, os.O_WRONLY)
	if err != nil {
		return nil, err
	}
	err = errors.Join(out.Truncate(at), seek(out, at), m.keep(in, at))
	if err != nil {
		out.Close()
		return nil, err
	}
	return out, nil
}

// sameAsKept compares the block before at of the remote file tmp with that of in.
func (m *mover) sameAsKept(tmp string, in io.ReaderAt, at int64) (bool, error) {
	f, err := m.s.Open(tmp)
	if err != nil {
		return false, err
	}
	defer f.Close()
	return sameBlock(f, in, at)
}

// sameBlock compares the sample that ends at end.
func sameBlock(a, b io.ReaderAt, end int64) (bool, error) {
	n := min(sample, end)
	return equalAt(a, b, end-n, n)
}

// equalAt compares n bytes at off. A side that ends before is an error, since a broken session looks like that too.
func equalAt(a, b io.ReaderAt, off, n int64) (bool, error) {
	x, y := make([]byte, n), make([]byte, n)
	for _, side := range []struct {
		r   io.ReaderAt
		buf []byte
	}{{a, x}, {b, y}} {
		if got, err := side.r.ReadAt(side.buf, off); got < len(side.buf) {
			return false, err
		}
	}
	return bytes.Equal(x, y), nil
}

func seek(f io.Seeker, at int64) error {
	_, err := f.Seek(at, io.SeekStart)
	return err
}

// keep takes over the first n bytes of the local file, which is read up to there to hash them.
func (m *mover) keep(f io.Reader, n int64) error {
	if _, err := io.CopyN(m.sum, f, n); err != nil {
		return &Error{Kind: Local, Path: m.local.Full, Err: err}
	}
	m.bytes, m.kept = n, n
	m.mu.Lock()
	defer m.mu.Unlock()
	m.done += n
	return nil
}

// startOver makes the mover forget what was kept and moved.
func (m *mover) startOver() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.done -= m.bytes
	m.sum.Reset()
	m.bytes, m.kept = 0, 0
}

// sumSuffix makes the name of the file that holds the SHA-256 of a kept download out of the latter's.
const sumSuffix = ".sum.part"

// note leaves the SHA-256 of what was written to tmp.
func (m *mover) note(tmp string) {
	if m.local.root.WriteFile(tmp+sumSuffix, []byte(hexSum(m.sum)), 0o600) != nil {
		_ = m.local.root.Remove(tmp)
	}
}

// continueDownload opens what an earlier download kept at tmp, at the place where it goes on, or removes it and returns nil.
func (m *mover) continueDownload(tmp string, in *sftp.File, info fs.FileInfo) (*os.File, error) {
	root := m.local.root
	noted, err := root.ReadFile(tmp + sumSuffix)
	if err != nil && !m.tree {
		m.local.dir().removeKept(func(base string) bool { return base == filepath.Base(m.local.name) })
	}
	_ = root.Remove(tmp + sumSuffix) // it is not true any more once a byte is written
	out, openErr := root.OpenFile(tmp, os.O_RDWR|syscall.O_NONBLOCK, 0)
	switch {
	case errors.Is(openErr, fs.ErrNotExist):
		return nil, nil
	case openErr != nil:
		return nil, &Error{Kind: Local, Path: m.local.Full, Err: openErr}
	}
	same, sampleErr := false, error(nil)
	if err == nil {
		same, sampleErr = m.trust(out, tmp, in, info, string(noted))
	}
	if same {
		return out, nil
	}
	out.Close()
	m.startOver()
	if sampleErr != nil {
		return nil, sampleErr
	}
	if err := root.Remove(tmp); err != nil {
		return nil, &Error{Kind: Local, Path: m.local.Full, Err: err}
	}
	return nil, nil
}

// trust takes over the kept bytes in out if they have the SHA-256 that was noted and are those of the source as far as samples tell.
func (m *mover) trust(out *os.File, tmp string, in *sftp.File, info fs.FileInfo, noted string) (bool, error) {
	kept, err := out.Stat()
	if err != nil || !kept.Mode().IsRegular() || kept.Size() == 0 || kept.Size() > info.Size() {
		return false, nil
	}
	if err := m.keep(out, kept.Size()); err != nil || hexSum(m.sum) != noted {
		return false, nil
	}
	same, err := m.sameSamples(in, out, kept.Size())
	if err != nil { // the session, as what is kept was read just now; let the next call have it
		m.note(tmp)
	}
	return same, err
}

// sameSamples compares blocks spread over the first end bytes.
func (m *mover) sameSamples(in *sftp.File, out *os.File, end int64) (bool, error) {
	for i := range int64(samples) {
		same, err := sameBlock(out, in, end-end/samples*i)
		if err != nil {
			return false, sftpError(m.ctx, m.remote, err)
		}
		if !same {
			return false, nil
		}
	}
	return true, nil
}

// removeKept removes from the directory l what cut transfers have kept of the files that match, when it is of no use any more.
func (l *LocalPath) removeKept(match func(base string) bool) {
	names, err := l.list()
	if err != nil {
		return
	}
	for _, name := range names {
		rest, ok := strings.CutSuffix(name, ".part")
		base, _, marked := strings.Cut(strings.TrimPrefix(rest, "."), resumeMark)
		if ok && marked && name[0] == '.' && match(base) {
			_ = l.root.Remove(filepath.Join(l.name, name))
		}
	}
}
