//go:build realssh

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/openaccess-mcp/openaccess-mcp/server"
)

func TestRealExec(t *testing.T) {
	s := startSSHD(t)
	s.secret(t, "password", map[string]any{"password": testPassword})
	s.secret(t, "wrong", map[string]any{"password": "wrong"})
	s.profile(t, "password", map[string]any{"auth": map[string]any{"type": "file_ref", "ref": "password"}})
	s.profile(t, "wrong", map[string]any{"auth": map[string]any{"type": "file_ref", "ref": "wrong"}})
	s.profile(t, "jumped", map[string]any{"jump": "real"})
	other, err := os.ReadFile(filepath.Join(s.dir, "client.pub"))
	must(t, err)
	s.profile(t, "otherkey", map[string]any{"host_key": strings.TrimSpace(string(other))})
	session := s.session(t)

	for _, tc := range []struct {
		profile, command string
		stdout, stderr   string
		code             int
		signal           string
	}{
		{"real", "id -un; echo oops >&2; exit 3", testUser + "\n", "oops\n", 3, ""},
		{"real", "kill -9 $$", "", "", -1, "KILL"},
		{"real", "cat", "", "", 0, ""}, // standard input is empty, not a terminal left open
		{"password", "echo hi", "hi\n", "", 0, ""},
		{"jumped", "echo hi", "hi\n", "", 0, ""},
	} {
		e := exec1(t, session, tc.profile, tc.command)
		if e.Data == nil || e.Data.Stdout != tc.stdout || e.Data.Stderr != tc.stderr || e.Data.ExitCode != tc.code || e.Data.Signal != tc.signal {
			t.Errorf("%s %q: %+v %+v", tc.profile, tc.command, e, e.Data)
		}
	}
	for profile, want := range map[string]server.Code{"wrong": server.CodeAuthenticationFailed, "otherkey": server.CodeHostKeyMismatch} {
		if e := exec1(t, session, profile, "true"); e.Metadata.ErrorCode != want {
			t.Errorf("%s: %+v, want %s", profile, e, want)
		}
	}
	if out := exec1(t, session, "real", "test -t 1 && echo tty"); out.Data == nil || out.Data.Stdout != "" {
		t.Errorf("a terminal nobody asked for: %+v", out.Data)
	}
	pty := call[server.ExecData](t.Context(), t, session, "ssh_exec", map[string]any{"profile_id": "real", "command": "test -t 1 && echo tty", "pty": true})
	if pty.Data == nil || strings.TrimSpace(pty.Data.Stdout) != "tty" {
		t.Errorf("no terminal: %+v", pty.Data)
	}
}

func TestRealTransfer(t *testing.T) {
	s := startSSHD(t)
	session := s.session(t)
	data := bytes.Repeat([]byte("0123456789abcdef"), 1<<17) // 2 MiB
	write(t, filepath.Join(s.dir, "in"), string(data), 0o640)
	for _, remote := range []string{"up/plain", "up/sp ace 'quote' \"double\" ünï", "up/-dash"} {
		up := call[server.TransferData](t.Context(), t, session, "sftp_transfer", map[string]any{
			"profile_id": "real", "direction": "upload", "local_path": filepath.Join(s.dir, "in"), "remote_path": remote, "checksum": true})
		if up.Data == nil || !up.Data.Verified || up.Data.BytesTransferred != int64(len(data)) {
			t.Fatalf("%s: %+v", remote, up)
		}
		down := call[server.TransferData](t.Context(), t, session, "sftp_transfer", map[string]any{
			"profile_id": "real", "direction": "download", "local_path": filepath.Join(s.dir, "out"), "remote_path": remote})
		if got, err := os.ReadFile(filepath.Join(s.dir, "out")); down.Data == nil || err != nil || !bytes.Equal(got, data) || down.Data.Checksum != up.Data.Checksum {
			t.Errorf("%s: %+v, %v", remote, down, err)
		}
	}
	sum := exec1(t, session, "real", "sha256sum up/plain && stat -c %a up/plain && ls -A up | wc -l")
	if want := strings.TrimPrefix(upSum(t, session, s), "sha256:") + "  up/plain\n640\n3\n"; sum.Data == nil || sum.Data.Stdout != want {
		t.Errorf("the host sees %+v, want %q", sum.Data, want)
	}
	exec1(t, session, "real", "rm -rf up")
}

func upSum(t *testing.T, session *mcp.ClientSession, s *sshd) string {
	t.Helper()
	e := call[server.TransferData](t.Context(), t, session, "sftp_transfer", map[string]any{
		"profile_id": "real", "direction": "put", "local_path": filepath.Join(s.dir, "in"), "remote_path": "up/plain"})
	return e.Data.Checksum
}

