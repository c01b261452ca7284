package fakessh_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
)

func TestWords(t *testing.T) {
	for _, test := range []struct {
		line string
		want []string
	}{
		{"", nil},
		{" \t\n ", nil},
		{"echo  a\tb\nc ", []string{"echo", "a", "b", "c"}},
		{`'a b' "c d"`, []string{"a b", "c d"}},
		{`a'b'"c"d`, []string{"abcd"}},
		{`'' ""`, []string{"", ""}},
		{`'a\b"c'`, []string{`a\b"c`}},
		{`"a\$\"\\\b'"`, []string{`a$"\\b'`}},
		{`a\ b\'c \\`, []string{"a b'c", `\`}},
		{"a\\\nb \"c\\\nd\"", []string{"ab", "cd"}},
		{"a; b | $HOME *", []string{"a;", "b", "|", "$HOME", "*"}},
	} {
		got, err := fakessh.Words(test.line)
		if err != nil || !slices.Equal(got, test.want) {
			t.Errorf("%q splits into %q, %v; want %q", test.line, got, err, test.want)
		}
	}
	for _, line := range []string{`'a`, `"a`, `"a\"`, `a\`} {
		if got, err := fakessh.Words(line); err == nil {
			t.Errorf("%q splits into %q, want an error", line, got)
		}
	}
}

// FuzzWords quotes what a line was split into and splits it again.
func FuzzWords(f *testing.F) {
	f.Add(`echo 'a b' "c\"d" e\ f`)
	f.Add("'\\\n\"")
	f.Fuzz(func(t *testing.T, line string) {
		words, err := fakessh.Words(line)
		if err != nil {
			return
		}
		var quoted []string
		for _, word := range words {
			quoted = append(quoted, "'"+strings.ReplaceAll(word, "'", `'\''`)+"'")
		}
		again, err := fakessh.Words(strings.Join(quoted, " "))
		if err != nil || !slices.Equal(again, words) {
			t.Errorf("%q splits into %q, quoted again into %q, %v", line, words, again, err)
		}
	})
}
