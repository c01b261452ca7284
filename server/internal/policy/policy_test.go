package policy

import (
	"strings"
	"testing"
	"time"
)

func compile(t testing.TB, r Rules) *Policy {
	t.Helper()
	p, err := Compile(r)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func exec(command string) Call {
	return Call{Operation: "ssh.exec", Protocol: "ssh", Command: command}
}

func TestAllowlist(t *testing.T) {
	ls := []string{`^ls\b`}
	tests := []struct {
		name    string
		allow   []string
		command string
		want    bool
	}{
		{"plain", ls, "ls", true},
		{"arguments", ls, "ls -la /tmp", true},
		{"variable", ls, "ls $HOME", true},
		{"glob", ls, "ls *.txt ?x [ab] ~", true},
		{"other command", ls, "rm -rf /", false},
		{"prefix only", ls, "lsof", false},
		{"empty", ls, "", false},
		{"second pattern", []string{`^ls\b`, `^df\b`}, "df -h", true},
		{"unanchored", []string{`uptime`}, "cat /proc/uptime", true},

		{"semicolon", ls, "ls; reboot", false},
		{"semicolon without blank", ls, "ls;reboot", false},
		{"and", ls, "ls && reboot", false},
		{"or", ls, "ls || reboot", false},
		{"background", ls, "ls & reboot", false},
		{"pipe", ls, "ls | sh", false},
		{"newline", ls, "ls\nreboot", false},
		{"trailing newline", ls, "ls\n", true},
		{"carriage return", ls, "ls\rreboot", false},
		{"nul", ls, "ls\x00reboot", false},
		{"substitution", ls, "ls $(reboot)", false},
		{"backquote", ls, "ls `reboot`", false},
		{"arithmetic", ls, "ls $((1))", false},
		{"old arithmetic", ls, "ls $[1]", false},
		{"braced parameter", ls, "ls ${x:=y}", false},
		{"ansi quote", ls, `ls $'\x3b'`, false},
		{"redirect out", ls, "ls > /etc/passwd", false},
		{"redirect in", ls, "ls < /etc/passwd", false},
		{"process substitution", ls, "ls <(reboot)", false},
		{"subshell", ls, "ls (reboot)", false},
		{"brace", ls, "ls {a,b}", false},
		{"comment", ls, "ls # x; reboot", true},
		{"behind a comment", ls, "ls # x\nreboot", false},
		{"hash in a word", ls, "ls a#b", true},

		{"single quotes", ls, "ls ';|&<>$(x)`y`'", true},
		{"double quotes", ls, `ls ";|&<>(){}"`, true},
		{"variable in double quotes", ls, `ls "$HOME/x"`, true},
		{"substitution in double quotes", ls, `ls "$(reboot)"`, false},
		{"backquote in double quotes", ls, "ls \"`reboot`\"", false},
		{"brace parameter in double quotes", ls, `ls "${x}"`, true},
		{"brace parameter", ls, `ls ${x}`, true},
		{"escaped dollar in double quotes", ls, `ls "\$(x)"`, true},
		{"escaped separator", ls, `ls \; x`, true},
		{"escaped backslash, then separator", ls, `ls \\; x`, false},
		{"escaped quote, then separator", ls, `ls \'; reboot '`, false},
		{"quote closed, then separator", ls, "ls 'a'; reboot", false},
		{"backslash does not escape in single quotes", ls, `ls 'a\'; reboot '`, false},
		{"open single quote", ls, "ls 'a", false},
		{"open double quote", ls, `ls "a`, false},
		{"trailing backslash", ls, `ls \`, false},
		{"newline in quotes", ls, "ls 'a\nb'", true},
		{"fish reads this quote on", ls, `ls 'a\'' ; reboot '`, false},
		{"csh ends this quote early", ls, `ls "a\"; reboot \"b"`, false},
		{"single quote within double", ls, `ls "it's"; reboot "'"`, false},
		{"double quote within single", ls, `ls '"'; reboot '"'`, false},

		{"exactly the line", []string{`^ls \| wc -l$`}, "ls | wc -l", true},
		{"more than the line", []string{`^ls \| wc -l$`}, "ls | wc -l; reboot", false},
		{"a line without its ends is none", []string{`ls \| wc -l`}, "ls | wc -l", false},
		{"each command by its own pattern", []string{`^ls$`, `^wc -l$`}, "ls | wc -l", true},
		{"one pattern for two commands", []string{`^(ls|wc)\b`}, "ls|wc -l&&ls", true},
		{"dot star does not reach over a separator", []string{`^a.*`}, "a;b", false},
		{"nor over a newline", []string{`(?s)^a.*`}, "a\nb", false},
		{"multi-line flag does not split", []string{`(?m)^ls$`}, "ls\nreboot", false},
		{"multi-line flag does not look into quotes", []string{`(?m)^ls$`}, "reboot 'a\nls\nb'", false},
		{"two patterns do not add up", []string{`^a;`, `b$`}, "a;b", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := compile(t, Rules{CommandAllowlist: tt.allow, ReadOnlyCommands: tt.allow})
			got := p.Decide(exec(tt.command))
			if got.Allowed != tt.want {
				t.Errorf("Decide(%q) = %+v, want allowed %v", tt.command, got, tt.want)
			}
			if !got.Allowed && got.Rule != "command_allowlist" {
				t.Errorf("rule %q, want command_allowlist", got.Rule)
			}
			if p.ReadOnly(tt.command) != tt.want {
				t.Errorf("ReadOnly(%q) is not %v", tt.command, tt.want)
			}
		})
	}
}

func TestDenylist(t *testing.T) {
	deny := []string{`mkfs`, `\brm\s+-rf\b`, `shut down`}
	tests := []struct {
		command string
		rule    string // "" is allowed
	}{
		{"ls", ""},
		{"rm -r x", ""},
		{"mkfs.ext4 /dev/sda", `command_denylist[0] "mkfs"`},
		{"rm -rf /", `command_denylist[1] "\brm\s+-rf\b"`},
		{"ls; rm -rf /", `command_denylist[1] "\brm\s+-rf\b"`},
		{`r\m -rf /`, `command_denylist[1] "\brm\s+-rf\b"`},
		{`'rm' "-rf" /`, `command_denylist[1] "\brm\s+-rf\b"`},
		{"r\\\nm -rf /", `command_denylist[1] "\brm\s+-rf\b"`},
		{"shut \t down", `command_denylist[2] "shut down"`},
	}
	for _, allow := range [][]string{nil, {`(?s).*`}} {
		p := compile(t, Rules{CommandDenylist: deny, CommandAllowlist: allow})
		for _, tt := range tests {
			got := p.Decide(exec(tt.command))
			if got.Rule != tt.rule || got.Allowed != (tt.rule == "") {
				t.Errorf("Decide(%q) under allow list %q = %+v, want rule %q", tt.command, allow, got, tt.rule)
			}
		}
	}
}

func TestDenySudo(t *testing.T) {
	p := compile(t, Rules{DenySudo: true})
	refused := []string{
		"sudo ls", "sudo", "doas ls", "su -", "su", "pkexec ls", "sudoedit x", "/usr/bin/sudo ls", "../bin/sudo",
		" \tsudo ls", "ls; sudo ls", "ls;sudo ls", "ls && sudo ls", "ls || sudo ls", "ls | sudo tee", "ls & sudo ls",
		"ls\nsudo ls", "ls\r\nsudo ls", "(sudo ls)", "{ sudo ls; }", "echo $(sudo ls)", "echo `sudo ls`", "cat <(sudo ls)",
		`echo "$(sudo ls)"`, "echo \"`sudo ls`\"", `echo "it's $(sudo ls)"`, `echo "a $(b) it's $(sudo ls)"`,
		"A=1 sudo ls", "A=1 B='x y' sudo ls", "A=$(x) sudo ls", "A+=1 sudo ls",
		`'sudo' ls`, `"sudo" ls`, `s\udo ls`, `s''udo ls`, `su"do" ls`, "su\\\ndo ls", `$'sudo' ls`,
		"2>/dev/null sudo ls", ">f sudo ls", ">& f sudo ls", "2>&1 sudo ls", "< f sudo ls", "&>f sudo ls",
		"if sudo ls; then :; fi", "if :; then sudo ls; fi", "while sudo ls; do :; done", "! sudo ls", "for i in 1; do sudo ls; done",
		"case x in x) sudo ls;; esac", "f() { sudo ls; }; f",
		"env sudo ls", "env A=1 sudo ls", "nohup sudo ls", "timeout 5 sudo ls", "nice -n 5 sudo ls", "xargs sudo", "ls | xargs -n1 sudo",
		"exec sudo ls", "command sudo ls", "eval sudo ls", `eval "sudo ls"`, `sh -c "sudo ls"`, `bash -c 'x; sudo ls'`,
		`/bin/sh -c 'sh -c "sudo ls"'`, "find . -exec sudo rm {} +", `trap "sudo ls" EXIT`, "time sudo ls",
		"# it's\nsudo ls", "ls # it's\nsudo ls", `echo "` + strings.Repeat("$(", 2000) + `"`,
	}
	allowed := []string{
		"", "ls", "echo sudo", "grep sudo /var/log/auth.log", "man sudo", "cat /etc/sudoers", "ls /usr/bin/sudo", "sudoku", "pseudo x",
		"echo 'a; sudo ls'", `echo "a; sudo ls"`, `echo "(sudo)"`, "echo a\\;sudo", "ls # sudo", "ls > sudo", "ls 2>sudo", "A=sudo ls", "which su",
		"ls -l 'x' sudo", "git commit -m 'use sudo'",
	}
	for _, command := range refused {
		got := p.Decide(exec(command))
		if got.Allowed || got.Rule != "deny_sudo" {
			t.Errorf("Decide(%q) = %+v, want refused by deny_sudo", command, got)
		}
		if got := compile(t, Rules{}).Decide(exec(command)); !got.Allowed {
			t.Errorf("Decide(%q) without deny_sudo = %+v", command, got)
		}
	}
	for _, command := range allowed {
		if got := p.Decide(exec(command)); !got.Allowed {
			t.Errorf("Decide(%q) = %+v, want allowed", command, got)
		}
	}
	call := exec("ls")
	call.Sudo = true
	if got := p.Decide(call); got.Allowed || got.Rule != "deny_sudo" {
		t.Errorf("sudo: %+v", got)
	}
	if got := compile(t, Rules{}).Decide(call); !got.Allowed {
		t.Errorf("sudo without deny_sudo: %+v", got)
	}
}

func TestProtocols(t *testing.T) {
	transfer := Call{Operation: "sftp.transfer", Protocol: "sftp"}
	tests := []struct {
		protocols []string
		call      Call
		want      bool
	}{
		{nil, exec("ls"), true},
		{nil, transfer, true},
		{nil, Call{Operation: "tunnel.create", Protocol: "tunnel"}, false},
		{nil, Call{Operation: "ssh.exec", Command: "ls"}, false},
		{[]string{"sftp"}, transfer, true},
		{[]string{"sftp"}, exec("ls"), false},
		{[]string{"ssh", "tunnel"}, Call{Operation: "tunnel.create", Protocol: "tunnel"}, true},
	}
	for _, tt := range tests {
		got := compile(t, Rules{Protocols: tt.protocols}).Decide(tt.call)
		if got.Allowed != tt.want || !tt.want && got.Rule != "protocols" {
			t.Errorf("%v, %+v: %+v", tt.protocols, tt.call, got)
		}
	}
	strict := compile(t, Rules{CommandAllowlist: []string{"^ls$"}, DenySudo: true})
	if got := strict.Decide(transfer); !got.Allowed {
		t.Errorf("command rules refuse a transfer: %+v", got)
	}
}

func TestChangeTicket(t *testing.T) {
	p := compile(t, Rules{RequireChangeTicketFor: []string{"rsync.delete", "sftp.upload", "ssh.exec"}, CommandDenylist: []string{"bad"}})
	upload := Call{Operation: "sftp.transfer", Protocol: "sftp", Actions: []string{"sftp.upload"}}
	download := Call{Operation: "sftp.transfer", Protocol: "sftp", Actions: []string{"sftp.download"}}
	tests := []struct {
		name   string
		call   Call
		ticket string
		rule   string
	}{
		{"operation", exec("ls"), "", `require_change_ticket_for[2] "ssh.exec"`},
		{"blank ticket", exec("ls"), " \t", `require_change_ticket_for[2] "ssh.exec"`},
		{"with ticket", exec("ls"), "CHG-1", ""},
		{"action", upload, "", `require_change_ticket_for[1] "sftp.upload"`},
		{"action with ticket", upload, "CHG-1", ""},
		{"other action", download, "", ""},
		{"a ticket opens no other rule", exec("bad"), "CHG-1", `command_denylist[0] "bad"`},
		{"no ticket is fetched in vain", exec("bad"), "", `command_denylist[0] "bad"`},
	}
	for _, tt := range tests {
		tt.call.ChangeTicket = tt.ticket
		if got := p.Decide(tt.call); got.Rule != tt.rule || got.Allowed != (tt.rule == "") {
			t.Errorf("%s: %+v, want rule %q", tt.name, got, tt.rule)
		}
	}
}

func TestChangeTicketForSudo(t *testing.T) {
	p := compile(t, Rules{RequireChangeTicketFor: []string{"ssh.sudo"}})
	asked := exec("ls")
	asked.Sudo = true
	for _, c := range []Call{asked, exec("sudo ls"), exec("ls; doas ls")} {
		if got := p.Decide(c); got.Rule != `require_change_ticket_for[0] "ssh.sudo"` {
			t.Errorf("%+v: %+v", c, got)
		}
		c.ChangeTicket = "CHG-1"
		if got := p.Decide(c); !got.Allowed {
			t.Errorf("%+v: %+v", c, got)
		}
	}
	if got := p.Decide(exec("ls")); !got.Allowed {
		t.Errorf("without sudo: %+v", got)
	}
}

func TestCompileReportsEveryMistake(t *testing.T) {
	_, err := Compile(Rules{
		Protocols:              []string{"ssh", "telnet"},
		CommandAllowlist:       []string{"ok", "(", ""},
		CommandDenylist:        []string{"(?=x)"},
		ReadOnlyCommands:       []string{`a\`},
		MaxSessionSeconds:      -1,
		MaxConcurrentSessions:  -2,
		RequireChangeTicketFor: []string{"rsync.delte"},
	})
	want := []string{
		"protocols[1]", "command_allowlist[1]", "command_allowlist[2]", "command_denylist[0]", "read_only_commands[0]",
		"require_change_ticket_for[0]", "max_session_seconds", "max_concurrent_sessions",
	}
	got := Mistakes(err)
	if len(got) != len(want) {
		t.Fatalf("%d mistakes, want %d: %v", len(got), len(want), err)
	}
	for i, e := range got {
		if e.Field != want[i] || e.Message == "" || e.Remedy == "" {
			t.Errorf("mistake %d: %+v, want field %s", i, e, want[i])
		}
	}
	if !strings.Contains(err.Error(), "tunnel.close, vpn.wireguard_toggle") {
		t.Errorf("the known operations are not listed: %v", err)
	}
	if Mistakes(nil) != nil {
		t.Error("mistakes in no error")
	}
}

func TestLimits(t *testing.T) {
	p := compile(t, Rules{})
	if p.SessionLimit() != 0 || p.ConcurrencyLimit() != 10 {
		t.Errorf("defaults: %v, %d", p.SessionLimit(), p.ConcurrencyLimit())
	}
	p = compile(t, Rules{MaxSessionSeconds: 90, MaxConcurrentSessions: 3})
	if p.SessionLimit() != 90*time.Second || p.ConcurrencyLimit() != 3 {
		t.Errorf("set: %v, %d", p.SessionLimit(), p.ConcurrencyLimit())
	}
}

func FuzzDecide(f *testing.F) {
	for _, s := range []string{"echo a; b", `echo "a;b"`, `echo 'a\';b'`, "echo $(x)", `echo "\";"`, "echo\\\n;", "echo # '\n;'", `sh -c "$(sudo)"`, "echo"} {
		f.Add(s)
	}
	p := compile(f, Rules{CommandAllowlist: []string{`^echo\b`}, CommandDenylist: []string{`rm\s`}})
	sudo := compile(f, Rules{DenySudo: true})
	f.Fuzz(func(t *testing.T, command string) {
		if d := p.Decide(exec(command)); d.Allowed && strings.Contains(command, "rm ") {
			t.Errorf("%q is admitted against the deny list", command)
		}
		if strings.Contains(command, "sudo") {
			return
		}
		for _, hidden := range []string{"sudo " + command, ";sudo " + command, "A=1 sudo " + command} {
			if sudo.Decide(exec(hidden)).Allowed {
				t.Errorf("%q is admitted", hidden)
			}
		}
	})
}

func BenchmarkDecide(b *testing.B) {
	p := compile(b, Rules{CommandDenylist: []string{`rm\s+-rf`, `mkfs`}, CommandAllowlist: []string{`^ls\b`, `^echo\b`}, DenySudo: true})
	for b.Loop() {
		p.Decide(exec("echo 'hello' world"))
	}
}

// FuzzEscalation holds the search that skips commands which name no escalator against the search itself.
func FuzzEscalation(f *testing.F) {
	for _, command := range []string{"ls", "sudo ls", "ls; SUDO x", "/usr/bin/su", "env su", "a=b su", "x$(su)", "run0", "ls -l /susan", "echo doas", "s\\udo", "find . -exec su {} ;", "if su; then ls; fi", ">su ls", "pkexec"} {
		f.Add(command)
	}
	f.Fuzz(func(t *testing.T, command string) {
		work := maxWork
		if got, want := escalation(command), within(command, &work); got != want {
			t.Errorf("%q: %q, and without skipping %q", command, got, want)
		}
	})
}
