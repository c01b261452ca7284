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
