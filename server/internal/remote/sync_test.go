package remote

import (
	"cmp"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
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

// syncFixture is a host and a directory on each side, neither of which is there yet.
type syncFixture struct {
	*fixture
	engine    string
	near, far site
	remote    string // far, as the host is told
}

// syncEngines are those that the suite runs over.
var syncEngines = []struct {
	name  string
	start func(t testing.TB, opts fakessh.Options) *syncFixture
}{
	{EngineSFTP, startSFTPSync},
}

func startSFTPSync(t testing.TB, opts fakessh.Options) *syncFixture {
	f := start(t, opts)
	return &syncFixture{f, EngineSFTP, osSite{filepath.Join(f.dir, "near")}, memSite{f.host.FS(), "far"}, "/far"}
}

// overEngines runs a test of the suite.
func overEngines(t *testing.T, opts fakessh.Options, test func(t *testing.T, f *syncFixture)) {
	for _, e := range syncEngines {
		t.Run(e.name, func(t *testing.T) { test(t, e.start(t, opts)) })
	}
}

// bothWays runs a test in both directions, each with a fixture of its own.
func bothWays(t *testing.T, opts func() fakessh.Options, test func(t *testing.T, f *syncFixture, way Direction)) {
	for _, e := range syncEngines {
		for _, way := range []Direction{Upload, Download} {
			t.Run(e.name+"/"+string(way), func(t *testing.T) { test(t, e.start(t, opts()), way) })
		}
	}
}

func noFaults() fakessh.Options { return fakessh.Options{} }

// ends returns the source and the destination.
func (f *syncFixture) ends(way Direction) (src, dst site) {
	if way == Upload {
		return f.near, f.far
	}
	return f.far, f.near
}

// open begins a sync. A zero s but for its options is filled in.
func (f *syncFixture) open(t testing.TB, s Sync) *Syncer {
	t.Helper()
	var err error
	if s.Local, err = OpenLocal([]string{f.dir}, filepath.Join(f.dir, "near")); err != nil {
		t.Fatal(err)
	}
	s.Remote = f.remote
	y, err := OpenSync(t.Context(), f.pool, f.target, s, f.engine)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.end(y); s.Local.Close() })
	return y
}

// end closes y, once.
func (f *syncFixture) end(y *Syncer) {
	if y.engine != nil {
		y.Close()
		y.engine = nil
	}
}

// run plans and applies, and checks that both agree.
func (f *syncFixture) run(t testing.TB, s Sync) SyncStats {
	t.Helper()
	y := f.open(t, s)
	defer f.end(y)
	plan, err := y.Plan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	stats, err := y.Apply(t.Context(), plan)
	if err != nil {
		t.Fatal(err)
	}
	if len(stats.Problems) == 0 && !slices.Equal(stats.Changes, plan.Changes) {
		t.Errorf("planned %v\ndid %v", plan.Changes, stats.Changes)
	}
	return stats
}

var faithful = Sync{Permissions: true, Times: true}

func with(s Sync, change func(*Sync)) Sync { change(&s); return s }

func toward(way Direction) Sync {
	return with(faithful, func(s *Sync) { s.Direction = way })
}

// odd is a tree with everything that names and contents can be.
func odd() files {
	big := string(random(300_000))
	return files{
		".": dir(), "empty": file(""), "empty dir": dir(), "sub": {fs.ModeDir | 0o700, "", epoch - 5, false}, "sub/deep": dir(),
		"sub/deep/er": {fs.ModeDir | 0o555, "", epoch, false}, "sub/deep/er/file": {0o400, "read only", epoch + 7, false},
		"sp ace": file("1"), "new\nline": file("2"), `quo"te's`: file("3"), "-dash": file("4"), "--delete": file("5"), "ünï/": {},
		"$HOME `id`": file("6"), "back\\slash": file("7"), "*": file("8"), "a;b|c&d": file("9"), "tab\there": file("10"),
		"big": file(big), "exec": {0o755, "#!/bin/sh", epoch, false}, "32k": file(big[:32<<10]), "32k+1": file(big[:32<<10+1]),
		"link": link("sub/deep"), "dangling": link("no/where"), "outside": link("/etc/passwd"), "-link": link("-dash"),
		strings.Repeat("n", 250): file("long"), strings.Repeat("é", 127): file("long"), "old": {0o600, "x", 1, false},
	}
}