// TestRealCancel makes 300 calls, cancels a third, and looks for processes left on the host. Their shells start nothing of their own, as a signal may come
// to a shell alone while it does (see remote.Exec); TestRealCancelOfMore has one that does.
func TestRealCancel(t *testing.T) {
	s := startSSHD(t)
	session := s.session(t)
	var wg sync.WaitGroup
	slots := make(chan struct{}, 30)
	for i := range 300 {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if i%3 != 0 {
				if e := exec1(t, session, "real", "echo hi"); e.Data == nil || e.Data.Stdout != "hi\n" {
					t.Errorf("got %+v", e)
				}
				return
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*time.Millisecond)
			defer cancel()
			call[server.ExecData](ctx, t, session, "ssh_exec", map[string]any{"profile_id": "real", "command": "exec sleep 4711"})
		})
	}
	wg.Wait()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		left := running(t, "sleep 4711")
		if left == "" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("left running on the host:\n%s", left)
		}
	}
	if e := exec1(t, session, "real", "echo next"); e.Data == nil || e.Data.Stdout != "next\n" {
		t.Errorf("the next call: %+v", e)
	}
}

// TestRealCancelOfMore cancels commands that have started others. Those end too, unless they have left the shell's process group, which the error says.
func TestRealCancelOfMore(t *testing.T) {
	s := startSSHD(t)
	session := s.session(t)
	for _, tc := range []struct {
		command, started string
		left             bool
	}{
		{"sleep 4715; echo done", "^sleep 4715", false},
		{"sleep 4716 | cat; echo done", "^sleep 4716", false},
		{"setsid sleep 4717 & wait; echo done", "^sleep 4717", true},
	} {
		begun := call[server.ExecData](t.Context(), t, session, "ssh_exec", map[string]any{"profile_id": "real", "command": tc.command, "background": true})
		if begun.Data == nil {
			t.Fatalf("%q: %+v", tc.command, begun)
		}
		for running(t, tc.started) == "" {
			time.Sleep(10 * time.Millisecond)
		}
		ended := call[server.JobCancelData](t.Context(), t, session, "job_cancel", map[string]any{"job_id": begun.Data.JobID})
		if ended.Data == nil || ended.Data.State != "cancelled" || ended.Data.Signal != "TERM" || strings.Contains(ended.Data.Error, "may run on") != tc.left {
			t.Errorf("%q: %+v", tc.command, ended.Data)
		}
		if left := running(t, tc.started); (left != "") != tc.left {
			t.Errorf("%q left %q running", tc.command, left)
		}
	}
	killUser()
}

// TestRealSessionLimit has 40 callers at once on a host that admits two sessions a connection.
func TestRealSessionLimit(t *testing.T) {
	s := startSSHD(t, "MaxSessions 2")
	session := s.session(t)
	var wg sync.WaitGroup
	for range 40 {
		wg.Go(func() {
			for range 3 {
				if e := exec1(t, session, "real", "echo hi"); e.Data == nil || e.Data.Stdout != "hi\n" {
					t.Errorf("got %+v", e)
				}
			}
		})
	}
	wg.Wait()
}

// TestRealCrash kills sshd under a running command, and starts it again.
func TestRealCrash(t *testing.T) {
	s := startSSHD(t)
	session := s.session(t)
	exec1(t, session, "real", "true")
	done := make(chan server.Envelope[server.ExecData], 1)
	go func() { done <- exec1(t, session, "real", "sleep 4712") }()
	for running(t, "sleep 4712") == "" {
		time.Sleep(10 * time.Millisecond)
	}
	s.stop()
	if e := <-done; e.Metadata.ErrorCode != server.CodeOutcomeUnknown {
		t.Errorf("got %+v", e)
	}
	if e := exec1(t, session, "real", "true"); e.Metadata.ErrorCode != server.CodeConnectionFailed {
		t.Errorf("while it is down: %+v", e)
	}
	s.run(t)
	if e := exec1(t, session, "real", "echo back"); e.Data == nil || e.Data.Stdout != "back\n" {
		t.Errorf("after its return: %+v", e)
	}
}

// TestRealLoad runs the load generator's scenarios through the built server on a real sshd, over both transports, and wants no error.
func TestRealLoad(t *testing.T) {
	bin := t.TempDir()
	for _, name := range []string{"openaccess-mcp", "loadgen"} {
		command(t, "go", "build", "-o", filepath.Join(bin, name), "../"+name)
	}
	s := startSSHD(t)
	for _, transport := range []string{"stdio", "http"} {
		for _, run := range [][]string{
			{"ssh-exec", "--arm", "pooled", "--rate", "20"},
			{"sftp-1mb"},
			{"ssh-exec-64"}, // more at once than sshd's default MaxSessions admits on one connection
		} {
			out := filepath.Join(t.TempDir(), "out")
			args := append([]string{"run"}, run...)
			args = append(args, "--server", filepath.Join(bin, "openaccess-mcp"), "--transport", transport, "--target", s.dir, "--profile-id", "real",
				"--warmup", "1s", "--duration", "5s", "--out", out, "--quiet")
			// The verdict is not asked for: a busy machine may make the generator late, which is no error of the server's.
			report, runErr := exec.Command(filepath.Join(bin, "loadgen"), args...).CombinedOutput()
			t.Logf("%s", report)
			data, err := os.ReadFile(filepath.Join(out, "result.json"))
			if err != nil {
				t.Fatal(runErr)
			}
			var doc struct {
				Scenarios []struct {
					Name     string
					Requests int
					Errors   map[string]int
				}
			}
			must(t, json.Unmarshal(data, &doc))
			for _, cell := range doc.Scenarios {
				if cell.Requests == 0 || len(cell.Errors) > 0 {
					t.Errorf("%s over %s: %+v", run[0], transport, cell)
				}
			}
		}
	}
}
