package policy

import (
	"regexp"
	"strings"
	"testing"
)

func TestForm(t *testing.T) {
	tests := []struct {
		expr              string
		exact             string
		closed, redirects bool
	}{
		{`^ls$`, "ls", true, false},
		{`^ls \| wc -l$`, "ls | wc -l", true, false},
		{`\Als\z`, "ls", true, false},
		{`(?i)^ls$`, "", true, false},
		{`(?m)^ls$`, "", false, false},
		{`^ls`, "", false, false},
		{`ls$`, "", false, false},
		{`^ls|df$`, "", false, false},
		{`^ls$|^df$`, "", true, false},
		{`^(ls|df)$`, "", true, false},
		{`^python3 /opt/app/report.py$`, "", true, false},
		{`^python3 .*$`, "", false, false},
		{`^python3 \S+$`, "", true, false},
		{`^python3 [^;]+$`, "", false, false},
		{`^python3( \S+)*$`, "", false, false},
		{`^python3( --all)?$`, "", true, false},
		{`^python3 .{1,9}$`, "", false, false},
		{`^python3 [a-z]{1,9}$`, "", true, false},
		{`^sort x > /tmp/\w+$`, "", true, true},
		{`^sort x [>] y$`, "sort x > y", true, true},
		{`^sort x [<>] y$`, "", true, false},
		{`^$`, "", true, false},
	}
	for _, tt := range tests {
		f := formOf(tt.expr)
		if f.exact != tt.exact || f.closed != tt.closed || f.redirects != tt.redirects {
			t.Errorf("%s: %+v, want exact %q, closed %v, redirects %v", tt.expr, f, tt.exact, tt.closed, tt.redirects)
		}
	}
}

// TestSpelledOut shows which patterns admit what can run anything, and which redirections.
func TestSpelledOut(t *testing.T) {
	tests := []struct {
		pattern, command string
		want             bool
	}{
		{`^python3 /opt/app/report.py$`, "python3 /opt/app/report.py", true},
		{`^python3 /opt/app/report.py$`, "python3  '/opt/app/report.py'", false},
		{`^python3 /opt/app/report.py$`, "'python3' \\\n /opt/app/report.py", true},
		{`^python3 /opt/app/report.py`, "python3 /opt/app/report.py", false},
		{`^python3 /opt/app/\w+\.py$`, "python3 /opt/app/daily.py", true},
		{`^python3 /opt/app/\w+\.py$`, "python3 /opt/app/../x.py", false},
		{`^python3 /opt/app/report.py \S+$`, "python3 /opt/app/report.py today", true},
		{`^python3 /opt/app/report.py \S+$`, "python3 /opt/app/report.py $x", false},
		{`^python3 /opt/app/report.py \S+$`, `python3 /opt/app/report.py "$x"`, true},
		{`^python3 /opt/app/report.py \S+$`, "python3 /opt/app/report.py *", false},
		{`^python3 /opt/app/report.py .*$`, "python3 /opt/app/report.py x", false},
		{`^find /tmp -name \S+ -delete$`, "find /tmp -name x -delete", true},
		{`^find /tmp -name \S+ -delete$`, "find / -name x -delete", false},
		{`^find\b`, "find /tmp -name x -delete", false},
		{`^find \. -exec rm \{\} \\;$`, `find . -exec rm {} \;`, true},
		{`^find \. -exec rm \{\} \\;$`, `find . -exec rm -rf {} \;`, false},
		{`^sort \S+ > /tmp/\w+$`, "sort x > /tmp/y", true},
		{`^sort \S+ > /tmp/\w+$`, "sort x >/tmp/y", true},
		{`^sort \S+ > /tmp/\w+$`, "sort x > /tmp/../etc/y", false},
		{`^sort \S+ > /tmp/\w+$`, "sort x >> /tmp/y", false},
		{`^sort \S+ > /tmp/\S+$`, "sort x > /tmp/../etc/y", false},
		{`^sort`, "sort x > /tmp/y", false},
		{`^sort.*$`, "sort x > /tmp/y", false},
		{`^sort.*$`, "sort x", true},
		{`^sort x < /tmp/y$`, "sort x </tmp/y", true},
		{`^> /tmp/mark$`, "> /tmp/mark", true},
		{`^git-upload-pack\b`, "git-upload-pack x", true},
		{`^git\b`, "git-upload-pack x", false},
		{`^(/usr/bin/)?ls\b`, "/usr/bin/ls -l", true},
		{`^[\w/]+/ls\b`, "/usr/bin/ls -l", true},
		{`^ls\b`, "ls.sh", false},
		{`^ls\b.*$`, "ls-evil x", false},
		{`^ls\b.*$`, "ls -l x", true},
		{`^journalctl -u nginx\b`, "journalctl -u nginx.service", true},
	}
	for _, tt := range tests {
		got := compile(t, Rules{CommandAllowlist: []string{tt.pattern}}).Decide(exec(tt.command))
		if got.Allowed != tt.want {
			t.Errorf("%s: %q: %+v, want allowed %v", tt.pattern, tt.command, got, tt.want)
		}
	}
}

