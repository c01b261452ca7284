package policy

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"mvdan.cc/sh/v3/syntax"
)

// parsed reads a line by the grammars of both shells alone.
func parsed(t *testing.T, line string) ([]simple, error) {
	t.Helper()
	var both [2][]simple
	for i, lang := range []syntax.LangVariant{syntax.LangPOSIX, syntax.LangBash} {
		found, err := readAs(lang, line, 0)
		if err != nil {
			return nil, err
		}
		both[i] = found
	}
	if !reflect.DeepEqual(both[0], both[1]) {
		t.Fatalf("%q is read as %+v and as %+v", line, both[0], both[1])
	}
	return both[0], nil
}

// FuzzPlainWords wants a line of plain words to be what the grammars of the shells make of it.
func FuzzPlainWords(f *testing.F) {
	for _, line := range []string{
		"uptime", "ls -la /var/log", " df  -h ", "", "sudo systemctl restart nginx.service", "env ls", "xargs rm", "git@host:path x", "../evil", "a/../b", "-", "--", ".", ":", "1 2",
		"python3.11 -c x", "find . -exec rm", "nohup sleep 5", "sh -c ls", "time ls", "export a", "if", "done", "a-b_c", "exec ls", "eval ls", "command -v ls", "end", "x@y,z",
	} {
		f.Add(line)
	}
	for word := range grammarWords {
		f.Add(word)
		f.Add(word + " x")
	}
	f.Fuzz(func(t *testing.T, line string) {
		words := plainWords(line)
		if words == nil {
			return
		}
		want, wantErr := parsed(t, line)
		got, err := readLine(line, 0)
		if (err == nil) != (wantErr == nil) || err != nil && err.Error() != wantErr.Error() {
			t.Fatalf("%q: %v, the grammar says %v", line, err, wantErr)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%q: %+v, the grammar says %+v", line, got, want)
		}
	})
}

// TestPlainWordsAreOften wants the common commands to need no grammar, and what has a meaning to a shell to need one.
func TestPlainWordsAreOften(t *testing.T) {
	for _, line := range []string{"uptime", "systemctl status nginx", "cat /etc/os-release", "journalctl -u ssh.service --since today"} {
		if plainWords(line) == nil {
			t.Errorf("%q needs a grammar", line)
		}
	}
	for _, line := range []string{"", " ", "a;b", "a&b", "a|b", "a>b", "$a", "a\nb", "'a'", `a\b`, "a*", "~a", "a=b c", "#a", "!a", "{a", "%1", "a\tb", "é", strings.Repeat("a", maxLine+1), "if a", "time a"} {
		if plainWords(line) != nil {
			t.Errorf("%q needs no grammar", line)
		}
	}
}

// BenchmarkDecideUnseen judges commands that were not judged before, plain ones and one that needs a grammar.
func BenchmarkDecideUnseen(b *testing.B) {
	p, err := Compile(Rules{CommandDenylist: []string{`rm\s+-rf`, `\bshutdown\b`}, CommandAllowlist: []string{`^echo\b`}, DenySudo: true})
	if err != nil {
		b.Fatal(err)
	}
	for name, form := range map[string]string{"plain": "echo %d", "grammar": "echo %d | echo"} {
		b.Run(name, func(b *testing.B) {
			for i := range b.N {
				if d := p.Decide(Call{Operation: "ssh.exec", Protocol: "ssh", Command: fmt.Sprintf(form, i)}); !d.Allowed {
					b.Fatal(d)
				}
			}
		})
	}
}
