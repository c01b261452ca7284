package secret

import "strings"

// Texts returns the texts of a file or an environment variable that nobody may see: passwords, passphrases, keys. It is for taking them
// out of other texts. What cannot be read has none.
func (r *Resolver) Texts(ref Ref) []Value {
	var doc *document
	switch ref.Type {
	case TypeFile:
		doc, _, _ = r.documentOf(ref.Ref)
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
	return texts
}
