package memfs_test

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh/memfs"
)

// must returns a function that fails the test on an error.
func must(t testing.TB) func(error) {
	return func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
}

// sample is a tree with something of everything.
func sample(t testing.TB) *memfs.FS {
	f, ok := memfs.New(memfs.Options{}), must(t)
	ok(f.MkdirAll("/dir/sub", 0o755))
	ok(f.Mkdir("empty", 0o700))
	ok(f.WriteFile("/file", []byte("content"), 0o644))
	ok(f.WriteFile("/dir/sub/deep", []byte("deep"), 0o600))
	ok(f.Symlink("dir/sub", "/link"))
	ok(f.Symlink("/file", "/dir/absolute"))
	ok(f.Symlink("../sub/deep", "/dir/sub/up"))
	ok(f.Link("/file", "/dir/second"))
	return f
}

func TestStandardSuite(t *testing.T) {
	if err := fstest.TestFS(sample(t), "dir/sub/deep", "dir/second", "dir/absolute", "empty", "file", "link", "dir/sub/up"); err != nil {
		t.Fatal(err)
	}
}

// TestErrors pins the errno of each refusal.
func TestErrors(t *testing.T) {
	open := func(name string, flags int) func(*memfs.FS) error {
		return func(f *memfs.FS) error { _, err := f.OpenFile(name, flags, 0o644); return err }
	}
	const create, exclusive = os.O_WRONLY | os.O_CREATE, os.O_WRONLY | os.O_CREATE | os.O_EXCL
	for _, test := range []struct {
		name string
		do   func(f *memfs.FS) error
		want error
	}{
		{"open missing", open("none", os.O_RDONLY), syscall.ENOENT},
		{"open below missing", open("none/x", create), syscall.ENOENT},
		{"open below file", open("file/x", create), syscall.ENOTDIR},
		{"open directory to write", open("dir", os.O_WRONLY), syscall.EISDIR},
		{"open existing exclusively", open("file", exclusive), syscall.EEXIST},
		{"open link exclusively", open("dangling", exclusive), syscall.EEXIST},
		{"open through loop", open("loop", os.O_RDONLY), syscall.ELOOP},
		{"open long name", open(strings.Repeat("x", 256), create), syscall.ENAMETOOLONG},
		{"open unreadable", open("secret", os.O_RDONLY), syscall.EACCES},
		{"open read-only to write", open("locked/file", os.O_RDWR), syscall.EACCES},
		{"create in read-only directory", open("locked/new", create), syscall.EACCES},
		{"mkdir existing", func(f *memfs.FS) error { return f.Mkdir("dir", 0o755) }, syscall.EEXIST},
		{"mkdir root", func(f *memfs.FS) error { return f.Mkdir("/", 0o755) }, syscall.EEXIST},
		{"mkdir all through file", func(f *memfs.FS) error { return f.MkdirAll("file/x/y", 0o755) }, syscall.ENOTDIR},
		{"remove missing", func(f *memfs.FS) error { return f.Remove("none") }, syscall.ENOENT},
		{"remove full", func(f *memfs.FS) error { return f.Remove("dir") }, syscall.ENOTEMPTY},
		{"remove from read-only", func(f *memfs.FS) error { return f.Remove("locked/file") }, syscall.EACCES},
		{"rename missing", func(f *memfs.FS) error { return f.Rename("none", "x") }, syscall.ENOENT},
		{"rename into itself", func(f *memfs.FS) error { return f.Rename("dir", "dir/sub/x") }, syscall.EINVAL},
		{"rename file to directory", func(f *memfs.FS) error { return f.Rename("file", "empty") }, syscall.EISDIR},
		{"rename directory to file", func(f *memfs.FS) error { return f.Rename("empty", "file") }, syscall.ENOTDIR},
		{"rename to full", func(f *memfs.FS) error { return f.Rename("empty", "dir") }, syscall.ENOTEMPTY},
		{"rename root", func(f *memfs.FS) error { return f.Rename("/", "x") }, syscall.EBUSY},
		{"symlink existing", func(f *memfs.FS) error { return f.Symlink("x", "file") }, syscall.EEXIST},
		{"symlink empty", func(f *memfs.FS) error { return f.Symlink("", "x") }, syscall.ENOENT},
		{"link directory", func(f *memfs.FS) error { return f.Link("dir", "x") }, syscall.EPERM},
		{"read link of file", func(f *memfs.FS) error { _, err := f.ReadLink("file"); return err }, syscall.EINVAL},
		{"truncate negative", func(f *memfs.FS) error { return f.Truncate("file", -1) }, syscall.EINVAL},
		{"truncate huge", func(f *memfs.FS) error { return f.Truncate("file", 1<<60) }, syscall.EFBIG},
		{"truncate directory", func(f *memfs.FS) error { return f.Truncate("dir", 0) }, syscall.EISDIR},
		{"truncate read-only", func(f *memfs.FS) error { return f.Truncate("locked/file", 0) }, syscall.EACCES},
		{"chmod missing", func(f *memfs.FS) error { return f.Chmod("none", 0) }, syscall.ENOENT},
		{"read directory", func(f *memfs.FS) error { _, err := f.ReadFile("dir"); return err }, syscall.EISDIR},
		{"stat rooted", func(f *memfs.FS) error { _, err := f.Stat("/file"); return err }, fs.ErrInvalid},
	} {
		t.Run(test.name, func(t *testing.T) {
			f, ok := sample(t), must(t)
			ok(f.Symlink("nowhere", "dangling"))
			ok(f.Symlink("loop", "loop"))
			ok(f.WriteFile("secret", nil, 0o200))
			ok(f.Mkdir("locked", 0o755))
			ok(f.WriteFile("locked/file", nil, 0o444))
			ok(f.Chmod("locked", 0o555))
			err := test.do(f)
			var pathErr *fs.PathError
			if !errors.Is(err, test.want) || !errors.As(err, &pathErr) {
				t.Errorf("error %v, want a path error with %v", err, test.want)
			}
		})
	}
}

