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
	span *regexp.Regexp // leftmost-longest, to see whether it can cover a whole command
}

func (p pattern) covers(command string) bool {
	loc := p.span.FindStringIndex(command)
	return loc != nil && loc[0] == 0 && loc[1] == len(command)
}

type patterns []pattern

// found says whether any pattern occurs in the command.
func (ps patterns) found(command string) bool {
	return slices.ContainsFunc(ps, func(p pattern) bool { return p.find.MatchString(command) })
}

// admit says whether a pattern allows the command: a plain one by being found in
// it, one with shell control only by covering it from end to end. So `^ls\b`
// admits "ls -la" and not "ls; reboot", while `^ls.*` admits both: who writes
// `.*` at the end admits whatever a shell makes of it.
func (ps patterns) admit(command string) bool {
	if !hasControl(command) {
		return ps.found(command)
	}
	return slices.ContainsFunc(ps, func(p pattern) bool { return p.covers(command) })
}

// search returns the rule of the first pattern found in the command, or in what
// is left of it without quotes and backslashes or with runs of blanks made one,
// so that a stray quote is not enough to slip by.
func (ps patterns) search(command string) string {
	if len(ps) == 0 {
		return ""
	}
	bare := unquote(command)
	forms := slices.Compact([]string{command, bare, strings.Join(strings.Fields(bare), " ")})
	for _, p := range ps {
		if slices.ContainsFunc(forms, p.find.MatchString) {
			return p.rule
		}
	}
	return ""
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
		span := regexp.MustCompile(expr)
		span.Longest()
		ps = append(ps, pattern{rule: at + ` "` + expr + `"`, find: find, span: span})
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
