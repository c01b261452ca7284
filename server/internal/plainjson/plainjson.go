// Package plainjson reads JSON of which only the plain forms matter, cheaply, and says so where it is another.
//
// Object reads configuration files that are JSON and nothing else, for a small part of the garbage that a reader of YAML leaves behind. JSON is YAML, and
// only the reader of YAML knows the place of each mistake, so whoever calls Object reads the text as YAML where it is not ok. Fields finds the parts of a
// message without reading them.
package plainjson

import (
	"bytes"
	"encoding/json"
	"strings"
	"unicode/utf8"
)

// deepest is how far objects and lists may stand within each other.
const deepest = 16

// Object returns the fields of a text that is one JSON object: strings, json.Number, bool, nil, []any and map[string]any. They hold no piece of
// the text. It is not ok where a name is there twice, where a string is not valid Unicode, and for everything else.
func Object(text []byte) (fields map[string]any, ok bool) {
	if !utf8.Valid(text) || !json.Valid(text) {
		return nil, false
	}
	r := reader{json.NewDecoder(bytes.NewReader(text))}
	r.UseNumber()
	if r.next() != json.Delim('{') {
		return nil, false
	}
	return r.object(deepest)
}

// reader reads JSON that is known to be valid.
type reader struct{ *json.Decoder }

func (r reader) next() json.Token {
	t, _ := r.Token()
	return t
}

// object reads what follows a brace.
func (r reader) object(deep int) (map[string]any, bool) {
	fields := map[string]any{}
	for r.More() {
		name, _ := r.next().(string)
		value, ok := r.value(deep)
		if _, twice := fields[name]; !ok || twice {
			return nil, false
		}
		fields[name] = value
	}
	r.next()
	return fields, true
}

// list reads what follows a bracket.
func (r reader) list(deep int) ([]any, bool) {
	items := []any{}
	for r.More() {
		item, ok := r.value(deep)
		if !ok {
			return nil, false
		}
		items = append(items, item)
	}
	r.next()
	return items, true
}

func (r reader) value(deep int) (any, bool) {
	switch t := r.next().(type) {
	case json.Delim:
		if deep == 0 {
			return nil, false
		}
		if t == '{' {
			return r.object(deep - 1)
		}
		return r.list(deep - 1)
	case string:
		return t, !strings.ContainsRune(t, utf8.RuneError)
	default:
		return t, true
	}
}