// TestDenylistLooksIntoCommands holds patterns against each command of a line, as it would run.
func TestDenylistLooksIntoCommands(t *testing.T) {
	p := compile(t, Rules{CommandDenylist: []string{`^reboot\b`, `^rm -rf /$`}})
	for _, command := range []string{"reboot", "ls; reboot", "ls $(reboot)", "sh -c 'reboot now'", "env reboot", `re"boot"`, "find . -exec reboot ';'", `rm  '-rf' "/"`, "(\n reboot )"} {
		if got := p.Decide(exec(command)); got.Allowed || !strings.HasPrefix(got.Rule, "command_denylist[") {
			t.Errorf("%q: %+v, want refused by the deny list", command, got)
		}
	}
	for _, command := range []string{"ls", "echo reboot", "rm -rf /tmp/x", "a() { ls; }", "[[ -n x ]]", "ls 'a"} {
		if got := p.Decide(exec(command)); !got.Allowed {
			t.Errorf("%q: %+v, want allowed", command, got)
		}
	}
}

func TestExplain(t *testing.T) {
	p := compile(t, Rules{CommandAllowlist: []string{`^ls\b`, `^env\b`, `^reboot now; true$`}})
	e := p.Explain(exec("ls -l | env LANG=C wc > x"))
	want := []ReadCommand{
		{Text: "ls -l", Rule: `command_allowlist[0] "^ls\b"`},
		{Text: "env LANG=C wc > x", Reason: "it redirects to or from a file, and no pattern spells out the whole command with the redirection"},
		{Text: "wc", Depth: 1, Reason: "it matches no pattern"},
	}
	if e.Decision.Allowed || e.Unread != "" || len(e.Commands) != len(want) {
		t.Fatalf("%+v", e)
	}
	for i := range want {
		if e.Commands[i] != want[i] {
			t.Errorf("command %d: %+v, want %+v", i, e.Commands[i], want[i])
		}
	}
	if e = p.Explain(exec("reboot now; true")); !e.Decision.Allowed || e.Exact == "" {
		t.Errorf("exactly a pattern: %+v", e)
	}
	if e = p.Explain(exec("ls 'a")); e.Decision.Allowed || e.Unread == "" {
		t.Errorf("unreadable: %+v", e)
	}
}

// TestExactIsAllOfThePattern wants no command admitted that is only the beginning of what a pattern spells out.
func TestExactIsAllOfThePattern(t *testing.T) {
	p := compile(t, Rules{CommandAllowlist: []string{`^reboot( --help$)`, `^date$`, `^halt(?: --help$| --version$)`}})
	for command, want := range map[string]bool{"reboot": false, "reboot --help": true, "date": true, "date -u": false, "halt": false, "halt --version": true} {
		if got := p.Decide(exec(command)); got.Allowed != want {
			t.Errorf("%q: %+v", command, got)
		}
	}
}

// FuzzForm looks for a pattern whose form is wrong: one that admits nothing more with \b at names' ends, and an exact one that is a text.
func FuzzForm(f *testing.F) {
	for _, s := range []string{`^ls\b`, `^a$`, `^(a|b-c)\b.*$`, `(?i)^x[a-z./]+\b`, `^a(b|c)*\b$`, `^\Qa.b\E\b`, `^[^a]\b`, `^a{2,3}\b-`} {
		f.Add(s, "ls-x")
	}
	f.Fuzz(func(t *testing.T, expr, text string) {
		re, err := regexp.Compile(expr)
		if err != nil || len(expr) > 1000 {
			return
		}
		form := formOf(expr)
		if form.exact != "" && !re.MatchString(form.exact) {
			t.Errorf("%q does not match its text %q", expr, form.exact)
		}
		if form.exact != "" && re.MatchString(text) && text != form.exact {
			t.Errorf("%q matches %q beside %q", expr, text, form.exact)
		}
		if form.closed && re.MatchString("x"+text) && re.MatchString(text) && strings.HasPrefix(expr, "^x") && !strings.HasPrefix(text, "x") {
			t.Errorf("%q is not bound to its begin: %q", expr, text)
		}
	})
}
