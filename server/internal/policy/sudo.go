package policy

import (
	"path"
	"regexp"
	"slices"
	"strings"
)

var (
	escalators = []string{"sudo", "sudoedit", "doas", "su", "pkexec", "run0"}
	// carriers run what their arguments name, so every argument is looked at.
	carriers = []string{
		"env", "exec", "command", "builtin", "eval", "nohup", "nice", "ionice", "timeout", "time", "setsid", "stdbuf",
		"chroot", "unshare", "nsenter", "xargs", "parallel", "find", "watch", "script", "ssh", "busybox", "trap",
		"sh", "bash", "dash", "ash", "zsh", "ksh", "fish", "csh", "tcsh",
	}
	// openers are words after which a new command starts.
	openers    = []string{"if", "then", "elif", "else", "while", "until", "do", "!", "coproc"}
	assignment = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*\+?=`)
	allDigits  = regexp.MustCompile(`^[0-9]+$`)
)

// maxWork bounds the bytes read for one command, those of nested quotations as
// often as they are. A host would not take a longer command; one so nested that
// it takes more is refused.
const maxWork = 1 << 20

// escalation names the program by which the command would gain other rights, or
// returns "". It looks where a shell takes a command name: at the start, after
// separators, assignments, redirections and reserved words, in substitutions,
// behind a path or quotes, and in the arguments of programs that run others.
func escalation(command string) string {
	if len(command) <= maxReadable && settled(command) && !namesEscalator(strings.ToLower(command)) {
		return "" // without quotes, no part of the command becomes a name that is not there as it stands
	}
	work := maxWork
	return within(command, &work)
}

func namesEscalator(command string) bool {
	return slices.ContainsFunc(escalators, func(name string) bool { return strings.Contains(command, name) })
}

// within is escalation as part of a larger work.
func within(command string, work *int) string {
	s := scanner{in: command, work: work, start: true}
	for s.pos < len(s.in) {
		if *work -= 1; *work < 0 {
			return "something nested too deeply to be judged"
		}
		if name := s.next(); name != "" {
			return name
		}
	}
	return s.endWord()
}

// scanner reads a command line word by word and knows whether the next word is
// a command name.
type scanner struct {
	in       string
	pos      int
	work     *int // left over
	word     strings.Builder
	inWord   bool
	start    bool // the next word names a command
	carried  bool // the words of this command are commands themselves
	redirect bool // the next word is the target of a redirection
}

// next consumes one element and returns an escalator when that completes one.
func (s *scanner) next() string {
	c := s.in[s.pos]
	s.pos++
	switch c {
	case ' ', '\t':
		return s.endWord()
	case '<', '>':
		return s.redirection()
	case ';', '&', '|', '(', ')', '{', '}', '`', '\n', '\r', 0:
		found := s.endWord()
		s.start, s.carried, s.redirect = true, false, false
		return found
	case '#':
		if !s.inWord {
			s.pos += lineEnd(s.in[s.pos:])
			return ""
		}
	case '\\':
		s.escaped()
		return ""
	case '\'':
		s.text(s.until('\''))
		return ""
	case '"':
		return s.double()
	}
	s.text(s.in[s.pos-1 : s.pos])
	return ""
}

func (s *scanner) text(t string) {
	s.word.WriteString(t)
	s.inWord = true
}

func (s *scanner) escaped() {
	if s.pos < len(s.in) {
		if s.in[s.pos] != '\n' {
			s.text(s.in[s.pos : s.pos+1])
		}
		s.pos++
	}
}

// until takes the text up to the given byte, which it consumes, or to the end.
func (s *scanner) until(end byte) string {
	rest := s.in[s.pos:]
	n := strings.IndexByte(rest, end)
	if n < 0 {
		s.pos = len(s.in)
		return rest
	}
	s.pos += n + 1
	return rest[:n]
}

// double takes a double-quoted text, in which substitutions stay commands.
func (s *scanner) double() string {
	var text strings.Builder
	for s.pos < len(s.in) && s.in[s.pos] != '"' {
		if s.in[s.pos] == '\\' && s.pos+1 < len(s.in) {
			s.pos++
		}
		text.WriteByte(s.in[s.pos])
		s.pos++
	}
	s.pos = min(s.pos+1, len(s.in))
	s.text(text.String())
	return s.substituted(text.String())
}

// substituted looks into every substitution of a quoted text.
func (s *scanner) substituted(text string) string {
	for {
		i := strings.IndexAny(text, "(`")
		if i < 0 {
			return ""
		}
		live := text[i] == '`' || i > 0 && text[i-1] == '$'
		text = text[i+1:]
		if live {
			if name := within(text, s.work); name != "" {
				return name
			}
		}
	}
}

// redirection takes an operator such as > or 2>&; the word before it was its
// descriptor if it is a number, and the word after it is its target.
func (s *scanner) redirection() string {
	var found string
	if allDigits.MatchString(s.word.String()) {
		s.word.Reset()
		s.inWord = false
	} else {
		found = s.endWord()
	}
	for s.pos < len(s.in) && strings.IndexByte("<>&|", s.in[s.pos]) >= 0 {
		s.pos++
	}
	s.redirect = true
	return found
}

// endWord closes the word in hand and returns it if it is an escalator in the
// place of a command name.
func (s *scanner) endWord() string {
	if !s.inWord {
		return ""
	}
	word := s.word.String()
	s.word.Reset()
	s.inWord = false
	switch {
	case s.redirect:
		s.redirect = false
		return ""
	case s.carried:
		return s.carriedWord(word)
	case !s.start || assignment.MatchString(word) || slices.Contains(openers, word):
		return ""
	}
	s.start = false
	name := path.Base(strings.TrimPrefix(word, "$")) // $'sudo' is a quotation too
	s.carried = slices.Contains(carriers, name)
	if slices.Contains(escalators, name) {
		return name
	}
	return ""
}

// carriedWord judges an argument of a carrier: a program's name or a command line.
func (s *scanner) carriedWord(word string) string {
	if name := path.Base(word); slices.Contains(escalators, name) {
		return name
	}
	if strings.ContainsAny(word, " \t\n;&|(`") {
		return within(word, s.work)
	}
	return ""
}

func lineEnd(s string) int {
	if n := strings.IndexByte(s, '\n'); n >= 0 {
		return n
	}
	return len(s)
}
