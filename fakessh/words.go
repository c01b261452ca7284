package fakessh

import (
	"errors"
	"strings"
)

// Words splits a command line as a POSIX shell does, quoting only: blanks and
// newlines separate words; single quotes keep all to the next one; in double
// quotes a backslash quotes $, `, ", \ and swallows a newline; elsewhere it
// quotes any character. Nothing is expanded and there are no operators: $HOME, *
// and ; are ordinary characters. It fails on an open quote or a backslash at the
// end.
func Words(line string) ([]string, error) {
	var words []string
	var word strings.Builder
	inWord := false
	for i := 0; i < len(line); i++ {
		switch c := line[i]; c {
		case ' ', '\t', '\n':
			if inWord {
				words = append(words, word.String())
				word.Reset()
				inWord = false
			}
			continue
		case '\'':
			end := strings.IndexByte(line[i+1:], '\'')
			if end < 0 {
				return nil, errors.New("unterminated ' quote")
			}
			word.WriteString(line[i+1 : i+1+end])
			i += end + 1
		case '"':
			end, err := doubleQuoted(line[i+1:], &word)
			if err != nil {
				return nil, err
			}
			i += end + 1
		case '\\':
			if i++; i == len(line) {
				return nil, errors.New("backslash at the end")
			}
			if line[i] == '\n' {
				continue
			}
			word.WriteByte(line[i])
		default:
			word.WriteByte(c)
		}
		inWord = true
	}
	if inWord {
		words = append(words, word.String())
	}
	return words, nil
}

// doubleQuoted copies what precedes the closing quote and returns its index.
func doubleQuoted(s string, word *strings.Builder) (int, error) {
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return i, nil
		case s[i] == '\\' && i+1 < len(s) && s[i+1] == '\n':
			i++
			continue
		case s[i] == '\\' && i+1 < len(s) && strings.IndexByte("$`\"\\", s[i+1]) >= 0:
			i++
		}
		word.WriteByte(s[i])
	}
	return 0, errors.New("unterminated \" quote")
}
