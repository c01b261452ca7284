package remote

import (
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

	"github.com/pkg/sftp"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/profile"
)

// What a cut transfer keeps is not taken at its word. Its last bytes are moved again: writes in flight at the cut may have left holes
// there. The block before them must be equal on both sides. A resumed upload is then read back and compared as a whole, since other hands
// can reach the temporary file; a resumed download goes on only when the source has the size and time that it had, and compares samples of
// what it has with the source, for reading all of it again would be no resumption.
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

func equalAt(a, b io.ReaderAt, off, n int64) (bool, error) {
	x, y := make([]byte, n), make([]byte, n)
	i, err := a.ReadAt(x, off)
	if err != nil && err != io.EOF {
		return false, err
	}
	j, err := b.ReadAt(y, off)
	if err != nil && err != io.EOF {
		return false, err
	}
	return i == j && string(x[:i]) == string(y[:j]), nil
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

// continueDownload opens what an earlier download kept at tmp, at the place where it goes on, or removes it and returns nil.
func (m *mover) continueDownload(tmp string, in *sftp.File, info fs.FileInfo) (*os.File, error) {
	root := m.local.root
	local := func(err error) error { return &Error{Kind: Local, Path: m.local.Full, Err: err} }
	kept, err := root.Lstat(tmp)
	if errors.Is(err, fs.ErrNotExist) {
		if !m.tree {
			m.local.dir().removeKept(func(base string) bool { return base == filepath.Base(m.local.name) })
		}
		return nil, nil
	}
	if err != nil {
		return nil, local(err)
	}
	at := resumeAt(kept.Size(), info.Size())
	if !kept.Mode().IsRegular() || at == 0 {
		return nil, root.Remove(tmp)
	}
	out, err := root.OpenFile(tmp, os.O_RDWR, 0)
	if err != nil {
		return nil, local(err)
	}
	same, err := m.sameSamples(in, out, at)
	if err == nil && same {
		if err = errors.Join(out.Truncate(at), m.keep(out, at)); err == nil {
			return out, nil
		}
		err = local(err)
	}
	out.Close()
	if err == nil {
		err = root.Remove(tmp)
	}
	return nil, err
}

// sameSamples compares blocks spread over the first end bytes.
func (m *mover) sameSamples(in *sftp.File, out *os.File, end int64) (bool, error) {
	for i := range int64(samples) {
		same, err := sameBlock(in, out, end-end/samples*i)
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
