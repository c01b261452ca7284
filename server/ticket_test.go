package server

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
)

// ticketed makes a fixture whose commands need a ticket that check confirms.
func ticketed(t *testing.T, check func(f *fixture) string) *fixture {
	return start(t, fakessh.Options{}, func(f *fixture) {
		f.profile(t, "fake", func(p map[string]any) {
			p["policy"] = map[string]any{
				"require_change_ticket_for": []string{"ssh.exec"}, "change_ticket_format": "CHG-[0-9]+", "change_ticket_check": check(f),
			}
		})
	})
}

func TestTicketCheckByURL(t *testing.T) {
	var asked atomic.Int64
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		var q map[string]string
		body, _ := io.ReadAll(r.Body)
		if err := json.Unmarshal(body, &q); err != nil || q["profile_id"] != "fake" || q["operation"] != "ssh.exec" || q["actor"] == "" || q["caller"] != "me" {
			t.Errorf("asked %s: %v", body, err)
		}
		switch q["ticket"] {
		case "CHG-1":
		case "CHG-2":
			http.Redirect(w, r, "/elsewhere", http.StatusFound)
		default:
			http.Error(w, "closed yesterday", http.StatusForbidden)
		}
	}))
	f := ticketed(t, func(*fixture) string { return service.URL })
	c := f.connect(t.Context(), t)
	defer c.end()
	run := func(ticket string) envelope {
		return c.call("ssh_exec", args{"profile_id": "fake", "command": "echo", "change_ticket": ticket, "caller": "me"})
	}
	if e := run("CHG-1"); !e.Success {
		t.Errorf("%+v", e)
	}
	run("CHG-2").wantCode(t, CodePolicyViolation, "change_ticket_check", "302")
	run("CHG-3").wantCode(t, CodePolicyViolation, "change_ticket_check", "closed yesterday")
	run("X-1").wantCode(t, CodePolicyViolation, "change_ticket_format")
	run("").wantCode(t, CodePolicyViolation, "require_change_ticket_for")
	if n := asked.Load(); n != 3 {
		t.Errorf("asked %d times, want 3", n)
	}
	service.Close()
	run("CHG-1").wantCode(t, CodePolicyViolation, "change_ticket_check", "cannot be asked")
}

func TestTicketCheckByProgram(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the program is a shell script")
	}
	f := ticketed(t, func(f *fixture) string {
		program := filepath.Join(f.dir, "check")
		text := "#!/bin/sh\ncat >question\nenv >variables\n[ \"$1 $2 $3\" = 'CHG-1 fake ssh.exec' ] && exit 0\necho no such ticket >&2\nexit 3\n"
		if err := os.WriteFile(program, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
		return program
	})
	t.Setenv("TICKET_SECRET", "hunter2")
	c := f.connect(t.Context(), t)
	defer c.end()
	if e := c.call("ssh_exec", args{"profile_id": "fake", "command": "echo", "change_ticket": "CHG-1"}); !e.Success {
		t.Errorf("%+v", e)
	}
	c.call("ssh_exec", args{"profile_id": "fake", "command": "echo", "change_ticket": "CHG-2", "dry_run": true}).wantCode(t, CodePolicyViolation, "exit status 3", "no such ticket")
	question, err := os.ReadFile(filepath.Join(f.dir, "question"))
	if err != nil || !strings.Contains(string(question), `"ticket":"CHG-2"`) {
		t.Errorf("asked %s, %v", question, err)
	}
	variables, err := os.ReadFile(filepath.Join(f.dir, "variables"))
	if err != nil || strings.Contains(string(variables), "hunter2") {
		t.Errorf("the check has the variables %s, %v", variables, err)
	}
	if err := os.Remove(filepath.Join(f.dir, "check")); err != nil {
		t.Fatal(err)
	}
	c.call("ssh_exec", args{"profile_id": "fake", "command": "echo", "change_ticket": "CHG-1"}).wantCode(t, CodePolicyViolation, "change_ticket_check")
}

func TestBadTicketChecksAreFound(t *testing.T) {
	f := start(t, fakessh.Options{}, nil)
	for _, check := range []string{"check.sh", "./check", "https://", "http:///x", "ftp://h/x"} {
		f.profile(t, "fake", func(p map[string]any) { p["policy"] = map[string]any{"change_ticket_check": check} })
		_, problems := Check(Config{Profiles: filepath.Join(f.dir, "profiles"), Secrets: filepath.Join(f.dir, "secrets")})
		if len(problems) != 1 || problems[0].Field != "policy.change_ticket_check" || problems[0].Remedy == "" {
			t.Errorf("%s: %v", check, problems)
		}
	}
}

