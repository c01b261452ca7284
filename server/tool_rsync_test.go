package server

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
	"github.com/openaccess-mcp/openaccess-mcp/fakessh/memfs"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/remote"
)

// tree writes files below a new folder of the fixture and returns the folder.
func (f *fixture) tree(t *testing.T, name string, files map[string]string) string {
	t.Helper()
	dir := filepath.Join(f.dir, name)
	for file, data := range files {
		full := filepath.Join(dir, file)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		mustWrite(t, full, data)
	}
	return dir
}

// actions lists a plan as "action path".
func actions(e envelope) (list []string) {
	plan, _ := e.Data["plan"].([]any)
	for _, p := range plan {
		c := p.(map[string]any)
		list = append(list, c["action"].(string)+" "+c["path"].(string))
	}
	return list
}

func TestSyncPlansUnlessTold(t *testing.T) {
	f := start(t, fakessh.Options{}, nil)
	c := f.connect(t.Context(), t)
	defer c.end()
	dir := f.tree(t, "site", map[string]string{"a": "one", "sub/b": "two"})
	push := args{"profile_id": "fake", "direction": "push", "source": dir, "dest": "/www"}
	want := []string{"mkdir .", "create a", "mkdir sub", "create sub/b"}

	e := c.call("rsync_sync", push)
	if !e.Success || e.Data["status"] != "planned" || e.Data["dry_run"] != true || !slices.Equal(actions(e), want) {
		t.Fatalf("%+v", e)
	}
	if _, err := f.host.FS().Stat("www"); err == nil {
		t.Error("a dry run made the destination")
	}
	push["dry_run"] = false
	e = c.call("rsync.sync", push)
	if !e.Success || e.Data["status"] != "completed" || e.Data["files_transferred"] != 2.0 || e.Data["bytes_transferred"] != 6.0 ||
		e.Data["engine"] != "sftp" || !slices.Equal(actions(e), want) {
		t.Errorf("%+v", e)
	}
	if b, err := f.host.FS().ReadFile("www/sub/b"); err != nil || string(b) != "two" {
		t.Errorf("%q, %v", b, err)
	}
	if e = c.call("rsync_sync", push); !e.Success || e.Data["files_transferred"] != 0.0 || len(actions(e)) != 0 {
		t.Errorf("again: %+v", e)
	}
}

