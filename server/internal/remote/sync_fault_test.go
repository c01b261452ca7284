package remote

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
	"github.com/openaccess-mcp/openaccess-mcp/fakessh/memfs"
)

// many is a tree of n small files in a few directories.
func many(n int) files {
	tree := files{".": dir()}
	for i := range n {
		d := fmt.Sprintf("d%d", i%7)
		tree[d] = dir()
		tree[fmt.Sprintf("%s/f%03d", d, i)] = file(strings.Repeat(fmt.Sprint(i), 200))
	}
	return tree
}

// whole checks that every file of dst has all of its content, and that nothing temporary is left.
func whole(t *testing.T, dst site, src files) {
	t.Helper()
	for name, n := range read(t, dst) {
		if want, ok := src[name]; !ok || n.data != want.data {
			t.Errorf("%q at the destination is not the source's", name)
		}
	}
}

// after calls fn once n bytes of payload have passed.
func after(n int64, fn func()) func(done, total int64) {
	var once sync.Once
	return func(done, _ int64) {
		if done >= n {
			once.Do(fn)
		}
	}
}

func TestSyncCutInTheMiddle(t *testing.T) {
	bothWays(t, noFaults, func(t *testing.T, f *syncFixture, way Direction) {
		tree := many(300)
		src, dst := f.ends(way)
		put(t, src, tree)
		y := f.open(t, with(toward(way), func(s *Sync) {
			s.BandwidthKBps = 500 // else all of it may be on its way by then
			s.Progress = after(30_000, f.host.CloseClientConnections)
		}))
		stats, err := y.Apply(t.Context(), nil)
		wantKind(t, err, Unknown)
		if stats.FilesTransferred >= 300 || !strings.Contains(fmt.Sprint(err), "changes are confirmed") {
			t.Errorf("%d files, %v", stats.FilesTransferred, err)
		}
		whole(t, dst, tree)
		f.run(t, toward(way))
		same(t, read(t, dst), tree)
	})
}

func TestSyncCutWhilePlanning(t *testing.T) {
	bothWays(t, func() fakessh.Options {
		return fakessh.Options{Latency: fakessh.Latency{SFTP: fakessh.Fixed(50 * time.Millisecond), Exec: fakessh.Fixed(200 * time.Millisecond)}}
	}, func(t *testing.T, f *syncFixture, way Direction) {
		src, dst := f.ends(way)
		put(t, src, many(30))
		put(t, dst, files{".": dir()})
		y := f.open(t, toward(way))
		if _, err := f.exec(t.Context(), Command{Line: "true"}); err != nil { // there is a connection to cut
			t.Fatal(err)
		}
		stop := time.AfterFunc(75*time.Millisecond, f.host.CloseClientConnections)
		defer stop.Stop()
		_, err := y.Plan(t.Context())
		wantKind(t, err, Broken)
		same(t, read(t, dst), files{".": dir()})
	})
}

func TestSyncCancelled(t *testing.T) {
	bothWays(t, noFaults, func(t *testing.T, f *syncFixture, way Direction) {
		tree := many(300)
		src, dst := f.ends(way)
		put(t, src, tree)
		cause := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		y := f.open(t, with(toward(way), func(s *Sync) { s.Progress = after(30_000, func() { cancel(cause) }) }))
		stats, err := y.Apply(ctx, nil)
		wantKind(t, err, Stopped)
		if !errors.Is(err, cause) || stats.FilesTransferred >= 300 || len(stats.Problems) > 0 {
			t.Errorf("%d files, %v, %v", stats.FilesTransferred, stats.Problems, err)
		}
		whole(t, dst, tree)
		f.run(t, toward(way))
		same(t, read(t, dst), tree)
		waitUntil(t, "leases are back", func() bool { s := f.pool.Stats(); return s.Leased == s.SFTPSessions })
	})
}

func TestSyncCancelledBefore(t *testing.T) {
	overEngines(t, fakessh.Options{}, func(t *testing.T, f *syncFixture) {
		put(t, f.near, many(3))
		y := f.open(t, toward(Upload))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := y.Plan(ctx)
		wantKind(t, err, Stopped)
		if read(t, f.far) != nil {
			t.Error("something was changed")
		}
	})
}

func TestSyncDiskFull(t *testing.T) {
	f := startSFTPSync(t, fakessh.Options{FS: memfs.New(memfs.Options{Capacity: 100_000})})
	tree := many(300)
	put(t, f.near, tree)
	y := f.open(t, toward(Upload))
	stats, err := y.Apply(t.Context(), nil)
	wantKind(t, err, Full)
	if !errors.Is(err, errFull) || stats.FilesTransferred == 0 || stats.FilesTransferred >= 300 || len(stats.Problems) == 0 {
		t.Errorf("%d files, %d problems, %v", stats.FilesTransferred, len(stats.Problems), err)
	}
	whole(t, f.far, tree)
}