func TestPathsStayInside(t *testing.T) {
	f, ok := memfs.New(memfs.Options{}), must(t)
	ok(f.WriteFile("../../up", []byte("x"), 0o644))
	ok(f.Symlink("../../../up", "out"))
	for _, name := range []string{"up", "out"} {
		if got, err := f.ReadFile(name); err != nil || string(got) != "x" {
			t.Errorf("%s reads %q, %v", name, got, err)
		}
	}
}

func TestCreateThroughDanglingLink(t *testing.T) {
	f, ok := sample(t), must(t)
	ok(f.Symlink("dir/new", "soon"))
	ok(f.WriteFile("soon", []byte("made"), 0o644))
	if got, err := f.ReadFile("dir/new"); err != nil || string(got) != "made" {
		t.Errorf("dir/new reads %q, %v", got, err)
	}
	if in, err := f.Lstat("soon"); err != nil || in.Mode().Type() != fs.ModeSymlink {
		t.Errorf("soon is %v, %v", in, err)
	}
}

func TestFilePosition(t *testing.T) {
	f, ok := memfs.New(memfs.Options{}), must(t)
	h, err := f.OpenFile("f", os.O_RDWR|os.O_CREATE, 0o644)
	ok(err)
	defer h.Close()
	write := func(s string) {
		t.Helper()
		if n, err := io.WriteString(h, s); n != len(s) || err != nil {
			t.Fatalf("wrote %d, %v", n, err)
		}
	}
	write("hello world")
	for _, seek := range []struct {
		offset int64
		whence int
		want   int64
	}{{-5, io.SeekEnd, 6}, {1, io.SeekCurrent, 7}, {6, io.SeekStart, 6}} {
		if got, err := h.Seek(seek.offset, seek.whence); got != seek.want || err != nil {
			t.Errorf("seek %+v ends at %d, %v", seek, got, err)
		}
	}
	if _, err := h.Seek(-1, io.SeekStart); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("seek before the start: %v", err)
	}
	rest, err := io.ReadAll(h)
	if string(rest) != "world" || err != nil {
		t.Errorf("the rest is %q, %v", rest, err)
	}
	write("!")
	if got, _ := f.ReadFile("f"); string(got) != "hello world!" {
		t.Errorf("content %q", got)
	}
}