func TestSyncDeletesOnlyWhatAPlanShowed(t *testing.T) {
	f := start(t, fakessh.Options{}, nil)
	c := f.connect(t.Context(), t)
	defer c.end()
	dir := f.tree(t, "site", map[string]string{"a": "one"})
	far := f.host.FS()
	write := func(name string) {
		t.Helper()
		if err := errors.Join(far.MkdirAll("/www", 0o755), far.WriteFile(name, nil, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	write("www/old")
	write("www/keep.log")
	if err := os.Chtimes(dir, time.Time{}, time.Unix(1_700_000_000, 0)); err != nil {
		t.Fatal(err)
	}
	sync := func(change args) envelope {
		t.Helper()
		a := args{"profile_id": "fake", "direction": "push", "local_path": dir, "remote_path": "/www", "delete_extras": true, "exclude": []string{"*.log"}}
		maps.Copy(a, change)
		return c.call("rsync_sync", a)
	}
	shown := sync(nil)
	if want := []string{"attributes .", "create a", "delete old"}; !shown.Success || !slices.Equal(actions(shown), want) {
		t.Fatalf("%+v", shown)
	}
	id := shown.Data["plan_id"]
	sync(args{"dry_run": false}).wantCode(t, CodePolicyViolation, "plan_id")
	sync(args{"dry_run": false, "plan_id": "made up"}).wantCode(t, CodePolicyViolation, "made up")
	sync(args{"dry_run": false, "plan_id": id, "exclude": []string{}}).wantCode(t, CodePolicyViolation, "another profile, direction, path or option")
	write("www/newer")
	stale := sync(args{"dry_run": false, "plan_id": id})
	stale.wantCode(t, CodePolicyViolation, "showed 1 deletions", `["newer" "old"]`)
	if stale.Data["status"] != "planned" || !slices.Contains(actions(stale), "delete newer") {
		t.Errorf("%+v", stale)
	}
	for _, name := range []string{"www/old", "www/newer"} {
		if _, err := far.Stat(name); err != nil {
			t.Errorf("%s was deleted without approval", name)
		}
	}
	if err := far.Remove("www/newer"); err != nil {
		t.Fatal(err)
	}
	mustWrite(t, filepath.Join(dir, "b"), "new files are no reason to refuse")
	done := sync(args{"dry_run": false, "plan_id": id})
	if !done.Success || done.Data["deleted_files"] != 1.0 || done.Data["files_transferred"] != 2.0 {
		t.Errorf("%+v", done)
	}
	if _, err := far.Stat("www/old"); err == nil {
		t.Error("old is still there")
	}
	if _, err := far.Stat("www/keep.log"); err != nil {
		t.Error("an excluded file was deleted")
	}
}

func TestSyncPulls(t *testing.T) {
	f := start(t, fakessh.Options{}, nil)
	c := f.connect(t.Context(), t)
	defer c.end()
	if err := errors.Join(f.host.FS().MkdirAll("/data", 0o755), f.host.FS().WriteFile("data/\xff", []byte("x"), 0o644)); err != nil {
		t.Fatal(err)
	}
	e := c.call("rsync_sync", args{"profile_id": "fake", "direction": "pull", "remote_path": "/data/", "local_path": filepath.Join(f.dir, "got"), "dry_run": false})
	if !e.Success || e.Data["source"] != "/data/" || e.Data["dest"] != filepath.Join(f.dir, "got") {
		t.Fatalf("%+v", e)
	}
	if entry := e.Data["plan"].([]any)[1].(map[string]any); entry["path_base64"] != "/w==" {
		t.Errorf("%v", entry)
	}
	if b, err := os.ReadFile(filepath.Join(f.dir, "got/\xff")); err != nil || string(b) != "x" {
		t.Errorf("%q, %v", b, err)
	}
}

func TestSyncPolicyAndParameters(t *testing.T) {
	f := start(t, fakessh.Options{}, func(f *fixture) {
		f.profile(t, "strict", func(p map[string]any) {
			p["policy"].(map[string]any)["require_change_ticket_for"] = []string{"rsync.push", "rsync.delete"}
		})
		f.profile(t, "none", func(p map[string]any) { p["protocols"] = []string{"ssh", "sftp"} })
	})
	c := f.connect(t.Context(), t)
	defer c.end()
	dir := f.tree(t, "site", map[string]string{"a": "one"})
	base := args{"profile_id": "fake", "direction": "push", "source": dir, "dest": "www"}
	for _, tc := range []struct {
		change args
		code   Code // or "" for success
		words  string
	}{
		{args{"profile_id": "none"}, CodePolicyViolation, "protocols"},
		{args{"profile_id": "strict"}, "", ""}, // a dry run asks for no ticket
		{args{"profile_id": "strict", "dry_run": false}, CodePolicyViolation, "rsync.push needs a change_ticket"},
		{args{"profile_id": "strict", "dry_run": false, "change_ticket": "T-1"}, "", ""},
		{args{"profile_id": "strict", "direction": "pull", "source": "www", "dest": dir, "dry_run": false}, "", ""},
		{args{"profile_id": "strict", "direction": "pull", "source": "www", "dest": dir, "dry_run": false, "delete_extras": true}, CodePolicyViolation, "rsync.delete needs"},
		{args{"source": "/etc"}, CodePolicyViolation, "local_roots"},
		{args{"source": dir + "/a"}, CodeInvalidParameters, "sftp_transfer"},
		{args{"source": dir + "/none"}, CodeInvalidParameters, "no such file"},
		{args{"direction": "up"}, CodeInvalidParameters, "push or pull"},
		{args{"direction": ""}, CodeInvalidParameters, "direction is required"},
		{args{"dest": ""}, CodeInvalidParameters, "dest is required"},
		{args{"dest": "a\x00b"}, CodeInvalidParameters, "zero byte"},
		{args{"local_path": dir}, CodeInvalidParameters, "source and local_path mean the same"},
		{args{"remote_path": "x"}, CodeInvalidParameters, "dest and remote_path mean the same"},
		{args{"engine": "tar"}, CodeInvalidParameters, "auto, sftp or rsync"},
		{args{"exclude": "*.o"}, CodeInvalidParameters, "exclude must be a list of strings"},
		{args{"exclude": []any{1}}, CodeInvalidParameters, "exclude[0] must be a string"},
		{args{"exclude": []string{"[a"}}, CodeInvalidParameters, `exclude[0] "[a"`},
		{args{"include": []string{"ok", "+ a"}}, CodeInvalidParameters, `include[1] "+ a"`},
		{args{"bandwidth_limit_kbps": -1}, CodeInvalidParameters, "bandwidth_limit_kbps"},
		{args{"recursive": true}, CodeInvalidParameters, "unknown parameter"},
	} {
		a := maps.Clone(base)
		maps.Copy(a, tc.change)
		e := c.call("rsync_sync", a)
		if tc.code != "" {
			e.wantCode(t, tc.code, tc.words)
		} else if !e.Success {
			t.Errorf("%v: %+v", tc.change, e)
		}
	}
}

// TestSyncPartial names what was done and what was not.
func TestSyncPartial(t *testing.T) {
	f := start(t, fakessh.Options{FS: memfs.New(memfs.Options{Capacity: 1 << 20})}, nil)
	c := f.connect(t.Context(), t)
	defer c.end()
	// The other file is empty: both are written at once, and in a full file system there is room for nothing else.
	dir := f.tree(t, "site", map[string]string{"a": "", "big": strings.Repeat("x", 2<<20)})
	e := c.call("rsync_sync", args{"profile_id": "fake", "direction": "push", "source": dir, "dest": "/www", "dry_run": false})
	e.wantCode(t, CodeLimitExceeded, "big: no space left", "choose another destination")
	if e.Data["status"] != "partial" || e.Data["dry_run"] != false || e.Data["error_count"] != 1.0 {
		t.Errorf("%+v", e.Data)
	}
	far := f.host.FS()
	if err := errors.Join(far.MkdirAll("/src/closed", 0o755), far.WriteFile("src/open", nil, 0o644), far.Chmod("src/closed", 0)); err != nil {
		t.Fatal(err)
	}
	e = c.call("rsync_sync", args{"profile_id": "fake", "direction": "pull", "source": "/src", "dest": dir, "dry_run": false})
	e.wantCode(t, CodeAuthorizationFailed, "closed")
	if e.Data["status"] != "partial" || e.Data["files_transferred"] != 1.0 || e.Data["errors"].([]any)[0].(map[string]any)["path"] != "closed" {
		t.Errorf("%+v", e.Data)
	}
}

func TestSyncStopsAtItsTimeout(t *testing.T) {
	f := start(t, fakessh.Options{Latency: fakessh.Latency{SFTP: fakessh.Fixed(50 * time.Millisecond)}}, nil)
	c := f.connect(t.Context(), t)
	defer c.end()
	dir := f.tree(t, "site", map[string]string{"a": "one"})
	a := args{"profile_id": "fake", "direction": "push", "source": dir, "dest": "/www", "dry_run": false, "timeout_seconds": 0.12}
	c.call("rsync_sync", a).wantCode(t, CodeTimeout, "timeout_seconds 0.12 passed")
	delete(a, "timeout_seconds")
	if e := c.call("rsync_sync", a); !e.Success {
		t.Errorf("the next call: %+v", e)
	}
}

func TestSyncLongPlanSaysSo(t *testing.T) {
	changes := make([]remote.Change, maxPlanEntries+1)
	c := &syncCall{call: &call{}, sync: remote.Sync{Local: &remote.LocalPath{}}}
	d := c.answer("sftp", changes, nil, make([]remote.Problem, 0))
	if len(d.Plan) != maxPlanEntries || d.PlanEntries != maxPlanEntries+1 || !d.PlanTruncated {
		t.Errorf("%d of %d, %v", len(d.Plan), d.PlanEntries, d.PlanTruncated)
	}
}
