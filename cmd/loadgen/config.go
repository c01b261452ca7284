package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"github.com/goccy/go-yaml"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
)

// serverConfig is the server's configuration file and what it says.
type serverConfig struct {
	file   string // absolute; empty for none
	values map[string]any
}

// readServerConfig reads the file that --server-config names. What the values mean is for the server to judge.
func readServerConfig(file string) (serverConfig, error) {
	if file == "" {
		return serverConfig{}, nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return serverConfig{}, fmt.Errorf("--server-config: cannot read %s: %v", file, unwrapped(err))
	}
	abs, err := filepath.Abs(file)
	if err != nil {
		return serverConfig{}, fmt.Errorf("--server-config: %w", err)
	}
	c := serverConfig{file: abs}
	if err := readYAML(data, &c.values); err != nil {
		return serverConfig{}, fmt.Errorf("--server-config: %s: write keys and values in YAML", yamlProblem(file, err))
	}
	return c, nil
}

// readYAML reads data into what to points to. The library panics at a list that is a tag without a value; that is an error here.
func readYAML(data []byte, to any) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = errors.New("this YAML cannot be read; look for a tag, a word that begins with an exclamation mark, in place of a value")
		}
	}()
	return yaml.Unmarshal(data, to)
}

// yamlProblem puts a YAML error on one line, with its place in the file.
func yamlProblem(file string, err error) string {
	var ye yaml.Error
	if !errors.As(err, &ye) || ye.GetToken() == nil || ye.GetToken().Position == nil {
		return file + ": " + err.Error()
	}
	pos := ye.GetToken().Position
	return fmt.Sprintf("%s:%d:%d: %s", file, pos.Line, pos.Column, strings.Join(strings.Fields(ye.GetMessage()), " "))
}

// forArm returns the file to give to the server under an arm, "" for none. Where the arm changes anything this is a merged file in
// dir; paths that the server takes from the file's own folder stay what they were.
func (c *serverConfig) forArm(arm loadgen.Arm, dir string) (string, error) {
	if len(arm.ServerConfig) == 0 {
		return c.file, nil
	}
	values := merge(absolute(c.values, filepath.Dir(c.file)), arm.ServerConfig)
	data, err := yaml.Marshal(values)
	if err != nil {
		return "", fmt.Errorf("configuration of arm %s: %w", arm.Name, err)
	}
	f, err := os.CreateTemp(dir, "config-*.yaml")
	if err != nil {
		return "", fmt.Errorf("configuration of arm %s: %w", arm.Name, err)
	}
	_, err = f.Write(data)
	return f.Name(), errors.Join(err, f.Close())
}

// merge lays over onto base: maps merge key by key, anything else replaces. Neither is changed.
func merge(base, over map[string]any) map[string]any {
	out := maps.Clone(base)
	if out == nil {
		out = map[string]any{}
	}
	for k, v := range over {
		below, isMap := out[k].(map[string]any)
		if m, ok := v.(map[string]any); ok && isMap {
			v = merge(below, m)
		}
		out[k] = v
	}
	return out
}

// absolute resolves the settings that name files from the folder of the file they were written in.
func absolute(values map[string]any, dir string) map[string]any {
	out := maps.Clone(values)
	full := func(v any) any {
		if s, ok := v.(string); ok && s != "" && !filepath.IsAbs(s) {
			return filepath.Join(dir, s)
		}
		return v
	}
	for _, key := range []string{"profiles", "secrets"} {
		if v, ok := out[key]; ok {
			out[key] = full(v)
		}
	}
	if files, ok := out["known_hosts"].([]any); ok {
		resolved := make([]any, len(files))
		for i, v := range files {
			resolved[i] = full(v)
		}
		out["known_hosts"] = resolved
	}
	return out
}
