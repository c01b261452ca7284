package server

import (
	"fmt"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// configKey is one value of a Config that files, the environment and flags can give.
type configKey struct {
	name  string // dotted, as a file nests it: connection_pooling.enabled
	index []int  // of the field
	typ   reflect.Type
	min   float64 // the least number that may be given
}

// configKeys are the fields of Config with a name for files, in their order. What is added there needs no more than a default.
var configKeys = keysOf(reflect.TypeFor[Config](), "", nil)

func keysOf(t reflect.Type, prefix string, index []int) []configKey {
	var keys []configKey
	for f := range t.Fields() {
		name := f.Tag.Get("yaml")
		if name == "" || name == "-" {
			continue
		}
		at := append(slices.Clone(index), f.Index...)
		if f.Type.Kind() == reflect.Struct {
			keys = append(keys, keysOf(f.Type, prefix+name+".", at)...)
			continue
		}
		least, _ := strconv.ParseFloat(f.Tag.Get("min"), 64)
		keys = append(keys, configKey{prefix + name, at, f.Type, least})
	}
	return keys
}

// of is the field of c.
func (k configKey) of(c *Config) reflect.Value {
	return reflect.ValueOf(c).Elem().FieldByIndex(k.index)
}

// variable is the name of the key in the environment.
func (k configKey) variable() string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(k.name, ".", "_"))
}

// pathKeys name files and folders, which a file gives from its own folder on.
var pathKeys = []string{"profiles", "secrets", "known_hosts", "audit.path", "audit.key", "audit.head", "auth.tokens", "auth.jwt_keys", "http.tls_certificate", "http.tls_key"}

func keyNamed(name string) (configKey, bool) {
	i := slices.IndexFunc(configKeys, func(k configKey) bool { return k.name == name })
	if i < 0 {
		return configKey{}, false
	}
	return configKeys[i], true
}

// isSection says whether keys start with name and a dot.
func isSection(name string) bool {
	return slices.ContainsFunc(configKeys, func(k configKey) bool { return strings.HasPrefix(k.name, name+".") })
}

// parse reads a value as files and the environment write it. Several files are separated as in PATH, and other texts by commas.
func (k configKey) parse(text string) (reflect.Value, error) {
	if k.typ.Kind() == reflect.Slice {
		list := filepath.SplitList(text)
		if !slices.Contains(pathKeys, k.name) {
			list = strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' })
		}
		return reflect.ValueOf(list), nil
	}
	typ := k.typ
	if typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	v := reflect.New(typ)
	switch typ.Kind() {
	case reflect.Bool:
		if text != "true" && text != "false" {
			return v, fmt.Errorf("%q is neither true nor false", text)
		}
		v.Elem().SetBool(text == "true")
	case reflect.Int:
		n, err := strconv.ParseInt(text, 10, 32)
		if err != nil {
			return v, fmt.Errorf("%q is not a whole number such as 10", text)
		}
		v.Elem().SetInt(n)
	case reflect.Float64:
		n, err := strconv.ParseFloat(text, 64)
		if err != nil || n != n || n > 1e9 || n < -1e9 {
			return v, fmt.Errorf("%q is not a number of seconds such as 30", text)
		}
		v.Elem().SetFloat(n)
	default:
		v.Elem().SetString(text)
	}
	if n, ok := number(v.Elem()); ok && n < k.min {
		return v, fmt.Errorf("%v is less than %v; leave it out for the default", n, k.min)
	}
	if k.typ.Kind() == reflect.Pointer {
		return v, nil
	}
	return v.Elem(), nil
}

func number(v reflect.Value) (float64, bool) {
	switch v.Kind() {
	case reflect.Int:
		return float64(v.Int()), true
	case reflect.Float64:
		return v.Float(), true
	}
	return 0, false
}

// unknownKey says what may have been meant.
func unknownKey(name string) string {
	var names []string
	for _, k := range configKeys {
		names = append(names, k.name)
		if section, _, nested := strings.Cut(k.name, "."); nested {
			names = append(names, section)
		}
	}
	return "unknown key" + meant(name, names)
}

// meant names the closest of names, or where to find them all.
func meant(name string, names []string) string {
	best, distance := "", 1+len(name)/3
	for _, n := range names {
		if d := edits(name, n); d <= distance {
			best, distance = n, d-1
		}
	}
	if best == "" {
		return "; `openaccess-mcp config` shows all there are"
	}
	return fmt.Sprintf("; did you mean %s?", best)
}

// edits is the number of characters to insert, delete or replace to make b of a.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}

func presetNames() []string { return slices.Sorted(maps.Keys(presets)) }
