package remote

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"strings"
	"sync"
)

// treeInFlight is how many entries of a directory are under way at once, all over one SFTP session.
const treeInFlight = 32

// member is an entry of the directory that is moved.
type member struct {
	rel  string      // its path below that directory, with slashes; "." for the directory itself
	info fs.FileInfo // of the entry itself, also where it is a link
}

// planter makes items at the destination. Its methods are called by several goroutines.
type planter interface {
	mkdir(it member) error
	file(it member) error
	link(it member) error
	chmod(it member) error // a directory, once all it holds is there
}

// moveTree moves what lists have found: first the directories, level by level, then files and links, many at once.
func (c *carrier) moveTree(to planter, levels [][]member) error {
	var rest, closing []member
	barred := map[string]bool{} // directories that could not be made
	for _, level := range levels {
		var dirs []member
		for _, it := range level {
			switch {
			case it.rel != "." && barred[path.Dir(it.rel)]:
				barred[it.rel] = true
				c.untried(1)
			case it.info.IsDir():
				dirs = append(dirs, it)
			default:
				c.total += size(it)
				rest = append(rest, it)
			}
		}
		var mu sync.Mutex
		c.each(dirs, func(it member) error {
			err := to.mkdir(it)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				barred[it.rel] = true
			} else if it.info.Mode().Perm()&dirAccess != dirAccess {
				closing = append(closing, it)
			}
			return err
		})
	}
	c.entries = len(rest)
	c.each(rest, func(it member) error {
		switch it.info.Mode().Type() {
		case 0:
			return to.file(it)
		case fs.ModeSymlink:
			return to.link(it)
		}
		return &Error{Kind: Refused, Err: errors.New("is neither a regular file nor a directory or link; it was left out")}
	})
	c.each(closing, to.chmod)
	return c.verdict()
}

// dirAccess is what the owner of a directory needs to fill it.
const dirAccess = 0o700

func size(it member) int64 {
	if it.info.Mode().IsRegular() {
		return it.info.Size()
	}
	return 0
}

// each calls do for all items, treeInFlight at a time, and notes what fails. Once the session is gone or ctx has ended it begins no more.
func (c *carrier) each(items []member, do func(member) error) {
	next := make(chan member)
	var workers sync.WaitGroup
	for range min(treeInFlight, len(items)) {
		workers.Go(func() {
			for it := range next {
				if c.isCut() {
					c.untried(1)
				} else if err := do(it); err != nil {
					c.fail(it.rel, err)
				}
			}
		})
	}
	for _, it := range items {
		next <- it
	}
	close(next)
	workers.Wait()
}

// fail notes that an item could not be moved.
func (c *carrier) fail(rel string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.moved.Failed = append(c.moved.Failed, Problem{rel, err})
	var e *Error
	if errors.As(err, &e) && (e.Kind == Broken || e.Kind == Unknown || e.Kind == Stopped) {
		c.cut = true
	}
}

func (c *carrier) isCut() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cut || c.ctx.Err() != nil
}

func (c *carrier) untried(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.moved.Untried += n
}

// gravity orders kinds: what a caller must know first comes first.
var gravity = []Kind{Unknown, Stopped, Broken, Corrupted, Full, Failed, Denied, Local, Refused, NotFound}

// verdict sums up what failed, or returns nil.
func (c *carrier) verdict() error {
	failed := c.moved.Failed
	if len(failed) == 0 && c.moved.Untried == 0 {
		return nil
	}
	for _, k := range gravity {
		for _, p := range failed {
			var e *Error
			if errors.As(p.Err, &e) && e.Kind == k {
				return &Error{Kind: k, Err: fmt.Errorf("%d entries were moved, %d failed, %d were not tried; %w",
					c.moved.Files+c.moved.Links+c.moved.Dirs, len(failed), c.moved.Untried, p)}
			}
		}
	}
	return &Error{Kind: Stopped, Err: fmt.Errorf("%d entries were not tried", c.moved.Untried)}
}

