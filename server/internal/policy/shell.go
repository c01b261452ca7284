package policy

import "strings"

// hasControl says whether a shell might read more from the command than one
// plain command with arguments: separators, pipes, redirections, groups,
// substitutions, comments, line breaks, NUL. It reads quotes as POSIX shells
// do, where fish or csh differ takes the stricter view, and counts what it
// cannot be sure of, such as an open quote, as control. `$NAME` alone is
// expansion, which adds arguments and not commands, and is no control.
func hasControl(command string) bool {
	if strings.ContainsAny(command, "\n\r\x00") {
		return true
	}
	for i := 0; i < len(command); {
		n := inertAt(command, i)
		if n == 0 {
			return true
		}
		i += n
	}
	return false
}

// inertAt returns the length of the inert text at s[i]: a byte, an escaped pair
// or a closed quotation. 0 means that control starts there.
func inertAt(s string, i int) int {
	switch c := s[i]; c {
	case ';', '&', '|', '`', '<', '>', '(', ')', '{', '}':
		return 0
	case '\\':
		if i+1 == len(s) {
			return 0
		}
		return 2
	case '$':
		if i+1 < len(s) && strings.IndexByte("(`{'[", s[i+1]) >= 0 {
			return 0
		}
	case '#':
		if i == 0 || !isWordByte(s[i-1]) {
			return 0
		}
	case '\'':
		end := strings.IndexByte(s[i+1:], '\'')
		if end < 0 || end > 0 && s[i+end] == '\\' { // fish lets \' stay inside
			return 0
		}
		return end + 2
	case '"':
		return inertDouble(s[i:])
	}
	return 1
}

// inertDouble returns the length of the double-quoted text that s starts with,
// quotes included, or 0 where it holds control or does not end.
func inertDouble(s string) int {
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			return i + 1
		case '`':
			return 0
		case '$':
			if i+1 < len(s) && strings.IndexByte("(`{'[", s[i+1]) >= 0 {
				return 0
			}
		case '\\':
			if i+1 < len(s) && s[i+1] == '"' { // csh ends the quotation here
				return 0
			}
			i++
		}
	}
	return 0
}

func isWordByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '/'
}

var quoting = strings.NewReplacer("\\\r\n", "", "\\\n", "", `\`, "", `'`, "", `"`, "")

// unquote drops quotes, backslashes and the line breaks that they continue.
func unquote(command string) string { return quoting.Replace(command) }