func oddTree() files {
	tree := odd()
	delete(tree, "ünï/")
	tree["ünï"] = dir()
	tree["ünï/ß 文"] = file("11")
	return tree
}

func TestSyncCopiesEverything(t *testing.T) {
	bothWays(t, noFaults, func(t *testing.T, f *syncFixture, way Direction) {
		src, dst := f.ends(way)
		tree := oddTree()
		put(t, src, tree)
		stats := f.run(t, toward(way))
		same(t, read(t, dst), tree)
		var n int
		var size int64
		for _, e := range tree {
			if e.mode.IsRegular() {
				n++
				size += int64(len(e.data))
			}
		}
		if stats.FilesTransferred != n || stats.BytesTransferred != size || len(stats.Changes) != len(tree) || len(stats.Problems) != 0 {
			t.Errorf("%d files, %d bytes, %d changes, %v", stats.FilesTransferred, stats.BytesTransferred, len(stats.Changes), stats.Problems)
		}
		if again := f.run(t, toward(way)); len(again.Changes) != 0 {
			t.Errorf("the second time: %v", again.Changes)
		}
	})
}

func TestSyncFollowsChanges(t *testing.T) {
	bothWays(t, noFaults, func(t *testing.T, f *syncFixture, way Direction) {
		src, dst := f.ends(way)
		put(t, src, oddTree())
		f.run(t, toward(way))
		changed := files{
			"sp ace": {0o644, "one", epoch, false}, "exec": {0o700, "#!/bin/sh", epoch, false}, "new": file("new"), "-link": link("exec"),
			"sub": {fs.ModeDir | 0o750, "", epoch + 9, false}, "empty": file("link"), "link": link("."),
		}
		for _, gone := range []string{"big", "empty dir", "sub/deep", "-link", "link", "sp ace"} {
			if err := src.remove(gone); err != nil {
				t.Fatal(err)
			}
		}
		put(t, src, changed)
		put(t, src, files{".": dir()})
		before := read(t, dst)
		stats := f.run(t, toward(way))
		want := read(t, src)
		for name, n := range before { // extras stay
			if _, ok := want[name]; !ok {
				want[name] = n
			}
		}
		same(t, read(t, dst), want)
		wantChanges := []Change{
			{"-link", ActionSymlink, 0}, {"empty", ActionUpdate, 4}, {"exec", ActionAttributes, 0}, {"link", ActionSymlink, 0},
			{"new", ActionCreate, 3}, {"sp ace", ActionUpdate, 3}, {"sub", ActionAttributes, 0},
		}
		if !slices.Equal(stats.Changes, wantChanges) {
			t.Errorf("%v, want %v", stats.Changes, wantChanges)
		}
		stats = f.run(t, with(toward(way), func(s *Sync) { s.Delete = true }))
		same(t, read(t, dst), read(t, src))
		if stats.Deleted != 5 || len(stats.Changes) != 5 { // big, empty dir, sub/deep/er/file, sub/deep/er, sub/deep
			t.Errorf("%+v", stats)
		}
	})
}

func TestSyncPlanChangesNothing(t *testing.T) {
	bothWays(t, noFaults, func(t *testing.T, f *syncFixture, way Direction) {
		src, dst := f.ends(way)
		put(t, src, oddTree())
		put(t, dst, files{".": dir(), "extra": file("x"), "sp ace": file("other")})
		before := read(t, dst)
		y := f.open(t, with(toward(way), func(s *Sync) { s.Delete = true }))
		plan, err := y.Plan(t.Context())
		if err != nil || !slices.Equal(plan.Deletions(), []string{"extra"}) || plan.Bytes() == 0 {
			t.Errorf("%+v, %v", plan, err)
		}
		same(t, read(t, dst), before)
	})
}

