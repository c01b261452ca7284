package server

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/access"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/admission"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/loopback"
)

// DefaultListen is where the http transport listens unless told otherwise.
const DefaultListen = "127.0.0.1:8722"

// Config says what a server serves and within which bounds. The zero value of a field takes the default named beside it. Load makes
// one of a file, the environment and flags.
//
// The tag min is the least that a file, the environment or a flag may give.
type Config struct {
	Profiles   string   `yaml:"profiles"`    // folder of profiles; "profiles"
	Secrets    string   `yaml:"secrets"`     // folder of secrets; "secrets"
	KnownHosts []string `yaml:"known_hosts"` // known_hosts files for profiles without a pinned host_key; ~/.ssh/known_hosts
	Transport  string   `yaml:"transport"`   // "stdio" or "http"; "stdio"
	Listen     string   `yaml:"listen"`      // host:port of the http transport, beyond loopback only as Auth and HTTP allow; "127.0.0.1:8722"
	Preset     string   `yaml:"preset"`      // whose values stand in for those that are not given; "default". Only Load reads it
	LogLevel   string   `yaml:"log_level"`   // "debug", "info", "warn" or "error"; "info". For who makes Logger

	Pooling Pooling `yaml:"connection_pooling"`
	Caching Caching `yaml:"caching"`
	Limits  Limits  `yaml:"resource_limits"`
	Jobs    Jobs    `yaml:"jobs"`

	Audit Audit `yaml:"audit"`

	Auth Auth     `yaml:"auth"`
	HTTP HTTPConf `yaml:"http"`

	Monitoring Monitoring `yaml:"monitoring"`

	// DrainTimeout is how long calls under way may go on once the server must stop; 10 s.
	DrainTimeout Seconds `yaml:"drain_timeout" min:"0.001"`

	Logger  *slog.Logger `yaml:"-"` // nil discards
	Version string       `yaml:"-"` // as the MCP handshake tells it; "dev"

	origins map[string]string // of the keys that were given, as Settings shows them
}

// Pooling bounds the shared SSH connections and SFTP sessions of each target.
type Pooling struct {
	Enabled           *bool   `yaml:"enabled"`                        // true; false dials a connection for every call
	MaxSSHConnections int     `yaml:"max_ssh_connections" min:"1"`    // 10
	MaxSFTPSessions   int     `yaml:"max_sftp_sessions" min:"1"`      // 10
	ConnectionTimeout Seconds `yaml:"connection_timeout" min:"0.001"` // 30 s, for TCP, key exchange and authentication together
	IdleTimeout       Seconds `yaml:"idle_timeout" min:"0.001"`       // 300 s
	// MaxLifetime is how old a connection gets before it takes no new work; 3600 s. Each gets up to a tenth more or less.
	MaxLifetime Seconds `yaml:"max_lifetime" min:"1"`
	// A connection from which nothing has come for KeepaliveInterval (30 s) is asked whether it is alive, and closed when nothing comes for
	// KeepaliveTimeout (10 s) then.
	KeepaliveInterval Seconds  `yaml:"keepalive_interval" min:"0.1"`
	KeepaliveTimeout  Seconds  `yaml:"keepalive_timeout" min:"0.1"`
	ProbeInterval     Seconds  `yaml:"probe_interval" min:"0.01"` // between two attempts to reach a host that is down; 5 s
	WarmUp            []string `yaml:"warm_up"`                   // profiles to connect to at the start; none
	// ChannelAhead keeps one session channel open ahead on each connection in use, which saves the next command a round trip; true.
	ChannelAhead *bool `yaml:"channel_ahead"`
}

