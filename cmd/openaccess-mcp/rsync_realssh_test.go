//go:build realssh

package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/openaccess-mcp/openaccess-mcp/server"
)

func rsync1(t *testing.T, session *mcp.ClientSession, args map[string]any) server.Envelope[server.SyncData] {
	t.Helper()
	args["profile_id"], args["engine"] = "real", "rsync"
	return call[server.SyncData](t.Context(), t, session, "rsync_sync", args)
}

// TestRealRsync syncs with the installed rsync in both directions, and ends each part of it in the middle.
func TestRealRsync(t *testing.T) {
	s := startSSHD(t)
	s.profile(t, "real", map[string]any{"protocols": []string{"ssh", "rsync"}})
	session := s.session(t)
	src, back := filepath.Join(s.dir, "src"), filepath.Join(s.dir, "back")
	data := bytes.Repeat([]byte("0123456789abcdef"), 1<<16) // 1 MiB
	for _, name := range []string{"a", "-b", "sp ace/new\nline"} {
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(src, name)), 0o755))
		write(t, filepath.Join(src, name), string(data), 0o640)
	}
	push := map[string]any{"direction": "push", "source": src, "dest": "rsync/st*r", "dry_run": false}
	pull := map[string]any{"direction": "pull", "source": "rsync/st*r", "dest": back, "dry_run": false}
	exec1(t, session, "real", "rm -rf rsync; mkdir -p rsync/stir")
	for _, args := range []map[string]any{push, pull} {
		e := rsync1(t, session, args)
		if !e.Success || e.Data.Engine != "rsync" || e.Data.FilesTransferred != 3 || e.Data.BytesTransferred != 3<<20 || e.Data.Status != "completed" {
			t.Fatalf("%+v %+v", e, e.Data)
		}
	}
	if got, err := os.ReadFile(filepath.Join(back, "sp ace/new\nline")); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes came back, %v", len(got), err)
	}
	if out := exec1(t, session, "real", "ls -A rsync/stir; stat -c %a rsync/st\\*r/-b"); out.Data == nil || out.Data.Stdout != "640\n" {
		t.Errorf("%+v", out.Data)
	}

	for name, end := range map[string]func(){
		"the host's rsync": func() { command(t, "pkill", "-KILL", "-u", testUser, "-x", "rsync") },
		"the local rsync":  func() { killLocalRsync(t) },
		"the connection":   func() { killUser() },
	} {
		exec1(t, session, "real", "rm -rf rsync")
		done := make(chan server.Envelope[server.SyncData], 1)
		slow := map[string]any{"direction": "push", "source": src, "dest": "rsync", "dry_run": false, "bandwidth_limit_kbps": 100}
		go func() { done <- rsync1(t, session, slow) }()
		for running(t, "rsync --server") == "" {
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(100 * time.Millisecond)
		end()
		select {
		case e := <-done:
			if e.Success || e.Metadata.ErrorCode != server.CodeOutcomeUnknown && e.Metadata.ErrorCode != server.CodeConnectionFailed {
				t.Errorf("%s: %+v", name, e)
			}
			t.Logf("%s: %s", name, e.Error)
		case <-time.After(30 * time.Second):
			t.Fatalf("%s: no answer within 30 s", name)
		}
		if e := rsync1(t, session, push); !e.Success {
			t.Errorf("after %s: %+v", name, e)
		}
	}
	exec1(t, session, "real", "rm -rf rsync")
	if left := running(t, "rsync"); left != "" {
		t.Errorf("left on the host: %s", left)
	}
}

// killLocalRsync kills the rsync that the server of this test runs.
func killLocalRsync(t *testing.T) {
	t.Helper()
	servers := strings.Fields(command(t, "pgrep", "-P", strconv.Itoa(os.Getpid())))
	for _, pid := range servers {
		if exec.Command("pkill", "-KILL", "-P", pid, "-x", "rsync").Run() == nil {
			return
		}
	}
	t.Error("the server runs no rsync")
}
