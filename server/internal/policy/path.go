package policy

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxPath bounds the bytes of a path of a host that rules are held against. It is PATH_MAX of Linux.
const maxPath = 4096

// remoteRules say which paths of a host transfers may touch.
type remoteRules struct {
	roots []string // absolute and clean; empty is all
	deny  patterns
}

func (r *remoteRules) any() bool { return len(r.roots) > 0 || len(r.deny) > 0 }

// roots reads absolute folders of a host.
func (c *compiler) roots(field string, given []string) []string {
	list := make([]string, 0, len(given))
	for i, dir := range given {
		if !path.IsAbs(dir) || slices.Contains(strings.Split(dir, "/"), "..") || oddPath(dir) != "" {
			c.fail(fmt.Sprintf("%s[%d]", field, i), fmt.Sprintf("%q is not an absolute folder", dir), `write it from the root, as "/srv/data"`)
			continue
		}
		list = append(list, path.Clean(dir))
	}
	return list
}

// RemoteRoots are the folders of the host that transfers may name, absolute and clean; none is all.
func (p *Policy) RemoteRoots() []string { return p.remote.roots }

// RulesRemote says whether any rule concerns the paths of the host.
func (p *Policy) RulesRemote() bool { return p.remote.any() }

// DeniesRemote says whether a rule refuses some paths of the host within those that it admits.
func (p *Policy) DeniesRemote() bool { return len(p.remote.deny) > 0 }

// DecideRemote says whether a transfer may touch a path of the host by its name alone; links are for who asks the host. A relative path is
// under the login folder, which is unknown here, so that it is held against the deny list only.
func (p *Policy) DecideRemote(name string) Decision {
	if name == "" || !p.remote.any() {
		return Decision{Allowed: true}
	}
	const field = "remote_roots"
	if odd := oddPath(name); odd != "" {
		return refuse(p.remote.field(), "the path on the host %s", odd)
	}
	clean := path.Clean(name)
	if path.IsAbs(clean) && len(p.remote.roots) > 0 && !Inside(p.remote.roots, clean) {
		return refuse(field, "%s is in none of the folders of the host that this profile admits", clean)
	}
	if rule := p.remote.denied(clean); rule != "" {
		return refuse(rule, "%s is denied on this profile", clean)
	}
	return Decision{Allowed: true}
}

// denied returns the rule of the first pattern found in a clean path, or in that of a folder with a slash behind it.
func (r *remoteRules) denied(clean string) string {
	for _, p := range r.deny {
		if p.find.MatchString(clean) || p.find.MatchString(clean+"/") {
			return p.rule
		}
	}
	return ""
}

func (r *remoteRules) field() string {
	if len(r.roots) > 0 {
		return "remote_roots"
	}
	return "remote_denylist"
}

// oddPath says what about a path could mean another one to the host than to the rules; or "".
func oddPath(name string) string {
	switch {
	case len(name) > maxPath:
		return fmt.Sprintf("is longer than %d bytes", maxPath)
	case !utf8.ValidString(name):
		return "is not valid UTF-8"
	case strings.ContainsRune(name, '\\'):
		return "holds a backslash, which some hosts read as a slash"
	case strings.HasPrefix(name, "~"):
		return "begins with ~; write the folder itself"
	case slices.Contains(strings.Split(name, "/"), ".."):
		return "holds .."
	}
	for _, r := range name {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || unicode.In(r, unicode.Zl, unicode.Zp) || slices.Contains(slashes, r) {
			return fmt.Sprintf("holds the character %U, which is invisible or can be read as another", r)
		}
	}
	return ""
}

// slashes are characters that a host may fold to a slash or a dot.
var slashes = []rune{'\u2024', '\u2025', '\u2026', '\u2044', '\u2215', '\u2216', '\uff0e', '\uff0f', '\uff3c', '\u29f8', utf8.RuneError}

// Inside says whether an absolute, clean path is one of the folders or lies in one.
func Inside(folders []string, clean string) bool {
	return slices.ContainsFunc(folders, func(dir string) bool {
		return clean == dir || dir == "/" || strings.HasPrefix(clean, dir+"/")
	})
}

// ticketRules say what a change ticket must look like.
type ticketRules struct {
	format *regexp.Regexp // of all of a ticket; nil is any
	text   string
}

// maxTicket bounds a change ticket.
const maxTicket = 256

func (c *compiler) format(field, expr string) ticketRules {
	if expr == "" {
		return ticketRules{}
	}
	if _, err := regexp.Compile(expr); err != nil {
		c.fail(field, err.Error(), "write a Go regular expression (RE2 syntax) for a whole ticket, such as CHG-[0-9]{6}")
		return ticketRules{}
	}
	return ticketRules{format: regexp.MustCompile(`\A(?:` + expr + `)\z`), text: expr}
}

// bad says what is wrong with a ticket; or "".
func (t ticketRules) bad(ticket string) string {
	switch {
	case len(ticket) > maxTicket:
		return fmt.Sprintf("it is longer than %d bytes", maxTicket)
	case !utf8.ValidString(ticket) || strings.ContainsFunc(ticket, unicode.IsControl):
		return "it holds control characters"
	case t.format != nil && !t.format.MatchString(ticket):
		return fmt.Sprintf("it does not look like %s", t.text)
	}
	return ""
}
