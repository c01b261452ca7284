//go:build realssh

package main

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/server"
)

// syncTree makes a tree with every odd kind of name, and returns the directory.
func syncTree(t *testing.T, dir string) string {
	t.Helper()
	for name, mode := range map[string]fs.FileMode{
		"empty": 0o644, "sp ace": 0o640, `quo"te's`: 0o600, "-dash": 0o755, "--delete": 0o644, "new\nline": 0o644, "ünï/ß 文": 0o644,
		"$HOME `id`": 0o644, "a;b|c&d": 0o644, "back\\slash": 0o644, "*": 0o644, "sub/deep/big": 0o444, "setuid": fs.ModeSetuid | 0o755,
		"latin1 \xe9": 0o644,
	} {
		full := filepath.Join(dir, name)
		must(t, os.MkdirAll(filepath.Dir(full), 0o755))
		data := strings.Repeat(name, 10)
		switch filepath.Base(name) {
		case "empty":
			data = ""
		case "big":
			data = strings.Repeat("0123456789abcdef", 1<<16)
		}
		write(t, full, data, 0o600)
		must(t, os.Chmod(full, mode))
	}
	must(t, os.MkdirAll(filepath.Join(dir, "empty dir"), 0o755))
	must(t, os.Symlink("sub/deep", filepath.Join(dir, "link")))
	must(t, os.Symlink("/no/where", filepath.Join(dir, "-dangling")))
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Type()&fs.ModeSymlink != 0 {
			return err
		}
		return os.Chtimes(path, time.Time{}, time.Unix(1_700_000_000+int64(len(path)), 0))
	}))
	must(t, os.Chmod(filepath.Join(dir, "sub/deep"), 0o555))
	return dir
}

// treeList describes everything below dir.
func treeList(t *testing.T, dir string) map[string]string {
	t.Helper()
	list := map[string]string{}
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		must(t, err)
		info, err := d.Info()
		must(t, err)
		name, err := filepath.Rel(dir, path)
		must(t, err)
		switch {
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			must(t, err)
			list[name] = "-> " + target
		case info.IsDir():
			list[name] = fmt.Sprint(info.Mode(), info.ModTime().Unix())
		default:
			data, err := os.ReadFile(path)
			must(t, err)
			list[name] = fmt.Sprint(info.Mode(), info.ModTime().Unix(), string(data))
		}
		return nil
	}))
	return list
}

func sameTrees(t *testing.T, what string, got, want map[string]string) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if got[name] != want[name] {
			t.Errorf("%s: %q is %.60q, want %.60q", what, name, got[name], want[name])
		}
	}
	if len(got) != len(want) {
		t.Errorf("%s: %d entries, want %d", what, len(got), len(want))
	}
}

// remoteDir makes an empty directory that the test user owns.
func remoteDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sync")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	command(t, "chown", testUser, dir)
	return dir
}

