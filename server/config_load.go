package server

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// envPrefix begins the names of the variables that configure the server. Others with it are mistakes.
const envPrefix = "OPENACCESS_"

// envGateway begins the names of those that configure the gateway, and are none of the server's.
const envGateway = envPrefix + "GATEWAY_"

// envConfig names the file, and so is no key.
const envConfig = envPrefix + "CONFIG"

// Sources says where a configuration comes from. A key is taken from the first of these that has it: Flags, Environ, File, the preset,
// the defaults.
type Sources struct {
	File    string   // YAML; empty takes OPENACCESS_CONFIG of Environ, or none
	Environ []string // NAME=value, as os.Environ gives it
	Flags   []Flag
}

// Flag is a key given on the command line.
type Flag struct {
	Name  string // as written, for messages: "--profiles"
	Key   string // dotted
	Value string
}

// Load reads a configuration in full: what nothing gives has its default. Its error joins one for every mistake, each with its place and
// remedy: keys and variables that are unknown, and values out of range. Relative paths in a file start at the file's own folder.
func Load(src Sources) (Config, error) {
	l := newLoader()
	file := src.File
	if file == "" {
		file = variable(src.Environ, envConfig)
	}
	if file != "" {
		l.file(file)
	}
	l.environment(src.Environ)
	for _, f := range src.Flags {
		l.text(f.Key, f.Value, "flag "+f.Name)
	}
	return l.finish()
}

// LoadConfig reads a YAML configuration file and nothing else: what it does not give stays zero. Unknown keys and values out of range are
// errors that name file and line. Relative paths in it are taken from the file's own folder.
func LoadConfig(file string) (Config, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return Config{}, fmt.Errorf("%s: %w", file, bare(err))
	}
	return parseConfig(file, data)
}

func parseConfig(file string, data []byte) (Config, error) {
	l := newLoader()
	l.parse(file, data)
	if len(l.mistakes) > 0 {
		return Config{}, errors.Join(l.mistakes...)
	}
	l.apply(&l.config)
	return l.config, l.config.validate()
}

// bare is a file system error without operation and path.
func bare(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}

// loader gathers what is given for each key, later sources over earlier ones.
type loader struct {
	config   Config // its origins fill up with given
	given    map[string]reflect.Value
	mistakes []error
}

func newLoader() *loader {
	return &loader{given: map[string]reflect.Value{}, config: Config{origins: map[string]string{}}}
}

func (l *loader) fail(at, format string, args ...any) {
	l.mistakes = append(l.mistakes, fmt.Errorf("%s: %s", at, fmt.Sprintf(format, args...)))
}

// text gives a key from a flag, a variable or a preset.
func (l *loader) text(key, text, origin string) {
	k, ok := keyNamed(key)
	if !ok {
		l.fail(origin, "%s: %s", key, unknownKey(key))
		return
	}
	v, err := k.parse(text)
	if err != nil {
		l.fail(origin, "%s: %v", key, err)
		return
	}
	l.given[key], l.config.origins[key] = v, origin
}

func (l *loader) apply(c *Config) {
	for _, k := range configKeys {
		if v, ok := l.given[k.name]; ok {
			k.of(c).Set(v)
		}
	}
}

// finish puts preset and defaults under what was given.
func (l *loader) finish() (Config, error) {
	given, origins := l.given, l.config.origins
	name := "default"
	if v, ok := given["preset"]; ok {
		name = v.String()
	}
	c := defaults()
	c.origins = origins
	preset, ok := presets[name]
	if !ok {
		l.mistakes = append(l.mistakes, c.keyError("preset", fmt.Sprintf("%q is none of %s", name, strings.Join(presetNames(), ", "))))
	}
	for key, text := range preset {
		if _, ok := given[key]; !ok {
			l.text(key, text, "preset "+name)
		}
	}
	l.apply(&c)
	if ok {
		l.mistakes = append(l.mistakes, c.validate())
	}
	return c, errors.Join(l.mistakes...)
}

func variable(environ []string, name string) string {
	for _, e := range environ {
		if v, ok := strings.CutPrefix(e, name+"="); ok {
			return v
		}
	}
	return ""
}

// environment takes every variable with the prefix. An empty one counts as not set.
func (l *loader) environment(environ []string) {
	names := []string{envConfig}
	keys := map[string]string{}
	for _, k := range configKeys {
		names = append(names, k.variable())
		keys[k.variable()] = k.name
	}
	for _, e := range environ {
		name, value, _ := strings.Cut(e, "=")
		if !strings.HasPrefix(name, envPrefix) || strings.HasPrefix(name, envGateway) || name == envConfig || value == "" {
			continue
		}
		key, ok := keys[name]
		if !ok {
			l.fail("environment variable "+name, "unknown: unset or rename it%s", meant(name, names))
			continue
		}
		l.text(key, value, "environment variable "+name)
	}
}

