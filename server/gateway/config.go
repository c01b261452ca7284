package gateway

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/access"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/loopback"
)

// DefaultListen is where the gateway listens unless told otherwise.
const DefaultListen = "127.0.0.1:8721"

// The ways to choose among the servers that may be given a call.
const (
	LeastInFlight = "least-in-flight" // the one with the fewest calls under way; equals take turns
	RoundRobin    = "round-robin"     // each in turn
)

// Config says which servers the gateway balances over, and how. The zero value of a field takes the default named beside it. Load makes one
// of a file, the environment and flags.
type Config struct {
	Backends      []Backend `yaml:"backends"`       // the servers; at least one
	Listen        string    `yaml:"listen"`         // host:port, beyond loopback only as the keys below allow; "127.0.0.1:8721"
	Strategy      string    `yaml:"strategy"`       // LeastInFlight or RoundRobin; LeastInFlight
	ProbeInterval Seconds   `yaml:"probe_interval"` // between two probes of a server's /readyz; 1 s
	ProbeTimeout  Seconds   `yaml:"probe_timeout"`  // for the answer to one; 2 s
	EjectAfter    int       `yaml:"eject_after"`    // calls that fail in a row, by the server's doing, until it gets no more; 5
	EjectFor      Seconds   `yaml:"eject_for"`      // until it is tried again with one call; doubles, up to 32 times, as long as that fails; 1 s
	DrainTimeout  Seconds   `yaml:"drain_timeout"`  // for calls under way once the gateway must stop; 10 s
	LogLevel      string    `yaml:"log_level"`      // "debug", "info", "warn" or "error"; "info". For who makes Logger

	// Who may come, as servers have it. Beyond loopback callers must prove who they are, nobody may read along, and the names must be listed.
	Tokens         string   `yaml:"tokens"`          // file of tokens, the same as the servers'; none
	JWTIssuer      string   `yaml:"jwt_issuer"`      // whose JWTs are good; none
	JWTAudience    string   `yaml:"jwt_audience"`    // the gateway's name there
	JWTKeys        string   `yaml:"jwt_keys"`        // URL or file of the issuer's key set
	JWTScope       string   `yaml:"jwt_scope"`       // that the scope claim must have; none
	Resource       string   `yaml:"resource"`        // URL of the endpoint as clients know it; jwt_audience where that is a URL
	RateLimit      float64  `yaml:"rate_limit"`      // requests a second of each caller, twice as many at once; none, since servers have theirs
	TLSCertificate string   `yaml:"tls_certificate"` // file of the certificate and its chain, read again when it changes; none is no TLS
	TLSKey         string   `yaml:"tls_key"`         // file of its private key
	BehindProxy    bool     `yaml:"behind_proxy"`    // TLS ends at a proxy that nobody can go around; false
	Hosts          []string `yaml:"hosts"`           // names besides those of loopback that requests may be for; none
	Origins        []string `yaml:"origins"`         // of web pages, besides those of loopback, that may call; none

	Waiting           int `yaml:"waiting_connections"` // that have brought no request that was let in; 16384, at most three quarters of the open files
	WaitingPerAddress int `yaml:"waiting_per_address"` // the same for each address; 12288

	Logger *slog.Logger `yaml:"-"` // nil discards
}

// Backend is one server.
type Backend struct {
	URL   string `yaml:"url"`   // of its MCP endpoint, on loopback: http://127.0.0.1:8731/mcp; without a path, /mcp
	Drain bool   `yaml:"drain"` // gives it no new sessions and no calls without a session, while what is under way and the sessions it has go on
}

// UnmarshalYAML takes a URL alone, too.
func (b *Backend) UnmarshalYAML(unmarshal func(any) error) error {
	if unmarshal(&b.URL) == nil {
		return nil
	}
	type plain Backend
	return unmarshal((*plain)(b))
}

