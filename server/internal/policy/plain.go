package policy

import "strings"

// plainWords takes apart a line of nothing but plain words with blanks between them, which is one simple command to every shell. It gives nil for any
// other, which needs a grammar: FuzzPlainWords holds the two against each other.
func plainWords(line string) []word {
	if len(line) > maxLine {
		return nil
	}
	for i := range len(line) {
		if !plainByte[line[i]] {
			return nil
		}
	}
	words := make([]word, 0, 1+strings.Count(line, " "))
	for text := range strings.FieldsSeq(line) {
		words = append(words, literal(text))
	}
	if len(words) == 0 || grammarWords[words[0].text] {
		return nil
	}
	return words
}

// plainByte are letters, digits and marks that no shell gives a meaning within a word, and the blank.
var plainByte = func() (plain [256]bool) {
	for _, c := range "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:,@ " {
		plain[c] = true
	}
	return plain
}()

// grammarWords are the words that a shell may read as something else than the name of a program or of a command of its own, where they come first.
var grammarWords = set(`
	if then elif else fi for in do done while until case esac select function time coproc declare typeset local
	export readonly nameref let always foreach repeat end noglob nocorrect
`)
