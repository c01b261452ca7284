package remote

import (
	"strings"
	"testing"
)

// filterCase is a list of patterns and what they leave alone. The tagged tests hold the same list against the installed rsync.
type filterCase struct {
	include, exclude []string
	tree             string // paths, directories with a slash at the end; those left alone with a - before them
}

var filterCases = []filterCase{
	{nil, nil, "a dir/ dir/a"},
	{nil, []string{"a"}, "-a b dir/ -dir/a dir/ab"},
	{nil, []string{"/a"}, "-a dir/ dir/a"},
	{nil, []string{"dir/"}, "-dir/ x/ -x/dir/ y/ y/z"},
	{nil, []string{"a/"}, "a b/ -b/a/"},
	{nil, []string{"dir/a"}, "dir/ -dir/a dir/b x/ x/dir/ -x/dir/a x/mydir/ x/mydir/a a"},
	{nil, []string{"/dir/a"}, "dir/ -dir/a x/ x/dir/ x/dir/a"},
	{nil, []string{"*.o"}, "-a.o a.c dir/ -dir/b.o -.o a.o.c"},
	{nil, []string{"*"}, "-a -dir/ -.hidden"},
	{[]string{"*/"}, []string{"*"}, "-a dir/ -dir/a dir/sub/ -dir/sub/x"},
	{[]string{"*/", "*.c"}, []string{"*"}, "a.c -a.o dir/ dir/b.c -dir/b.o"},
	{[]string{"/keep/***"}, []string{"*"}, "keep/ keep/a keep/sub/ keep/sub/b -other -x/"},
	{[]string{"foo/"}, []string{"foo"}, "foo/ bar/ -bar/foo"},
	{[]string{"a1"}, []string{"a*"}, "a1 -a2 dir/ dir/a1 -dir/a3"},
	{nil, []string{"dir/*"}, "dir/ -dir/a -dir/sub/ x/ x/dir/ -x/dir/b"},
	{nil, []string{"/*/a"}, "a x/ -x/a x/y/ x/y/a"},
	{nil, []string{"*/a"}, "a x/ -x/a x/y/ -x/y/a"},
	{nil, []string{"/dir/**"}, "dir/ -dir/a -dir/sub/ x/ x/dir/ x/dir/a"},
	{nil, []string{"dir/**"}, "dir/ -dir/a -dir/sub/ x/ x/dir/ -x/dir/a"},
	{nil, []string{"dir/***"}, "-dir/ x/ -x/dir/ xdir/ xdir/a"},
	{nil, []string{"/dir/***"}, "-dir/ x/ x/dir/ x/dir/a"},
	{nil, []string{"**/a"}, "-a x/ -x/a x/y/ -x/y/a x/ba"},
	{nil, []string{"**a"}, "-a -ba x/ -x/ca x/y/ -x/y/a ab"},
	{nil, []string{"a**z"}, "-az -abz a/ -a/z a/b/ -a/b/z a/b/y x/ x/a/ -x/a/z"},
	{nil, []string{"/a/**/z"}, "a/ a/z a/b/ -a/b/z a/b/c/ -a/b/c/z"},
	{nil, []string{"a/**/z"}, "a/ a/z a/b/ -a/b/z x/ x/a/ x/a/b/ -x/a/b/z"},
	{nil, []string{"/**/z"}, "z x/ -x/z x/y/ -x/y/z"},
	{nil, []string{"**"}, "-a -dir/"},
	{nil, []string{"***"}, "-a -dir/"},
	{nil, []string{"dir**"}, "-dir/ -dira x/ -x/dir/ -x/dirt"},
	{nil, []string{"?"}, "-a ab -d/ dd/ -dd/x"},
	{nil, []string{"x?y"}, "x/ x/y -xay xy xaay"},
	{nil, []string{"??"}, "a -ab -\u00e9"},
	{nil, []string{"[ab]"}, "-a -b c ab"},
	{nil, []string{"[!ab]"}, "a b -c"},
	{nil, []string{"[^ab]"}, "a b -c"},
	{nil, []string{"[a-c]x"}, "-ax -bx -cx dx"},
	{nil, []string{"[]x]"}, "-] -x a"},
	{nil, []string{"[!]x]"}, "] x -a"},
	{nil, []string{"[a-]"}, "-a -- b"},
	{nil, []string{"[-a]"}, "-a -- b"},
	{nil, []string{"[[:digit:]]*"}, "-1a a1 -9"},
	{nil, []string{"[[:upper:][:space:]]"}, "-A a"},
	{nil, []string{"[![:alpha:]]"}, "-1 a Z"},
	{nil, []string{"[[:x]"}, "-[ -: -x y"},
	{nil, []string{`[\]]`}, "-] a"},
	{nil, []string{`[a\-c]`}, "-a -- -c b"},
	{nil, []string{"x[/]y"}, "x/ x/y"},
	{nil, []string{`\*`}, "-* a"},
	{nil, []string{`a\*b`}, "-a*b aab"},
	{nil, []string{`\[x]`}, "-[x] x"},
	{nil, []string{`a\b`}, `-a\b ab`},
	{nil, []string{`a\b*`}, `-abc a\bc`},
	{nil, []string{`a\\*`}, `-a\ -a\x ax`},
	{nil, []string{"a*b*c"}, "-abc -axxbyyc abcd a/ a/b/ a/b/c"},
	{nil, []string{"sub/x/"}, "sub/ -sub/x/ d/ d/sub/ d/sub/x"},
	{nil, []string{"x/y/z"}, "x/ x/y/ -x/y/z a/ a/x/ a/x/y/ -a/x/y/z y/ y/z"},
	{nil, []string{"x/*/z"}, "x/ x/y/ -x/y/z a/ a/x/ a/x/y/ -a/x/y/z"},
	{nil, []string{"-x"}, "--x x"},
	{nil, []string{"[+] x"}, "+"},
	{nil, []string{"'q'", `"d"`, "$v"}, `-'q' -"d" -$v q`},
	{[]string{"/a/", "/a/b/", "/a/b/c"}, []string{"*"}, "a/ a/b/ a/b/c -a/b/d -a/x -z"},
	{nil, []string{"a*/"}, "ab abc -ad/ x/ -x/a/"},
	{nil, []string{"/a[0-9]/"}, "a1 -a2/ x/ x/a3/"},
	{nil, []string{"..."}, "-... a"},
	{nil, []string{".*"}, "-.a -..b a.b"},
}

