package remote

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"path"
	"strings"
	"sync"
)

// leaf makes one file or link, or sets its mode and time.
func (a *applier) leaf(it *item) {
	if a.blocked(it.Path) {
		a.problem(it, &Error{Kind: Refused, Err: errNoParent})
		return
	}
	var err *Error
	switch {
	case it.Action == ActionSymlink:
		err = a.stored(a.link(it), 0)
	case it.Action == ActionAttributes:
		err = a.stored(a.attributes(it), 0)
	default:
		err = a.file(it)
	}
	if err != nil {
		a.problem(it, err)
	} else {
		a.did(it)
	}
}

// link makes a symbolic link, in the place of whatever stands there.
func (a *applier) link(it *item) error {
	if it.dst == nil {
		return a.dst.symlink(it.src.target, it.Path)
	}
	tmp := a.temporary(it.Path)
	err := a.dst.symlink(it.src.target, tmp)
	if err == nil {
		err = a.publish(it, tmp)
	}
	return a.settled(tmp, err)
}

func (a *applier) attributes(it *item) (err error) {
	if a.sync.Permissions && it.src.bits() != it.dst.bits() {
		err = a.dst.chmod(it.Path, it.src.bits())
	}
	if err == nil && a.sync.Times && !sameTime(it.src.mtime, it.dst.mtime) {
		err = a.dst.chtimes(it.Path, it.src.mtime)
	}
	return err
}

// publish gives a temporary file or link its name.
func (a *applier) publish(it *item, tmp string) error {
	if it.dst != nil && it.dst.isDir() { // emptied before
		if err := a.dst.rmdir(it.Path); err != nil {
			return err
		}
	}
	return a.dst.rename(tmp, it.Path)
}

// temporary returns a new name beside name, and keeps it until settled.
func (a *applier) temporary(name string) string {
	dir, base := path.Split(name)
	const room = 255 - len("..12345678.part")
	if len(base) > room {
		base = strings.ToValidUTF8(base[:room], "")
	}
	tmp := dir + "." + base + "." + rand.Text()[:8] + ".part"
	a.mu.Lock()
	a.temps[tmp] = true
	a.mu.Unlock()
	return tmp
}

// settled forgets a temporary file that has got its name, and removes one that will not. It returns err.
func (a *applier) settled(tmp string, err error) error {
	if err != nil {
		if e := a.dst.remove(tmp); e != nil && !errors.Is(e, fs.ErrNotExist) {
			return err
		}
	}
	a.mu.Lock()
	delete(a.temps, tmp)
	a.mu.Unlock()
	return err
}

// errChanged is behind the report of a file that was written to while it was read, twice.
var errChanged = errors.New("changed while it was read; the destination is as it was")

// file copies a file under a temporary name and renames it. A file that changes meanwhile is copied once more.
func (a *applier) file(it *item) *Error {
	units := min(it.Bytes/roomUnit, maxUnits-1) + 1
	if a.room.Acquire(a.ctx, units) != nil {
		return nil // the verdict tells
	}
	defer a.room.Release(units)
	basis := *it.src
	for attempt := 0; ; attempt++ {
		now, err := a.copyOnce(it, &basis)
		if err == nil || attempt > 0 || !errors.Is(err, errChanged) {
			it.Bytes = basis.size
			return err
		}
		a.moved(-int(basis.size))
		basis = *now
	}
}

// copyOnce copies what basis describes. When the source turns out to be different, it is returned as it is now, beside errChanged.
func (a *applier) copyOnce(it *item, basis *entry) (now *entry, failed *Error) {
	in, err := a.src.open(it.Path)
	if err != nil {
		return nil, a.src.classify(err)
	}
	defer in.Close()
	mode, exact := basis.bits(), a.sync.Permissions
	if !exact && it.dst != nil && it.dst.isFile() {
		mode, exact = it.dst.bits(), true
	}
	tmp := a.temporary(it.Path)
	out, err := a.dst.create(tmp, mode, exact)
	if err == nil {
		var srcErr error
		if now, srcErr, err = a.fill(out, in, basis, mode); srcErr != nil {
			_ = a.settled(tmp, srcErr)
			if errors.Is(srcErr, errChanged) {
				return now, &Error{Kind: Failed, Err: errChanged}
			}
			return nil, a.src.classify(srcErr)
		}
	}
	if err == nil && a.sync.Times {
		err = a.dst.chtimes(tmp, basis.mtime)
	}
	if err == nil {
		err = a.publish(it, tmp)
	}
	failed = a.stored(err, basis.size)
	_ = a.settled(tmp, err)
	return nil, failed
}

