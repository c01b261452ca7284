package plainjson

import "bytes"

// Fields calls visit with the name and the value of every field of an object, both as they stand in the text, the name without its quotes. text must be
// valid JSON. It is false for a text that is no object, where a name holds a backslash, and where visit says so, which ends it.
func Fields(text []byte, visit func(name, value []byte) bool) bool {
	s := scanner(text)
	s.skip(" \t\r\n")
	if len(s) == 0 || s[0] != '{' {
		return false
	}
	for s = s[1:]; ; s = s[1:] { // behind the brace or a comma
		s.skip(" \t\r\n")
		if s[0] == '}' {
			return true
		}
		name := s.value()
		if name = name[1 : len(name)-1]; bytes.IndexByte(name, '\\') >= 0 {
			return false
		}
		s.skip(" \t\r\n:")
		if !visit(name, s.value()) {
			return false
		}
		s.skip(" \t\r\n")
		if s[0] == '}' {
			return true
		}
	}
}

// scanner is the rest of a text that is valid JSON.
type scanner []byte

func (s *scanner) skip(marks string) { *s = bytes.TrimLeft(*s, marks) }

// value takes the value that s begins with.
func (s *scanner) value() []byte {
	depth, end := 0, 0
	for t := *s; end < len(t); end++ {
		switch t[end] {
		case '"':
			for end++; t[end] != '"'; end++ {
				if t[end] == '\\' {
					end++
				}
			}
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		case ',', ' ', '\t', '\r', '\n':
			if depth == 0 {
				return s.take(end)
			}
			continue
		default:
			continue
		}
		switch {
		case depth == 0:
			return s.take(end + 1)
		case depth < 0: // the end of what the value stands in
			return s.take(end)
		}
	}
	return s.take(end)
}

func (s *scanner) take(n int) []byte {
	taken := (*s)[:n]
	*s = (*s)[n:]
	return taken
}
