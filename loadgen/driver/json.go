package driver

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// maxDepth bounds nesting, so that a hostile server cannot exhaust the stack.
const maxDepth = 200

var errJSON = errors.New("malformed JSON")

// scanner walks over a JSON text once and builds only what is asked for. Replies are decoded tens of thousands of times a second on the
// machine that also runs the server under test, and most of their bytes, the text rendering of the same content, are skipped. Text that is
// not JSON gives errJSON, but the skipped parts are not checked in full.
type scanner struct {
	b     []byte
	i     int
	depth int
}

// next skips white space and returns the byte after it, 0 at the end.
func (s *scanner) next() byte {
	for s.i < len(s.b) {
		switch c := s.b[s.i]; c {
		case ' ', '\t', '\n', '\r':
			s.i++
		default:
			return c
		}
	}
	return 0
}

func (s *scanner) expect(c byte) error {
	if s.next() != c {
		return fmt.Errorf("%w: want %q at byte %d", errJSON, c, s.i)
	}
	s.i++
	return nil
}

// object calls field with each key; field must consume the value. The key is valid until field returns.
func (s *scanner) object(field func(key []byte) error) error {
	return s.sequence('{', '}', func() error {
		raw, escaped, err := s.rawString()
		if err != nil {
			return err
		}
		if escaped {
			key, err := unescape(raw)
			if err != nil {
				return err
			}
			raw = []byte(key)
		}
		if err := s.expect(':'); err != nil {
			return err
		}
		return field(raw)
	})
}

// sequence reads what stands between open and end, separated by commas.
func (s *scanner) sequence(open, end byte, element func() error) error {
	if err := s.expect(open); err != nil {
		return err
	}
	if s.depth++; s.depth > maxDepth {
		return fmt.Errorf("%w: nested more than %d deep", errJSON, maxDepth)
	}
	defer func() { s.depth-- }()
	if s.next() == end {
		s.i++
		return nil
	}
	for {
		if err := element(); err != nil {
			return err
		}
		switch s.next() {
		case ',':
			s.i++
		case end:
			s.i++
			return nil
		default:
			return fmt.Errorf("%w: want a comma or %q at byte %d", errJSON, end, s.i)
		}
	}
}

// rawString reads a string without its quotes, escapes left as they are.
func (s *scanner) rawString() (raw []byte, escaped bool, err error) {
	if err := s.expect('"'); err != nil {
		return nil, false, err
	}
	start := s.i
	for {
		n := bytes.IndexByte(s.b[s.i:], '"')
		if n < 0 {
			return nil, false, fmt.Errorf("%w: string without an end", errJSON)
		}
		end := s.i + n
		slashes := 0
		for end-slashes > start && s.b[end-slashes-1] == '\\' {
			slashes++
		}
		s.i = end + 1
		if slashes%2 == 0 {
			raw = s.b[start:end]
			return raw, bytes.IndexByte(raw, '\\') >= 0, nil
		}
	}
}

func (s *scanner) str() (string, error) {
	raw, escaped, err := s.rawString()
	if err != nil || !escaped {
		return string(raw), err
	}
	return unescape(raw)
}

// scalar is the text of a number, true, false or null.
func (s *scanner) scalar() ([]byte, error) {
	s.next()
	start := s.i
	for s.i < len(s.b) && (s.b[s.i] >= '0' && s.b[s.i] <= '9' || s.b[s.i] >= 'a' && s.b[s.i] <= 'z' ||
		s.b[s.i] == '-' || s.b[s.i] == '+' || s.b[s.i] == '.' || s.b[s.i] == 'E') {
		s.i++
	}
	if s.i == start {
		return nil, fmt.Errorf("%w: no value at byte %d", errJSON, start)
	}
	return s.b[start:s.i], nil
}

func (s *scanner) number() (float64, error) {
	raw, err := s.scalar()
	if err != nil {
		return 0, err
	}
	return parseNumber(raw)
}