// fill pours in into out, looks whether in is still what basis says, and closes out.
func (a *applier) fill(out, in treeFile, basis *entry, mode fs.FileMode) (now *entry, srcErr, dstErr error) {
	defer func() {
		if err := out.Close(); dstErr == nil {
			dstErr = err
		}
	}()
	if srcErr, dstErr = a.pour(out, in, basis.size); srcErr != nil || dstErr != nil {
		return nil, srcErr, dstErr
	}
	info, err := in.Stat()
	if err != nil {
		return nil, err, nil
	}
	e := newEntry(basis.name, info)
	if !basis.unchanged(&e) {
		return &e, errChanged, nil
	}
	if mode&(fs.ModeSetuid|fs.ModeSetgid) != 0 { // writing has taken these away
		dstErr = out.Chmod(mode)
	}
	return nil, nil, dstErr
}

// smallFile is the size up to which a file goes in one read and one write: the payload of one SFTP packet.
const smallFile = 32 << 10

var smallBuffers = sync.Pool{New: func() any { return new([smallFile]byte) }}

// pour copies size bytes of in to out. A file that has become shorter ends it early; the look afterwards will tell.
func (a *applier) pour(out, in treeFile, size int64) (srcErr, dstErr error) {
	if size == 0 {
		return nil, nil
	}
	if size > smallFile {
		return a.stream(out, in, size)
	}
	buf := smallBuffers.Get().(*[smallFile]byte)
	defer smallBuffers.Put(buf)
	n, err := in.ReadAt(buf[:size], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return err, nil
	}
	if err := a.limit.Wait(a.ctx, n); err != nil {
		return err, nil
	}
	_, err = out.Write(buf[:n])
	a.moved(n)
	return nil, err
}

// stream copies with many requests in flight, whichever end is remote.
func (a *applier) stream(out, in treeFile, size int64) (srcErr, dstErr error) {
	m := &meter{ctx: a.ctx, limit: a.limit, size: size, moved: a.moved}
	var err error
	if a.sync.Direction == Upload {
		m.r = in
		_, err = out.ReadFrom(m)
	} else {
		m.w = out
		_, err = in.WriteTo(m)
	}
	switch {
	case err == nil:
		return nil, nil
	case m.err == errGrown:
		return nil, nil // the look afterwards tells
	case (m.err != nil) == (a.sync.Direction == Upload):
		return err, nil
	}
	return nil, err
}

// moved counts payload and reports progress.
func (a *applier) moved(n int) {
	done := a.through.Add(int64(n))
	if a.sync.Progress != nil {
		a.sync.Progress(done, a.total)
	}
}

// errGrown ends the copying of a file that is longer than it was.
var errGrown = errors.New("the file has grown")

// meter passes bytes on, from r or to w, under a limit, and counts them. Its err is what r or w failed with.
type meter struct {
	ctx   context.Context
	r     io.Reader
	w     io.Writer
	limit *Bandwidth
	size  int64 // at most, where not 0
	moved func(n int)
	n     int64
	err   error
}

// Size tells pkg/sftp how many requests are worth while.
func (m *meter) Size() int64 { return m.size }

func (m *meter) Read(p []byte) (int, error) {
	if left := m.size - m.n; int64(len(p)) > left {
		p = p[:left]
	}
	if len(p) == 0 {
		return 0, io.EOF
	}
	n, err := m.r.Read(p)
	if err != nil && err != io.EOF {
		m.err = err
	}
	return n, cmp.Or(m.pass(n), err)
}

func (m *meter) Write(p []byte) (int, error) {
	if m.size > 0 && m.n+int64(len(p)) > m.size {
		m.err = errGrown
		return 0, errGrown
	}
	if err := m.pass(len(p)); err != nil {
		return 0, err
	}
	n, err := m.w.Write(p)
	if err != nil {
		m.err = err
	}
	return n, err
}

// pass lets n bytes through when the limit does.
func (m *meter) pass(n int) error {
	if m.ctx.Err() != nil {
		return context.Cause(m.ctx)
	}
	if err := m.limit.Wait(m.ctx, n); err != nil {
		return err
	}
	m.n += int64(n)
	if m.moved != nil {
		m.moved(n)
	}
	return nil
}
