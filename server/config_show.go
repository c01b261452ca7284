package server

import (
	"fmt"
	"io"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
)

// Setting is one key of a configuration as it counts.
type Setting struct {
	Key    string // dotted
	Value  string // as YAML
	Origin string // "default", "preset production", "server.yaml:3:5", "environment variable NAME", "flag --name"
}

// Settings lists every key of a loaded configuration with its value and where that came from.
func (c Config) Settings() []Setting {
	list := make([]Setting, len(configKeys))
	for i, k := range configKeys {
		list[i] = Setting{k.name, asYAML(k.of(&c)), "default"}
		if from := c.origins[k.name]; from != "" {
			list[i].Origin = from
		}
	}
	return list
}

func asYAML(v reflect.Value) string {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return "null"
		}
		return asYAML(v.Elem())
	case reflect.Slice:
		items := make([]string, v.Len())
		for i := range items {
			items[i] = asYAML(v.Index(i))
		}
		return "[" + strings.Join(items, ", ") + "]"
	case reflect.String:
		return strconv.Quote(v.String())
	case reflect.Float64:
		return strconv.FormatFloat(v.Float(), 'f', -1, 64)
	}
	return fmt.Sprint(v.Interface())
}

// WriteSettings writes a loaded configuration as a YAML file that gives the same values, with the origin of each behind it. Paths are
// written in full.
func (c Config) WriteSettings(w io.Writer) error {
	c.absolute()
	settings := c.Settings()
	width := 0
	for _, s := range settings {
		width = max(width, len(s.line()))
	}
	section := ""
	for _, s := range settings {
		if name, _, nested := strings.Cut(s.Key, "."); nested && name != section {
			section = name
			if _, err := fmt.Fprintf(w, "%s:\n", name); err != nil {
				return err
			}
		}
		if _, err := fmt.Fprintf(w, "%-*s  # %s\n", width, s.line(), s.Origin); err != nil {
			return err
		}
	}
	return nil
}

// line is the setting as it stands in a file.
func (s Setting) line() string {
	if _, key, nested := strings.Cut(s.Key, "."); nested {
		return "  " + key + ": " + s.Value
	}
	return s.Key + ": " + s.Value
}

// absolute makes the paths of c hold from any folder.
func (c *Config) absolute() {
	full := func(path string) string {
		if abs, err := filepath.Abs(path); err == nil && path != "" && !isURL(path) {
			return abs
		}
		return path
	}
	c.Profiles, c.Secrets, c.Audit.Path = full(c.Profiles), full(c.Secrets), full(c.Audit.Path)
	c.Audit.Key, c.Audit.Head = full(c.Audit.Key), full(c.Audit.Head)
	c.Auth.Tokens, c.Auth.JWTKeys = full(c.Auth.Tokens), full(c.Auth.JWTKeys)
	c.HTTP.Certificate, c.HTTP.Key = full(c.HTTP.Certificate), full(c.HTTP.Key)
	hosts := make([]string, len(c.KnownHosts))
	for i, file := range c.KnownHosts {
		hosts[i] = full(file)
	}
	c.KnownHosts = hosts
}
