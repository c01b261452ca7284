package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
)

func TestToolsAreDescribed(t *testing.T) {
	f := start(t, fakessh.Options{}, nil)
	c := f.connect(t.Context(), t)
	defer c.end()
	var list struct {
		Tools []struct {
			Name, Description string
			InputSchema       map[string]any
			OutputSchema      map[string]any
			Annotations       map[string]any
		}
	}
	if err := json.Unmarshal(c.request("tools/list", nil).Result, &list); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, tool := range list.Tools {
		names = append(names, tool.Name)
		if tool.Description == "" || tool.InputSchema["type"] != "object" || tool.OutputSchema["type"] != "object" {
			t.Errorf("%s lacks a description or schema", tool.Name)
		}
		for _, hint := range []string{"readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint"} {
			if _, ok := tool.Annotations[hint]; !ok {
				t.Errorf("%s lacks %s", tool.Name, hint)
			}
		}
		if _, ok := tool.InputSchema["properties"].(map[string]any)["caller"]; !ok {
			t.Errorf("%s does not take caller", tool.Name)
		}
	}
	slices.Sort(names)
	if want := []string{"debug_performance", "job_cancel", "job_output", "job_status", "profile_list", "rsync_sync", "server_health", "server_stats", "sftp_transfer", "ssh_exec", "tunnel_close", "tunnel_create", "tunnel_list", "vpn_wireguard_toggle"}; !slices.Equal(names, want) {
		t.Errorf("tools %v, want %v", names, want)
	}
}

// TestResultsMatchTheirSchema validates results, good and bad, against the output schema that the tool advertises.
func TestResultsMatchTheirSchema(t *testing.T) {
	f := start(t, fakessh.Options{}, nil)
	mustWrite(t, filepath.Join(f.dir, "in"), "x")
	c := f.connect(t.Context(), t)
	defer c.end()
	var list struct {
		Tools []struct {
			Name         string
			OutputSchema json.RawMessage
		}
	}
	if err := json.Unmarshal(c.request("tools/list", nil).Result, &list); err != nil {
		t.Fatal(err)
	}
	schemas := map[string]*jsonschema.Schema{}
	for _, tool := range list.Tools {
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(tool.OutputSchema))
		if err != nil {
			t.Fatal(err)
		}
		compiler := jsonschema.NewCompiler()
		if err := compiler.AddResource("schema.json", doc); err != nil {
			t.Fatal(err)
		}
		schemas[tool.Name] = compiler.MustCompile("schema.json")
	}
	for _, call := range []struct {
		tool string
		args args
	}{
		{"ssh_exec", args{"profile_id": "fake", "command": "echo hi"}},
		{"ssh_exec", args{"profile_id": "fake", "command": "true", "dry_run": true}},
		{"ssh_exec", args{"profile_id": "none", "command": "true"}},
		{"ssh_exec", args{"profile_id": "fake", "command": "sleep 9", "timeout": 0.05}},
		{"sftp_transfer", args{"profile_id": "fake", "direction": "put", "local_path": filepath.Join(f.dir, "in"), "remote_path": "x"}},
		{"sftp_transfer", args{"profile_id": "fake", "direction": "sideways"}},
		{"rsync_sync", args{"profile_id": "fake", "direction": "push", "source": filepath.Join(f.dir, "profiles"), "dest": "x"}},
		{"rsync_sync", args{"profile_id": "fake", "direction": "push", "source": f.dir, "dest": "x", "dry_run": false, "exclude": []string{"secrets/"}}},
		{"rsync_sync", args{"profile_id": "fake", "direction": "pull", "source": "none", "dest": f.dir}},
		{"tunnel_create", args{"profile_id": "fake", "tunnel_type": "dynamic"}},
		{"tunnel_list", nil},
		{"tunnel_close", args{"tunnel_id": "none"}},
		{"vpn_wireguard_toggle", args{"profile_id": "fake", "peer_id": "none", "action": "down"}},
		{"ssh_exec", args{"profile_id": "fake", "command": "true", "background": true}},
		{"job_status", nil},
		{"job_output", args{"job_id": "none"}},
		{"job_cancel", args{"job_id": "none"}},
		{"profile_list", nil},
		{"server_stats", args{"caller": "ci"}},
		{"server_health", args{"refresh": true}},
		{"server_health", args{"refresh": "yes"}},
		{"debug_performance", args{"operation": "all", "profile_id": "fake", "iterations": 1}},
		{"debug_performance", args{"operation": "dance", "profile_id": "fake"}},
	} {
		m := c.request("tools/call", map[string]any{"name": call.tool, "arguments": call.args})
		var r struct{ StructuredContent any }
		if err := json.Unmarshal(m.Result, &r); err != nil {
			t.Fatal(err)
		}
		if err := schemas[call.tool].Validate(r.StructuredContent); err != nil {
			t.Errorf("%s %v: %v", call.tool, call.args, err)
		}
	}
}

