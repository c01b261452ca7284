package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
	"github.com/openaccess-mcp/openaccess-mcp/fakessh/memfs"
)

// oddNames are names that a shell, a list or an option parser would trip over.
var oddNames = []string{
	"plain", "two words", " leading and trailing ", "it's", `"double"`, "-rf", "--delete", "naïve-文件-🙂", "line\nbreak", "tab\tand\\backslash",
	"*", "$(id)", ";true", "...", ".hidden", "a:b", "%s", "\xff\xfe latin",
}

// grow makes a random tree below dir and returns how many files, bytes and links it holds.
func grow(t *testing.T, r *rand.Rand, dir string) (files int, size int64, links int) {
	t.Helper()
	dirs := []string{dir}
	for i := range 60 {
		under := dirs[r.IntN(len(dirs))]
		name := filepath.Join(under, fmt.Sprintf("%s%d", oddNames[r.IntN(len(oddNames))], i))
		if i < len(oddNames) {
			name = filepath.Join(under, oddNames[i])
		}
		switch r.IntN(6) {
		case 0, 1:
			must(t, os.Mkdir(name, 0o755))
			dirs = append(dirs, name)
		case 2:
			must(t, os.Symlink([]string{"plain", "../" + oddNames[1], "/nowhere/at all", "."}[r.IntN(4)], name))
			links++
		default:
			data := random([]int{0, 1, 100, pieceSize, pieceSize + 1, 5 * pieceSize}[r.IntN(6)] + r.IntN(2))
			must(t, os.WriteFile(name, data, 0o600))
			must(t, os.Chmod(name, []fs.FileMode{0o644, 0o600, 0o755, 0o400, 0o444}[r.IntN(5)]))
			files, size = files+1, size+int64(len(data))
		}
	}
	for _, d := range slices.Backward(dirs) {
		must(t, os.Chmod(d, []fs.FileMode{0o755, 0o700, 0o711, 0o555, 0o500}[r.IntN(5)]))
	}
	t.Cleanup(func() {
		for _, d := range dirs {
			_ = os.Chmod(d, 0o700) // or it cannot be removed
		}
	})
	return files, size, links
}

// leaf is what a snapshot says of a path.
type leaf struct {
	mode fs.FileMode
	text string // content or the target of a link
}

func snapshot(t *testing.T, tree fs.FS) map[string]leaf {
	t.Helper()
	leaves := map[string]leaf{}
	var walk func(dir string)
	walk = func(dir string) {
		entries, err := fs.ReadDir(tree, dir)
		must(t, err)
		for _, e := range entries {
			name := path.Join(dir, e.Name())
			info, err := fs.Lstat(tree, name)
			must(t, err)
			l := leaf{mode: info.Mode()}
			switch {
			case info.IsDir():
				walk(name)
			case info.Mode().IsRegular():
				b, err := fs.ReadFile(tree, name)
				must(t, err)
				l.text = string(b)
			default:
				l.mode = info.Mode().Type() // the permissions of links are nobody's business
				l.text, err = fs.ReadLink(tree, name)
				must(t, err)
			}
			leaves[name] = l
		}
	}
	walk(".")
	return leaves
}

// localSnapshot is snapshot for a folder of this machine, whose names io/fs does not all take.
func localSnapshot(t *testing.T, dir string) map[string]leaf {
	t.Helper()
	leaves := map[string]leaf{}
	must(t, filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		must(t, err)
		if name == dir {
			return nil
		}
		info, err := d.Info()
		must(t, err)
		l := leaf{mode: info.Mode()}
		switch {
		case info.Mode().IsRegular():
			b, err := os.ReadFile(name)
			must(t, err)
			l.text = string(b)
		case !info.IsDir():
			l.mode = info.Mode().Type()
			l.text, err = os.Readlink(name)
			must(t, err)
		}
		rel, _ := filepath.Rel(dir, name)
		leaves[filepath.ToSlash(rel)] = l
		return nil
	}))
	return leaves
}

