package profile

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"

	"github.com/goccy/go-yaml/token"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/plainjson"
)

// somewhere is the place of a field that nobody has looked for yet.
var somewhere = &token.Position{}

// decodeJSON reads a profile that is JSON without mistakes, or returns nil. It leaves far less garbage than decodeYAML, which is for all others.
func decodeJSON(file string, data []byte) *document {
	fields, ok := plainjson.Object(data)
	if !ok {
		return nil
	}
	d := &document{file: file, profile: &Profile{}, at: map[string]*token.Position{"": somewhere}, text: data}
	if !d.fill("", fields, reflect.ValueOf(d.profile).Elem()) {
		return nil
	}
	return d
}

// locate finds the places of the fields of what decodeJSON has read.
func (d *document) locate() {
	if d.text == nil {
		return
	}
	found := decodeYAML(d.file, d.text)
	for field := range d.at {
		if at := found.at[field]; at != nil {
			d.at[field] = at
		}
	}
	d.text = nil
}

// fill sets v to a value, and reports whether it is of the right kind.
func (d *document) fill(field string, value any, v reflect.Value) bool {
	switch value := value.(type) {
	case nil:
		return true
	case map[string]any:
		return d.fillObject(field, value, v)
	case []any:
		return d.fillList(field, value, v)
	case string:
		d.at[field] = somewhere
		return v.Kind() == reflect.String && set(v.SetString, value)
	case bool:
		d.at[field] = somewhere
		return v.Kind() == reflect.Bool && set(v.SetBool, value)
	case json.Number:
		d.at[field] = somewhere
		i, err := value.Int64()
		return v.Kind() == reflect.Int && err == nil && i >= math.MinInt32 && i <= math.MaxInt32 && set(v.SetInt, i)
	}
	return false
}

func set[T any](setter func(T), value T) bool {
	setter(value)
	return true
}

func (d *document) fillObject(field string, fields map[string]any, v reflect.Value) bool {
	if v.Kind() != reflect.Struct {
		return false
	}
	d.at[field] = somewhere
	for name, value := range fields {
		target, at := fieldByTag(v, name), name
		if field != "" {
			at = field + "." + name
		}
		if !target.IsValid() || !d.fill(at, value, target) {
			return false
		}
	}
	return true
}

func (d *document) fillList(field string, items []any, v reflect.Value) bool {
	if v.Kind() != reflect.Slice {
		return false
	}
	d.at[field] = somewhere
	v.Set(reflect.MakeSlice(v.Type(), len(items), len(items)))
	for i, item := range items {
		if !d.fill(fmt.Sprintf("%s[%d]", field, i), item, v.Index(i)) {
			return false
		}
	}
	return true
}