func TestExecTool(t *testing.T) {
	f := start(t, fakessh.Options{}, nil)
	c := f.connect(t.Context(), t)
	defer c.end()
	e := c.call("ssh_exec", args{"profile_id": "fake", "command": "echo hi", "caller": "me"})
	if !e.Success || e.Data["stdout"] != "hi\n" || e.Data["exit_code"] != 0.0 || e.Data["truncated"] != false || e.Data["cached"] != false {
		t.Errorf("got %+v", e)
	}
	if m := e.Metadata; m.ProfileID != "fake" || m.Caller != "me" || !strings.HasPrefix(m.Actor, "stdio:") || m.Timing.Remote <= 0 || m.Timing.Dial <= 0 || m.Timing.Reused {
		t.Errorf("metadata %+v", m)
	}
	e = c.call("ssh.exec", args{"profile_id": "fake", "command": "exit 4"})
	if !e.Success || e.Data["exit_code"] != 4.0 || !e.Metadata.Timing.Reused || e.Metadata.Timing.Dial != 0 {
		t.Errorf("by the dotted name: %+v", e)
	}
	e = c.call("ssh_exec", args{"profile_id": "fake", "command": "bytes 100", "max_output_bytes": 5})
	if e.Data["truncated"] != true || len(e.Data["stdout"].(string)) != 5 {
		t.Errorf("bounded output: %+v", e)
	}
	// Not the host's sessions: the one opened ahead after the last call may be counted during this one.
	before := f.host.Stats().Commands["echo"].Started
	e = c.call("ssh_exec", args{"profile_id": "fake", "command": "echo hi", "dry_run": true})
	if ran := f.host.Stats().Commands["echo"].Started - before; !e.Success || e.Data["dry_run"] != true || ran != 0 {
		t.Errorf("dry run: %+v, and %d commands ran on the host", e, ran)
	}
	e = c.call("ssh_exec", args{"profile_id": "fake", "command": "sleep 60", "timeout": 0.1})
	e.wantCode(t, CodeTimeout, "timeout_seconds 0.1")
	waitUntil(t, "nothing runs on the host", func() bool { return f.host.Stats().Running == 0 })
}

func TestBinaryOutputIsNotLost(t *testing.T) {
	f := start(t, fakessh.Options{}, nil)
	if err := f.host.FS().WriteFile("bin", []byte("a\xff\xfeb"), 0o644); err != nil {
		t.Fatal(err)
	}
	c := f.connect(t.Context(), t)
	defer c.end()
	e := c.call("ssh_exec", args{"profile_id": "fake", "command": "cat /bin"})
	if e.Data["stdout_base64"] != "Yf/+Yg==" {
		t.Errorf("got %+v", e.Data)
	}
	e = c.call("ssh_exec", args{"profile_id": "fake", "command": "echo äö", "max_output_bytes": 3})
	if e.Data["stdout"] != "ä" || e.Data["stdout_base64"] != nil {
		t.Errorf("a character cut by the bound: %+v", e.Data)
	}
}

func TestTransferTool(t *testing.T) {
	f := start(t, fakessh.Options{}, nil)
	local := filepath.Join(f.dir, "in")
	mustWrite(t, local, "hello")
	c := f.connect(t.Context(), t)
	defer c.end()
	const sum = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
	e := c.call("sftp_transfer", args{"profile_id": "fake", "direction": "put", "local_path": local, "remote_path": "/new/dir/f", "mode": "0600", "checksum": true})
	if !e.Success || e.Data["checksum"] != sum || e.Data["bytes_transferred"] != 5.0 || e.Data["files"] != 1.0 || e.Data["verified"] != true || e.Data["direction"] != "upload" {
		t.Errorf("got %+v", e)
	}
	if info, err := f.host.FS().Stat("new/dir/f"); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	out := filepath.Join(f.dir, "sub/out")
	e = c.call("sftp.transfer", args{"profile_id": "fake", "direction": "download", "local_path": out, "remote_path": "/new/dir/f"})
	if data, err := os.ReadFile(out); !e.Success || e.Data["checksum"] != sum || string(data) != "hello" || err != nil {
		t.Errorf("got %+v, %q, %v", e, data, err)
	}
	for _, tc := range []struct {
		args args
		code Code
		word string
	}{
		{args{"local_path": "/etc/hostname"}, CodePolicyViolation, "local_roots"},
		{args{"local_path": filepath.Join(f.dir, "none")}, CodeInvalidParameters, "no such file"},
		{args{"remote_path": "/nodir/f", "create_dirs": false}, CodeInvalidParameters, "no such file"},
		{args{"mode": "99"}, CodeInvalidParameters, "octal"},
		{args{"remote_path": "x/"}, CodeInvalidParameters, "name a file"},
		{args{"remote_path": ""}, CodeInvalidParameters, "remote_path is required"},
	} {
		a := args{"profile_id": "fake", "direction": "upload", "local_path": local, "remote_path": "/g"}
		maps.Copy(a, tc.args)
		c.call("sftp_transfer", a).wantCode(t, tc.code, tc.word)
	}
}

