package policy

import (
	"strings"
	"testing"
)

func TestRemotePaths(t *testing.T) {
	p := compile(t, Rules{RemoteRoots: []string{"/srv/data", "/tmp/"}, RemoteDenylist: []string{`/\.ssh/`, `\.key$`}})
	tests := []struct{ path, rule string }{
		{"/srv/data", ""}, {"/srv/data/", ""}, {"/srv/data/a b/ü", ""}, {"/tmp/x", ""}, {"//srv//data//x", ""}, {"/srv/./data/x", ""}, {"relative/x", ""},
		{"/srv", "remote_roots"}, {"/srv/database", "remote_roots"}, {"/", "remote_roots"}, {"/etc/passwd", "remote_roots"},
		{"/srv/data/../x", "remote_roots"}, {"../x", "remote_roots"}, {"x/..", "remote_roots"}, {"~/x", "remote_roots"}, {`/srv/data\..\x`, "remote_roots"},
		{"/srv/data/\x00", "remote_roots"}, {"/srv/data/\xff", "remote_roots"}, {"/srv/data/\u202e", "remote_roots"}, {"/srv/data/\u2024\u2024/x", "remote_roots"},
		{"/srv/data/" + strings.Repeat("a", 5000), "remote_roots"},
		{"/srv/data/.ssh", `remote_denylist[0] "/\.ssh/"`}, {"/srv/data/.ssh/x", `remote_denylist[0] "/\.ssh/"`}, {"a/.ssh/x", `remote_denylist[0] "/\.ssh/"`},
		{"/tmp/x.key", `remote_denylist[1] "\.key$"`}, {"/tmp//x.key/", `remote_denylist[1] "\.key$"`},
	}
	for _, tt := range tests {
		got := p.Decide(Call{Operation: "sftp.transfer", Protocol: "sftp", RemotePath: tt.path})
		if got.Rule != tt.rule || got.Allowed != (tt.rule == "") {
			t.Errorf("%q: %+v, want rule %q", tt.path, got, tt.rule)
		}
	}
	if got := compile(t, Rules{}).Decide(Call{Operation: "sftp.transfer", Protocol: "sftp", RemotePath: "../../x"}); !got.Allowed {
		t.Errorf("without rules: %+v", got)
	}
	_, err := Compile(Rules{RemoteRoots: []string{"data", "/a/../b", "/ok", ""}, RemoteDenylist: []string{"("}, ChangeTicketFormat: "("})
	var fields []string
	for _, m := range Mistakes(err) {
		fields = append(fields, m.Field)
	}
	if got := strings.Join(fields, " "); got != "remote_roots[0] remote_roots[1] remote_roots[3] remote_denylist[0] change_ticket_format" {
		t.Errorf("mistakes in %s", got)
	}
}

func TestChangeTicketFormat(t *testing.T) {
	p := compile(t, Rules{RequireChangeTicketFor: []string{"ssh.exec"}, ChangeTicketFormat: `CHG-[0-9]{4}|EMERGENCY`})
	for ticket, want := range map[string]bool{
		"CHG-1234": true, "EMERGENCY": true, "CHG-123": false, "CHG-12345": false, "xCHG-1234": false, "CHG-1234\n": false, "CHG-1234 EMERGENCY": false, "chg-1234": false,
		"": false, " ": false, "CHG-1234\x00": false,
	} {
		c := exec("ls")
		c.ChangeTicket = ticket
		got := p.Decide(c)
		if got.Allowed != want || got.Allowed != (got.Ticket != "") {
			t.Errorf("%q: %+v, want allowed %v", ticket, got, want)
		}
	}
	free := compile(t, Rules{RequireChangeTicketFor: []string{"ssh.exec"}})
	for ticket, want := range map[string]bool{"anything": true, "a\tb": false, strings.Repeat("x", 300): false, "\xff": false} {
		c := exec("ls")
		c.ChangeTicket = ticket
		if got := free.Decide(c); got.Allowed != want {
			t.Errorf("%q: %+v, want allowed %v", ticket, got, want)
		}
	}
	if got := p.Decide(Call{Operation: "sftp.transfer", Protocol: "sftp", ChangeTicket: "x"}); !got.Allowed || got.Ticket != "" {
		t.Errorf("a ticket where none is needed: %+v", got)
	}
}

func FuzzRemotePath(f *testing.F) {
	for _, s := range []string{"/in/x", "/in/../x", "/in//./x", "in", "/in", "/in\x00", "/inx", "~", `/in\..`, "/in/\u2024\u2024/x"} {
		f.Add(s)
	}
	p := compile(f, Rules{RemoteRoots: []string{"/in"}, RemoteDenylist: []string{"/no/"}})
	f.Fuzz(func(t *testing.T, name string) {
		if name == "" || !p.DecideRemote(name).Allowed {
			return
		}
		depth := 0
		for _, part := range strings.Split(name, "/") {
			switch part {
			case "", ".":
			case "..":
				depth--
			default:
				depth++
			}
			if depth < 0 {
				t.Errorf("%q leads up", name)
			}
		}
		if strings.HasPrefix(name, "/") && !strings.HasPrefix(strings.TrimLeft(strings.ReplaceAll(name, "/./", "/"), "/."), "in") {
			t.Errorf("%q is admitted", name)
		}
		if strings.Contains(name+"/", "/no/") || strings.ContainsAny(name, "\x00\\\n") {
			t.Errorf("%q is admitted", name)
		}
	})
}
