package secret

import (
	"errors"
	"reflect"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/plainjson"
)

// document is the content of a secret file.
type document struct {
	Username       string
	PrivateKey     Value
	PrivateKeyPath string
	Password       Value
	Passphrase     Value

	Certificate     string // of the key, which vouches for it; no secret
	CertificatePath string
	Answers         []answer // to what a host asks by keyboard-interactive

	// WireGuard's keys, in base64. A secret may hold these beside a login or alone.
	WireGuardPrivateKey   Value
	WireGuardPresharedKey Value

	at   map[string]position // of each field's value
	text []byte              // whose places are still to be found, when there is a mistake; nil for none
}

type position struct{ line, column int }

var fieldNames = []string{"username", "private_key", "private_key_path", "password", "passphrase", "certificate", "certificate_path", "answers",
	WireGuardPrivateKey, WireGuardPresharedKey}

// parseDocument reads JSON or YAML strictly. Unlike the decoder of the YAML
// package it reports every mistake at once, and never with a piece of the text:
// not even the name of an unknown field, since that may be a misplaced secret.
func parseDocument(source string, data []byte) (*document, error) {
	if doc := parseJSON(data); doc != nil {
		return doc, nil
	}
	return parseYAML(source, data)
}

// parseJSON reads a secret that is JSON without mistakes, or returns nil. It leaves far less garbage than parseYAML, which is for all others.
func parseJSON(data []byte) *document {
	fields, ok := plainjson.Object(data)
	if !ok {
		return nil
	}
	doc := &document{text: data}
	for name, value := range fields {
		target := doc.field(name)
		text, isText := value.(string)
		if !target.IsValid() || !isText && value != nil {
			return nil
		}
		store(target, text)
	}
	return doc
}

// place is where the value of a field begins; zero is unknown.
func (d *document) place(field string) position {
	if d.text != nil {
		if found, err := parseYAML("", d.text); err == nil {
			d.at = found.at
		}
		d.text = nil
	}
	return d.at[field]
}

func parseYAML(source string, data []byte) (*document, error) {
	file, err := parser.ParseBytes(data, 0)
	if err != nil {
		return nil, syntaxError(source, err)
	}
	fields, err := mapping(source, file)
	if err != nil {
		return nil, err
	}
	doc := &document{at: map[string]position{}}
	var mistakes []error
	for _, field := range fields {
		if err := doc.set(source, field); err != nil {
			mistakes = append(mistakes, err)
		}
	}
	if len(mistakes) > 0 {
		return nil, errors.Join(mistakes...)
	}
	return doc, nil
}

func syntaxError(source string, err error) error {
	e := &Error{Source: source, Message: "not valid JSON or YAML", Remedy: "check quotes, commas, brackets and indentation, and that no field is there twice",
		Err: ErrUnreadable}
	if y, ok := errors.AsType[yaml.Error](err); ok && y.GetToken() != nil {
		e.Line, e.Column = y.GetToken().Position.Line, y.GetToken().Position.Column
	}
	return e
}

func mapping(source string, file *ast.File) ([]*ast.MappingValueNode, error) {
	if len(file.Docs) == 1 {
		switch body := file.Docs[0].Body.(type) {
		case *ast.MappingNode:
			return body.Values, nil
		case *ast.MappingValueNode:
			return []*ast.MappingValueNode{body}, nil
		}
	}
	return nil, &Error{Source: source, Line: 1, Column: 1, Message: "not one object with fields",
		Remedy: "write an object with " + strings.Join(fieldNames, ", "), Err: ErrUnreadable}
}

func (d *document) set(source string, field *ast.MappingValueNode) error {
	token := field.Key.GetToken()
	name := token.Value
	fail := func(field, message, remedy string) error {
		return &Error{Source: source, Line: token.Position.Line, Column: token.Position.Column, Field: field, Message: message, Remedy: remedy,
			Err: ErrUnreadable}
	}
	if name == "answers" {
		if t := field.Value.GetToken(); t != nil {
			d.at[name] = position{t.Position.Line, t.Position.Column}
		}
		var ok bool
		if d.Answers, ok = answersOf(field.Value); !ok {
			return fail(name, "must be an object", `write what the question says and the answer, both in quotes: {"Verification code": "…"}`)
		}
		return nil
	}
	target := d.field(name)
	if !target.IsValid() {
		return fail("", "unknown field", "use only "+strings.Join(fieldNames, ", "))
	}
	if t := field.Value.GetToken(); t != nil {
		d.at[name] = position{t.Position.Line, t.Position.Column}
	}
	var text string
	switch v := field.Value.(type) {
	case *ast.StringNode:
		text = v.Value
	case *ast.LiteralNode:
		text = v.Value.Value
	case *ast.NullNode:
		return nil
	default:
		return fail(name, "must be a string", "put the value in quotes, without anchor, alias or tag")
	}
	store(target, text)
	return nil
}

// store sets a field, be it a string or a Value.
func store(target reflect.Value, text string) {
	if target.Kind() == reflect.String {
		target.SetString(text)
	} else {
		target.Set(reflect.ValueOf(NewValue(text)))
	}
}

func (d *document) field(name string) reflect.Value {
	switch name {
	case "username":
		return reflect.ValueOf(&d.Username).Elem()
	case "private_key":
		return reflect.ValueOf(&d.PrivateKey).Elem()
	case "private_key_path":
		return reflect.ValueOf(&d.PrivateKeyPath).Elem()
	case "password":
		return reflect.ValueOf(&d.Password).Elem()
	case "certificate":
		return reflect.ValueOf(&d.Certificate).Elem()
	case "certificate_path":
		return reflect.ValueOf(&d.CertificatePath).Elem()
	case "passphrase":
		return reflect.ValueOf(&d.Passphrase).Elem()
	case WireGuardPrivateKey:
		return reflect.ValueOf(&d.WireGuardPrivateKey).Elem()
	case WireGuardPresharedKey:
		return reflect.ValueOf(&d.WireGuardPresharedKey).Elem()
	}
	return reflect.Value{}
}