func TestAppendWritesAtTheEnd(t *testing.T) {
	f, ok := sample(t), must(t)
	h, err := f.OpenFile("file", os.O_WRONLY|os.O_APPEND, 0)
	ok(err)
	defer h.Close()
	ok(f.Truncate("file", 3))
	_, err = h.Write([]byte("+"))
	ok(err)
	if got, _ := f.ReadFile("file"); string(got) != "con+" {
		t.Errorf("content %q", got)
	}
}

func TestHandleKnowsWhatItWasOpenedFor(t *testing.T) {
	f, ok := sample(t), must(t)
	r, err := f.OpenFile("file", os.O_RDONLY, 0)
	ok(err)
	w, err := f.OpenFile("file", os.O_WRONLY, 0)
	ok(err)
	if _, err := r.WriteAt([]byte("x"), 0); !errors.Is(err, syscall.EBADF) {
		t.Errorf("write to a reader: %v", err)
	}
	if err := r.Truncate(0); !errors.Is(err, syscall.EBADF) {
		t.Errorf("truncate of a reader: %v", err)
	}
	if _, err := w.ReadAt(make([]byte, 1), 0); !errors.Is(err, syscall.EBADF) {
		t.Errorf("read from a writer: %v", err)
	}
	ok(r.Close())
	ok(w.Close())
	if _, err := r.Stat(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("stat of a closed file: %v", err)
	}
	if err := r.Close(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("second close: %v", err)
	}
}

func TestCapacity(t *testing.T) {
	f, ok := memfs.New(memfs.Options{Capacity: 100_000}), must(t)
	ok(f.WriteFile("full", make([]byte, 100_000), 0o644))
	h, err := f.OpenFile("full", os.O_RDWR, 0)
	ok(err)
	_, err = h.WriteAt([]byte("inside"), 50_000)
	ok(err)
	if n, err := h.WriteAt([]byte("xy"), 99_999); n != 0 || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("wrote %d beyond the capacity, %v", n, err)
	}
	ok(f.Truncate("full", 1<<30)) // a hole costs nothing
	if f.Used() != 100_000 {
		t.Errorf("%d bytes used", f.Used())
	}
	ok(f.Remove("full"))
	if f.Used() != 100_000 {
		t.Error("a removed file that is open gave its bytes back")
	}
	if got := make([]byte, 6); true {
		if _, err := h.ReadAt(got, 50_000); err != nil || string(got) != "inside" {
			t.Errorf("the removed file reads %q, %v", got, err)
		}
	}
	ok(h.Close())
	if f.Used() != 0 {
		t.Errorf("%d bytes used by nothing", f.Used())
	}
}

func TestReplacingGivesBytesBack(t *testing.T) {
	f, ok := sample(t), must(t)
	ok(f.Rename("dir/sub/deep", "file"))
	if want := int64(len("content") + len("deep")); f.Used() != want { // the second name keeps the old content
		t.Errorf("%d bytes used, want %d", f.Used(), want)
	}
	ok(f.RemoveAll("dir"))
	if want := int64(len("deep")); f.Used() != want {
		t.Errorf("%d bytes used, want %d", f.Used(), want)
	}
	ok(f.RemoveAll("/"))
	if left, err := f.ReadDir("."); len(left) != 0 || err != nil || f.Used() != 0 {
		t.Errorf("left %v, %v, %d bytes", left, err, f.Used())
	}
	ok(f.WriteFile("again", nil, 0o644))
}

func TestMetadata(t *testing.T) {
	f, ok := sample(t), must(t)
	when := time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)
	ok(f.Chmod("link", 0o711|fs.ModeSetgid))
	ok(f.Chtimes("link", when))
	ok(f.Chown("link", 7, 8))
	in, err := f.Stat("dir/sub")
	ok(err)
	if want := fs.ModeDir | fs.ModeSetgid | 0o711; in.Mode() != want || !in.ModTime().Equal(when) {
		t.Errorf("%v %v, want %v %v", in.Mode(), in.ModTime(), want, when)
	}
	if owner := in.(interface{ Uid() uint32 }); owner.Uid() != 7 {
		t.Errorf("owner %d", owner.Uid())
	}
}
