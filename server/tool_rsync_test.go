package server

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
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