func TestErrorCodes(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().(*net.TCPAddr).Port
	l.Close()
	policyOf := func(p map[string]any) map[string]any { return p["policy"].(map[string]any) }
	f := start(t, fakessh.Options{Users: map[string]fakessh.User{"fake": {Password: "right"}}}, func(f *fixture) {
		f.profile(t, "closed", func(p map[string]any) { p["port"] = closed })
		f.profile(t, "otherkey", func(p map[string]any) {
			other := fakessh.Start(fakessh.Options{})
			defer other.Close()
			_, key, _ := strings.Cut(other.KnownHostsLine(), " ")
			p["host_key"] = key
		})
		f.profile(t, "nosecret", func(p map[string]any) { p["auth"] = map[string]any{"type": "file_ref", "ref": "absent"} })
		f.profile(t, "wrong", func(p map[string]any) { p["auth"] = map[string]any{"type": "file_ref", "ref": "wrong"} })
		mustWrite(t, filepath.Join(f.dir, "secrets/wrong.json"), `{"username":"fake","password":"not-it"}`)
		f.profile(t, "deny", func(p map[string]any) { policyOf(p)["command_denylist"] = []string{`\brm\b`} })
		f.profile(t, "allow", func(p map[string]any) { policyOf(p)["command_allowlist"] = []string{`^echo\b`} })
		f.profile(t, "sftponly", func(p map[string]any) { p["protocols"] = []string{"sftp"} })
		f.profile(t, "nosudo", func(p map[string]any) { policyOf(p)["deny_sudo"] = true })
		f.profile(t, "ticket", func(p map[string]any) { policyOf(p)["require_change_ticket_for"] = []string{"ssh.exec"} })
		f.profile(t, "one", func(p map[string]any) { policyOf(p)["max_concurrent_sessions"] = 1 })
		f.profile(t, "short", func(p map[string]any) { policyOf(p)["max_session_seconds"] = 1 })
	})
	c := f.connect(t.Context(), t)
	defer c.end()
	for _, tc := range []struct {
		name, profile, command string
		more                   args
		code                   Code
		words                  []string
	}{
		{"no such profile", "none", "true", nil, CodeProfileNotFound, []string{"none"}},
		{"no profile", "", "true", nil, CodeInvalidParameters, []string{"profile_id is required"}},
		{"no command", "fake", "", nil, CodeInvalidParameters, []string{"command is required"}},
		{"unknown parameter", "fake", "true", args{"comand": "x"}, CodeInvalidParameters, []string{`"comand"`, "command"}},
		{"wrong type", "fake", "true", args{"pty": "yes"}, CodeInvalidParameters, []string{"pty"}},
		{"number as text", "fake", "true", args{"timeout": "5"}, CodeInvalidParameters, []string{"timeout_seconds"}},
		{"out of range", "fake", "true", args{"timeout_seconds": -1}, CodeInvalidParameters, []string{"timeout_seconds"}},
		{"twice the same", "fake", "true", args{"timeout_seconds": 1, "timeout": 2}, CodeInvalidParameters, []string{"timeout"}},
		{"port closed", "closed", "true", nil, CodeConnectionFailed, []string{"refused"}},
		{"host key", "otherkey", "true", nil, CodeHostKeyMismatch, []string{"SHA256:"}},
		{"secret missing", "nosecret", "true", nil, CodeAuthenticationFailed, []string{"absent"}},
		{"wrong password", "wrong", "true", nil, CodeAuthenticationFailed, []string{"refused the credential"}},
		{"deny list", "deny", "rm -rf /", nil, CodePolicyViolation, []string{"command_denylist[0]"}},
		{"allow list", "allow", "cat /etc/passwd", nil, CodePolicyViolation, []string{"command_allowlist"}},
		{"allow list and a separator", "allow", "echo hi; cat /etc/passwd", nil, CodePolicyViolation, []string{"command_allowlist"}},
		{"protocol", "sftponly", "true", nil, CodePolicyViolation, []string{"protocols"}},
		{"sudo parameter", "nosudo", "true", args{"sudo": true}, CodePolicyViolation, []string{"deny_sudo"}},
		{"sudo in the command", "nosudo", "sudo true", nil, CodePolicyViolation, []string{"deny_sudo"}},
		{"ticket", "ticket", "true", nil, CodePolicyViolation, []string{"require_change_ticket_for"}},
		{"session seconds", "short", "sleep 60", nil, CodeTimeout, []string{"max_session_seconds 1"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := args{"profile_id": tc.profile, "command": tc.command}
			maps.Copy(a, tc.more)
			e := c.call("ssh_exec", a)
			e.wantCode(t, tc.code, tc.words...)
			if strings.Contains(e.Error, "not-it") {
				t.Errorf("the error shows a password: %s", e.Error)
			}
		})
	}
	if n := f.host.Stats().Commands["rm"].Started + f.host.Stats().Commands["cat"].Started; n != 0 {
		t.Errorf("%d refused commands ran", n)
	}
	if e := c.call("ssh_exec", args{"profile_id": "ticket", "command": "true", "change_ticket": "CHG-1"}); !e.Success {
		t.Errorf("with a ticket: %+v", e)
	}
	if e := c.call("ssh_exec", args{"profile_id": "allow", "command": "echo hi"}); !e.Success {
		t.Errorf("an allowed command: %+v", e)
	}
	t.Run("concurrency", func(t *testing.T) {
		id, _ := c.send("tools/call", map[string]any{"name": "ssh_exec", "arguments": args{"profile_id": "one", "command": "sleep 60"}})
		waitUntil(t, "the first call runs", func() bool { return f.host.Stats().Running == 1 })
		c.call("ssh_exec", args{"profile_id": "one", "command": "true", "timeout": 0.05}).wantCode(t, CodeLimitExceeded, "profile one")
		c.notify("notifications/cancelled", map[string]any{"requestId": id})
		if e := c.call("ssh_exec", args{"profile_id": "one", "command": "true"}); !e.Success {
			t.Errorf("after the first has ended: %+v", e)
		}
	})
	t.Run("connection cut", func(t *testing.T) {
		_, answer := c.send("tools/call", map[string]any{"name": "ssh_exec", "arguments": args{"profile_id": "fake", "command": "sleep 60"}})
		waitUntil(t, "the command runs", func() bool { return f.host.Stats().Running == 1 })
		f.host.CloseClientConnections()
		c.envelope(c.await(answer)).wantCode(t, CodeOutcomeUnknown)
	})
}