func (l *loader) file(name string) {
	data, err := os.ReadFile(name)
	if err != nil {
		l.mistakes = append(l.mistakes, fmt.Errorf("%s: %w: create it or name another", name, bare(err)))
		return
	}
	l.parse(name, data)
}

// parse takes the keys of a file.
func (l *loader) parse(name string, data []byte) {
	f, err := parser.ParseBytes(data, 0)
	if err != nil {
		l.mistakes = append(l.mistakes, yamlError(name, err))
		return
	}
	for i, doc := range f.Docs {
		switch {
		case doc.Body == nil:
		case i > 0:
			l.fail(name, "holds more than one document; keep one")
			return
		default:
			l.section(configFile{name, l}, "", doc.Body)
		}
	}
}

// yamlError gives a YAML error as file:line:column: message.
func yamlError(file string, err error) error {
	var y yaml.Error
	if errors.As(err, &y) && y.GetToken() != nil && y.GetToken().Position != nil {
		pos := y.GetToken().Position
		return fmt.Errorf("%s:%d:%d: %s: write keys and values in YAML", file, pos.Line, pos.Column, y.GetMessage())
	}
	return fmt.Errorf("%s: %v: write keys and values in YAML", file, err)
}

// configFile is a file being read.
type configFile struct {
	name string
	l    *loader
}

func (f configFile) at(n ast.Node) string {
	if t := n.GetToken(); t != nil && t.Position != nil {
		return fmt.Sprintf("%s:%d:%d", f.name, t.Position.Line, t.Position.Column)
	}
	return f.name
}

// section takes the keys below prefix, which is empty or ends in a dot.
func (l *loader) section(f configFile, prefix string, n ast.Node) {
	var values []*ast.MappingValueNode
	switch n := n.(type) {
	case *ast.NullNode:
	case *ast.MappingNode:
		values = n.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{n}
	default:
		what := strings.TrimSuffix(prefix, ".")
		if what == "" {
			what = "the file"
		}
		l.fail(f.at(n), "%s must hold keys with values", what)
	}
	seen := map[string]bool{}
	for _, kv := range values {
		key := prefix + kv.Key.GetToken().Value
		switch k, ok := keyNamed(key); {
		case seen[key]:
			l.fail(f.at(kv.Key), "%s: given twice; keep one", key)
		case isSection(key):
			l.section(f, key+".", kv.Value)
		case !ok:
			l.fail(f.at(kv.Key), "%s: %s", key, unknownKey(key))
		default:
			l.leaf(f, k, kv.Value)
		}
		seen[key] = true
	}
}

// leaf takes the value of one key.
func (l *loader) leaf(f configFile, k configKey, n ast.Node) {
	v, err := f.value(k, n)
	if err != nil {
		l.fail(f.at(n), "%s: %v", k.name, err)
		return
	}
	if slices.Contains(pathKeys, k.name) {
		v = f.resolve(v)
	}
	l.given[k.name], l.config.origins[k.name] = v, f.at(n)
}

func (f configFile) value(k configKey, n ast.Node) (reflect.Value, error) {
	if list, ok := n.(*ast.SequenceNode); ok && k.typ.Kind() == reflect.Slice {
		if len(list.Values) == 0 {
			return reflect.Zero(k.typ), nil
		}
		items := make([]string, len(list.Values))
		for i, item := range list.Values {
			var err error
			if items[i], err = scalar(item); err != nil {
				return reflect.Value{}, err
			}
		}
		return reflect.ValueOf(items), nil
	}
	text, err := scalar(n)
	if err != nil {
		return reflect.Value{}, err
	}
	if k.typ.Kind() == reflect.Slice {
		return reflect.ValueOf([]string{text}), nil
	}
	return k.parse(text)
}

func scalar(n ast.Node) (string, error) {
	switch n := n.(type) {
	case *ast.NullNode:
		return "", errors.New("has no value; give one or remove the key")
	case *ast.StringNode:
		return n.Value, nil
	case *ast.LiteralNode:
		return n.Value.Value, nil
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return n.GetToken().Value, nil
	}
	return "", errors.New("must be a plain value")
}

// resolve takes relative paths from the folder of the file.
func (f configFile) resolve(v reflect.Value) reflect.Value {
	from := func(path string) string {
		if path == "" || filepath.IsAbs(path) || isURL(path) {
			return path
		}
		return filepath.Join(filepath.Dir(f.name), path)
	}
	if v.Kind() == reflect.String {
		return reflect.ValueOf(from(v.String()))
	}
	paths := v.Interface().([]string)
	for i, path := range paths {
		paths[i] = from(path)
	}
	return reflect.ValueOf(paths)
}
