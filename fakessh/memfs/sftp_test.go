package memfs_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"testing"
	"time"

	"github.com/pkg/sftp"
	"go.uber.org/goleak"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh/memfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// connect serves the tree over a pipe and returns a client.
func connect(t testing.TB, f *memfs.FS, opts ...sftp.RequestServerOption) *sftp.Client {
	t.Helper()
	toServer, fromClient := io.Pipe()
	toClient, fromServer := io.Pipe()
	server := sftp.NewRequestServer(struct {
		io.Reader
		io.WriteCloser
	}{toServer, fromServer}, f.Handlers(), opts...)
	done := make(chan struct{})
	go func() {
		defer close(done)
		server.Serve()
		fromServer.Close()
		toServer.Close()
	}()
	client, err := sftp.NewClientPipe(toClient, fromClient, sftp.UseConcurrentWrites(true))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		client.Close()
		<-done
	})
	return client
}

func TestRemoteErrors(t *testing.T) {
	var status *sftp.StatusError
	for _, test := range []struct {
		name string
		do   func(c *sftp.Client) error
		want any // an error to match, or the code of a status
	}{
		{"open missing", func(c *sftp.Client) error { _, err := c.Open("none"); return err }, fs.ErrNotExist},
		{"stat missing", func(c *sftp.Client) error { _, err := c.Lstat("none"); return err }, fs.ErrNotExist},
		{"list missing", func(c *sftp.Client) error { _, err := c.ReadDir("none"); return err }, fs.ErrNotExist},
		{"list file", func(c *sftp.Client) error { _, err := c.ReadDir("file"); return err }, sftp.ErrSSHFxFailure},
		{"read unreadable", func(c *sftp.Client) error { _, err := c.Open("secret"); return err }, fs.ErrPermission},
		{"open directory", func(c *sftp.Client) error { _, err := c.Open("dir"); return err }, sftp.ErrSSHFxFailure},
		{"create exclusively", func(c *sftp.Client) error {
			_, err := c.OpenFile("file", os.O_WRONLY|os.O_CREATE|os.O_EXCL)
			return err
		}, sftp.ErrSSHFxFailure},
		{"mkdir existing", func(c *sftp.Client) error { return c.Mkdir("dir") }, sftp.ErrSSHFxFailure},
		{"rmdir full", func(c *sftp.Client) error { return c.RemoveDirectory("dir") }, sftp.ErrSSHFxFailure},
		{"rmdir file", func(c *sftp.Client) error { return c.RemoveDirectory("file") }, sftp.ErrSSHFxFailure},
		{"rename to existing", func(c *sftp.Client) error { return c.Rename("file", "dir/second") }, sftp.ErrSSHFxFailure},
		{"truncate huge", func(c *sftp.Client) error { return c.Truncate("file", 1<<62) }, sftp.ErrSSHFxFailure},
	} {
		t.Run(test.name, func(t *testing.T) {
			f, ok := sample(t), must(t)
			ok(f.WriteFile("secret", nil, 0o200))
			err := test.do(connect(t, f))
			if want, isError := test.want.(error); isError && errors.Is(err, want) {
				return
			}
			if !errors.As(err, &status) || status.FxCode() != test.want {
				t.Errorf("error %v, want %v", err, test.want)
			}
		})
	}
}

func TestRemoteTree(t *testing.T) {
	f, ok := memfs.New(memfs.Options{}), must(t)
	c := connect(t, f)
	ok(c.MkdirAll("a/b"))
	w, err := c.Create("a/b/new")
	ok(err)
	_, err = w.Write([]byte("new"))
	ok(err)
	ok(w.Close())
	ok(f.WriteFile("a/old", []byte("old"), 0o644))
	ok(c.PosixRename("a/b/new", "a/old"))
	ok(c.Symlink("old", "/a/link"))
	ok(c.Link("a/old", "a/hard"))
	ok(c.Rename("a/hard", "a/moved"))
	ok(c.RemoveDirectory("a/b"))
	target, err := c.ReadLink("a/link")
	if target != "old" || err != nil {
		t.Errorf("link reads %q, %v", target, err)
	}
	when := time.Unix(1_000_000_000, 0)
	ok(c.Chmod("a/moved", 0o4640))
	ok(c.Chtimes("a/moved", when, when))
	ok(c.Chown("a/moved", 12, 34))
	in, err := c.Stat("a/moved")
	ok(err)
	stat := in.Sys().(*sftp.FileStat)
	if in.Mode() != fs.ModeSetuid|0o640 || !in.ModTime().Equal(when) || stat.UID != 12 || stat.GID != 34 || in.Size() != 3 {
		t.Errorf("stat gives %v %v %+v", in.Mode(), in.ModTime(), stat)
	}
	if in, err := c.Lstat("a/link"); err != nil || in.Mode().Type() != fs.ModeSymlink {
		t.Errorf("lstat gives %v, %v", in, err)
	}
	if in, err := c.Stat("a/link"); err != nil || !in.Mode().IsRegular() {
		t.Errorf("stat gives %v, %v", in, err)
	}
	if got, err := f.ReadFile("a/link"); string(got) != "new" || err != nil {
		t.Errorf("content %q, %v", got, err)
	}
	ok(c.Remove("a/link"))
}