func TestProfileListShowsNoCredential(t *testing.T) {
	f := start(t, fakessh.Options{Users: map[string]fakessh.User{"u": {Password: "hush-hush"}}}, nil)
	c := f.connect(t.Context(), t)
	defer c.end()
	m := c.request("tools/call", map[string]any{"name": "profile_list"})
	if s := string(m.Result); strings.Contains(s, "hush") || !strings.Contains(s, `"fake"`) {
		t.Errorf("got %s", s)
	}
}

func TestServerStats(t *testing.T) {
	f := start(t, fakessh.Options{}, nil)
	c := f.connect(t.Context(), t)
	defer c.end()
	for range 3 {
		c.call("ssh_exec", args{"profile_id": "fake", "command": "echo hi"})
	}
	c.call("ssh_exec", args{"profile_id": "none", "command": "echo hi"})
	e := c.call("server_stats", nil)
	exec := e.Data["operations"].(map[string]any)["ssh.exec"].(map[string]any)
	if exec["calls"] != 4.0 || exec["bytes"] != 9.0 || exec["errors"].(map[string]any)["PROFILE_NOT_FOUND"] != 1.0 {
		t.Errorf("ssh.exec: %v", exec)
	}
	pool := e.Data["pool"].(map[string]any)
	if pool["open"] != 1.0 || pool["dials"] != 1.0 || pool["leases"] != 3.0 || pool["reused"] != 2.0 || pool["enabled"] != true {
		t.Errorf("pool: %v", pool)
	}
}

func TestNewNamesEveryMistake(t *testing.T) {
	dir := t.TempDir()
	mustWrite(t, filepath.Join(dir, "a.json"), "{\"id\":\"a\",\n\"hst\":\"x\"}")
	mustWrite(t, filepath.Join(dir, "b.yaml"), "id: b\nhost: h\nauth: {type: agent}\npolicy:\n  command_denylist: ['(']\n")
	_, err := New(Config{Profiles: dir})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"a.json:2:", "hst", "b.yaml:5:", "command_denylist[0]"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not mention %q:\n%v", want, err)
		}
	}
	if _, problems := Check(Config{Profiles: dir}); len(problems) < 2 {
		t.Errorf("Check found %v", problems)
	}
	if _, err := New(Config{Profiles: dir, Transport: "pigeon"}); err == nil || errors.Is(err, os.ErrNotExist) {
		t.Errorf("an unknown transport: %v", err)
	}
}
