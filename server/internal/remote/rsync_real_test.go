//go:build realssh

package remote

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
)

func TestScratchRsync(t *testing.T) {
	f := start(t, fakessh.Options{Rsync: true})
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	src := filepath.Join(f.dir, "src")
	must(os.MkdirAll(src+"/d ir", 0o755))
	must(os.WriteFile(src+"/d ir/new\nline", []byte("hello"), 0o640))
	must(os.WriteFile(src+"/-x", []byte("hello"), 0o640))
	must(os.Symlink("nowhere", src+"/link"))
	for _, remote := range []string{"/rsync/a b", "/rsync/no/such/dir", "/rsync/st*r", "/none", "/rsync/a b"} {
		y, err := OpenSync(t.Context(), f.pool, f.target, Sync{Direction: Upload, Local: f.local(t, "src"), Remote: remote, Permissions: true, Times: true, Progress: func(a, b int64) { t.Log(a, b) }}, EngineRsync)
		must(err)
		p, err := y.Plan(context.Background())
		t.Logf("%+v, %v", p, err)
		st, err := y.Apply(context.Background(), p)
		t.Logf("%+v, %v", st, err)
	}
	for _, remote := range []string{"/rsync/a b", "/rsync/none", "/none", "/rsync/st*r"} {
		y, err := OpenSync(t.Context(), f.pool, f.target, Sync{Direction: Download, Local: f.local(t, "x/y/z"), Remote: remote, Permissions: true, Times: true}, EngineRsync)
		must(err)
		p, err := y.Plan(context.Background())
		t.Logf("%+v, %v", p, err)
		st, err := y.Apply(context.Background(), p)
		t.Logf("%+v, %v", st, err)
	}
	must(filepath.WalkDir(f.dir, func(p string, _ os.DirEntry, err error) error { t.Log(p); return err }))
}