// TestSyncDeletesFirst fits only because what goes makes room.
func TestSyncDeletesFirst(t *testing.T) {
	f := startSFTPSync(t, fakessh.Options{FS: memfs.New(memfs.Options{Capacity: 100_000})})
	put(t, f.far, files{".": dir(), "old": file(strings.Repeat("x", 80_000))})
	put(t, f.near, files{".": dir(), "new": file(strings.Repeat("y", 80_000))})
	f.run(t, with(toward(Upload), func(s *Sync) { s.Delete = true }))
	same(t, read(t, f.far), read(t, f.near))
}

// TestSyncFileChangesWhileRead changes a file each time that some of it has been read. It is for the engine that looks at the time as well.
func TestSyncFileChangesWhileRead(t *testing.T) {
	for _, way := range []Direction{Upload, Download} {
		f := startSFTPSync(t, noFaults())
		src, dst := f.ends(way)
		tree := files{".": dir(), "busy": file(strings.Repeat("a", 200_000)), "quiet": file("q")}
		put(t, src, tree)
		put(t, dst, files{".": dir(), "busy": file("before")})
		put(t, dst, files{".": dir()})
		var n atomic.Int64
		y := f.open(t, with(toward(way), func(s *Sync) {
			s.Progress = func(int64, int64) {
				if err := src.chtimes("busy", time.Unix(epoch+n.Add(1), 0)); err != nil {
					t.Error(err)
				}
			}
		}))
		stats, err := y.Apply(t.Context(), nil)
		if err != nil || len(stats.Problems) != 1 || stats.Problems[0].Path != "busy" || !errors.Is(stats.Problems[0], errChanged) {
			t.Errorf("%v, %v", stats.Problems, err)
		}
		same(t, read(t, dst), files{".": dir(), "busy": file("before"), "quiet": file("q")})
		f.run(t, toward(way))
		same(t, read(t, dst), read(t, src))
	}
}