// state is the message beside a report of progress.
func (c *carrier) state(files int) string {
	if !c.tree {
		return ""
	}
	return fmt.Sprintf("%d of %d files", files, c.entries)
}

// walk lists a directory level by level, each level sorted as list gives it. What list cannot read is noted.
func (c *carrier) walk(top member, list func(dir member) ([]member, error)) [][]member {
	levels := [][]member{{top}}
	for {
		dirs := levels[len(levels)-1]
		found := map[string][]member{}
		var mu sync.Mutex
		c.each(onlyDirs(dirs), func(dir member) error {
			items, err := list(dir)
			mu.Lock()
			defer mu.Unlock()
			found[dir.rel] = items
			return err
		})
		var level []member
		for _, dir := range dirs {
			level = append(level, found[dir.rel]...)
		}
		if len(level) == 0 {
			return levels
		}
		levels = append(levels, level)
	}
}

func onlyDirs(items []member) (dirs []member) {
	for _, it := range items {
		if it.info.IsDir() {
			dirs = append(dirs, it)
		}
	}
	return dirs
}

// uploadTree moves the local directory into the remote one.
func (c *carrier) uploadTree(info fs.FileInfo) error {
	c.tree = true
	u := uploader{c}
	return c.moveTree(u, c.walk(member{".", info}, u.list))
}

// uploader makes items on the host.
type uploader struct{ *carrier }

func (u uploader) list(dir member) ([]member, error) {
	l := u.Local.in(filepath.FromSlash(dir.rel))
	names, err := l.list()
	if err != nil {
		return nil, &Error{Kind: Local, Path: l.Full, Err: err}
	}
	items := make([]member, 0, len(names))
	for _, name := range names {
		rel := path.Join(dir.rel, name)
		if err := u.Bounds.denied(path.Join(u.Remote, rel)); err != nil {
			u.fail(rel, err)
			continue
		}
		info, err := l.in(name).lstat()
		if err != nil {
			u.fail(rel, &Error{Kind: Local, Path: l.in(name).Full, Err: err})
			continue
		}
		items = append(items, member{rel, info})
	}
	return items, nil
}

func (u uploader) mkdir(it member) error {
	name := path.Join(u.Remote, it.rel)
	err := u.s.Mkdir(name)
	if errors.Is(err, fs.ErrNotExist) && it.rel == "." && u.CreateDirs {
		if err = u.s.MkdirAll(path.Dir(name)); err == nil {
			err = u.s.Mkdir(name)
		}
	}
	if err == nil {
		u.made()
		err = u.s.Chmod(name, it.info.Mode().Perm()|dirAccess)
	} else if isDir(u.s, name) {
		if err = u.Bounds.inside(u.s, name); err == nil {
			return nil
		}
	}
	if err != nil {
		return u.storeError(name, err, 0)
	}
	return nil
}

func (u uploader) chmod(it member) error {
	name := path.Join(u.Remote, it.rel)
	if err := u.s.Chmod(name, it.info.Mode().Perm()); err != nil {
		return sftpError(u.ctx, name, err)
	}
	return nil
}

func (u uploader) file(it member) error {
	m := u.mover(it)
	if u.Resume {
		if done, err := u.has(m, it); done || err != nil {
			return err
		}
	}
	return m.upload()
}

func (u uploader) link(it member) error {
	l := u.Local.in(filepath.FromSlash(it.rel))
	target, err := l.root.Readlink(l.name)
	if err != nil {
		return &Error{Kind: Local, Path: l.Full, Err: err}
	}
	name := path.Join(u.Remote, it.rel)
	if err := u.Bounds.link(u.s, name, filepath.ToSlash(target)); err != nil {
		return sftpError(u.ctx, name, err)
	}
	tmp := temporary(path.Dir(name), path.Base(name))
	u.remember(tmp)
	if err = u.s.Symlink(filepath.ToSlash(target), tmp); err == nil {
		err = rename(u.s, tmp, name)
	}
	if err != nil {
		err = u.storeError(name, err, 0)
		u.discard(tmp)
		return err
	}
	u.forget(tmp)
	u.linked()
	return nil
}

