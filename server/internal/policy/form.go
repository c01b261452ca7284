package policy

import (
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"unicode/utf8"
)

// form is what the shape of a pattern says about what its author meant.
type form struct {
	exact     string         // the one text that it matches, of ^text$; or empty
	closed    bool           // it begins with ^, ends with $, and repeats nothing that could be a blank
	redirects bool           // it spells out < or >
	lines     bool           // its ^ and $ are those of lines, as (?m) makes them
	quotes    bool           // it spells out a quote, a backslash or a dollar sign
	parts     []string       // one of which is in every match; nil where none is known
	whole     *regexp.Regexp // of one that begins with ^ and holds \b: the pattern for names with "_" in place of nameMarks; or nil
}

// nameMarks are the characters of names at which \b finds the end of a word.
const nameMarks = "-./+@:"

var unmarked = strings.NewReplacer("-", "_", ".", "_", "/", "_", "+", "_", "@", "_", ":", "_")

// formOf looks at a pattern that compiles.
func formOf(expr string) (f form) {
	re, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		return form{}
	}
	begins := bounded(re, syntax.OpBeginText, false)
	f.closed = begins && bounded(re, syntax.OpEndText, true) && !open(re)
	f.redirects = holds(re, func(r *syntax.Regexp) bool {
		return r.Op == syntax.OpLiteral && (slices.Contains(r.Rune, '<') || slices.Contains(r.Rune, '>'))
	})
	f.lines = holds(re, func(r *syntax.Regexp) bool { return r.Op == syntax.OpBeginLine || r.Op == syntax.OpEndLine })
	f.quotes = holds(re, quotes)
	f.parts = needed(re)
	if re.Op == syntax.OpConcat && len(re.Sub) == 3 && re.Sub[0].Op == syntax.OpBeginText && re.Sub[2].Op == syntax.OpEndText &&
		re.Sub[1].Op == syntax.OpLiteral && re.Sub[1].Flags&syntax.FoldCase == 0 {
		f.exact = string(re.Sub[1].Rune)
	}
	if begins && holds(re, func(r *syntax.Regexp) bool { return r.Op == syntax.OpWordBoundary }) {
		f.whole, _ = regexp.Compile(unmark(re).String())
	}
	return f
}

// bounded says whether every way through re begins with op, or with last set ends with it.
func bounded(re *syntax.Regexp, op syntax.Op, last bool) bool {
	switch re.Op {
	case op:
		return true
	case syntax.OpCapture:
		return bounded(re.Sub[0], op, last)
	case syntax.OpConcat:
		at := 0
		if last {
			at = len(re.Sub) - 1
		}
		return bounded(re.Sub[at], op, last)
	case syntax.OpAlternate:
		return !slices.ContainsFunc(re.Sub, func(r *syntax.Regexp) bool { return !bounded(r, op, last) })
	}
	return false
}

func holds(re *syntax.Regexp, what func(*syntax.Regexp) bool) bool {
	return what(re) || slices.ContainsFunc(re.Sub, func(r *syntax.Regexp) bool { return holds(r, what) })
}

// quotes says whether a node by itself spells out a quote, a backslash or a dollar sign: as text, or among the few characters of a class.
func quotes(re *syntax.Regexp) bool {
	const marks = "'\"\\$"
	switch re.Op {
	case syntax.OpLiteral:
		return strings.ContainsAny(string(re.Rune), marks)
	case syntax.OpCharClass:
		few := 0
		for i := 0; i+1 < len(re.Rune); i += 2 {
			few += int(re.Rune[i+1]-re.Rune[i]) + 1
		}
		return few <= 2*len(marks) && strings.ContainsFunc(marks, func(r rune) bool { return inClass(re.Rune, r) })
	}
	return false
}

// needed gives texts of which every match of re holds at least one, or nil where none are known: the prefilter of RE2 (R. Cox, "Regular Expression
// Matching with a Trigram Index", 2012), with whole texts.
func needed(re *syntax.Regexp) (parts []string) {
	switch {
	case re.Op == syntax.OpLiteral && re.Flags&syntax.FoldCase == 0 && !slices.Contains(re.Rune, utf8.RuneError):
		return []string{string(re.Rune)}
	case re.Op == syntax.OpCapture, re.Op == syntax.OpPlus, re.Op == syntax.OpRepeat && re.Min > 0:
		return needed(re.Sub[0])
	case re.Op == syntax.OpAlternate:
		for _, sub := range re.Sub {
			of := needed(sub)
			if of == nil {
				return nil
			}
			parts = append(parts, of...)
		}
	case re.Op == syntax.OpConcat:
		for _, sub := range re.Sub {
			if of := needed(sub); of != nil && (parts == nil || shortest(of) > shortest(parts)) {
				parts = of
			}
		}
	}
	return parts
}

func shortest(parts []string) int {
	return len(slices.MinFunc(parts, func(a, b string) int { return len(a) - len(b) }))
}

// open says whether re repeats something that may be a blank, so that it admits any number of further words.
func open(re *syntax.Regexp) bool {
	return holds(re, func(r *syntax.Regexp) bool {
		repeats := r.Op == syntax.OpStar || r.Op == syntax.OpPlus || r.Op == syntax.OpRepeat && (r.Max < 0 || r.Max > 1)
		return repeats && holds(r, blank)
	})
}

// blank says whether a node by itself matches a blank.
func blank(re *syntax.Regexp) bool {
	switch re.Op {
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		return true
	case syntax.OpLiteral:
		return slices.ContainsFunc(re.Rune, func(r rune) bool { return r == ' ' || r == '\t' || r == '\n' })
	case syntax.OpCharClass:
		for i := 0; i+1 < len(re.Rune); i += 2 {
			for _, r := range " \t\n" {
				if re.Rune[i] <= r && r <= re.Rune[i+1] {
					return true
				}
			}
		}
	}
	return false
}

// unmark makes every character of nameMarks in a pattern match "_" too.
func unmark(re *syntax.Regexp) *syntax.Regexp {
	out := *re
	switch re.Op {
	case syntax.OpLiteral:
		out = syntax.Regexp{Op: syntax.OpConcat, Flags: re.Flags}
		for _, r := range re.Rune {
			out.Sub = append(out.Sub, unmarkRune(r, re.Flags))
		}
	case syntax.OpCharClass:
		if slices.ContainsFunc([]rune(nameMarks), func(r rune) bool { return inClass(re.Rune, r) }) && !inClass(re.Rune, '_') {
			out.Rune = append(slices.Clone(re.Rune), '_', '_')
		}
	default:
		out.Sub = make([]*syntax.Regexp, len(re.Sub))
		for i, sub := range re.Sub {
			out.Sub[i] = unmark(sub)
		}
	}
	return &out
}

func unmarkRune(r rune, flags syntax.Flags) *syntax.Regexp {
	if !strings.ContainsRune(nameMarks, r) {
		return &syntax.Regexp{Op: syntax.OpLiteral, Flags: flags, Rune: []rune{r}}
	}
	return &syntax.Regexp{Op: syntax.OpCharClass, Flags: flags, Rune: []rune{r, r, '_', '_'}} // all of nameMarks are below '_'
}

func inClass(class []rune, r rune) bool {
	for i := 0; i+1 < len(class); i += 2 {
		if class[i] <= r && r <= class[i+1] {
			return true
		}
	}
	return false
}