// paths takes the tree apart.
func (c filterCase) paths() (all []string, left map[string]bool) {
	left = map[string]bool{}
	for _, p := range strings.Fields(c.tree) {
		if p != "-" && strings.HasPrefix(p, "-") {
			p = p[1:]
			left[p] = true
		}
		all = append(all, p)
	}
	return all, left
}

func TestFilter(t *testing.T) {
	for _, tc := range filterCases {
		f, err := newFilter(tc.include, tc.exclude)
		if err != nil {
			t.Errorf("+%q -%q: %v", tc.include, tc.exclude, err)
			continue
		}
		all, left := tc.paths()
		for _, p := range all {
			name, dir := strings.CutSuffix(p, "/")
			if got := f.excludes(name, dir); got != left[p] {
				t.Errorf("+%q -%q: %q excluded is %v", tc.include, tc.exclude, p, got)
			}
		}
	}
}

func TestFilterRefuses(t *testing.T) {
	for pattern, want := range map[string]string{
		"":                          "empty",
		"/":                         "never match",
		"//":                        "never match",
		"a//b":                      "never match",
		"./a":                       "never match",
		"a/../b":                    "never match",
		"!":                         "instruction",
		"+ a":                       "instruction",
		"- a":                       "instruction",
		"a\x00b":                    "zero byte",
		"[":                         "no end",
		"[]":                        "no end",
		"[!]":                       "no end",
		"[a":                        "no end",
		`[a\`:                       "no end",
		"[[:alpha:]":                "no end",
		"[[:nope:]]":                "no class",
		"[z-a]":                     "range z-a is empty",
		`*\`:                        "escapes nothing",
		strings.Repeat("a", 2000):   "longer",
		"ok/" + string([]byte{'['}): "no end",
	} {
		for i, lists := range [][2][]string{{{"fine", pattern}, nil}, {nil, {"fine", pattern}}} {
			_, err := newFilter(lists[0], lists[1])
			name := []string{"include[1]", "exclude[1]"}[i]
			if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), name) {
				t.Errorf("%s %q: %v, want %q", name, pattern, err, want)
			}
		}
	}
}

// TestGlobIsBounded would take longer than the universe with a matcher that tries one way after the other.
func TestGlobIsBounded(t *testing.T) {
	g, err := parseGlob(strings.Repeat("*a", 200) + "b")
	if err != nil {
		t.Fatal(err)
	}
	if g.match(strings.Repeat("a", 4000), false) || g.match(strings.Repeat("a/", 2000), true) {
		t.Error("matched without a b")
	}
}

// FuzzFilter compares the matcher with one that is plain and slow.
func FuzzFilter(f *testing.F) {
	for _, tc := range filterCases {
		all, _ := tc.paths()
		for _, list := range [][]string{tc.include, tc.exclude} {
			for _, p := range list {
				for _, path := range all {
					f.Add(p, path)
				}
			}
		}
	}
	f.Fuzz(func(t *testing.T, pattern, path string) {
		fl, err := newFilter(nil, []string{pattern})
		if err != nil || len(path) > 4096 {
			return
		}
		fl.excludes(strings.Trim(path, "/"), strings.HasSuffix(path, "/"))
		if g, err := parseGlob(pattern); err == nil && len(path) < 12 && len(g) < 12 {
			if got, want := g.match(path, false), slowMatch(g, path); got != want {
				t.Errorf("%q against %q: %v, want %v", pattern, path, got, want)
			}
			if got, want := g.match(path, true), slowTail(g, path); got != want {
				t.Errorf("%q against the tails of %q: %v, want %v", pattern, path, got, want)
			}
		}
	})
}

func slowTail(g glob, s string) bool {
	_, after, ok := strings.Cut(s, "/")
	return slowMatch(g, s) || ok && slowTail(g, after)
}

func slowMatch(g glob, s string) bool {
	switch {
	case len(g) == 0:
		return s == ""
	case g[0].star && slowMatch(g[1:], s):
		return true
	case s == "" || !g[0].set.has(s[0]):
		return false
	case g[0].star:
		return slowMatch(g, s[1:])
	}
	return slowMatch(g[1:], s[1:])
}
