package policy

import (
	"regexp"
	"strings"
	"testing"
)

// TestSettled holds what is said of a command against taking quotes and blanks out of it.
func TestSettled(t *testing.T) {
	settledOnes := 0
	for _, command := range []string{
		"", " ", "ls", " ls", "ls ", "ls -l", "ls  -l", "ls\t-l", "ls\n", "a 'b'", `a "b"`, `a \b`, "a\u00a0b", "a\u2003b", "é", "a\x00b", "a\x7fb", "rm -rf /; ls | wc",
	} {
		bare := strings.Join(strings.Fields(unquote(command)), " ")
		if settled(command) {
			settledOnes++
			if bare != command {
				t.Errorf("%q is called settled, and %q is left of it", command, bare)
			}
		}
	}
	if settledOnes != 3 {
		t.Errorf("%d commands are called settled", settledOnes)
	}
}

// FuzzPlainName holds the reading of a command's name against its grammar.
func FuzzPlainName(f *testing.F) {
	grammar := regexp.MustCompile(`^(\[|[A-Za-z0-9_./:+@-]*[A-Za-z0-9_.:+@-])$`)
	for _, name := range []string{"", "[", "[[", "a[", "ls", "/bin/ls", "/bin/", "a b", "ls\n", "é", "@", "`", "{", "a~", "A{", "Z["} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if got, want := plainName(name), grammar.MatchString(name); got != want {
			t.Errorf("%q: %v, by the grammar %v", name, got, want)
		}
	})
}

// FuzzFound holds the search that skips texts without what a pattern needs against the search itself.
func FuzzFound(f *testing.F) {
	for _, expr := range []string{
		`\brm\s+-rf\s+/(\s|$)`, `\b(shutdown|reboot|halt)\b`, `\bmkfs(\.|\s)`, `(?i)reboot`, `a|`, `(ab|abc)+d?`, `x{0}`, `x{2,3}`, `(?:ab){0,2}c`, "\ufffd", "a\ufffdb", `[ab]c`, `^$`, ``, `é+`, `(a(b|c)d|ef)`, `\x00`, `(?s:.)b*`,
	} {
		for _, text := range []string{"", "rm -rf /", "sudo reboot now", "REBOOT", "mkfs.ext4 /dev/sda", "abcd", "xxx", "c", "a\xffb", "\ufffd", "é", "ef", "\x00"} {
			f.Add(expr, text)
		}
	}
	f.Fuzz(func(t *testing.T, expr, text string) {
		find, err := regexp.Compile(expr)
		if err != nil {
			return
		}
		p := pattern{find: find, form: formOf(expr)}
		if got, want := p.found(text), find.MatchString(text); got != want {
			t.Errorf("%q in %q: %v, and without skipping %v; needed: %q", expr, text, got, want, p.parts)
		}
	})
}

// TestNeeded says what every match of a pattern holds.
func TestNeeded(t *testing.T) {
	for expr, want := range map[string]string{
		`\brm\s+-rf\s+/(\s|$)`: "-rf", `\b(shutdown|reboot|halt)\b`: "shutdown reboot halt", `\bmkfs(\.|\s)`: "mkfs", `a*`: "", `(?i)reboot`: "", `a|b*`: "", `(abc|x)yz`: "yz", `x{2}`: "x",
	} {
		if got := strings.Join(formOf(expr).parts, " "); got != want {
			t.Errorf("%s needs %q, want %q", expr, got, want)
		}
	}
}

// TestBlankWithinWord has blanks of a pattern stand for those between words alone.
func TestBlankWithinWord(t *testing.T) {
	for _, tt := range []struct {
		pattern, command string
		admitted         bool
	}{
		{`^deploy \S+ --dry-run$`, "deploy x --dry-run", true},
		{`^deploy \S+ --dry-run$`, `deploy x\ --dry-run`, false},
		{`^deploy \S+ --dry-run$`, `deploy "$x"\ --dry-run`, false},
		{`^deploy \S+ --dry-run\b`, `deploy "x --dry-run"`, false},
		{`^deploy \S+ --dry-run\b`, `deploy 'x --dry-run'`, false},
		{`^deploy \S+ --dry-run\b`, `deploy "x	--dry-run"`, false},
		{`^deploy \S+ --dry-run\b`, `deploy x --dry-run "a b"`, true},
		{`^deploy --dry-run .*`, `deploy --dry-run "a b" c\ d`, true},
		{`^echo\b`, `echo "a b" $x`, true},
		{`^echo 'a b'$`, `echo 'a b'`, true},
		{`^echo ['"]a b['"]$`, `echo "a b"`, true},
		{`^echo a\\ b$`, `echo a\ b`, true},
		{`^echo a b$`, `echo a\ b`, false},
		{`^echo a b >/tmp/x$`, `echo a\ b > /tmp/x`, false},
	} {
		p := compile(t, Rules{CommandAllowlist: []string{tt.pattern}})
		if d := p.Decide(exec(tt.command)); d.Allowed != tt.admitted {
			t.Errorf("%s and %s: %+v", tt.pattern, tt.command, d)
		}
	}
}
