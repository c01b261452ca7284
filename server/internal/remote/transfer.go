package remote

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"hash"
	"io/fs"
	"maps"
	"path"
	"slices"
	"sync"
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

// File is a regular file to move, or with Recursive a directory. A file's destination gets its name only when all of it has arrived: it
// is written beside it under a temporary name and renamed.
type File struct {
	Direction  Direction
	Local      *LocalPath
	Remote     string       // as the host reads it; relative to the login directory
	Recursive  bool         // a directory may be moved: what it holds goes into the destination directory; links are copied as links
	CreateDirs bool         // make missing parent directories of the destination
	Mode       *fs.FileMode // permission bits of the destination's files; nil takes the source's
	Verify     bool         // read the remote copies again and compare their SHA-256
	Resume     bool         // keep what has arrived when the transfer is cut, and go on from what an earlier one kept
	Limit      *Bandwidth   // nil is none
	Bounds     *Bounds      // of the remote path; nil is none

	// Progress is told the bytes that are through and all there are; it may be called by several goroutines. Nil is none.
	Progress func(done, total int64, message string)
}

// Moved is what a transfer did.
type Moved struct {
	Files       int       // regular files that have arrived
	Dirs, Links int       // of a directory: made, and copied
	Unchanged   int       // files of a directory that a resumed transfer found complete
	Bytes       int64     // payload that went over the connection
	SHA256      string    // hexadecimal, of all bytes read from or written to the one local file
	ResumedFrom int64     // bytes that were kept from earlier transfers
	Warnings    []Problem // files that changed while they were read
	Failed      []Problem // what of a directory could not be moved; the rest was
	Untried     int       // entries of a directory that were not begun when the transfer ended early
	Lease       pool.Info
	Remote      time.Duration // from the first SFTP request to the last answer
}

// Transfer moves f to or from t over a pooled SFTP session. When ctx ends, the session is closed at once and temporary files are removed,
// unless f.Resume keeps them. Errors are *pool.Error (nothing happened) or *Error. Of a directory, what fails is named in Moved.Failed
// and the rest is moved; the error is then the gravest of theirs, and Moved says how far it came. Beside the error of a single file
// Moved is nil.
func Transfer(ctx context.Context, p *pool.Pool, t *profile.Target, f File) (*Moved, error) {
	free, err := f.reserve(t)
	if err != nil {
		return nil, err
	}
	defer free()
	s, err := p.SFTP(ctx, t)
	if err != nil {
		return nil, err
	}
	c := &carrier{File: f, ctx: ctx, s: s.Client, target: t}
	start := time.Now()
	stop := context.AfterFunc(ctx, s.Interrupt)
	switch err = c.bind(); {
	case err != nil:
	case f.Direction == Upload:
		err = c.upload()
	default:
		err = c.download()
	}
	if stop() && !broken(err) {
		s.Release()
	} else {
		s.Discard()
		c.sweep(p)
	}
	if err != nil && !c.tree {
		return nil, err
	}
	c.moved.Lease, c.moved.Remote = s.Info, time.Since(start)
	return &c.moved, err
}

// bind takes for the remote path what it leads to, where it is bounded.
func (c *carrier) bind() error {
	real, err := c.Bounds.resolve(c.s, c.Remote)
	if err != nil {
		return sftpError(c.ctx, c.Remote, err)
	}
	c.Remote = real
	return nil
}

func broken(err error) bool {
	var e *Error
	return errors.As(err, &e) && (e.Kind == Broken || e.Kind == Unknown)
}

// carrier is one transfer under way: what its files, of which many move at once, have in common.
type carrier struct {
	File
	ctx    context.Context
	s      *sftp.Client
	target *profile.Target
	tree   bool // a directory is moved

	mu        sync.Mutex
	moved     Moved
	total     int64               // bytes to move, as far as known
	done      int64               // bytes moved or kept
	leftovers map[string]struct{} // remote temporary files that are not removed yet
	entries   int                 // files and links of a directory
	cut       bool                // the session is gone
}

// advance notes n more bytes that are through.
func (c *carrier) advance(n int) {
	c.mu.Lock()
	c.done += int64(n)
	c.moved.Bytes += int64(n)
	done, total, files := c.done, c.total, c.moved.Files
	c.mu.Unlock()
	if c.Progress != nil {
		c.Progress(done, max(done, total), c.state(files))
	}
}

func (c *carrier) warn(path string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.moved.Warnings = append(c.moved.Warnings, Problem{path, err})
}

// remember notes a remote temporary file, and forget that it is gone.
func (c *carrier) remember(tmp string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.leftovers == nil {
		c.leftovers = map[string]struct{}{}
	}
	c.leftovers[tmp] = struct{}{}
}

func (c *carrier) forget(tmp string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.leftovers, tmp)
}

// discard removes a remote temporary file, or leaves it to sweep.
func (c *carrier) discard(tmp string) {
	if err := c.s.Remove(tmp); err == nil || errors.Is(err, fs.ErrNotExist) {
		c.forget(tmp)
	}
}

// sweep removes the temporary files that the transfer's own session could not remove any more.
func (c *carrier) sweep(p *pool.Pool) {
	sweep(c.ctx, p, c.target, slices.Collect(maps.Keys(c.leftovers)), func(s *pool.SFTP, name string) error { return s.Remove(name) })
}

// mover is one regular file of a transfer.
type mover struct {
	*carrier
	local  *LocalPath
	remote string
	sum    hash.Hash
	bytes  int64 // read from or written to the local file, those kept from earlier included
	kept   int64 // of them, kept from earlier
}

// temporary returns a name beside name that no other transfer uses.
func temporary(dir, base string) string {
	return path.Join(dir, "."+base+"."+rand.Text()[:8]+".part")
}

func (m *mover) mode(source fs.FileMode) fs.FileMode {
	if m.Mode != nil {
		return *m.Mode
	}
	return source.Perm()
}

// finish counts a file that has arrived.
func (m *mover) finish() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.moved.Files++
	m.moved.ResumedFrom += m.kept
	if !m.tree {
		m.moved.SHA256 = hex.EncodeToString(m.sum.Sum(nil))
	}
}
