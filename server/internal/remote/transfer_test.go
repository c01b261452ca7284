package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
	"github.com/openaccess-mcp/openaccess-mcp/fakessh/memfs"
)

// both runs a test for each direction. put makes the source and get reads the destination of the File that it is given.
func both(t *testing.T, opts fakessh.Options, test func(t *testing.T, f *fixture, file File, put func([]byte), get func() []byte)) {
	for _, dir := range []Direction{Upload, Download} {
		t.Run(string(dir), func(t *testing.T) {
			o := opts
			if o.FS != nil {
				o.FS = memfs.New(memfs.Options{Capacity: o.FS.Capacity()})
			}
			f := start(t, o)
			file := File{Direction: dir, Local: f.local(t, "file"), Remote: "/file"}
			local := func(b []byte) { f.write(t, "file", b, 0o644) }
			remote := func(b []byte) { must(t, f.host.FS().WriteFile("file", b, 0o644)) }
			readLocal := func() []byte { b, _ := os.ReadFile(filepath.Join(f.dir, "file")); return b }
			readRemote := func() []byte { b, _ := f.host.FS().ReadFile("file"); return b }
			if dir == Upload {
				test(t, f, file, local, readRemote)
			} else {
				test(t, f, file, remote, readLocal)
			}
		})
	}
}

func TestTransferIsCut(t *testing.T) {
	for _, at := range []int64{1, pieceSize, 1 << 20, 4<<20 - 1, 4 << 20} {
		both(t, fakessh.Options{}, func(t *testing.T, f *fixture, file File, put func([]byte), get func() []byte) {
			data := random(4 << 20)
			put(data)
			cut := false
			file.Progress = func(done, _ int64, _ string) {
				if done >= at && !cut {
					cut = true
					f.host.CloseClientConnections()
				}
			}
			_, err := f.transfer(t.Context(), file)
			var e *Error
			switch {
			case err == nil && at < 4<<20-1: // what is cut behind the last byte may have arrived
				t.Errorf("cut at %d: no error", at)
			case err == nil && !bytes.Equal(get(), data):
				t.Errorf("cut at %d: reported done, and is not", at)
			case err != nil && (!errors.As(err, &e) || e.Kind != Broken && e.Kind != Unknown):
				t.Errorf("cut at %d: %v", at, err)
			case err != nil && e.Kind == Broken && get() != nil:
				t.Errorf("cut at %d: the destination is there", at)
			}
			f.noLeftovers(t)
		})
	}
}

// TestTransferResumes cuts a transfer in the middle and looks at how the next call goes on, after what was kept or the source changed.
func TestTransferResumes(t *testing.T) {
	const size = 6 << 20
	original := random(size)
	for _, tc := range []struct {
		name    string
		change  func(kept []byte) []byte // of the temporary file
		source  func(b []byte) []byte
		resumed []Direction // which go on from what was kept
	}{
		{name: "as it was left", resumed: []Direction{Upload, Download}},
		{name: "the end is garbled", change: func(b []byte) []byte { clear(b[len(b)-1000:]); return b }, resumed: []Direction{Upload}},
		{name: "the block before is garbled", change: func(b []byte) []byte { clear(b[len(b)-overlap-sample : len(b)-1000]); return b }},
		{name: "the start is garbled", change: func(b []byte) []byte { clear(b[:sample]); return b }},
		{name: "too short", change: func(b []byte) []byte { return b[:overlap/2] }},
		{name: "longer than the source", change: func(b []byte) []byte { return append(b[:len(b)-overlap-sample], random(size)...) }},
		{name: "source changed", source: func(b []byte) []byte { return append([]byte{1}, b...) }},
		{name: "source shrank", source: func(b []byte) []byte { return b[:100] }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			both(t, fakessh.Options{}, func(t *testing.T, f *fixture, file File, put func([]byte), get func() []byte) {
				data := original
				put(data)
				at := int64(3 << 20) // two more MiB may be under way
				if file.Direction == Upload {
					at = size - 700<<10
				}
				file.Resume = true
				file.Progress = func(done, _ int64, _ string) {
					if done >= at {
						f.host.CloseClientConnections()
					}
				}
				if _, err := f.transfer(t.Context(), file); err == nil {
					t.Fatal("it was not cut")
				}
				if get() != nil {
					t.Fatal("the destination is there")
				}
				if tc.change != nil {
					f.changeKept(t, tc.change)
				}
				if tc.source != nil {
					data = tc.source(data)
					put(data)
				}
				file.Progress = nil
				m, err := f.transfer(t.Context(), file)
				if err != nil || !bytes.Equal(get(), data) || m.SHA256 != sum(data) {
					t.Fatalf("%+v, %v", m, err)
				}
				resumed := slices.Contains(tc.resumed, file.Direction)
				if (m.ResumedFrom > 0) != resumed || resumed && m.Bytes+m.ResumedFrom != size {
					t.Errorf("resumed from %d, moved %d bytes", m.ResumedFrom, m.Bytes)
				}
				f.noLeftovers(t)
			})
		})
	}
}