// TestSyncFileChangesOnce is copied as it is after the change.
func TestSyncFileChangesOnce(t *testing.T) {
	for _, later := range []string{strings.Repeat("b", 250_000), strings.Repeat("b", 150_000), "b"} {
		bothWays(t, noFaults, func(t *testing.T, f *syncFixture, way Direction) {
			src, dst := f.ends(way)
			put(t, src, files{".": dir(), "busy": file(strings.Repeat("a", 200_000))})
			y := f.open(t, with(toward(way), func(s *Sync) {
				s.Progress = after(1, func() {
					if err := errors.Join(src.remove("busy"), src.write("busy", later), src.chtimes("busy", time.Unix(epoch+5, 0))); err != nil {
						t.Error(err)
					}
				})
			}))
			plan, err := y.Plan(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(src.write("busy", later), src.chtimes("busy", time.Unix(epoch+3, 0))); err != nil { // between plan and copy
				t.Fatal(err)
			}
			stats, err := y.Apply(t.Context(), plan)
			if err != nil {
				t.Fatal(err)
			}
			got := read(t, dst)
			if len(stats.Problems) > 0 {
				if _, ok := got["busy"]; ok {
					t.Error("a file that was reported is there")
				}
				return
			}
			if got["busy"].data != later || stats.BytesTransferred != int64(len(later)) {
				t.Errorf("%d bytes arrived, %d were counted", len(got["busy"].data), stats.BytesTransferred)
			}
		})
	}
}

func TestSyncFileVanishes(t *testing.T) {
	bothWays(t, noFaults, func(t *testing.T, f *syncFixture, way Direction) {
		src, dst := f.ends(way)
		tree := many(20)
		put(t, src, tree)
		y := f.open(t, toward(way))
		plan, err := y.Plan(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(src.remove("d0/f000"), src.remove("d1/f001")); err != nil {
			t.Fatal(err)
		}
		stats, err := y.Apply(t.Context(), plan)
		if err != nil || stats.FilesTransferred != 18 {
			t.Errorf("%+v, %v", stats, err)
		}
		if f.engine == EngineSFTP && (len(stats.Problems) != 2 || stats.Problems[0].Path != "d0/f000") { // rsync looks anew
			t.Errorf("%v", stats.Problems)
		}
		want := maps.Clone(tree)
		want["d0"], want["d1"] = node{dir().mode, "", 0, true}, node{dir().mode, "", 0, true}
		delete(want, "d0/f000")
		delete(want, "d1/f001")
		same(t, read(t, dst), want)
	})
}

// TestSyncDeletesOnlyWhatWasPlanned keeps what came to be after the plan.
func TestSyncDeletesOnlyWhatWasPlanned(t *testing.T) {
	bothWays(t, noFaults, func(t *testing.T, f *syncFixture, way Direction) {
		src, dst := f.ends(way)
		put(t, src, files{".": dir()})
		put(t, dst, files{".": dir(), "x": dir(), "x/a": file(""), "y": file("")})
		y := f.open(t, with(toward(way), func(s *Sync) { s.Delete = true }))
		plan, err := y.Plan(t.Context())
		if err != nil || !slices.Equal(plan.Deletions(), []string{"x", "x/a", "y"}) {
			t.Fatal(plan, err)
		}
		if err := errors.Join(dst.write("x/new", ""), dst.write("z", "")); err != nil {
			t.Fatal(err)
		}
		stats, err := y.Apply(t.Context(), plan)
		if err != nil || stats.Deleted != 2 || len(stats.Problems) != 1 || stats.Problems[0].Path != "x" {
			t.Errorf("%+v, %v", stats, err)
		}
		got := read(t, dst)
		if _, ok := got["x/new"]; !ok || len(got) != 4 {
			t.Errorf("%v", got)
		}
	})
}

// TestSyncUnreadableSourceDeletesNothing: what cannot be seen cannot be called gone.
func TestSyncUnreadableSourceDeletesNothing(t *testing.T) {
	f := startSFTPSync(t, fakessh.Options{})
	put(t, f.far, files{".": dir(), "a": file("a"), "closed": {dir().mode &^ 0o777, "", epoch, false}})
	put(t, f.near, files{".": dir(), "extra": file("x")})
	stats := f.run(t, with(toward(Download), func(s *Sync) { s.Delete = true }))
	if len(stats.Problems) != 1 || stats.Problems[0].Path != "closed" || stats.Deleted != 0 {
		t.Errorf("%+v", stats)
	}
	got := read(t, f.near)
	if got["extra"].data != "x" || got["a"].data != "a" {
		t.Errorf("%v", got)
	}
}

// TestSyncNeverLeavesTheRoot swaps a directory for a link to another place after the plan.
func TestSyncNeverLeavesTheRoot(t *testing.T) {
	bothWays(t, noFaults, func(t *testing.T, f *syncFixture, way Direction) {
		outside := t.TempDir()
		if err := os.WriteFile(filepath.Join(outside, "f"), []byte("secret"), 0o600); err != nil {
			t.Fatal(err)
		}
		src, dst := f.ends(way)
		tree := files{".": dir(), "d": dir(), "d/f": file("f"), "g": file("g")}
		put(t, src, tree)
		if way == Download {
			put(t, dst, files{".": dir(), "d": dir()})
		}
		y := f.open(t, toward(way))
		plan, err := y.Plan(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(f.near.remove("d"), f.near.symlink(outside, "d")); err != nil {
			t.Fatal(err)
		}
		stats, err := y.Apply(t.Context(), plan)
		if err != nil || f.engine == EngineSFTP && len(stats.Problems) == 0 { // rsync looks anew, and copies the link
			t.Errorf("%+v, %v", stats, err)
		}
		if b, err := os.ReadFile(filepath.Join(outside, "f")); err != nil || string(b) != "secret" {
			t.Errorf("written through the link: %q, %v", b, err)
		}
		if got := read(t, f.far); strings.Contains(fmt.Sprint(got), "secret") {
			t.Error("read through the link")
		}
	})
}

func TestSyncUnlocksDirectories(t *testing.T) {
	bothWays(t, noFaults, func(t *testing.T, f *syncFixture, way Direction) {
		src, dst := f.ends(way)
		closed := dir()
		closed.mode &^= 0o222
		tree := files{".": closed, "d": closed, "d/f": file("f")}
		put(t, src, tree)
		put(t, dst, files{".": dir(), "d": dir(), "d/old": file("old"), "e": dir(), "e/old": file("x")})
		put(t, dst, files{".": closed, "d": closed, "e": closed})
		f.run(t, with(toward(way), func(s *Sync) { s.Delete = true }))
		same(t, read(t, dst), tree)
	})
}

func TestValidName(t *testing.T) {
	for name, want := range map[string]bool{"a": true, "..a": true, "": false, ".": false, "..": false, "a/b": false, "../x": false, "a\x00": false} {
		if validName(name) != want {
			t.Errorf("%q", name)
		}
	}
}
