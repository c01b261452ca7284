package remote

import (
	"errors"
	"fmt"
	"strings"
)

// glob is a compiled pattern with wildcards: a sequence of things to match, each one byte or a run of bytes.
type glob []token

// token matches one byte of set or, when it is a star, any number of them.
type token struct {
	set  byteSet
	star bool
}

// byteSet holds a bit for each byte.
type byteSet [4]uint64

func (s *byteSet) add(b byte)      { s[b>>6] |= 1 << (b & 63) }
func (s *byteSet) has(b byte) bool { return s[b>>6]>>(b&63)&1 != 0 }
func (s *byteSet) remove(b byte)   { s[b>>6] &^= 1 << (b & 63) }

func (s *byteSet) invert() {
	for i := range s {
		s[i] = ^s[i]
	}
}

// every is all bytes; notSlash is all but the slash.
var (
	every    = byteSet{^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0)}
	notSlash = byteSet{^uint64(0) &^ (1 << '/'), ^uint64(0), ^uint64(0), ^uint64(0)}
)

func one(b byte) (s byteSet) { s.add(b); return s }

// match reports whether all of s fits or, where tail is set, what comes after one of its slashes. It follows all ways through the pattern
// at once, so its time is bounded by the product of both lengths.
func (g glob) match(s string, tail bool) bool {
	now, next := make([]bool, len(g)+1), make([]bool, len(g)+1)
	g.reach(now, 0)
	for i := range len(s) {
		clear(next)
		alive := false
		for at, t := range g {
			if !now[at] || !t.set.has(s[i]) {
				continue
			}
			alive = true
			if t.star {
				g.reach(next, at)
			} else {
				g.reach(next, at+1)
			}
		}
		if tail && s[i] == '/' {
			g.reach(next, 0)
			alive = true
		}
		if !alive && !tail {
			return false
		}
		now, next = next, now
	}
	return now[len(g)]
}

// reach marks position at and, past stars, those after it.
func (g glob) reach(states []bool, at int) {
	states[at] = true
	for at < len(g) && g[at].star {
		at++
		states[at] = true
	}
}

// parseGlob compiles a pattern.
func parseGlob(p string) (glob, error) {
	var g glob
	for p != "" {
		c := p[0]
		p = p[1:]
		switch c {
		case '*':
			set := notSlash
			if rest := strings.TrimLeft(p, "*"); rest != p {
				set, p = every, rest
			}
			g = append(g, token{set: set, star: true})
		case '?':
			g = append(g, token{set: notSlash})
		case '[':
			set, rest, err := parseClass(p)
			if err != nil {
				return nil, err
			}
			g, p = append(g, token{set: set}), rest
		case '\\':
			if p == "" {
				return nil, errors.New("ends in a backslash that escapes nothing; write two for one")
			}
			g, p = append(g, token{set: one(p[0])}), p[1:]
		default:
			g = append(g, token{set: one(c)})
		}
	}
	return g, nil
}

var errUnclosed = errors.New(`the class that [ begins has no end; write \[ for the character itself`)

// parseClass reads a class from after its [ to its ], and returns what follows.
func parseClass(p string) (set byteSet, rest string, err error) {
	negated := p != "" && (p[0] == '!' || p[0] == '^')
	if negated {
		p = p[1:]
	}
	for first := true; ; first = false {
		if p == "" {
			return set, "", errUnclosed
		}
		if p[0] == ']' && !first {
			break
		}
		if name, after, ok := posixClass(p); ok {
			if err := set.addPosix(name); err != nil {
				return set, "", err
			}
			p = after
			continue
		}
		low, after, err := classByte(p)
		if err != nil {
			return set, "", err
		}
		if p, err = set.addRange(low, after); err != nil {
			return set, "", err
		}
	}
	if negated {
		set.invert()
	}
	set.remove('/') // only ** passes a slash
	return set, p[1:], nil
}

// addRange adds the byte low, or the range that it begins in p, the text after it.
func (s *byteSet) addRange(low byte, p string) (rest string, err error) {
	high := low
	if len(p) > 1 && p[0] == '-' && p[1] != ']' {
		if high, p, err = classByte(p[1:]); err != nil {
			return "", err
		}
		if high < low {
			return "", fmt.Errorf("the range %c-%c is empty", low, high)
		}
	}
	for c := int(low); c <= int(high); c++ {
		s.add(byte(c))
	}
	return p, nil
}

// classByte reads one member of a class, escaped or not.
func classByte(p string) (c byte, rest string, err error) {
	if p[0] != '\\' {
		return p[0], p[1:], nil
	}
	if len(p) == 1 {
		return 0, "", errUnclosed
	}
	return p[1], p[2:], nil
}

// posixClass reads a name such as alpha in [:alpha:].
func posixClass(p string) (name, rest string, ok bool) {
	body, ok := strings.CutPrefix(p, "[:")
	if !ok {
		return "", "", false
	}
	name, rest, ok = strings.Cut(body, "]")
	if !ok || !strings.HasSuffix(name, ":") {
		return "", "", false
	}
	return name[:len(name)-1], rest, true
}

// posixMembers holds the members of each class among the ASCII characters.
var posixMembers = map[string]func(c byte) bool{
	"alnum":  func(c byte) bool { return isAlpha(c) || isDigit(c) },
	"alpha":  isAlpha,
	"blank":  func(c byte) bool { return c == ' ' || c == '\t' },
	"cntrl":  func(c byte) bool { return c < ' ' || c == 127 },
	"digit":  isDigit,
	"graph":  isGraph,
	"lower":  func(c byte) bool { return 'a' <= c && c <= 'z' },
	"print":  func(c byte) bool { return c == ' ' || isGraph(c) },
	"punct":  func(c byte) bool { return isGraph(c) && !isAlpha(c) && !isDigit(c) },
	"space":  func(c byte) bool { return c == ' ' || '\t' <= c && c <= '\r' },
	"upper":  func(c byte) bool { return 'A' <= c && c <= 'Z' },
	"xdigit": func(c byte) bool { return isDigit(c) || 'a' <= c|0x20 && c|0x20 <= 'f' },
}

func isAlpha(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }
func isDigit(c byte) bool { return '0' <= c && c <= '9' }
func isGraph(c byte) bool { return '!' <= c && c <= '~' }

func (s *byteSet) addPosix(name string) error {
	member, ok := posixMembers[name]
	if !ok {
		return fmt.Errorf("there is no class [:%s:]", name)
	}
	for c := range 128 {
		if member(byte(c)) {
			s.add(byte(c))
		}
	}
	return nil
}
