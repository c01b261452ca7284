package server

import (
	"context"
	"database/sql"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
)

// TestAudit makes calls that succeed, are refused, fail and name no host, and wants an intent and an outcome of each in the file.
func TestAudit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "audit.db")
	f := start(t, fakessh.Options{Users: map[string]fakessh.User{"u": {Password: "hunter2"}}}, nil)
	f.server.Close()
	on := true
	cfg := f.server.cfg
	cfg.Audit = Audit{Enabled: &on, Path: path}
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
	key, err := AuditPublicKey(path + ".key")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := VerifyAudit(t.Context(), path, key, nil); got.Records != 10 || err != nil {
		t.Errorf("%+v, %v", got, err)
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

// TestStrictAudit takes the record away: calls are refused before they run, but for those that show what is wrong.
func TestStrictAudit(t *testing.T) {
	var ran atomic.Int64
	mark := func(context.Context, *fakessh.Command) int { ran.Add(1); return 0 }
	f := startHealthy(t, fakessh.Options{Handlers: map[string]fakessh.Handler{"mark": mark}}, func(_ *fixture, cfg *Config) {
		cfg.Audit.Durability, cfg.Audit.patience = "strict", time.Millisecond
	})
	c := f.connect(t.Context(), t)
	if e := c.call("ssh_exec", args{"profile_id": "fake", "command": "mark"}); !e.Success {
		t.Errorf("%+v", e)
	}
	db, err := sql.Open("sqlite", "file:"+f.server.cfg.Audit.Path+"?_pragma=busy_timeout(30000)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(`CREATE TRIGGER full BEFORE INSERT ON records BEGIN SELECT RAISE(ABORT, 'disk full'); END`); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		c.call("ssh_exec", args{"profile_id": "fake", "command": "mark"}).wantCode(t, CodeInternalError, "nothing was done", "disk full", "audit.durability")
	}
	c.call("profile_list", args{}).wantCode(t, CodeInternalError, "nothing was done")
	if n := ran.Load(); n != 1 {
		t.Errorf("%d commands ran, want the one before", n)
	}
	if e := c.call("server_health", args{}); !e.Success {
		t.Errorf("%+v", e)
	}
	if _, err := db.Exec(`DROP TRIGGER full`); err != nil {
		t.Fatal(err)
	}
	if e := c.call("ssh_exec", args{"profile_id": "fake", "command": "mark"}); !e.Success {
		t.Errorf("once there is room: %+v", e)
	}
	c.end()
}

func TestAuditThatCannotBeKept(t *testing.T) {
	dir := t.TempDir()
	mustWrite(t, filepath.Join(dir, "file"), "")
	on := true
	_, err := New(Config{Profiles: dir, Audit: Audit{Enabled: &on, Path: filepath.Join(dir, "file", "audit.db")}})
	if err == nil || !strings.Contains(err.Error(), filepath.Join(dir, "file", "audit.db")) || !strings.Contains(err.Error(), "audit.enabled: false") {
		t.Errorf("got %v", err)
	}
}
