package scenarios

import (
	"fmt"
	"sort"
	"strings"
)

// Problem is one mistake in a scenario file.
type Problem struct {
	File   string // as it was named to Parse
	Line   int    // from 1; 0 when the whole file is meant
	Column int    // from 1, in characters
	Field  string // path of the field, such as "steps[0].args.command"; empty for the whole file
	Msg    string // what is wrong
	Remedy string // what to write instead; may be empty
}

// Error gives file:line:column, the field, the mistake and the remedy on one line.
func (p Problem) Error() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", p.Line, p.Column)
	}
	b.WriteString(": ")
	if p.Field != "" {
		fmt.Fprintf(&b, "%s: ", p.Field)
	}
	b.WriteString(p.Msg)
	if p.Remedy != "" {
		fmt.Fprintf(&b, "; %s", p.Remedy)
	}
	return b.String()
}

// Problems is every mistake of a file in the order of its lines. Parse and Load return it as an error; errors.As finds it.
type Problems []Problem

// Error gives one mistake a line.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

func (ps Problems) sortByLine() {
	sort.SliceStable(ps, func(i, j int) bool {
		if ps[i].Line != ps[j].Line {
			return ps[i].Line < ps[j].Line
		}
		return ps[i].Column < ps[j].Column
	})
}

// covers reports whether a mistake at field or above it is known already, so that one slip is told once.
func (ps Problems) covers(field string) bool {
	for _, p := range ps {
		if p.Field == "" || p.Field == field || within(field, p.Field) {
			return true
		}
	}
	return false
}

func within(inner, outer string) bool {
	return outer != "" && (strings.HasPrefix(inner, outer+".") || strings.HasPrefix(inner, outer+"["))
}

// nearest returns the word that got was most likely meant to be, or "" when none is close.
func nearest(got string, words []string) string {
	best, least := "", 1+len(got)/3
	for _, w := range words {
		if d := distance(strings.ToLower(got), w); d <= least && (best == "" || d < least) {
			best, least = w, d
		}
	}
	return best
}

// distance counts the insertions, deletions, replacements and swaps of neighbours that turn a into b.
func distance(a, b string) int {
	prev2, prev, cur := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], prev2[j-2]+1)
			}
		}
		prev2, prev, cur = prev, cur, prev2
	}
	return prev[len(b)]
}