// changeKept changes the temporary file that a cut transfer has left, at whichever end it is.
func (f *fixture) changeKept(t *testing.T, change func([]byte) []byte) {
	t.Helper()
	found := 0
	for _, dir := range []string{f.dir, ""} {
		var tree fs.FS = f.host.FS()
		if dir != "" {
			tree = os.DirFS(dir)
		}
		names, err := fs.Glob(tree, ".*.part")
		must(t, err)
		for _, name := range names {
			if strings.HasSuffix(name, sumSuffix) {
				continue
			}
			found++
			b, err := fs.ReadFile(tree, name)
			must(t, err)
			if len(b) < overlap+sample+1000 {
				t.Fatalf("only %d bytes were kept", len(b))
			}
			if b = change(bytes.Clone(b)); dir != "" {
				must(t, os.WriteFile(filepath.Join(dir, name), b, 0o600))
			} else {
				must(t, f.host.FS().WriteFile(name, b, 0o600))
			}
		}
	}
	if found != 1 {
		t.Fatalf("%d temporary files", found)
	}
}

func TestResumeOfTwoAtOnceIsRefused(t *testing.T) {
	both(t, fakessh.Options{}, func(t *testing.T, f *fixture, file File, put func([]byte), get func() []byte) {
		put(random(1 << 20))
		file.Resume = true
		inner := file
		var innerErr error
		file.Progress = func(done, _ int64, _ string) {
			if done == 1<<20 {
				_, innerErr = f.transfer(t.Context(), inner)
			}
		}
		if _, err := f.transfer(t.Context(), file); err != nil {
			t.Error(err)
		}
		wantKind(t, innerErr, Refused)
		if _, err := f.transfer(t.Context(), inner); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	})
}

// TestSourceChangesWhileItIsRead wants the checksum of the bytes that were moved, and the change named.
func TestSourceChangesWhileItIsRead(t *testing.T) {
	const size = 6 << 20 // more than is in flight
	data := random(size)
	for _, tc := range []struct {
		name string
		size int64
		word string
	}{
		{"grows", size + 1, "size changed from 6291456 to 6291457"},
		{"shrinks", size / 2, "shrank from 6291456 to 3145728"},
		{"vanishes", 0, "shrank"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			both(t, fakessh.Options{}, func(t *testing.T, f *fixture, file File, put func([]byte), get func() []byte) {
				put(data)
				var once sync.Once
				file.Progress = func(int64, int64, string) {
					once.Do(func() {
						if file.Direction == Upload {
							must(t, os.Truncate(filepath.Join(f.dir, "file"), tc.size))
						} else {
							must(t, f.host.FS().Truncate("file", tc.size))
						}
					})
				}
				m, err := f.transfer(t.Context(), file)
				if err != nil {
					t.Fatal(err)
				}
				got := get()
				if m.SHA256 != sum(got) || m.Bytes != int64(len(got)) || m.Bytes > size { // what it grew by is not waited for
					t.Errorf("%d bytes with SHA-256 %s arrived: %+v", len(got), sum(got), m)
				}
				if len(m.Warnings) != 1 || !strings.Contains(m.Warnings[0].Error(), tc.word) {
					t.Errorf("warnings %v, want one of %q", m.Warnings, tc.word)
				}
				f.noLeftovers(t)
			})
		})
	}
}