func parseNumber(raw []byte) (float64, error) {
	digits := bytes.TrimPrefix(raw, []byte("-"))
	if len(digits) == 0 || digits[0] < '0' || digits[0] > '9' { // ParseFloat also knows "inf" and "+1"
		return 0, fmt.Errorf("%w: %q is no number", errJSON, raw)
	}
	v, err := strconv.ParseFloat(string(raw), 64)
	if err != nil {
		return 0, fmt.Errorf("%w: %q is no number", errJSON, raw)
	}
	return v, nil
}

// boolean reads true, and takes false and null for false.
func (s *scanner) boolean() (bool, error) {
	raw, err := s.scalar()
	if err != nil {
		return false, err
	}
	switch string(raw) {
	case "true":
		return true, nil
	case "false", "null":
		return false, nil
	}
	return false, fmt.Errorf("%w: %q is not true or false", errJSON, raw)
}

// value builds what encoding/json would: map[string]any, []any, string, float64, bool or nil.
func (s *scanner) value() (any, error) {
	switch s.next() {
	case '{':
		m := map[string]any{}
		err := s.object(func(key []byte) error {
			name := string(key)
			v, err := s.value()
			m[name] = v
			return err
		})
		return m, err
	case '[':
		l := []any{}
		err := s.sequence('[', ']', func() error {
			v, err := s.value()
			l = append(l, v)
			return err
		})
		return l, err
	case '"':
		return s.str()
	}
	raw, err := s.scalar()
	if err != nil {
		return nil, err
	}
	switch string(raw) {
	case "true":
		return true, nil
	case "false":
		return false, nil
	case "null":
		return nil, nil
	}
	return parseNumber(raw)
}

// skip passes over a value and returns its text.
func (s *scanner) skip() ([]byte, error) {
	c := s.next()
	start := s.i
	var err error
	switch c {
	case '{':
		err = s.object(func([]byte) error { _, err := s.skip(); return err })
	case '[':
		err = s.sequence('[', ']', func() error { _, err := s.skip(); return err })
	case '"':
		_, _, err = s.rawString()
	default:
		_, err = s.scalar()
	}
	return s.b[start:s.i], err
}

// unescape resolves a string's escapes.
func unescape(raw []byte) (string, error) {
	out := make([]byte, 0, len(raw))
	for {
		n := bytes.IndexByte(raw, '\\')
		if n < 0 {
			return string(append(out, raw...)), nil
		}
		out = append(out, raw[:n]...)
		raw = raw[n+1:]
		if len(raw) == 0 {
			return "", fmt.Errorf("%w: escape without an end", errJSON)
		}
		c := raw[0]
		raw = raw[1:]
		switch c {
		case '"', '\\', '/':
			out = append(out, c)
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			r, rest, err := unescapeRune(raw)
			if err != nil {
				return "", err
			}
			out, raw = utf8.AppendRune(out, r), rest
		default:
			return "", fmt.Errorf("%w: unknown escape \\%c", errJSON, c)
		}
	}
}

// unescapeRune reads four hexadecimal digits, and the second half of a surrogate pair where they are the first. A lone half becomes U+FFFD.
func unescapeRune(raw []byte) (r rune, rest []byte, err error) {
	if r, err = hex4(raw); err != nil {
		return 0, nil, err
	}
	raw = raw[4:]
	if !utf16.IsSurrogate(r) {
		return r, raw, nil
	}
	if len(raw) >= 6 && raw[0] == '\\' && raw[1] == 'u' {
		low, err := hex4(raw[2:])
		if err != nil {
			return 0, nil, err
		}
		if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
			return pair, raw[6:], nil
		}
	}
	return utf8.RuneError, raw, nil
}

func hex4(raw []byte) (rune, error) {
	if len(raw) < 4 {
		return 0, fmt.Errorf("%w: short \\u escape", errJSON)
	}
	v, err := strconv.ParseUint(string(raw[:4]), 16, 16)
	if err != nil {
		return 0, fmt.Errorf("%w: \\u%s is no escape", errJSON, raw[:4])
	}
	return rune(v), nil
}
