package remote

import (
	"cmp"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh/memfs"
)

// node is one file, directory or link of a tree, and tree a whole one by path. The directory itself is ".".
type node struct {
	mode   fs.FileMode
	data   string // content, or target of a link
	mtime  int64  // Unix seconds
	ignore bool   // in an expectation: mtime is anybody's guess
}

type files map[string]node

const epoch = 1_700_000_000

func file(data string) node { return node{0o644, data, epoch, false} }
func dir() node             { return node{fs.ModeDir | 0o755, "", epoch, false} }
func link(to string) node   { return node{fs.ModeSymlink, to, 0, false} }

// site is a directory of a test that can be filled and read. The engines' suites bring their own remote ones.
type site interface {
	fs() fs.ReadLinkFS // of which base is the directory
	base() string
	mkdir(name string) error
	write(name, data string) error
	symlink(target, name string) error
	chmod(name string, mode fs.FileMode) error
	chtimes(name string, t time.Time) error
	remove(name string) error
}

// put makes the tree.
func put(t testing.TB, s site, tree files) {
	t.Helper()
	names := slices.SortedFunc(maps.Keys(tree), func(a, b string) int { return cmp.Or(cmp.Compare(depth(a), depth(b)), cmp.Compare(a, b)) })
	for _, name := range names {
		n := tree[name]
		var err error
		switch {
		case n.mode.IsDir():
			err = s.mkdir(name)
		case n.mode&fs.ModeSymlink != 0:
			err = s.symlink(n.data, name)
		default:
			err = s.write(name, n.data)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	slices.Reverse(names)
	for _, name := range names {
		if n := tree[name]; n.mode&fs.ModeSymlink == 0 {
			if err := s.chtimes(name, time.Unix(n.mtime, 0)); err != nil {
				t.Fatal(err)
			}
			if err := s.chmod(name, n.mode&modeBits); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// read returns what is there, or nil when nothing is.
func read(t testing.TB, s site) files {
	t.Helper()
	tree := files{}
	fsys := s.fs()
	if _, err := fsys.Lstat(s.base()); err != nil {
		return nil
	}
	err := fs.WalkDir(fsys, s.base(), func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		n := node{mode: info.Mode(), mtime: info.ModTime().Unix()}
		switch {
		case info.Mode().IsRegular():
			var b []byte
			b, err = fs.ReadFile(fsys, p)
			n.data = string(b)
		case info.Mode()&fs.ModeSymlink != 0:
			n.mode, n.mtime = fs.ModeSymlink, 0
			n.data, err = fsys.ReadLink(p)
		}
		name := strings.TrimPrefix(p, s.base()+"/")
		if p == s.base() {
			name = "."
		}
		tree[name] = n
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func same(t testing.TB, got, want files) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(want)) {
		w := want[name]
		g, ok := got[name]
		if w.ignore {
			g.mtime, w.mtime, w.ignore = 0, 0, false
		}
		switch {
		case !ok:
			t.Errorf("%q is missing", name)
		case g != w:
			t.Errorf("%q is %v %d %.30q, want %v %d %.30q", name, g.mode, g.mtime, g.data, w.mode, w.mtime, w.data)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[name]; !ok {
			t.Errorf("%q is there and should not be", name)
		}
	}
}

// osSite is a directory of this machine.
type osSite struct{ dir string }

func (s osSite) fs() fs.ReadLinkFS              { return os.DirFS(filepath.Dir(s.dir)).(fs.ReadLinkFS) }
func (s osSite) base() string                   { return filepath.Base(s.dir) }
func (s osSite) mkdir(name string) error        { return os.MkdirAll(filepath.Join(s.dir, name), 0o755) }
func (s osSite) symlink(target, n string) error { return os.Symlink(target, filepath.Join(s.dir, n)) }
func (s osSite) chmod(n string, m fs.FileMode) error {
	return os.Chmod(filepath.Join(s.dir, n), m)
}
func (s osSite) write(name, data string) error {
	return os.WriteFile(filepath.Join(s.dir, name), []byte(data), 0o644)
}
func (s osSite) chtimes(name string, t time.Time) error {
	return os.Chtimes(filepath.Join(s.dir, name), t, t)
}
func (s osSite) remove(name string) error { return os.RemoveAll(filepath.Join(s.dir, name)) }

// memSite is a directory of the fake host.
type memSite struct {
	mem *memfs.FS
	dir string
}

func (s memSite) fs() fs.ReadLinkFS                   { return s.mem }
func (s memSite) base() string                        { return s.dir }
func (s memSite) mkdir(name string) error             { return s.mem.MkdirAll(path.Join(s.dir, name), 0o755) }
func (s memSite) symlink(target, n string) error      { return s.mem.Symlink(target, path.Join(s.dir, n)) }
func (s memSite) chmod(n string, m fs.FileMode) error { return s.mem.Chmod(path.Join(s.dir, n), m) }
func (s memSite) write(name, data string) error {
	return s.mem.WriteFile(path.Join(s.dir, name), []byte(data), 0o644)
}
func (s memSite) chtimes(name string, t time.Time) error {
	return s.mem.Chtimes(path.Join(s.dir, name), t)
}
func (s memSite) remove(name string) error { return s.mem.RemoveAll(path.Join(s.dir, name)) }