// Caching bounds what is remembered.
type Caching struct {
	Enabled           *bool   `yaml:"enabled"`                        // true; false remembers no results
	ResponseCacheSize int     `yaml:"response_cache_size" min:"1"`    // results of read-only commands; 1000
	ResponseCacheMB   int     `yaml:"response_cache_mb" min:"1"`      // MiB that they may take together; 64
	ResponseCacheTTL  Seconds `yaml:"response_cache_ttl" min:"0.001"` // 300 s
	ProfileCacheTTL   Seconds `yaml:"profile_cache_ttl" min:"0.001"`  // between two looks at files that are not seen to change; 60 s
}

// Audit says where the record of every call is kept.
type Audit struct {
	Enabled *bool `yaml:"enabled"` // nil keeps none; Load sets true where nothing says false
	// Path is a SQLite file, or the postgres:// URL, without a password, of a store that several servers share; openaccess-mcp/audit.db in the user's
	// state folder.
	Path string `yaml:"path"`
	// Durability says when a record is committed: "batched" is within 50 ms, and calls go on when that fails; "strict" is before a call runs, and a
	// call that cannot be recorded is refused. "batched".
	Durability string `yaml:"durability"`
	Key        string `yaml:"key"`  // file of the private key that signs the record, made where there is none; Path with .key behind it
	Head       string `yaml:"head"` // file to put the newest signature into, for `audit verify --head`; none

	patience time.Duration // with a store that cannot be written; zero is the record's own
}

func (a Audit) enabled() bool { return a.Enabled != nil && *a.Enabled }

// auditPath is in $XDG_STATE_HOME, ~/.local/state, or %LocalAppData%; empty where there is no such place.
func auditPath() string {
	state := os.Getenv("XDG_STATE_HOME")
	if !filepath.IsAbs(state) {
		state = os.Getenv("LocalAppData")
		if home, err := os.UserHomeDir(); runtime.GOOS != "windows" && err == nil {
			state = filepath.Join(home, ".local", "state")
		}
	}
	if state == "" {
		return ""
	}
	return filepath.Join(state, "openaccess-mcp", "audit.db")
}

// Limits bounds what the server does at once and uses.
type Limits struct {
	// MaxMemoryMB is the resident memory in MiB above which caches shrink and idle connections go; 1024. A quarter beyond it, new work is refused.
	MaxMemoryMB             int     `yaml:"max_memory_mb" min:"64"`
	MaxConcurrentOperations int     `yaml:"max_concurrent_operations" min:"1"` // calls that work on hosts at once; 100
	MaxPerProfile           int     `yaml:"max_per_profile" min:"1"`           // the same for a profile without max_concurrent_sessions; 10
	CleanupInterval         Seconds `yaml:"cleanup_interval" min:"0.01"`       // between two sweeps of what is too old; 300 s
}

// Jobs bounds the commands that run in the background and what is kept of them.
type Jobs struct {
	MaxJobs        int     `yaml:"max_jobs" min:"1"`         // kept at once, those that have ended included; 100
	MaxPerCaller   int     `yaml:"max_per_caller" min:"1"`   // the same for each caller; 20
	MaxOutputBytes int     `yaml:"max_output_bytes" min:"1"` // kept of each stream of a job, the newest; 1048576
	KeepTime       Seconds `yaml:"keep_time" min:"0.001"`    // after a job has ended; 3600 s
}

// MemoryLimit is what to give to the garbage collector of a process that runs nothing beside the server, in bytes.
func (c Config) MemoryLimit() int64 { return admission.Limit(c.withDefaults().Limits.memory()) }

func (l Limits) memory() int64 { return int64(l.MaxMemoryMB) << 20 }

// Seconds is a duration that configuration files write as a number of seconds.
type Seconds float64

// Duration converts s.
func (s Seconds) Duration() time.Duration { return time.Duration(float64(s) * float64(time.Second)) }