func TestRealSync(t *testing.T) {
	s := startSSHD(t)
	s.profile(t, "real", map[string]any{"protocols": []string{"ssh", "sftp", "rsync"}})
	session := s.session(t)
	for _, engine := range []string{"sftp", "rsync"} {
		t.Run(engine, func(t *testing.T) {
			src := syncTree(t, filepath.Join(s.dir, "src-"+engine))
			want := treeList(t, src)
			far, back := filepath.Join(remoteDir(t), "-far 'side'"), filepath.Join(s.dir, "back-"+engine)
			sync := func(direction, from, to string, change map[string]any) server.Envelope[server.SyncData] {
				args := map[string]any{"profile_id": "real", "direction": direction, "source": from, "dest": to, "engine": engine, "dry_run": false}
				maps.Copy(args, change)
				return call[server.SyncData](t.Context(), t, session, "rsync_sync", args)
			}
			push := sync("push", src, far, nil)
			if !push.Success || push.Data.Engine != engine || push.Data.FilesTransferred != 14 {
				t.Fatalf("%+v %+v", push, push.Data)
			}
			sameTrees(t, "pushed", treeList(t, far), want)
			if pull := sync("pull", far, back, nil); !pull.Success || pull.Data.FilesTransferred != 14 {
				t.Fatalf("%+v %+v", pull, pull.Data)
			}
			sameTrees(t, "pulled", treeList(t, back), want)
			if again := sync("push", src, far, nil); !again.Success || len(again.Data.Plan) != 0 {
				t.Errorf("no change: %+v %+v", again, again.Data)
			}

			must(t, os.RemoveAll(filepath.Join(src, "sub")))
			must(t, os.Remove(filepath.Join(src, "new\nline")))
			plan := sync("push", src, far, map[string]any{"delete_extras": true, "dry_run": true})
			if !plan.Success || len(plan.Data.Plan) != 5 { // the directory's time, sub, sub/deep, sub/deep/big, new\nline
				t.Fatalf("%+v %+v", plan, plan.Data)
			}
			done := sync("push", src, far, map[string]any{"delete_extras": true, "plan_id": plan.Data.PlanID})
			if !done.Success || done.Data.DeletedFiles != 4 {
				t.Errorf("%+v %+v", done, done.Data)
			}
			sameTrees(t, "after deletions", treeList(t, far), treeList(t, src))
		})
	}
}

// TestRealSyncSurvivesTheServersDeath kills sshd in the middle of a sync: the call ends soon with a clear error, no file has half of its
// content under its name, and the next call makes the rest.
func TestRealSyncSurvivesTheServersDeath(t *testing.T) {
	s := startSSHD(t)
	s.profile(t, "real", map[string]any{"protocols": []string{"ssh", "sftp", "rsync"}})
	session := s.session(t)
	src := filepath.Join(s.dir, "src")
	for i := range 200 {
		full := filepath.Join(src, fmt.Sprintf("d%d/f%d", i%5, i))
		must(t, os.MkdirAll(filepath.Dir(full), 0o755))
		write(t, full, strings.Repeat(fmt.Sprint(i%10), 10<<10), 0o644)
	}
	far := filepath.Join(remoteDir(t), "far")
	args := map[string]any{
		"profile_id": "real", "direction": "push", "source": src, "dest": far, "engine": "sftp", "dry_run": false, "bandwidth_limit_kbps": 400,
	}
	time.AfterFunc(1500*time.Millisecond, s.stop)
	start := time.Now()
	cut := call[server.SyncData](t.Context(), t, session, "rsync_sync", args)
	if cut.Metadata.ErrorCode != server.CodeOutcomeUnknown || cut.Data == nil || cut.Data.Status != "partial" || cut.Data.FilesTransferred == 0 {
		t.Errorf("%+v %+v", cut, cut.Data)
	}
	if took := time.Since(start); took > 4*time.Second {
		t.Errorf("the error came after %v", took)
	}
	for name, what := range treeList(t, far) {
		if full, err := os.ReadFile(filepath.Join(src, name)); err == nil && !strings.HasSuffix(what, string(full)) {
			t.Errorf("%s has part of its content", name)
		}
	}
	s.run(t)
	delete(args, "bandwidth_limit_kbps")
	if next := call[server.SyncData](t.Context(), t, session, "rsync_sync", args); !next.Success {
		t.Fatalf("the next call: %+v", next)
	}
	plan := call[server.SyncData](t.Context(), t, session, "rsync_sync", map[string]any{
		"profile_id": "real", "direction": "push", "source": src, "dest": far, "delete_extras": true, "checksum": true})
	if plan.Data == nil {
		t.Fatalf("%+v", plan)
	}
	for _, c := range plan.Data.Plan { // what a dead server could not remove is seen, and only that
		if c.Action != "delete" || !strings.HasSuffix(c.Path, ".part") {
			t.Errorf("left to do: %+v", c)
		}
	}
}
