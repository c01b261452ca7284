package secret

import (
	"path/filepath"
	"strings"
)

// Texts returns the texts of a file or an environment variable that nobody may see: passwords, passphrases, keys, those in files of their own too. It is for taking them
// out of other texts. What cannot be read has none.
func (r *Resolver) Texts(ref Ref) []Value {
	var doc *document
	dir := ""
	switch ref.Type {
	case TypeFile:
		var path string
		doc, path, _ = r.documentOf(ref.Ref)
		dir = filepath.Dir(path)
	case TypeEnv:
		text, _ := r.lookupEnv(ref.Ref)
		doc, _ = parseDocument("environment variable "+ref.Ref, []byte(text))
		if !strings.HasPrefix(strings.TrimSpace(text), "{") {
			doc = &document{Password: NewValue(text)}
		}
	}
	if doc == nil {
		return nil
	}
	var texts []Value
	for _, v := range []Value{doc.Password, doc.Passphrase, doc.PrivateKey, doc.WireGuardPrivateKey, doc.WireGuardPresharedKey} {
		if !v.IsZero() {
			texts = append(texts, v)
		}
	}
	for _, a := range doc.Answers {
		texts = append(texts, a.text)
	}
	if doc.PrivateKeyPath == "" {
		return texts
	}
	if path, err := keyPath(dir, doc.PrivateKeyPath); err == nil {
		if pem, err := readPrivate(path); err == nil && len(pem) > 0 {
			texts = append(texts, NewValue(string(pem)))
		}
	}
	return texts
}
