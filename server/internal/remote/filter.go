package remote

import (
	"fmt"
	"strings"
)

// filter decides by rsync's pattern rules what a sync leaves alone. A pattern with a leading slash is held against the whole path from
// the synced directory on, one with a slash or ** inside against its end, and any other against the name alone. A trailing slash admits
// directories only; dir/*** is the directory and all in it. In a pattern with a wildcard *, ** (which passes slashes), ? and […], a
// backslash makes the next character an ordinary one. Characters are bytes, as they are to rsync. The zero value leaves nothing alone.
type filter struct{ rules []rule }

// rule is one pattern, taken apart.
type rule struct {
	include  bool
	dirOnly  bool
	anchored bool   // matches from the start of the path
	literal  string // a pattern without wildcards; or ""
	glob     glob   // one with
	slashes  int    // inside the pattern
	deep     bool   // holds **
	leading  bool   // begins with **, which then also matches before the first slash
	self     bool   // ends with ***, which also matches the directory before it
}

// maxPattern bounds a pattern, in bytes.
const maxPattern = 1024

// newFilter compiles the patterns. Every exclusion comes after every inclusion. The error names the pattern that rsync would read as
// something else, or that could never match.
func newFilter(include, exclude []string) (*filter, error) {
	f := &filter{}
	for i, list := range [][]string{include, exclude} {
		for j, pattern := range list {
			r, err := parseRule(pattern)
			if err != nil {
				return nil, fmt.Errorf("%s[%d] %q: %w", []string{"include", "exclude"}[i], j, pattern, err)
			}
			r.include = i == 0
			f.rules = append(f.rules, r)
		}
	}
	return f, nil
}

// excludes reports whether the entry is left alone. What lies in an excluded directory is not asked about.
func (f *filter) excludes(path string, dir bool) bool {
	for i := range f.rules {
		if f.rules[i].matches(path, dir) {
			return !f.rules[i].include
		}
	}
	return false
}

func parseRule(pattern string) (rule, error) {
	if err := checkPattern(pattern); err != nil {
		return rule{}, err
	}
	var r rule
	body := pattern
	body, r.dirOnly = strings.CutSuffix(body, "/")
	body, r.anchored = strings.CutPrefix(body, "/")
	r.slashes = strings.Count(body, "/")
	if !strings.ContainsAny(body, "*?[") {
		r.literal = body // backslashes and all
		return r, nil
	}
	r.deep = strings.Contains(body, "**")
	r.leading = strings.HasPrefix(body, "**") && !r.anchored
	r.self = strings.HasSuffix(body, "***")
	var err error
	r.glob, err = parseGlob(body)
	return r, err
}

// checkPattern refuses what rsync takes for more than a pattern, and slips that make a pattern match nothing.
func checkPattern(pattern string) error {
	switch {
	case pattern == "":
		return fmt.Errorf("is empty; leave it out")
	case len(pattern) > maxPattern:
		return fmt.Errorf("is longer than %d bytes", maxPattern)
	case strings.ContainsRune(pattern, 0):
		return fmt.Errorf("holds a zero byte")
	case pattern == "!", strings.HasPrefix(pattern, "+ "), strings.HasPrefix(pattern, "- "):
		return fmt.Errorf("rsync reads this as an instruction, not as a pattern; write the first character as a class, such as [%c]", pattern[0])
	}
	body := strings.TrimPrefix(strings.TrimSuffix(pattern, "/"), "/")
	for elem := range strings.SplitSeq(body, "/") {
		if elem == "" || elem == "." || elem == ".." {
			return fmt.Errorf("would never match, since no path holds the element %q; paths begin right below the synced directory", elem)
		}
	}
	return nil
}

func (r *rule) matches(path string, dir bool) bool {
	if r.dirOnly && !dir {
		return false
	}
	name := path[strings.LastIndexByte(path, '/')+1:]
	nameOnly := r.slashes == 0 && !r.anchored && !r.deep
	switch {
	case r.literal != "" && nameOnly:
		return name == r.literal
	case r.literal != "":
		rest, ok := strings.CutSuffix(path, r.literal)
		return ok && (rest == "" || !r.anchored && rest[len(rest)-1] == '/')
	case nameOnly:
		return r.glob.match(name, false)
	}
	if r.leading {
		path = "/" + path
	}
	if r.self && dir {
		path += "/"
	}
	return r.matchesPath(path)
}

// matchesPath holds a pattern with wildcards against as much of the path as its form asks for.
func (r *rule) matchesPath(path string) bool {
	whole := r.anchored || r.leading
	if whole || r.deep {
		return r.glob.match(path, !whole)
	}
	tail, ok := lastElements(path, r.slashes+1)
	return ok && r.glob.match(tail, false)
}

// lastElements returns the last n elements of path, if it has as many.
func lastElements(path string, n int) (string, bool) {
	i := len(path)
	for ; n > 0; n-- {
		if i < 0 {
			return "", false
		}
		i = strings.LastIndexByte(path[:i], '/')
	}
	return path[i+1:], true
}