func (c *carrier) made() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.moved.Dirs++
}

func (c *carrier) linked() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.moved.Links++
}

func (c *carrier) mover(it member) *mover {
	return &mover{
		carrier: c, local: c.Local.in(filepath.FromSlash(it.rel)), remote: path.Join(c.Remote, it.rel), sum: sha256.New(),
	}
}

// downloadTree moves the remote directory into the local one.
func (c *carrier) downloadTree(info fs.FileInfo) error {
	c.tree = true
	d := downloader{c}
	levels := c.walk(member{".", info}, d.list)
	if _, err := c.s.Lstat(c.Remote); err != nil { // pkg/sftp ends a list early when the session breaks, and says nothing
		c.fail(".", sftpError(c.ctx, c.Remote, err))
		return c.verdict()
	}
	return c.moveTree(d, levels)
}

// downloader makes items on this machine.
type downloader struct{ *carrier }

func (d downloader) list(dir member) ([]member, error) {
	name := path.Join(d.Remote, dir.rel)
	infos, err := d.s.ReadDirContext(d.ctx, name)
	if err != nil {
		return nil, sftpError(d.ctx, name, err)
	}
	items := make([]member, 0, len(infos))
	for _, info := range infos {
		n := info.Name()
		if !filepath.IsLocal(n) || filepath.Base(n) != n || strings.ContainsRune(n, 0) || n == "." {
			d.fail(path.Join(dir.rel, n), &Error{Kind: Refused, Err: fmt.Errorf("%q is no name that a file here can have", n)})
			continue
		}
		if err := d.Bounds.denied(path.Join(name, n)); err != nil {
			d.fail(path.Join(dir.rel, n), err)
			continue
		}
		items = append(items, member{path.Join(dir.rel, n), info})
	}
	return items, nil
}

func (d downloader) mkdir(it member) error {
	l := d.Local.in(filepath.FromSlash(it.rel))
	perm := it.info.Mode().Perm() | dirAccess
	err := l.root.Mkdir(l.name, perm)
	if errors.Is(err, fs.ErrNotExist) && it.rel == "." && d.CreateDirs {
		if err = l.root.MkdirAll(filepath.Dir(l.name), 0o755); err == nil {
			err = l.root.Mkdir(l.name, perm)
		}
	}
	if err == nil {
		d.made()
		err = l.root.Chmod(l.name, perm)
	} else if info, e := l.stat(); e == nil && info.IsDir() {
		return nil
	}
	if err != nil {
		return localError(l.Full, err)
	}
	return nil
}

func (d downloader) chmod(it member) error {
	l := d.Local.in(filepath.FromSlash(it.rel))
	if err := l.root.Chmod(l.name, it.info.Mode().Perm()); err != nil {
		return &Error{Kind: Local, Path: l.Full, Err: err}
	}
	return nil
}

func (d downloader) file(it member) error {
	m := d.mover(it)
	if d.Resume {
		if done, err := d.has(m, it); done || err != nil {
			return err
		}
	}
	return m.download(it.info)
}

func (d downloader) link(it member) error {
	name := path.Join(d.Remote, it.rel)
	target, err := d.s.ReadLink(name)
	if err != nil {
		return sftpError(d.ctx, name, err)
	}
	l := d.Local.in(filepath.FromSlash(it.rel))
	tmp := filepath.FromSlash(temporary(filepath.ToSlash(filepath.Dir(l.name)), filepath.Base(l.name)))
	err = l.root.Symlink(target, tmp)
	if err == nil {
		if err = l.root.Rename(tmp, l.name); err != nil {
			_ = l.root.Remove(tmp)
		}
	}
	if err != nil {
		return localError(l.Full, err)
	}
	d.linked()
	return nil
}