func sameTree(t *testing.T, got, want map[string]leaf) {
	t.Helper()
	for name, w := range want {
		if g, ok := got[name]; !ok || g != w {
			t.Errorf("%q is %v with %d bytes, want %v with %d bytes", name, g.mode, len(g.text), w.mode, len(w.text))
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("%q should not be there", name)
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestTreeRoundTrip(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			f := start(t, fakessh.Options{})
			r := rand.New(rand.NewPCG(seed, 1))
			src := filepath.Join(f.dir, "src")
			must(t, os.Mkdir(src, 0o755))
			files, size, links := grow(t, r, src)
			up, err := f.transfer(t.Context(), File{
				Direction: Upload, Local: f.local(t, "src"), Remote: "/new/tree", Recursive: true, CreateDirs: true, Verify: seed == 1, Resume: seed == 2,
			})
			if err != nil || up.Files != files || up.Bytes != size || up.Links != links || len(up.Failed)+up.Untried != 0 {
				t.Fatalf("want %d files, %d bytes, %d links: %+v, %v", files, size, links, up, err)
			}
			down, err := f.transfer(t.Context(), File{
				Direction: Download, Local: f.local(t, "new/back"), Remote: "/new/tree/", Recursive: true, CreateDirs: true, Verify: seed == 1, Resume: seed == 2,
			})
			back := filepath.Join(f.dir, "new/back")
			t.Cleanup(func() { allowRemoval(back) })
			if err != nil || down.Files != files || down.Bytes != size || down.Links != links || down.Dirs != up.Dirs {
				t.Fatalf("%+v, %v", down, err)
			}
			want := localSnapshot(t, src)
			sameTree(t, localSnapshot(t, back), want)
			for name := range want {
				if _, err := f.host.FS().Lstat("new/tree/" + name); err != nil && utf8.ValidString(name) {
					t.Errorf("not on the host: %q, %v", name, err)
				}
			}
			f.noLeftovers(t)
		})
	}
}

// allowRemoval opens the directories below dir to the test's clean-up.
func allowRemoval(dir string) {
	_ = filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			_ = os.Chmod(name, 0o700)
		}
		return nil
	})
}

func TestTreeIntoAnExistingOne(t *testing.T) {
	f := start(t, fakessh.Options{})
	f.write(t, "src/a", []byte("new a"), 0o644)
	f.write(t, "src/sub/b", []byte("new b"), 0o644)
	must(t, f.host.FS().MkdirAll("/dst/sub", 0o700))
	must(t, errors.Join(f.host.FS().WriteFile("dst/a", []byte("old"), 0o600), f.host.FS().WriteFile("dst/sub/kept", []byte("kept"), 0o600)))
	mode := fs.FileMode(0o640)
	m, err := f.transfer(t.Context(), File{Direction: Upload, Local: f.local(t, "src"), Remote: "/dst", Recursive: true, Mode: &mode})
	if err != nil || m.Files != 2 || m.Dirs != 0 {
		t.Fatalf("%+v, %v", m, err)
	}
	sub, _ := fs.Sub(f.host.FS(), "dst")
	sameTree(t, snapshot(t, sub), map[string]leaf{
		"a": {0o640, "new a"}, "sub": {fs.ModeDir | 0o700, ""}, "sub/b": {0o640, "new b"}, "sub/kept": {0o600, "kept"},
	})
	if _, err := f.transfer(t.Context(), File{Direction: Upload, Local: f.local(t, "src/a"), Remote: "/dst/a2", Recursive: true}); err != nil {
		t.Errorf("a file with Recursive: %v", err)
	}
}

