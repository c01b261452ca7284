package gateway

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/strictyaml"
)

// envPrefix begins the names of the variables that configure the gateway. Others with it are mistakes.
const envPrefix = "OPENACCESS_GATEWAY_"

// Sources says where a configuration comes from. A key is taken from the first of these that has it: Flags, Environ, File, the defaults.
type Sources struct {
	File    string   // YAML; empty takes OPENACCESS_GATEWAY_CONFIG of Environ, or none
	Environ []string // NAME=value, as os.Environ gives it
	Flags   []Flag
}

// Flag is a key given on the command line. That of backends may come several times.
type Flag struct {
	Name  string // as written, for messages: "--listen"
	Key   string // as the file has it
	Value string
}

// Load reads a configuration in full. Its error joins one for every mistake, each with its place and remedy.
func Load(src Sources) (Config, error) {
	var c Config
	file := src.File
	if i := slices.IndexFunc(src.Environ, func(e string) bool { return strings.HasPrefix(e, envPrefix+"CONFIG=") }); file == "" && i >= 0 {
		_, file, _ = strings.Cut(src.Environ[i], "=")
	}
	var errs []error
	if file != "" {
		errs = append(errs, c.file(file))
	}
	errs = append(errs, c.environ(src.Environ), c.flags(src.Flags))
	c = c.withDefaults()
	if err := errors.Join(errs...); err != nil {
		return c, err
	}
	if err := c.validate(); err != nil {
		if file != "" {
			err = fmt.Errorf("%s: %w", file, err)
		}
		return c, err
	}
	return c, nil
}

func (c *Config) file(name string) error {
	data, err := os.ReadFile(name)
	if err != nil {
		if e, ok := errors.AsType[*fs.PathError](err); ok {
			err = e.Err
		}
		return fmt.Errorf("%s: %w: create it or name another", name, err)
	}
	if len(strings.TrimSpace(string(data))) == 0 {
		return nil
	}
	err = strictyaml.Decode(data, c)
	if p, ok := errors.AsType[*strictyaml.Problem](err); ok {
		return fmt.Errorf("%s:%d:%d: %s; the keys are %s", name, p.Line, p.Column, p.Message, strings.Join(keys(), ", "))
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	c.resolve(name)
	return nil
}

// keys lists the keys that a file may have.
func keys() []string {
	var list []string
	for f := range reflect.TypeFor[Config]().Fields() {
		if key := f.Tag.Get("yaml"); key != "-" {
			list = append(list, key)
		}
	}
	return list
}

// environ reads the variables, of which those of lists have commas.
func (c *Config) environ(environ []string) error {
	var errs []error
	for _, e := range environ {
		name, value, _ := strings.Cut(e, "=")
		key, ok := strings.CutPrefix(name, envPrefix)
		if !ok || key == "CONFIG" || value == "" {
			continue
		}
		c.clear(strings.ToLower(key))
		for part := range strings.SplitSeq(value, ",") {
			if err := c.set(strings.ToLower(key), strings.TrimSpace(part)); err != nil {
				errs = append(errs, fmt.Errorf("environment variable %s: %w", name, err))
			}
		}
	}
	return errors.Join(errs...)
}

// clear empties a list, which another source gives anew.
func (c *Config) clear(key string) {
	v := reflect.ValueOf(c).Elem()
	for i := range v.NumField() {
		if f := v.Type().Field(i); f.Tag.Get("yaml") == key && f.Type.Kind() == reflect.Slice {
			v.Field(i).SetZero()
		}
	}
}

// flags reads the flags. Lists among them replace those of other sources.
func (c *Config) flags(flags []Flag) error {
	var errs []error
	for _, f := range flags {
		c.clear(f.Key)
	}
	for _, f := range flags {
		if err := c.set(f.Key, f.Value); err != nil {
			errs = append(errs, fmt.Errorf("flag %s: %w", f.Name, err))
		}
	}
	return errors.Join(errs...)
}

// set sets one key from text, or adds one backend.
func (c *Config) set(key, text string) error {
	v := reflect.ValueOf(c).Elem()
	for i := range v.NumField() {
		if v.Type().Field(i).Tag.Get("yaml") != key {
			continue
		}
		switch f := v.Field(i); f.Kind() {
		case reflect.String:
			f.SetString(text)
		case reflect.Int:
			n, err := strconv.Atoi(text)
			if err != nil {
				return fmt.Errorf("%q is no whole number", text)
			}
			f.SetInt(int64(n))
		case reflect.Float64:
			n, err := strconv.ParseFloat(text, 64)
			if err != nil {
				return fmt.Errorf("%q is no number of seconds", text)
			}
			f.SetFloat(n)
		case reflect.Bool:
			b, err := strconv.ParseBool(text)
			if err != nil {
				return fmt.Errorf("%q is neither true nor false", text)
			}
			f.SetBool(b)
		case reflect.Slice:
			if f.Type().Elem().Kind() == reflect.String {
				f.Set(reflect.Append(f, reflect.ValueOf(text)))
				return nil
			}
			c.Backends = append(c.Backends, Backend{URL: text})
		}
		return nil
	}
	return fmt.Errorf("unknown; the keys are %s", strings.Join(keys(), ", "))
}