// TestDryRuns asks every tool that does something what it would do: the policy decides, and nothing is done.
func TestDryRuns(t *testing.T) {
	f := start(t, fakessh.Options{}, func(f *fixture) {
		f.profile(t, "fake", func(p map[string]any) {
			p["protocols"] = []string{"ssh", "sftp", "rsync", "tunnel", "vpn"}
			policy, _ := p["policy"].(map[string]any)
			if policy == nil {
				policy = map[string]any{}
			}
			policy["remote_roots"], policy["tunnel_targets"] = []string{"/in"}, []string{"127.0.0.1:*"}
			policy["local_roots"] = []string{f.dir}
			p["policy"] = policy
		})
	})
	tree := filepath.Join(f.dir, "tree")
	if err := os.MkdirAll(filepath.Join(tree, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	mustWrite(t, filepath.Join(tree, "sub/file"), "12345")
	c := f.connect(t.Context(), t)
	defer c.end()
	wants := func(tool string, a args, fields map[string]any) {
		t.Helper()
		a["profile_id"], a["dry_run"] = "fake", true
		e := c.call(tool, a)
		for name, want := range fields {
			if e.Data[name] != want {
				t.Errorf("%s: %s is %v, want %v in %+v", tool, name, e.Data[name], want, e)
			}
		}
	}
	planned := map[string]any{"dry_run": true, "status": "planned"}
	wants("ssh_exec", args{"command": "echo"}, map[string]any{"dry_run": true})
	wants("sftp_transfer", args{"direction": "upload", "local_path": filepath.Join(tree, "sub/file"), "remote_path": "/in/x"},
		map[string]any{"dry_run": true, "status": "planned", "files": 1.0, "bytes_transferred": 5.0})
	wants("sftp_transfer", args{"direction": "upload", "local_path": tree, "remote_path": "/in/x", "recursive": true},
		map[string]any{"status": "planned", "files": 1.0, "directories": 2.0, "bytes_transferred": 5.0})
	wants("sftp_transfer", args{"direction": "download", "local_path": filepath.Join(tree, "new"), "remote_path": "/in/x"}, planned)
	wants("tunnel_create", args{"tunnel_type": "local", "target_host": "127.0.0.1", "target_port": 9.0}, map[string]any{"dry_run": true, "status": "planned", "tunnel_id": ""})
	dry := func(tool string, a args) envelope {
		a["profile_id"], a["dry_run"] = "fake", true
		return c.call(tool, a)
	}
	dry("sftp_transfer", args{"direction": "upload", "local_path": filepath.Join(tree, "none"), "remote_path": "/in/x"}).wantCode(t, CodeInvalidParameters)
	dry("sftp_transfer", args{"direction": "upload", "local_path": tree, "remote_path": "/out/x", "recursive": true}).wantCode(t, CodePolicyViolation, "remote_roots")
	dry("sftp_transfer", args{"direction": "upload", "local_path": "/etc/passwd", "remote_path": "/in/x"}).wantCode(t, CodePolicyViolation, "local_roots")
	dry("tunnel_create", args{"tunnel_type": "local", "target_host": "example.com", "target_port": 9.0}).wantCode(t, CodePolicyViolation, "tunnel_targets")
	dry("vpn_wireguard_toggle", args{"peer_id": "none", "action": "up"}).wantCode(t, CodeInvalidParameters)
	if n := f.server.pool.Stats().Dials; n != 0 {
		t.Errorf("dry runs have dialled %d times", n)
	}
	e := c.call("tunnel_create", args{"profile_id": "fake", "tunnel_type": "local", "target_host": "127.0.0.1", "target_port": 9.0})
	id, _ := e.Data["tunnel_id"].(string)
	if e = c.call("tunnel_close", args{"tunnel_id": id, "dry_run": true}); e.Data["status"] != "planned" || len(f.server.tunnels.list()) != 1 {
		t.Errorf("%+v", e)
	}
	if e = c.call("tunnel_close", args{"tunnel_id": id}); e.Data["status"] != "closed" {
		t.Errorf("%+v", e)
	}
}