func TestTreeGoesOnPastWhatFails(t *testing.T) {
	f := start(t, fakessh.Options{FS: memfs.New(memfs.Options{Capacity: 1 << 20})})
	f.write(t, "src/a", []byte("a"), 0o644)
	f.write(t, "src/big", random(2<<20), 0o644)
	f.write(t, "src/taken/x", []byte("x"), 0o644)
	f.write(t, "src/taken/deep/y", []byte("y"), 0o644)
	f.write(t, "src/z", []byte("z"), 0o644)
	l, err := net.Listen("unix", filepath.Join(f.dir, "src/socket"))
	must(t, err)
	defer l.Close()
	must(t, f.host.FS().MkdirAll("/dst", 0o755))
	must(t, f.host.FS().WriteFile("dst/taken", []byte("a file"), 0o644))
	m, err := f.transfer(t.Context(), File{Direction: Upload, Local: f.local(t, "src"), Remote: "/dst", Recursive: true})
	wantKind(t, err, Full)
	if m.Files != 2 || m.Bytes < 2 || m.Untried != 3 {
		t.Errorf("%+v", m)
	}
	var failed []string
	for _, p := range m.Failed {
		failed = append(failed, p.Path)
	}
	slices.Sort(failed)
	if !slices.Equal(failed, []string{"big", "socket", "taken"}) {
		t.Errorf("failed: %v", m.Failed)
	}
	for name, want := range map[string]string{"dst/a": "a", "dst/z": "z", "dst/taken": "a file"} {
		if b, err := f.host.FS().ReadFile(name); err != nil || string(b) != want {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
	f.noLeftovers(t)
}

func TestTreeThatIsNotThere(t *testing.T) {
	f := start(t, fakessh.Options{})
	f.write(t, "src/a", nil, 0o644)
	for _, tc := range []struct {
		file File
		want Kind
	}{
		{File{Direction: Upload, Local: f.local(t, "none"), Remote: "/x"}, Local},
		{File{Direction: Upload, Local: f.local(t, "src"), Remote: "/no/such/parent"}, NotFound},
		{File{Direction: Download, Local: f.local(t, "x"), Remote: "/none"}, NotFound},
		{File{Direction: Download, Local: f.local(t, "no/parent"), Remote: "/"}, Local},
	} {
		tc.file.Recursive = true
		_, err := f.transfer(t.Context(), tc.file)
		wantKind(t, err, tc.want)
	}
}

func TestTreeIsCut(t *testing.T) {
	for _, dir := range []Direction{Upload, Download} {
		for _, how := range []string{"cancel", "connection"} {
			for _, at := range []int64{1, 1 << 20} {
				t.Run(fmt.Sprintf("%s %s at %d", dir, how, at), func(t *testing.T) {
					f := start(t, fakessh.Options{})
					content := map[string][]byte{}
					for i := range 60 {
						name := fmt.Sprintf("d%d/f%d", i%7, i)
						content[name] = random(40<<10 + i)
						f.write(t, "src/"+name, content[name], 0o644)
					}
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					cut := cancel
					want := Stopped
					if how == "connection" {
						cut, want = f.host.CloseClientConnections, Broken
					}
					if _, err := f.transfer(t.Context(), File{Direction: Upload, Local: f.local(t, "src"), Remote: "/src", Recursive: true}); err != nil {
						t.Fatal(err)
					}
					file := File{Direction: dir, Local: f.local(t, "src"), Remote: "/dst", Recursive: true, Progress: func(done, _ int64, _ string) {
						if done >= at {
							cut()
						}
					}}
					if dir == Download {
						file.Local, file.Remote = f.local(t, "dst"), "/src"
					}
					m, err := f.transfer(ctx, file)
					var e *Error
					if !errors.As(err, &e) || e.Kind != want && e.Kind != Unknown {
						t.Fatalf("%v", err)
					}
					if m.Files == 60 || m.Untried == 0 && len(m.Failed) == 0 {
						t.Errorf("%+v", m)
					}
					f.noLeftovers(t)
					wholeFiles(t, f, dir, content)
					file.Progress = nil
					if m, err = f.transfer(t.Context(), file); err != nil || m.Files != 60 {
						t.Errorf("the next call: %+v, %v", m, err)
					}
				})
			}
		}
	}
}

// wholeFiles checks that what is at the destination is whole.
func wholeFiles(t *testing.T, f *fixture, dir Direction, content map[string][]byte) {
	t.Helper()
	for name, want := range content {
		got, err := os.ReadFile(filepath.Join(f.dir, "dst", name))
		if dir == Upload {
			got, err = f.host.FS().ReadFile("dst/" + name)
		}
		if err == nil && !bytes.Equal(got, want) {
			t.Errorf("%s is there but not whole: %d of %d bytes", name, len(got), len(want))
		}
	}
}

// TestTreeDoesNotFollowLinksOut swaps a directory for a link that leads out of the local root, in the middle of the call.
func TestTreeDoesNotFollowLinksOut(t *testing.T) {
	outside := t.TempDir()
	must(t, os.WriteFile(filepath.Join(outside, "f9"), []byte("secret"), 0o600))
	swap := func(dir string) {
		_ = os.Rename(dir, dir+".away")
		_ = os.Symlink(outside, dir)
	}
	for _, dir := range []Direction{Upload, Download} {
		f := start(t, fakessh.Options{})
		must(t, f.host.FS().MkdirAll("/src/d", 0o755))
		for i := range 50 {
			name := fmt.Sprintf("src/d/f%d", i)
			f.write(t, name, random(pieceSize), 0o644)
			must(t, f.host.FS().WriteFile(name, random(pieceSize), 0o644))
		}
		file := File{Direction: dir, Recursive: true, Local: f.local(t, "src"), Remote: "/dst"}
		victim := filepath.Join(f.dir, "src/d")
		if dir == Download {
			file.Local, file.Remote, victim = f.local(t, "dst"), "/src", filepath.Join(f.dir, "dst/d")
		}
		file.Progress = func(done, _ int64, _ string) {
			if done == pieceSize {
				swap(victim)
			}
		}
		m, err := f.transfer(t.Context(), file)
		if err == nil || len(m.Failed) == 0 {
			t.Errorf("%s: nothing failed: %+v, %v", dir, m, err)
		}
		entries, err := os.ReadDir(outside)
		must(t, err)
		if len(entries) != 1 {
			t.Errorf("%s wrote outside: %v", dir, entries)
		}
		if b, err := f.host.FS().ReadFile("dst/d/f9"); err == nil && string(b) == "secret" {
			t.Error("a file from outside went to the host")
		}
	}
}

// TestTreeResumes cuts a transfer again and again until it gets through.
func TestTreeResumes(t *testing.T) {
	for _, dir := range []Direction{Upload, Download} {
		f := start(t, fakessh.Options{})
		big := random(9 << 20)
		f.write(t, "src/big", big, 0o644)
		for i := range 20 {
			f.write(t, fmt.Sprintf("src/small%d", i), random(1000+i), 0o644)
		}
		from := f.local(t, "src")
		if dir == Download {
			if _, err := f.transfer(t.Context(), File{Direction: Upload, Local: from, Remote: "/src", Recursive: true}); err != nil {
				t.Fatal(err)
			}
		}
		cuts, moved, resumed := 0, int64(0), int64(0)
		for ; ; cuts++ {
			if cuts == 20 {
				t.Fatalf("%s: not through after %d cuts", dir, cuts)
			}
			var first atomic.Int64
			file := File{Direction: dir, Local: from, Remote: "/dst", Recursive: true, Resume: true, Progress: func(done, _ int64, _ string) {
				first.CompareAndSwap(0, done)
				if done-first.Load() > 5<<20 {
					f.host.CloseClientConnections()
				}
			}}
			if dir == Download {
				file.Local, file.Remote = f.local(t, "dst"), "/src"
			}
			m, err := f.transfer(t.Context(), file)
			moved += m.Bytes
			resumed += m.ResumedFrom
			if err == nil {
				if m.Unchanged+m.Files != 21 {
					t.Errorf("%s: %+v", dir, m)
				}
				break
			}
		}
		if cuts == 0 || resumed == 0 {
			t.Errorf("%s: %d cuts, %d bytes moved, %d resumed", dir, cuts, moved, resumed)
		}
		got, err := f.host.FS().ReadFile("dst/big")
		if dir == Download {
			got, err = os.ReadFile(filepath.Join(f.dir, "dst/big"))
		}
		if err != nil || !bytes.Equal(got, big) {
			t.Errorf("%s: the file differs, %v", dir, err)
		}
		f.noLeftovers(t)
	}
}

func TestTreeResumesWhatChanged(t *testing.T) {
	f := start(t, fakessh.Options{})
	f.write(t, "src/same", []byte("same"), 0o644)
	f.write(t, "src/edited", []byte("old!"), 0o644)
	file := File{Direction: Upload, Local: f.local(t, "src"), Remote: "/dst", Recursive: true, Resume: true}
	if _, err := f.transfer(t.Context(), file); err != nil {
		t.Fatal(err)
	}
	f.write(t, "src/edited", []byte("new!"), 0o644)
	later := time.Now().Add(time.Minute)
	must(t, os.Chtimes(filepath.Join(f.dir, "src/edited"), later, later))
	m, err := f.transfer(t.Context(), file)
	if b, _ := f.host.FS().ReadFile("dst/edited"); err != nil || m.Files != 1 || m.Unchanged != 1 || string(b) != "new!" {
		t.Errorf("%q, %+v, %v", b, m, err)
	}
	must(t, f.host.FS().WriteFile("dst/same", []byte("SAME"), 0o644)) // as long, but not the same
	info, err := os.Stat(filepath.Join(f.dir, "src/same"))
	must(t, err)
	must(t, f.host.FS().Chtimes("dst/same", info.ModTime()))
	file.Verify = true
	m, err = f.transfer(t.Context(), file)
	if b, _ := f.host.FS().ReadFile("dst/same"); err != nil || m.Files != 1 || m.Unchanged != 1 || string(b) != "same" {
		t.Errorf("with Verify: %q, %+v, %v", b, m, err)
	}
}

func TestTreeProgress(t *testing.T) {
	f := start(t, fakessh.Options{})
	for i := range 10 {
		f.write(t, fmt.Sprintf("src/f%d", i), random(100<<10), 0o644)
	}
	var mu sync.Mutex
	var highest int64
	var lastMessage string
	m, err := f.transfer(t.Context(), File{
		Direction: Upload, Local: f.local(t, "src"), Remote: "/dst", Recursive: true,
		Progress: func(done, total int64, message string) {
			if total != 1000<<10 || !strings.HasSuffix(message, "of 10 files") {
				t.Errorf("%d of %d, %q", done, total, message)
			}
			mu.Lock()
			defer mu.Unlock()
			if done > highest {
				highest, lastMessage = done, message
			}
		},
	})
	if err != nil || highest != m.Bytes || highest != 1000<<10 {
		t.Errorf("%d of %+v (%s), %v", highest, m, lastMessage, err)
	}
}
