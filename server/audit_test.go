package server

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/audit"
)

// TestAudit makes calls that succeed, are refused, fail and name no host, and wants an intent and an outcome of each in the file.
func TestAudit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "audit.db")
	f := start(t, fakessh.Options{Users: map[string]fakessh.User{"u": {Password: "hunter2"}}}, nil)
	f.server.Close()
	on := true
	cfg := f.server.cfg
	cfg.Audit = Audit{&on, path}
	var err error
	if f.server, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	c := f.connect(t.Context(), t)
	c.call("ssh_exec", args{"profile_id": "fake", "command": "echo hunter2 secretly", "caller": "bot"})
	c.call("ssh_exec", args{"profile_id": "nobody", "command": "true"})
	c.call("ssh_exec", args{"profile_id": "fake", "command": "true", "bad": 1})
	c.call("profile_list", args{})
	if e := c.call("server_stats", args{}); e.Data["audit"].(map[string]any)["enabled"] != true {
		t.Errorf("stats %v", e.Data["audit"])
	}
	c.end()
	f.server.Close()
	if n, err := audit.Verify(path); n != 10 || err != nil {
		t.Errorf("%d records, %v", n, err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"operation":"ssh.exec","profile":"fake","actor":"stdio:`, `"caller":"bot","command":"echo [redacted] secretly"`,
		`"profile":"nobody"`, `"code":"PROFILE_NOT_FOUND"`, `"code":"INVALID_PARAMETERS"`, `"operation":"profile.list"`, `"bytes":17`,
	} {
		if !strings.Contains(string(data), want) {
			t.Errorf("%s is not in the file", want)
		}
	}
	if strings.Contains(string(data), "hunter2") {
		t.Error("the password is in the file")
	}
}

func TestAuditThatCannotBeKept(t *testing.T) {
	dir := t.TempDir()
	mustWrite(t, filepath.Join(dir, "file"), "")
	on := true
	_, err := New(Config{Profiles: dir, Audit: Audit{&on, filepath.Join(dir, "file", "audit.db")}})
	if err == nil || !strings.Contains(err.Error(), filepath.Join(dir, "file", "audit.db")) || !strings.Contains(err.Error(), "audit.enabled: false") {
		t.Errorf("got %v", err)
	}
}