func TestUnchangedSourceGivesNoWarning(t *testing.T) {
	both(t, fakessh.Options{}, func(t *testing.T, f *fixture, file File, put func([]byte), get func() []byte) {
		put(random(1 << 20))
		if m, err := f.transfer(t.Context(), file); err != nil || len(m.Warnings) != 0 {
			t.Errorf("%+v, %v", m, err)
		}
	})
}

func TestTransferWithinABandwidth(t *testing.T) {
	both(t, fakessh.Options{}, func(t *testing.T, f *fixture, file File, put func([]byte), get func() []byte) {
		put(random(1 << 20))
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		file.Limit = NewBandwidth(64) // 16 s
		var moved int64
		file.Progress = func(done, _ int64, _ string) { moved = done }
		_, err := f.transfer(ctx, file)
		wantKind(t, err, Stopped)
		if moved > 1<<18 {
			t.Errorf("%d bytes went through", moved)
		}
		f.noLeftovers(t)
		file.Limit = NewBandwidth(1 << 20)
		if _, err := f.transfer(t.Context(), file); err != nil || len(get()) != 1<<20 {
			t.Errorf("%v", err)
		}
	})
}

func TestTransferProgress(t *testing.T) {
	both(t, fakessh.Options{}, func(t *testing.T, f *fixture, file File, put func([]byte), get func() []byte) {
		const size = 1<<20 + 7
		put(random(size))
		var seen []int64
		file.Progress = func(done, total int64, message string) {
			if total != size || message != "" {
				t.Errorf("%d of %d, %q", done, total, message)
			}
			seen = append(seen, done)
		}
		if _, err := f.transfer(t.Context(), file); err != nil {
			t.Fatal(err)
		}
		for i := range seen[1:] {
			if seen[i+1] <= seen[i] {
				t.Errorf("not growing: %v", seen)
			}
		}
		if seen[len(seen)-1] != size {
			t.Errorf("ends at %d", seen[len(seen)-1])
		}
	})
}

// TestModeIsNarrowFromTheStart wants nobody to read the temporary file of what they may not read.
func TestModeIsNarrowFromTheStart(t *testing.T) {
	f := start(t, fakessh.Options{Latency: fakessh.Latency{SFTP: fakessh.Fixed(time.Millisecond)}})
	f.write(t, "in", random(4<<20), 0o600)
	var wide []string
	_, err := f.transfer(t.Context(), File{Direction: Upload, Local: f.local(t, "in"), Remote: "/f", Progress: func(done, _ int64, _ string) {
		if done < 3<<20 {
			return // the request for the mode may still be on its way
		}
		entries, _ := f.host.FS().ReadDir(".")
		for _, e := range entries {
			if info, err := e.Info(); err == nil && info.Mode().IsRegular() && info.Mode().Perm() != 0o600 {
				wide = append(wide, fmt.Sprint(e.Name(), " ", info.Mode()))
			}
		}
	}})
	if err != nil || len(wide) > 0 {
		t.Errorf("%v, %v", wide, err)
	}
	f.write(t, "in", random(100), 0o400)
	if _, err := f.transfer(t.Context(), File{Direction: Upload, Local: f.local(t, "in"), Remote: "/f", Verify: true}); err != nil {
		t.Error(err)
	}
	if info, err := f.host.FS().Stat("f"); err != nil || info.Mode() != 0o400 {
		t.Errorf("%v, %v", info, err)
	}
}
