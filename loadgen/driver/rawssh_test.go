package driver

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
)

func TestRawSSHOutput(t *testing.T) {
	host := fakessh.Start(fakessh.Options{Users: map[string]fakessh.User{"deploy": {Password: "right"}}})
	defer host.Close()
	dir := t.TempDir()
	if err := host.WriteProfile(dir, "web"); err != nil {
		t.Fatal(err)
	}
	target, err := ReadSSHTarget(filepath.Join(dir, "profiles"), filepath.Join(dir, "secrets"), "web")
	if err != nil {
		t.Fatal(err)
	}
	d, err := RawSSH(t.Context(), RawSSHConfig{Targets: []SSHTarget{target}})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	s := session(t, d)
	r := call(t, s, loadgen.Call{Tool: "ssh_exec", Args: map[string]any{"profile_id": "web", "command": "exit 7"}})
	if r.Code != "" || r.Data["exit_code"] != 7.0 || r.Data["stdout"] != "" {
		t.Errorf("%+v", r)
	}
	r = call(t, s, loadgen.Call{Tool: "ssh_exec", Args: map[string]any{"profile_id": "web", "command": "no-such-command"}})
	if r.Code != "" || r.Data["exit_code"] != 127.0 || r.Data["stderr"] == "" {
		t.Errorf("%+v", r)
	}
	target.Auth = nil
	if _, err := RawSSH(t.Context(), RawSSHConfig{Targets: []SSHTarget{target}}); !errors.Is(err, ErrServerStart) || !strings.Contains(err.Error(), "profile web") {
		t.Errorf("without a password: %v", err)
	}
	if _, err := RawSSH(t.Context(), RawSSHConfig{}); err == nil {
		t.Error("no target at all is accepted")
	}
}

func TestReadSSHTarget(t *testing.T) {
	const good = `{"host": "h", "username": "u", "auth": {"type": "file_ref", "ref": "s"},
		"host_key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIO3DVqzFqyYw0F0fT7n9O9D6m5HIHUDCjWXEexVtbSbe"}`
	for name, tt := range map[string]struct{ profile, secret, want string }{
		"good":         {good, `{"password": "x"}`, ""},
		"yaml":         {good, "username: other\npassword: x\n", ""},
		"no host":      {`{}`, "", "host: it is missing"},
		"jump":         {`{"host": "h", "jump": "j"}`, "", "jump: raw-ssh only"},
		"vpn":          {`{"host": "h", "via_vpn": "j"}`, "", "via_vpn: raw-ssh only"},
		"agent":        {`{"host": "h", "auth": {"type": "agent"}}`, "", `not "agent"`},
		"no host key":  {`{"host": "h", "auth": {"type": "file_ref"}}`, "", "host_key: raw-ssh only trusts"},
		"bad host key": {strings.Replace(good, "AAAA", "?", 1), "", "host_key: "},
		"no secret":    {good, "", "there is no s.json"},
		"empty secret": {good, `{}`, "neither a key nor a password"},
		"bad key":      {good, `{"private_key": "x"}`, "the private key: "},
		"no key file":  {good, `{"private_key_path": "nowhere"}`, "private_key_path: "},
		"not YAML":     {good, `{"password": ["hush"`, "s.yaml:1:"},
		"no profile":   {"", "", "there is no p.json"},
	} {
		dir := t.TempDir()
		for file, text := range map[string]string{"p.json": tt.profile, "s.yaml": tt.secret} {
			if text != "" {
				if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
		got, err := ReadSSHTarget(dir, dir, "p")
		switch {
		case tt.want == "" && (err != nil || got.Address != "h:22" || got.User != "u" || len(got.Auth) != 1 || got.Profile != "p"):
			t.Errorf("%s: %+v, %v", name, got, err)
		case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "hush")):
			t.Errorf("%s: %v, want %s", name, err, tt.want)
		}
	}
}

func FuzzReadDoc(f *testing.F) {
	f.Add(`{"host": "h", "auth": {"type": "file_ref"}}`)
	f.Add("host: [")
	f.Fuzz(func(t *testing.T, text string) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "p.yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, _ = ReadSSHTarget(dir, dir, "p") // must not panic
	})
}