// defaults are the values of a Config whose fields are zero.
func defaults() Config {
	on := true
	return Config{
		Profiles: "profiles", Secrets: "secrets", Transport: "stdio", Listen: DefaultListen, Preset: "default", LogLevel: "info",
		Pooling: Pooling{
			Enabled: &on, MaxSSHConnections: 10, MaxSFTPSessions: 10, ConnectionTimeout: 30, IdleTimeout: 300,
			MaxLifetime: 3600, KeepaliveInterval: 30, KeepaliveTimeout: 10, ProbeInterval: 5, ChannelAhead: &on,
		},
		Caching:      Caching{Enabled: &on, ResponseCacheSize: 1000, ResponseCacheMB: 64, ResponseCacheTTL: 300, ProfileCacheTTL: 60},
		Limits:       Limits{MaxMemoryMB: 1024, MaxConcurrentOperations: 100, MaxPerProfile: 10, CleanupInterval: 300},
		Jobs:         Jobs{MaxJobs: 100, MaxPerCaller: 20, MaxOutputBytes: 1 << 20, KeepTime: 3600},
		Audit:        Audit{Enabled: &on, Path: auditPath(), Durability: "batched"},
		Monitoring:   Monitoring{MetricsCollection: &on, HealthCheckInterval: 30, PerformanceMonitoring: &on, MaxProfiles: 100, Pprof: new(bool)},
		Auth:         Auth{RateLimit: 100},
		HTTP:         HTTPConf{BehindProxy: new(bool), Waiting: access.DefaultCrowd, WaitingPerAddress: access.DefaultEach},
		DrainTimeout: 10,
		Version:      "dev",
	}
}

// presets are sets of values that stand in for the defaults.
var presets = map[string]map[string]string{
	"default": {},
	"production": {
		"connection_pooling.max_ssh_connections": "50",
		"connection_pooling.max_sftp_sessions":   "30",
		"connection_pooling.connection_timeout":  "30",
		"connection_pooling.idle_timeout":        "300",

		"caching.response_cache_size": "2000",
		"caching.response_cache_ttl":  "600",
		"caching.profile_cache_ttl":   "300",

		"resource_limits.max_memory_mb":             "2048",
		"resource_limits.max_concurrent_operations": "100",
		"resource_limits.max_per_profile":           "20",

		"monitoring.health_check_interval": "30",
	},
}

// validate checks what the type of a value does not. Its error joins one for each key.
func (c *Config) validate() error {
	var errs []error
	one := func(key, value string, of ...string) {
		if value != "" && !slices.Contains(of, value) {
			errs = append(errs, c.keyError(key, fmt.Sprintf("%q is none of %s", value, strings.Join(of, ", "))))
		}
	}
	one("transport", c.Transport, "stdio", "http")
	one("log_level", c.LogLevel, "debug", "info", "warn", "error")
	one("preset", c.Preset, presetNames()...)
	one("audit.durability", c.Audit.Durability, "batched", "strict")
	errs = append(errs, c.validateAuditURL()...)
	errs = append(errs, c.validateHTTP()...)
	if listen := c.Monitoring.Listen; listen != "" {
		if err := loopback.Check(listen); err != nil {
			errs = append(errs, c.keyError("monitoring.listen", err.Error()))
		}
	}
	for _, k := range configKeys {
		v := k.of(c)
		if n, ok := number(v); ok && !v.IsZero() && n < k.min {
			errs = append(errs, c.keyError(k.name, fmt.Sprintf("%v is less than %v; leave it out for the default", n, k.min)))
		}
	}
	return errors.Join(errs...)
}

// keyError is what is wrong with the value of a key, and where that was given.
func (c *Config) keyError(key, message string) error {
	if from := c.origins[key]; from != "" {
		return fmt.Errorf("%s: %s: %s", from, key, message)
	}
	return fmt.Errorf("%s: %s", key, message)
}

// withDefaults fills in the defaults of what is zero.
func (c Config) withDefaults() Config {
	d := defaults()
	for _, k := range configKeys {
		if v := k.of(&c); v.IsZero() && k.name != "audit.enabled" { // a library keeps no record unless told to
			v.Set(k.of(&d))
		}
	}
	if c.Version == "" {
		c.Version = d.Version
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}
