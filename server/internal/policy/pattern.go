package policy

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// pattern is one regular expression of a rule list.
type pattern struct {
	rule string         // command_denylist[0] "rm\s+-rf"
	find *regexp.Regexp // leftmost-first, as the author expects
	form                // only of lists that admit
}

type patterns []pattern

// admission is what a list says of one simple command.
type admission struct {
	rule   string // that admits it; or empty
	reason string // why none does
}

// admit judges a simple command, not those that it runs. spelled says that the pattern spells out all of it, so that those need no rule of
// their own.
func (ps patterns) admit(s *simple) (a admission, spelled bool) {
	if i := slices.IndexFunc(ps, func(p pattern) bool { return p.spells(s) }); i >= 0 {
		return admission{rule: ps[i].rule}, true
	}
	i := slices.IndexFunc(ps, func(p pattern) bool { return p.matches(s) })
	switch {
	case i < 0 && s.name == "" && len(s.files) > 0:
		return admission{reason: "no pattern spells out the redirection"}, false
	case i < 0:
		return admission{reason: "it matches no pattern"}, false
	case s.risk != "":
		return admission{reason: s.risk + ", and no pattern spells out the whole command"}, false
	case len(s.files) > 0:
		return admission{reason: "it redirects to or from a file, and no pattern spells out the whole command with the redirection"}, false
	}
	return admission{rule: ps[i].rule}, false
}

// exact gives the rule of a pattern that is this very command line and nothing else.
func (ps patterns) exact(command string) string {
	for _, p := range ps {
		if p.exact != "" && p.exact == command {
			return p.rule
		}
	}
	return ""
}

// matches says whether the pattern is found in the command, also where every expansion is a word of its own, as a shell could make it. A \b
// that ends the command's name in the pattern ends it in the command: `^ls\b` does not admit "ls-evil".
func (p pattern) matches(s *simple) bool {
	if s.name == "" || p.lines && strings.Contains(s.text, "\n") || !p.holdsFor(s, "") {
		return false
	}
	if p.whole == nil || !strings.ContainsAny(s.name, nameMarks) {
		return true
	}
	return p.whole.MatchString(unmarked.Replace(s.name) + s.text[len(s.name):])
}

// spells says whether the pattern leaves nothing of the command open: it holds for all of it, with its redirections, and repeats nothing that
// could be a further word.
func (p pattern) spells(s *simple) bool {
	if !p.closed || len(s.files) > 0 && !p.redirects || slices.ContainsFunc(s.args, func(w word) bool { return w.globs && !w.operand() }) {
		return false
	}
	return p.holdsFor(s, strings.Join(s.files, " "))
}

// holdsFor says whether the pattern is found in every text of the command, with its redirections behind them. A blank of a pattern is one between words:
// `^deploy \S+ --dry-run$` does not admit `deploy x\ --dry-run`, unless the pattern itself speaks of quotes.
func (p pattern) holdsFor(s *simple, files string) bool {
	found := func(text string) bool {
		if files != "" {
			text = strings.TrimSpace(text + " " + files)
		}
		return p.find.MatchString(text)
	}
	return found(s.text) && (s.split == "" || found(s.split)) && (s.whole == "" || p.quotes || found(s.whole))
}

// search returns the rule of the first pattern found in the command, or in what
// is left of it without quotes and backslashes or with runs of blanks made one,
// so that a stray quote is not enough to slip by.
func (ps patterns) search(command string) string {
	if len(ps) == 0 {
		return ""
	}
	forms := []string{command}
	if !settled(command) {
		bare := unquote(command)
		forms = slices.Compact([]string{command, bare, strings.Join(strings.Fields(bare), " ")})
	}
	for _, p := range ps {
		if slices.ContainsFunc(forms, p.found) {
			return p.rule
		}
	}
	return ""
}

// found says whether the pattern is in a text. Most texts lack what every match of the pattern holds, and that is seen sooner.
func (p pattern) found(text string) bool {
	holds := func(part string) bool { return strings.Contains(text, part) }
	return (p.parts == nil || slices.ContainsFunc(p.parts, holds)) && p.find.MatchString(text)
}

// compiler gathers the mistakes of all rules.
type compiler struct{ mistakes []error }

func (c *compiler) fail(field, message, remedy string) {
	c.mistakes = append(c.mistakes, &RuleError{Field: field, Message: message, Remedy: remedy})
}

func (c *compiler) patterns(field string, exprs []string) patterns {
	ps := make(patterns, 0, len(exprs))
	for i, expr := range exprs {
		at := fmt.Sprintf("%s[%d]", field, i)
		if expr == "" {
			c.fail(at, "an empty pattern matches every command", "remove it or write what it should match")
			continue
		}
		find, err := regexp.Compile(expr)
		if err != nil {
			c.fail(at, err.Error(), "write a Go regular expression (RE2 syntax, without lookaround and back references)")
			continue
		}
		ps = append(ps, pattern{rule: at + ` "` + expr + `"`, find: find, form: formOf(expr)})
	}
	return ps
}

func (c *compiler) names(field, kind string, given, known []string) []string {
	for i, name := range given {
		if !slices.Contains(known, name) {
			c.fail(fmt.Sprintf("%s[%d]", field, i), fmt.Sprintf("unknown %s %q", kind, name),
				"use one of "+strings.Join(known, ", "))
		}
	}
	return slices.Clone(given)
}

func (c *compiler) limit(field string, n int) int {
	if n < 0 {
		c.fail(field, fmt.Sprintf("%d is negative", n), "use 0 for the default or a positive number")
	}
	return n
}

// settled says that there are no quotes, backslashes and runs of blanks to be taken out of a command.
func settled(command string) bool {
	blank := true
	for i := range len(command) {
		c := command[i]
		if c < ' ' || c > '~' || c == '\\' || c == '\'' || c == '"' || blank && c == ' ' {
			return false
		}
		blank = c == ' '
	}
	return !blank
}

var quoting = strings.NewReplacer("\\\r\n", "", "\\\n", "", `\`, "", `'`, "", `"`, "")

// unquote drops quotes, backslashes and the line breaks that they continue.
func unquote(command string) string { return quoting.Replace(command) }
