package remote

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"go.uber.org/goleak"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
	"github.com/openaccess-mcp/openaccess-mcp/fakessh/memfs"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/pool"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/profile"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type fixture struct {
	host   *fakessh.Host
	pool   *pool.Pool
	target *profile.Target
	dir    string // a local root
}

func start(t testing.TB, opts fakessh.Options) *fixture {
	t.Helper()
	f := &fixture{host: fakessh.Start(opts), pool: pool.New(pool.Config{}), dir: t.TempDir()}
	t.Cleanup(func() {
		f.pool.Close()
		if err := f.host.Close(); err != nil {
			t.Error(err)
		}
	})
	dir := t.TempDir()
	if err := f.host.WriteProfile(dir, "fake"); err != nil {
		t.Fatal(err)
	}
	store, err := profile.Open(profile.Config{
		Dir: filepath.Join(dir, "profiles"), Secrets: &secret.Resolver{Dir: filepath.Join(dir, "secrets")},
	})
	if err != nil {
		t.Fatal(err)
	}
	if f.target, err = store.Resolve(t.Context(), "fake"); err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *fixture) exec(ctx context.Context, c Command) (*Output, error) {
	if c.MaxOutput == 0 {
		c.MaxOutput = 1 << 20
	}
	return Exec(ctx, f.pool, f.target, c)
}

func wantKind(t *testing.T, err error, want Kind) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || e.Kind != want {
		t.Errorf("got %v (%T), want an *Error of kind %d", err, err, want)
	}
}

func waitUntil(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not within 10 s: " + what)
		}
	}
}

func TestExec(t *testing.T) {
	f := start(t, fakessh.Options{})
	for _, tc := range []struct {
		name string
		cmd  Command
		want Output
	}{
		{"output", Command{Line: "echo 'a  b'"}, Output{Stdout: []byte("a  b\n")}},
		{"exit code", Command{Line: "exit 7"}, Output{ExitCode: 7}},
		{"unknown command", Command{Line: "frobnicate"}, Output{ExitCode: 127, Stderr: []byte("sh: frobnicate: not found\n")}},
		{"stdout bounded", Command{Line: "bytes 1000", MaxOutput: 10}, Output{Stdout: fakessh.Pattern(10), Truncated: true}},
		{"stderr bounded", Command{Line: "bytes --stderr 1000", MaxOutput: 10}, Output{Stderr: fakessh.Pattern(10), Truncated: true}},
		{"exactly the bound", Command{Line: "bytes 10", MaxOutput: 10}, Output{Stdout: fakessh.Pattern(10)}},
		{"empty standard input", Command{Line: "cat"}, Output{}},
		{"terminal", Command{Line: "bytes --stderr 5", PTY: true}, Output{Stdout: fakessh.Pattern(5)}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := f.exec(t.Context(), tc.cmd)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got.Stdout, tc.want.Stdout) || !bytes.Equal(got.Stderr, tc.want.Stderr) ||
				got.ExitCode != tc.want.ExitCode || got.Truncated != tc.want.Truncated || got.Signal != "" {
				t.Errorf("got %+v, want %+v", got, tc.want)
			}
		})
	}
}