func TestSyncOptions(t *testing.T) {
	old, young := epoch-100, epoch
	for _, tc := range []struct {
		name     string
		src, dst node
		change   func(*Sync)
		want     node
		action   string
	}{
		{"same", file("a"), file("a"), func(*Sync) {}, file("a"), ""},
		{"size and time are believed", file("a"), file("b"), func(*Sync) {}, file("b"), ""},
		{"content is compared", file("a"), file("b"), func(s *Sync) { s.Content = true }, file("a"), ActionUpdate},
		{"content is the same", node{0o644, "a", int64(young), false}, node{0o644, "a", int64(old), false},
			func(s *Sync) { s.Content = true }, node{0o644, "a", int64(young), false}, ActionAttributes},
		{"content decides alone", node{0o600, "a", int64(young), false}, node{0o644, "a", int64(old), false},
			func(s *Sync) { s.Content, s.Times, s.Permissions = true, false, false }, node{0o644, "a", int64(old), false}, ""},
		{"another time", file("a"), node{0o644, "b", int64(old), false}, func(*Sync) {}, file("a"), ActionUpdate},
		{"times left alone", file("a"), node{0o644, "b", int64(old), false}, func(s *Sync) { s.Times = false }, node{0o644, "a", 0, true}, ActionUpdate},
		{"mode", node{0o4751, "a", epoch, false}, file("a"), func(*Sync) {}, node{fs.ModeSetuid | 0o751, "a", epoch, false}, ActionAttributes},
		{"modes left alone", node{0o600, "aa", epoch, false}, node{0o640, "a", epoch, false}, func(s *Sync) { s.Permissions = false },
			node{0o640, "aa", epoch, false}, ActionUpdate},
	} {
		if tc.src.mode&0o4000 != 0 {
			tc.src.mode = fs.ModeSetuid | tc.src.mode.Perm()
		}
		t.Run(tc.name, func(t *testing.T) {
			bothWays(t, noFaults, func(t *testing.T, f *syncFixture, way Direction) {
				src, dst := f.ends(way)
				put(t, src, files{".": dir(), "f": tc.src})
				put(t, dst, files{".": dir(), "f": tc.dst})
				stats := f.run(t, with(toward(way), tc.change))
				same(t, files{"f": read(t, dst)["f"]}, files{"f": tc.want})
				var action string
				if len(stats.Changes) > 0 {
					action = stats.Changes[0].Action
				}
				if action != tc.action || len(stats.Changes) > 1 {
					t.Errorf("%v, want %q", stats.Changes, tc.action)
				}
			})
		})
	}
}

func TestSyncNewFilesGetTheUmask(t *testing.T) {
	bothWays(t, noFaults, func(t *testing.T, f *syncFixture, way Direction) {
		src, dst := f.ends(way)
		put(t, src, files{
			".": dir(), "open": {0o666, "", epoch, false}, "exec": {0o777, "", epoch, false}, "secret": {0o600, "", epoch, false},
			"dir": {fs.ModeDir | 0o777, "", epoch, false}, "closed": {fs.ModeDir | 0o700, "", epoch, false},
		})
		f.run(t, with(toward(way), func(s *Sync) { s.Permissions = false }))
		same(t, read(t, dst), files{
			".": dir(), "open": {0o644, "", epoch, false}, "exec": {0o755, "", epoch, false}, "secret": {0o600, "", epoch, false},
			"dir": dir(), "closed": {fs.ModeDir | 0o700, "", epoch, false},
		})
	})
}

