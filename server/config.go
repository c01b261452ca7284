package server

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/goccy/go-yaml"
)

// DefaultListen is where the http transport listens unless told otherwise.
const DefaultListen = "127.0.0.1:8722"

// Config says what a server serves and within which bounds. The zero value of a field takes the default named beside it.
type Config struct {
	Profiles   string   `yaml:"profiles"`    // folder of profiles; "profiles"
	Secrets    string   `yaml:"secrets"`     // folder of secrets; "secrets"
	KnownHosts []string `yaml:"known_hosts"` // known_hosts files for profiles without a pinned host_key; ~/.ssh/known_hosts
	Transport  string   `yaml:"transport"`   // "stdio" or "http"; "stdio"
	Listen     string   `yaml:"listen"`      // host:port of the http transport, loopback only; "127.0.0.1:8722"

	Pooling Pooling `yaml:"connection_pooling"`

	// DrainTimeout is how long calls under way may go on once the server must stop; 10 s.
	DrainTimeout Seconds `yaml:"drain_timeout"`

	Logger  *slog.Logger `yaml:"-"` // nil discards
	Version string       `yaml:"-"` // as the MCP handshake tells it; "dev"
}

// Pooling bounds the shared SSH connections and SFTP sessions of each target.
type Pooling struct {
	Enabled           *bool   `yaml:"enabled"`             // true; false dials a connection for every call
	MaxSSHConnections int     `yaml:"max_ssh_connections"` // 10
	MaxSFTPSessions   int     `yaml:"max_sftp_sessions"`   // 10
	ConnectionTimeout Seconds `yaml:"connection_timeout"`  // 30 s, for TCP, key exchange and authentication together
	IdleTimeout       Seconds `yaml:"idle_timeout"`        // 300 s
}

// Seconds is a duration that configuration files write as a number of seconds.
type Seconds float64

// Duration converts s.
func (s Seconds) Duration() time.Duration { return time.Duration(float64(s) * float64(time.Second)) }

// LoadConfig reads a YAML configuration file. Unknown keys and values out of range are errors that name file and line. Relative
// folders in it are taken from the file's own folder.
func LoadConfig(file string) (Config, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		var pathErr *fs.PathError
		if errors.As(err, &pathErr) {
			err = pathErr.Err
		}
		return Config{}, fmt.Errorf("%s: %w", file, err)
	}
	return parseConfig(file, data)
}

func parseConfig(file string, data []byte) (Config, error) {
	var c Config
	if err := yaml.UnmarshalWithOptions(data, &c, yaml.Strict()); err != nil && !errors.Is(err, io.EOF) {
		return Config{}, configError(file, err)
	}
	if err := c.validate(); err != nil {
		return Config{}, fmt.Errorf("%s: %w", file, err)
	}
	base := filepath.Dir(file)
	for _, p := range []*string{&c.Profiles, &c.Secrets} {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(base, *p)
		}
	}
	for i, p := range c.KnownHosts {
		if !filepath.IsAbs(p) {
			c.KnownHosts[i] = filepath.Join(base, p)
		}
	}
	return c, nil
}

// configError gives a YAML error as file:line:column: message.
func configError(file string, err error) error {
	var y yaml.Error
	if errors.As(err, &y) && y.GetToken() != nil && y.GetToken().Position != nil {
		pos := y.GetToken().Position
		return fmt.Errorf("%s:%d:%d: %s", file, pos.Line, pos.Column, y.GetMessage())
	}
	return fmt.Errorf("%s: %w", file, err)
}

func (c *Config) validate() error {
	var errs []error
	if c.Transport != "" && c.Transport != "stdio" && c.Transport != "http" {
		errs = append(errs, fmt.Errorf("transport: %q is neither stdio nor http", c.Transport))
	}
	p := c.Pooling
	for name, v := range map[string]float64{
		"connection_pooling.max_ssh_connections": float64(p.MaxSSHConnections),
		"connection_pooling.max_sftp_sessions":   float64(p.MaxSFTPSessions),
		"connection_pooling.connection_timeout":  float64(p.ConnectionTimeout),
		"connection_pooling.idle_timeout":        float64(p.IdleTimeout),
		"drain_timeout":                          float64(c.DrainTimeout),
	} {
		if v < 0 {
			errs = append(errs, fmt.Errorf("%s: %v is negative; leave it out for the default", name, v))
		}
	}
	return errors.Join(errs...)
}

func (c Config) withDefaults() Config {
	set := func(v *string, d string) {
		if *v == "" {
			*v = d
		}
	}
	set(&c.Profiles, "profiles")
	set(&c.Secrets, "secrets")
	set(&c.Transport, "stdio")
	set(&c.Listen, DefaultListen)
	set(&c.Version, "dev")
	if c.DrainTimeout == 0 {
		c.DrainTimeout = 10
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}
