package remote

import (
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
)

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