func TestExecBigOutputDoesNotDeadlock(t *testing.T) {
	f := start(t, fakessh.Options{})
	const size = 8 << 20 // beyond the channel window
	got, err := f.exec(t.Context(), Command{Line: "bytes 8388608", MaxOutput: size})
	if err != nil || !bytes.Equal(got.Stdout, fakessh.Pattern(size)) {
		t.Errorf("%d bytes, %v", len(got.Stdout), err)
	}
	got, err = f.exec(t.Context(), Command{Line: "bytes --stderr 8388608", MaxOutput: 1})
	if err != nil || len(got.Stderr) != 1 || !got.Truncated || got.ExitCode != 0 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestExecSudoQuotesTheLine(t *testing.T) {
	f := start(t, fakessh.Options{})
	args := make(chan []string, 1)
	f.host.Handle("sh", func(_ context.Context, c *fakessh.Command) int {
		if c.Sudo {
			args <- c.Args
		}
		return 0
	})
	const line = `echo 'it'"'"'s' "$HOME"; true`
	if out, err := f.exec(t.Context(), Command{Line: line, Sudo: true}); err != nil || out.ExitCode != 0 {
		t.Fatalf("%+v, %v", out, err)
	}
	if got := <-args; !slices.Equal(got, []string{"sh", "-c", line}) {
		t.Errorf("the host ran %q", got)
	}
}

func TestExecDeadlineStopsTheCommand(t *testing.T) {
	f := start(t, fakessh.Options{})
	f.host.Handle("partial", func(ctx context.Context, c *fakessh.Command) int {
		_, _ = c.Stdout.Write([]byte("so far"))
		<-ctx.Done()
		return 0
	})
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	out, err := f.exec(ctx, Command{Line: "partial"})
	wantKind(t, err, Stopped)
	if !errors.Is(err, context.DeadlineExceeded) || string(out.Stdout) != "so far" || out.Signal != "TERM" {
		t.Errorf("got %+v, %v", out, err)
	}
	waitUntil(t, "the command ends on the host", func() bool { return f.host.Stats().Running == 0 })
	if s := f.pool.Stats(); s.Leased != 0 || s.Open != 1 {
		t.Errorf("stats %+v", s)
	}
}

func TestExecThatIgnoresSignalsIsGivenUp(t *testing.T) {
	f := start(t, fakessh.Options{})
	release := make(chan struct{})
	defer close(release)
	ctx, cancel := context.WithCancel(t.Context())
	f.host.Handle("stubborn", func(context.Context, *fakessh.Command) int { cancel(); <-release; return 0 })
	_, err := f.exec(ctx, Command{Line: "stubborn"})
	wantKind(t, err, Stopped)
	if out, err := f.exec(t.Context(), Command{Line: "echo next"}); err != nil || string(out.Stdout) != "next\n" {
		t.Errorf("the next call: %v", err)
	}
}

func TestExecOnABrokenConnectionIsUnknownAndNotRepeated(t *testing.T) {
	f := start(t, fakessh.Options{})
	started := make(chan struct{}, 10)
	f.host.Handle("work", func(ctx context.Context, _ *fakessh.Command) int {
		started <- struct{}{}
		<-ctx.Done()
		return 0
	})
	go func() { <-started; f.host.CloseClientConnections() }()
	_, err := f.exec(t.Context(), Command{Line: "work"})
	wantKind(t, err, Unknown)
	waitUntil(t, "the command ends on the host", func() bool { return f.host.Stats().Running == 0 })
	if n := f.host.Stats().Commands["work"].Started; n != 1 {
		t.Errorf("the command ran %d times", n)
	}
	if _, err := f.exec(t.Context(), Command{Line: "true"}); err != nil {
		t.Errorf("the next call: %v", err)
	}
}

func (f *fixture) local(t testing.TB, name string) *LocalPath {
	t.Helper()
	l, err := OpenLocal([]string{f.dir}, filepath.Join(f.dir, name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func (f *fixture) write(t testing.TB, name string, data []byte, mode fs.FileMode) {
	t.Helper()
	full := filepath.Join(f.dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(full), 0o755), os.WriteFile(full, data, 0o600), os.Chmod(full, mode)); err != nil {
		t.Fatal(err)
	}
}

func (f *fixture) transfer(ctx context.Context, file File) (*Moved, error) {
	return Transfer(ctx, f.pool, f.target, file)
}

func random(n int) []byte {
	r := rand.NewChaCha8([32]byte{1})
	b := make([]byte, n)
	_, _ = r.Read(b)
	return b
}

func sum(b []byte) string { s := sha256.Sum256(b); return hex.EncodeToString(s[:]) }

func TestTransferRoundTrip(t *testing.T) {
	f := start(t, fakessh.Options{})
	for _, size := range []int{0, 1, 32 << 10, 1<<20 + 7} {
		data := random(size)
		f.write(t, "in", data, 0o640)
		for _, verify := range []bool{false, true} {
			up, err := f.transfer(t.Context(), File{Direction: Upload, Local: f.local(t, "in"), Remote: "/new/deep/naïve -x 'q'", CreateDirs: true, Verify: verify})
			if err != nil || up.Bytes != int64(size) || up.SHA256 != sum(data) {
				t.Fatalf("upload of %d: %+v, %v", size, up, err)
			}
			down, err := f.transfer(t.Context(), File{Direction: Download, Local: f.local(t, "a/b/out"), Remote: "/new/deep/naïve -x 'q'", CreateDirs: true, Verify: verify})
			if err != nil || down.Bytes != int64(size) || down.SHA256 != sum(data) {
				t.Fatalf("download of %d: %+v, %v", size, down, err)
			}
		}
		got, err := os.ReadFile(filepath.Join(f.dir, "a/b/out"))
		if err != nil || !bytes.Equal(got, data) {
			t.Fatalf("size %d: the file came back changed, %v", size, err)
		}
		if info, _ := os.Stat(filepath.Join(f.dir, "a/b/out")); info.Mode().Perm() != 0o640 {
			t.Errorf("mode %v", info.Mode())
		}
	}
	f.noLeftovers(t)
}

// noLeftovers checks that no temporary file remains at either end.
func (f *fixture) noLeftovers(t *testing.T) {
	t.Helper()
	for _, tree := range []fs.FS{os.DirFS(f.dir), f.host.FS()} {
		_ = fs.WalkDir(tree, ".", func(path string, _ fs.DirEntry, err error) error {
			if err != nil && utf8.ValidString(path) || strings.HasSuffix(path, ".part") { // io/fs takes no other names
				t.Errorf("left behind: %s, %v", path, err)
			}
			return nil
		})
	}
}

func TestTransferMode(t *testing.T) {
	f := start(t, fakessh.Options{})
	f.write(t, "in", []byte("x"), 0o600)
	mode := fs.FileMode(0o751)
	if _, err := f.transfer(t.Context(), File{Direction: Upload, Local: f.local(t, "in"), Remote: "/f", Mode: &mode}); err != nil {
		t.Fatal(err)
	}
	if info, err := f.host.FS().Stat("f"); err != nil || info.Mode().Perm() != mode {
		t.Errorf("%v, %v", info, err)
	}
	mode = 0o604
	if _, err := f.transfer(t.Context(), File{Direction: Download, Local: f.local(t, "out"), Remote: "/f", Mode: &mode}); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(f.dir, "out")); err != nil || info.Mode().Perm() != mode {
		t.Errorf("%v, %v", info, err)
	}
}

func TestTransferErrorsChangeNothing(t *testing.T) {
	f := start(t, fakessh.Options{FS: memfs.New(memfs.Options{Capacity: 3 << 20})})
	f.write(t, "old", []byte("old"), 0o644)
	f.write(t, "big", random(4<<20), 0o644)
	f.write(t, "sub/file", nil, 0o644)
	if err := errors.Join(f.host.FS().WriteFile("kept", []byte("kept"), 0o644), f.host.FS().Mkdir("/dir", 0o755)); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		file File
		want Kind
	}{
		{"local file missing", File{Direction: Upload, Local: f.local(t, "none"), Remote: "/kept"}, Local},
		{"local directory", File{Direction: Upload, Local: f.local(t, "sub"), Remote: "/kept"}, Local},
		{"remote file missing", File{Direction: Download, Local: f.local(t, "old"), Remote: "/none"}, NotFound},
		{"remote directory", File{Direction: Download, Local: f.local(t, "old"), Remote: "/dir"}, Refused},
		{"remote parent missing", File{Direction: Upload, Local: f.local(t, "old"), Remote: "/no/such/f"}, NotFound},
		{"local parent missing", File{Direction: Download, Local: f.local(t, "no/f"), Remote: "/kept"}, Local},
		{"destination is a remote directory", File{Direction: Upload, Local: f.local(t, "old"), Remote: "/dir"}, Refused},
		{"destination is a local directory", File{Direction: Download, Local: f.local(t, "sub"), Remote: "/kept"}, Local},
		{"remote disk full", File{Direction: Upload, Local: f.local(t, "big"), Remote: "/kept"}, Full},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := f.transfer(t.Context(), tc.file)
			wantKind(t, err, tc.want)
			if b, err := f.host.FS().ReadFile("kept"); err != nil || string(b) != "kept" {
				t.Errorf("the remote destination changed: %q, %v", b, err)
			}
			if b, err := os.ReadFile(filepath.Join(f.dir, "old")); err != nil || string(b) != "old" {
				t.Errorf("the local destination changed: %q, %v", b, err)
			}
		})
	}
	f.noLeftovers(t)
}

