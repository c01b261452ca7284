//go:build unix

package remote

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

func TestSyncSkipsSpecialFiles(t *testing.T) {
	f := startSFTPSync(t, noFaults())
	put(t, f.near, files{".": dir(), "f": file("f")})
	if err := syscall.Mkfifo(filepath.Join(f.dir, "near/pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	put(t, f.near, files{".": dir()})
	put(t, f.far, files{".": dir(), "pipe": file("stays")})
	stats := f.run(t, with(toward(Upload), func(s *Sync) { s.Delete = true }))
	if len(stats.Skipped) != 1 || stats.Skipped[0].Error() != "pipe: is a named pipe, which no sync copies" || len(stats.Problems) > 0 {
		t.Errorf("%+v", stats)
	}
	if got := read(t, f.far); got["f"].data != "f" || got["pipe"].data != "stays" {
		t.Errorf("%v", got)
	}
}

// TestSyncFileBecomesPipe must not wait for a writer.
func TestSyncFileBecomesPipe(t *testing.T) {
	f := startSFTPSync(t, noFaults())
	put(t, f.near, files{".": dir(), "f": file("f")})
	y := f.open(t, toward(Upload))
	plan, err := y.Plan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(f.dir, "near/f")
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(name, 0o600); err != nil {
		t.Fatal(err)
	}
	done := make(chan SyncStats, 1)
	go func() {
		stats, _ := y.Apply(t.Context(), plan)
		done <- stats
	}()
	select {
	case stats := <-done:
		if len(stats.Problems) != 1 {
			t.Errorf("%+v", stats)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the sync waits for the pipe")
	}
}