func TestSyncReplacesKinds(t *testing.T) {
	src0 := files{".": dir(), "f": file("f"), "d": dir(), "d/x": file("x"), "l": link("f")}
	for name, tc := range map[string]struct {
		dst      files
		remove   bool
		problems []string
		left     []string // as before
	}{
		"files and links for directories": {files{".": dir(), "d": file("was")}, false, nil, nil},
		"a link for a directory":          {files{".": dir(), "d": link("/etc")}, false, nil, nil},
		"empty directories":               {files{".": dir(), "f": dir(), "l": dir()}, false, nil, nil},
		"links for files":                 {files{".": dir(), "f": link("d"), "l": file("l")}, false, nil, nil},
		"full directories stay":           {files{".": dir(), "f": dir(), "f/y": file("y"), "l": dir(), "l/.z": file("")}, false, []string{"f", "l"}, []string{"f", "f/y", "l", "l/.z"}},
		"full directories go":             {files{".": dir(), "f": dir(), "f/y": file("y"), "l": dir(), "l/s": dir(), "l/s/z": file("")}, true, nil, nil},
		"directories with excluded files": {files{".": dir(), "f": dir(), "f/s": dir(), "f/s/keep": file("y")}, true, []string{"f"}, []string{"f", "f/s", "f/s/keep"}},
	} {
		t.Run(name, func(t *testing.T) {
			bothWays(t, noFaults, func(t *testing.T, f *syncFixture, way Direction) {
				src, dst := f.ends(way)
				put(t, src, src0)
				put(t, dst, tc.dst)
				y := f.open(t, with(toward(way), func(s *Sync) { s.Delete = tc.remove; s.Exclude = []string{"keep"} }))
				plan, err := y.Plan(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				stats, err := y.Apply(t.Context(), plan)
				if err != nil {
					t.Fatal(err)
				}
				want := maps.Clone(src0)
				for _, name := range tc.left {
					want[name] = tc.dst[name]
				}
				same(t, read(t, dst), want)
				var problems []string
				for _, p := range stats.Problems {
					problems = append(problems, p.Path)
				}
				if !slices.Equal(problems, tc.problems) {
					t.Errorf("problems with %v, want %v", stats.Problems, tc.problems)
				}
			})
		})
	}
}

// TestSyncRandomTrees compares with an oracle that works on the two listings.
func TestSyncRandomTrees(t *testing.T) {
	bothWays(t, noFaults, func(t *testing.T, f *syncFixture, way Direction) {
		src, dst := f.ends(way)
		for seed := range uint64(25) {
			rnd := rand.New(rand.NewPCG(seed, 7))
			a, b := randomTree(rnd), randomTree(rnd)
			s := randomSync(rnd, toward(way))
			for _, side := range []site{src, dst} {
				if err := side.remove("."); err != nil {
					t.Fatal(err)
				}
			}
			put(t, src, a)
			put(t, dst, b)
			f.run(t, s)
			same(t, read(t, dst), expected(t, a, b, s))
			if t.Failed() {
				t.Fatalf("seed %d, %+v\nsource %v\ndestination %v", seed, s, a, b)
			}
		}
	})
}

func randomSync(rnd *rand.Rand, s Sync) Sync {
	s.Delete, s.Content, s.Permissions, s.Times = rnd.IntN(2) == 0, rnd.IntN(2) == 0, rnd.IntN(3) > 0, rnd.IntN(3) > 0
	s.Exclude = [][]string{nil, {"b"}, {"a/"}, {"/a/*", "c*"}}[rnd.IntN(4)]
	s.Include = [][]string{nil, {"/b"}, {"a/**/b"}}[rnd.IntN(3)]
	return s
}

func randomTree(rnd *rand.Rand) files {
	tree := files{".": dir()}
	var fill func(prefix string, depth int)
	fill = func(prefix string, depth int) {
		for _, name := range []string{"a", "b", "c", "c d", "é"} {
			at := prefix + name
			mtime := epoch + int64(rnd.IntN(2))
			switch rnd.IntN(6) {
			case 0, 1:
				tree[at] = node{fs.FileMode(0o600 | rnd.IntN(0o200)), strings.Repeat("xyz"[rnd.IntN(3):][:1], rnd.IntN(3)), mtime, false}
			case 2:
				tree[at] = link([]string{"a", "../b"}[rnd.IntN(2)])
			case 3, 4:
				if depth < 3 {
					tree[at] = node{fs.ModeDir | fs.FileMode(0o700|rnd.IntN(0o100)), "", mtime, false}
					fill(at+"/", depth+1)
				}
			}
		}
	}
	fill("", 0)
	return tree
}

// expected says what dst must be after the sync.
func expected(t *testing.T, src, dst files, s Sync) files {
	f, err := newFilter(s.Include, s.Exclude)
	if err != nil {
		t.Fatal(err)
	}
	// hidden asks about what is above name, too; at the destination not from a directory on that must make way.
	hidden := func(tree files, name string, makesWay func(string) bool) bool {
		for at := name; at != "." && !makesWay(at); at = path.Dir(at) {
			if f.excludes(at, tree[at].mode.IsDir()) {
				return true
			}
		}
		return false
	}
	never := func(string) bool { return false }
	makesWay := func(name string) bool {
		n, ok := src[name]
		return ok && !hidden(src, name, never) && dst[name].mode.IsDir() && !n.mode.IsDir()
	}
	want := maps.Clone(dst)
	names := slices.Sorted(maps.Keys(dst))
	slices.Reverse(names)
	for _, name := range names { // deletions, children first
		_, ok := src[name]
		gone := s.Delete && (!ok || hidden(src, name, never)) && !hidden(dst, name, makesWay)
		if (gone || makesWay(name)) && !holds(want, name) {
			delete(want, name)
		} else if n := want[name]; n.mode.IsDir() { // something in it may go
			n.ignore = true
			want[name] = n
		}
	}
	for _, name := range slices.Sorted(maps.Keys(src)) {
		n := src[name]
		there, ok := want[name]
		inTheWay := ok && there.mode.IsDir() && !n.mode.IsDir()
		up, above := want[path.Dir(name)]
		if hidden(src, name, never) || inTheWay || name != "." && (!above || !up.mode.IsDir()) {
			continue
		}
		want[name] = merged(n, there, ok && there.mode.Type() == n.mode.Type(), s)
	}
	return want
}

func holds(tree files, dir string) bool {
	for name := range tree {
		if strings.HasPrefix(name, dir+"/") {
			return true
		}
	}
	return false
}

// merged is what becomes of one path.
func merged(n, there node, existed bool, s Sync) node {
	out := n
	if n.mode&fs.ModeSymlink != 0 {
		return out
	}
	switch {
	case s.Permissions:
	case existed:
		out.mode = there.mode
	default:
		out.mode &^= 0o022
	}
	out.ignore = !s.Times
	equal := existed && n.mode.IsRegular() && len(n.data) == len(there.data) && (s.Content && n.data == there.data || !s.Content && n.mtime == there.mtime)
	if equal {
		out.data = there.data
	}
	return out
}

func TestSyncRefusals(t *testing.T) {
	overEngines(t, fakessh.Options{}, func(t *testing.T, f *syncFixture) {
		put(t, f.near, files{".": dir(), "f": file("x")})
		put(t, f.far, files{".": dir(), "f": file("x")})
		for _, tc := range []struct {
			name, local, remote string
			way                 Direction
			kind                Kind
		}{
			{"local source is a file", "near/f", f.remote, Upload, Refused},
			{"remote source is a file", "near", f.remote + "/f", Download, Refused},
			{"local source is missing", "none", f.remote, Upload, Local},
			{"remote source is missing", "near", f.remote + "/none", Download, NotFound},
			{"local destination is a file", "near/f", f.remote, Download, Refused},
			{"remote destination is a file", "near", f.remote + "/f", Upload, Refused},
		} {
			l, err := OpenLocal([]string{f.dir}, filepath.Join(f.dir, tc.local))
			if err != nil {
				t.Fatal(err)
			}
			y, err := OpenSync(t.Context(), f.pool, f.target, Sync{Direction: tc.way, Local: l, Remote: tc.remote}, f.engine)
			if err == nil {
				_, err = y.Plan(t.Context())
				y.Close()
			}
			l.Close()
			t.Log(err)
			wantKind(t, err, tc.kind)
		}
	})
}

func TestSyncMakesParents(t *testing.T) {
	bothWays(t, noFaults, func(t *testing.T, f *syncFixture, way Direction) {
		tree := files{".": dir(), "f": file("x")}
		src, dst := f.ends(way)
		put(t, src, tree)
		local, remote := filepath.Join(f.dir, "near"), f.remote
		if way == Upload {
			remote += "/new/dest///"
			put(t, dst, files{".": dir()})
		} else {
			local += "/new/dest/"
		}
		l, err := OpenLocal([]string{f.dir}, local)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		y, err := OpenSync(t.Context(), f.pool, f.target, with(toward(way), func(s *Sync) { s.Local, s.Remote = l, remote }), f.engine)
		if err != nil {
			t.Fatal(err)
		}
		defer y.Close()
		if _, err := y.Apply(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		if got := read(t, dst)["new/dest/f"]; got != tree["f"] {
			t.Errorf("%+v", got)
		}
	})
}

func TestSyncProgressAndBandwidth(t *testing.T) {
	bothWays(t, noFaults, func(t *testing.T, f *syncFixture, way Direction) {
		src, dst := f.ends(way)
		tree := files{".": dir(), "big": file(string(random(500_000))), "small": file("xyz")}
		put(t, src, tree)
		last, total := make(chan int64, 1000), make(chan int64, 1000)
		f.run(t, with(toward(way), func(s *Sync) {
			s.BandwidthKBps = 100 << 10
			s.Progress = func(done, all int64) { last <- done; total <- all }
		}))
		same(t, read(t, dst), tree)
		close(last)
		close(total)
		var highest int64
		for n := range last {
			highest = max(highest, n)
		}
		for n := range total {
			if n != 500_003 {
				t.Errorf("total %d", n)
			}
		}
		if highest != 500_003 {
			t.Errorf("%d bytes were reported", highest)
		}
	})
}