func TestTransferStopsAtItsDeadline(t *testing.T) {
	f := start(t, fakessh.Options{Latency: fakessh.Latency{SFTP: fakessh.Fixed(20 * time.Millisecond)}})
	f.write(t, "in", random(8<<20), 0o644)
	if err := f.host.FS().WriteFile("src", random(8<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []Direction{Upload, Download} {
		ctx, cancel := context.WithTimeout(t.Context(), 150*time.Millisecond)
		file := File{Direction: dir, Local: f.local(t, "in"), Remote: "/dst"}
		if dir == Download {
			file.Local, file.Remote = f.local(t, "out"), "/src"
		}
		_, err := f.transfer(ctx, file)
		cancel()
		wantKind(t, err, Stopped)
	}
	if _, err := f.host.FS().Stat("dst"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the destination exists: %v", err)
	}
	f.noLeftovers(t)
	waitUntil(t, "leases are back", func() bool { s := f.pool.Stats(); return s.Leased == s.SFTPSessions })
}

func TestTransferOnABrokenConnection(t *testing.T) {
	f := start(t, fakessh.Options{Latency: fakessh.Latency{SFTP: fakessh.Fixed(20 * time.Millisecond)}})
	f.write(t, "in", random(8<<20), 0o644)
	time.AfterFunc(150*time.Millisecond, f.host.CloseClientConnections)
	_, err := f.transfer(t.Context(), File{Direction: Upload, Local: f.local(t, "in"), Remote: "/dst"})
	wantKind(t, err, Broken)
	f.noLeftovers(t)
}

func TestLocalRoots(t *testing.T) {
	root, outside := t.TempDir(), t.TempDir()
	if err := errors.Join(os.WriteFile(filepath.Join(outside, "secret"), nil, 0o600), os.Symlink(outside, filepath.Join(root, "link")),
		os.Symlink(filepath.Join(outside, "secret"), filepath.Join(root, "file"))); err != nil {
		t.Fatal(err)
	}
	alias := filepath.Join(t.TempDir(), "alias")
	if err := os.Symlink(root, alias); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{outside + "/secret", root + "/../" + filepath.Base(outside) + "/secret", "/etc/passwd", root + "x/f"} {
		if _, err := OpenLocal([]string{root}, path); !errors.Is(err, ErrOutsideRoots) {
			t.Errorf("%s: %v", path, err)
		}
	}
	for _, path := range []string{"", "a\x00b"} {
		if _, err := OpenLocal([]string{root}, path); err == nil {
			t.Errorf("%q was accepted", path)
		}
	}
	for _, path := range []string{root + "/link/secret", root + "/file"} {
		l, err := OpenLocal([]string{root}, path)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := l.openRegular(); err == nil {
			t.Errorf("%s led out of the root", path)
		}
		l.Close()
	}
	l, err := OpenLocal([]string{"/nonexistent", alias}, filepath.Join(root, "f"))
	if err != nil {
		t.Fatalf("a path inside what a root links to: %v", err)
	}
	l.Close()
}