func TestRemoteListing(t *testing.T) {
	f, ok := memfs.New(memfs.Options{}), must(t)
	var want []string
	for i := range 250 {
		name := fmt.Sprintf("f%03d", i)
		want = append(want, name)
		ok(f.WriteFile(name, nil, 0o644))
	}
	infos, err := connect(t, f).ReadDir("/")
	ok(err)
	var got []string
	for _, in := range infos {
		got = append(got, in.Name())
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("lists %v", got)
	}
}

func TestStartDirectory(t *testing.T) {
	f, ok := memfs.New(memfs.Options{}), must(t)
	ok(f.MkdirAll("/home/ann", 0o755))
	for home, opts := range map[string][]sftp.RequestServerOption{
		"/":         nil,
		"/home/ann": {sftp.WithStartDirectory("/home/ann")},
	} {
		c := connect(t, f, opts...)
		got, err := c.RealPath(".")
		if got != home || err != nil {
			t.Errorf("the session starts in %q, %v; want %q", got, err, home)
		}
		w, err := c.Create("here")
		ok(err)
		ok(w.Close())
		if _, err := f.Stat(path.Join(".", home, "here")); err != nil {
			t.Error(err)
		}
		if got, _ := c.RealPath("../../../.."); got != "/" {
			t.Errorf("the way up ends at %q", got)
		}
	}
}

// TestRemoteAppend appends as the two families of clients do: with offsets from
// the start of the writing, and from the start of the file.
func TestRemoteAppend(t *testing.T) {
	const old = "0123456789"
	more := bytes.Repeat([]byte("more"), 50_000)
	for _, start := range []int64{0, int64(len(old))} {
		f, ok := memfs.New(memfs.Options{}), must(t)
		ok(f.WriteFile("log", []byte(old), 0o644))
		w, err := connect(t, f).OpenFile("log", os.O_WRONLY|os.O_APPEND)
		ok(err)
		_, err = w.WriteAt(more[:5], start)
		ok(err)
		_, err = w.WriteAt(more[5:], start+5)
		ok(err)
		ok(w.Close())
		if got, _ := f.ReadFile("log"); string(got) != old+string(more) {
			t.Errorf("from %d: %d bytes, starting %.30q", start, len(got), got)
		}
	}
}

func TestRemoteReadAndWriteOneHandle(t *testing.T) {
	f, ok := sample(t), must(t)
	h, err := connect(t, f).OpenFile("file", os.O_RDWR)
	ok(err)
	defer h.Close()
	_, err = h.WriteAt([]byte("CON"), 0)
	ok(err)
	got, err := io.ReadAll(h)
	if string(got) != "CONtent" || err != nil {
		t.Errorf("reads %q, %v", got, err)
	}
}

func TestRemoteFullDisk(t *testing.T) {
	f := memfs.New(memfs.Options{Capacity: 1 << 20})
	c := connect(t, f)
	space, err := c.StatVFS("/")
	if err != nil || space.TotalSpace() != 1<<20 || space.FreeSpace() != 1<<20 {
		t.Errorf("space %+v, %v", space, err)
	}
	w, err := c.Create("big")
	must(t)(err)
	_, err = w.ReadFrom(bytes.NewReader(make([]byte, 2<<20)))
	if status := (*sftp.StatusError)(nil); !errors.As(err, &status) || status.FxCode() != sftp.ErrSSHFxFailure {
		t.Errorf("two MiB into one: %v", err)
	}
	w.Close()
	if f.Used() > 1<<20 {
		t.Errorf("%d bytes used", f.Used())
	}
}

// TestLostSessionClosesFiles drops a session that has a removed file open.
func TestLostSessionClosesFiles(t *testing.T) {
	f, ok := sample(t), must(t)
	ok(f.RemoveAll("dir"))
	t.Run("session", func(t *testing.T) {
		h, err := connect(t, f).Open("file")
		ok(err)
		ok(f.Remove("file"))
		got, err := io.ReadAll(h)
		if string(got) != "content" || err != nil {
			t.Errorf("reads %q, %v", got, err)
		}
	})
	if f.Used() != 0 {
		t.Errorf("%d bytes used by nothing", f.Used())
	}
}
