//go:build realssh

package remote

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestFilterAgreesWithRsync holds the filter against the installed rsync: on the table, and on random patterns over a random tree.
func TestFilterAgreesWithRsync(t *testing.T) {
	for _, tc := range filterCases {
		all, _ := tc.paths()
		agree(t, tc.include, tc.exclude, all)
	}
	rnd := rand.New(rand.NewPCG(3, 1))
	for range 60 {
		agree(t, randomPatterns(rnd, 2), randomPatterns(rnd, 3), randomPaths(rnd))
	}
}

// agree makes the tree and compares what both leave of it.
func agree(t *testing.T, include, exclude, paths []string) {
	t.Helper()
	f, err := newFilter(include, exclude)
	if err != nil {
		return
	}
	src := t.TempDir()
	for _, p := range paths {
		full := filepath.Join(src, p)
		if strings.HasSuffix(p, "/") {
			_ = os.MkdirAll(full, 0o755)
		} else if os.MkdirAll(filepath.Dir(full), 0o755) == nil {
			_ = os.WriteFile(full, nil, 0o644)
		}
	}
	want := rsyncList(t, src, include, exclude)
	var got []string
	var walk func(dir string)
	walk = func(dir string) {
		entries, err := os.ReadDir(filepath.Join(src, dir))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			name := filepath.Join(dir, e.Name())
			if f.excludes(name, e.IsDir()) {
				continue
			}
			got = append(got, name)
			if e.IsDir() {
				walk(name)
			}
		}
	}
	walk("")
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("include %q exclude %q:\n got  %q\n want %q", include, exclude, got, want)
	}
}

// rsyncList returns what rsync would copy.
func rsyncList(t *testing.T, src string, include, exclude []string) (list []string) {
	t.Helper()
	args := []string{"-rn", "-8", "--out-format=%n"}
	for _, p := range include {
		args = append(args, "--include="+p)
	}
	for _, p := range exclude {
		args = append(args, "--exclude="+p)
	}
	cmd := exec.Command("rsync", append(args, "--", src+"/", t.TempDir()+"/")...)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v: install Debian's rsync", cmd.Args, err)
	}
	for line := range strings.Lines(string(out)) {
		name := strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "/")
		if name != "." && name != "" && !strings.HasPrefix(name, "skipping ") {
			list = append(list, strings.ReplaceAll(name, `\#134`, `\`))
		}
	}
	slices.Sort(list)
	return list
}

func randomPatterns(rnd *rand.Rand, n int) (list []string) {
	const pieces = "a|b|ab|*|**|***|?|/|/|/|[ab]|[!a]|[[:alpha:]]|\\*|\\|\\a"
	all := strings.Split(pieces, "|")
	for range rnd.IntN(n + 1) {
		var b strings.Builder
		for range 1 + rnd.IntN(5) {
			b.WriteString(all[rnd.IntN(len(all))])
		}
		if _, err := newFilter(nil, []string{b.String()}); err == nil {
			list = append(list, b.String())
		}
	}
	return list
}

func randomPaths(rnd *rand.Rand) (list []string) {
	for range 15 {
		var elems []string
		for range 1 + rnd.IntN(4) {
			elems = append(elems, []string{"a", "b", "ab", "ba", "*", `\`, "abc"}[rnd.IntN(7)])
		}
		list = append(list, fmt.Sprintf("%s%s", strings.Join(elems, "/"), []string{"", "/"}[rnd.IntN(2)]))
	}
	return list
}