// Seconds is a duration that configuration files write as a number of seconds.
type Seconds float64

// Duration converts s.
func (s Seconds) Duration() time.Duration { return time.Duration(float64(s) * float64(time.Second)) }

func (c Config) withDefaults() Config {
	orDefault(&c.Listen, DefaultListen)
	orDefault(&c.Strategy, LeastInFlight)
	orDefault(&c.ProbeInterval, 1)
	orDefault(&c.ProbeTimeout, 2)
	orDefault(&c.EjectAfter, 5)
	orDefault(&c.EjectFor, 1)
	orDefault(&c.DrainTimeout, 10)
	orDefault(&c.LogLevel, "info")
	orDefault(&c.Waiting, access.DefaultCrowd)
	orDefault(&c.WaitingPerAddress, access.DefaultEach)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

func orDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// validate judges a configuration with defaults. Its error joins one for each mistake.
func (c *Config) validate() error {
	var errs []error
	if len(c.Backends) == 0 {
		errs = append(errs, errors.New("backends: none is given; name the servers with --backend http://127.0.0.1:8731/mcp or in the configuration file"))
	}
	seen := map[string]bool{}
	for _, b := range c.Backends {
		t, err := parseTarget(b.URL)
		if err != nil {
			errs = append(errs, fmt.Errorf("backends: %w", err))
		} else if seen[t.url] {
			errs = append(errs, fmt.Errorf("backends: %s is given twice; leave one out", t.url))
		}
		seen[t.url] = true
	}
	if err := c.checkAccess(); err != nil {
		errs = append(errs, err)
	}
	if c.Waiting < 0 || c.WaitingPerAddress < 0 {
		errs = append(errs, fmt.Errorf("waiting_connections, waiting_per_address: %d, %d: none may be less than 1; leave them out for the defaults", c.Waiting, c.WaitingPerAddress))
	}
	if c.RateLimit < 0 {
		errs = append(errs, fmt.Errorf("rate_limit: %v is less than 0; leave it out for no limit", c.RateLimit))
	}
	one := func(key, value string, of ...string) {
		if !slices.Contains(of, value) {
			errs = append(errs, fmt.Errorf("%s: %q is none of %s", key, value, strings.Join(of, ", ")))
		}
	}
	one("strategy", c.Strategy, LeastInFlight, RoundRobin)
	one("log_level", c.LogLevel, "debug", "info", "warn", "error")
	least := func(key string, value, least float64) {
		if value < least {
			errs = append(errs, fmt.Errorf("%s: %v is less than %v; leave it out for the default", key, value, least))
		}
	}
	least("probe_interval", float64(c.ProbeInterval), 0.01)
	least("probe_timeout", float64(c.ProbeTimeout), 0.001)
	least("eject_after", float64(c.EjectAfter), 1)
	least("eject_for", float64(c.EjectFor), 0.001)
	least("drain_timeout", float64(c.DrainTimeout), 0.001)
	return errors.Join(errs...)
}

// target is a server's URL, taken apart.
type target struct {
	url  string // in full
	addr string // host:port
	path string // of its MCP endpoint
}

func parseTarget(text string) (target, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return target{}, fmt.Errorf("%q is no URL; write it as http://127.0.0.1:8731/mcp", text)
	case u.Scheme != "http" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return target{}, fmt.Errorf("%q is not the URL of a server; write it as http://127.0.0.1:8731/mcp", text)
	case !loopback.Name(u.Hostname()):
		return target{}, fmt.Errorf("%q is not on this machine: the way to servers is not encrypted, so only 127.0.0.1, [::1] and localhost are reached", text)
	}
	port := u.Port()
	if port == "" {
		port = "80"
	}
	path := u.EscapedPath()
	if path == "" || path == "/" {
		path = endpoint
	}
	addr := net.JoinHostPort(u.Hostname(), port)
	return target{url: "http://" + addr + path, addr: addr, path: path}, nil
}
