package remote

import (
	"errors"
	"io/fs"
	"strings"
	"syscall"
	"testing"

	"github.com/pkg/sftp"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
	"github.com/openaccess-mcp/openaccess-mcp/fakessh/memfs"
)

// TestLocalFull says what is full and what to do, and keeps other errors of this machine apart.
func TestLocalFull(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT} {
		err := localError("/here/file", &fs.PathError{Op: "write", Path: ".file.part", Err: errno})
		wantKind(t, err, Full)
		if text := err.Error(); !strings.HasPrefix(text, "/here/file: no space left on this machine") || !strings.Contains(text, "free some here, or choose") {
			t.Errorf("%q", text)
		}
	}
	err := localError("/here/file", &fs.PathError{Op: "write", Path: ".file.part", Err: syscall.EIO})
	wantKind(t, err, Local)
	if !errors.Is(err, syscall.EIO) {
		t.Errorf("the cause is lost: %v", err)
	}
}

// TestHostFull has a host say in each of its ways that its disk is full.
func TestHostFull(t *testing.T) {
	f := start(t, fakessh.Options{FS: memfs.New(memfs.Options{Capacity: 1 << 20})})
	f.write(t, "big", random(2<<20), 0o644)
	_, err := f.transfer(t.Context(), File{Direction: Upload, Local: f.local(t, "big"), Remote: "/big"})
	wantKind(t, err, Full)
	if text := err.Error(); !strings.HasPrefix(text, "/big: no space left on the host's") || !strings.Contains(text, "free some there, or choose") {
		t.Errorf("%q", text)
	}
	for code, want := range map[uint32]bool{fxNoSpace: true, fxQuota: true, uint32(sftp.ErrSSHFxPermissionDenied): false} {
		if got := hostFull(nil, "/", &sftp.StatusError{Code: code}, 1); got != want {
			t.Errorf("status %d: %v", code, got)
		}
	}
	if hostFull(nil, "/", errors.New("broken"), 1) {
		t.Error("an error that is no answer of the host")
	}
}

// TestFullByFigures asks a host that only says that it failed how much room it has.
func TestFullByFigures(t *testing.T) {
	far := memfs.New(memfs.Options{Capacity: 1 << 20})
	f := start(t, fakessh.Options{FS: far})
	s, err := f.pool.SFTP(t.Context(), f.target)
	must(t, err)
	defer s.Release()
	failure := &sftp.StatusError{Code: uint32(sftp.ErrSSHFxFailure)}
	for _, tc := range []struct {
		need int64
		fill bool
		want bool
	}{{1 << 19, false, false}, {2 << 20, false, true}, {-1, false, false}, {0, true, true}} {
		if tc.fill {
			must(t, far.WriteFile("/filler", make([]byte, 1<<20), 0o644))
		}
		if got := hostFull(s.Client, "/", failure, tc.need); got != tc.want {
			t.Errorf("%+v: %v", tc, got)
		}
	}
}
