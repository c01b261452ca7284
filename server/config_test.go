package server

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestParseConfig(t *testing.T) {
	good := `
profiles: hosts
secrets: /etc/secrets
known_hosts: [kh]
transport: http
listen: 127.0.0.1:0
drain_timeout: 2.5
connection_pooling: {enabled: false, max_ssh_connections: 3, idle_timeout: 60}
`
	c, err := parseConfig("/conf/c.yaml", []byte(good))
	if err != nil {
		t.Fatal(err)
	}
	if c.Profiles != "/conf/hosts" || c.Secrets != "/etc/secrets" || c.KnownHosts[0] != "/conf/kh" || c.Pooling.enabled() ||
		c.Pooling.MaxSSHConnections != 3 || c.DrainTimeout.Duration() != 2500*time.Millisecond || c.Listen != "127.0.0.1:0" {
		t.Errorf("got %+v", c)
	}
	if c, err := parseConfig("c.yaml", nil); err != nil || !c.Pooling.enabled() {
		t.Errorf("an empty file: %+v, %v", c, err)
	}
	if c, err := parseConfig("c.yaml", []byte("# only\nconnection_pooling: # nothing\n")); err != nil || !c.Pooling.enabled() {
		t.Errorf("an empty section: %+v, %v", c, err)
	}
	if _, err := LoadConfig("/nonexistent/c.yaml"); err == nil {
		t.Error("a missing file was read")
	}
}

func TestConfigMistakes(t *testing.T) {
	for _, tc := range []struct{ yaml, want string }{
		{"profils: x\n", `c.yaml:1:1: profils: unknown key; did you mean profiles?`},
		{"connection_pooling:\n  enable: true\n", `c.yaml:2:3: connection_pooling.enable: unknown key; did you mean connection_pooling.enabled?`},
		{"conection_pooling: {}\n", "c.yaml:1:1: conection_pooling: unknown key; did you mean connection_pooling?"},
		{"zzz: 1\n", "`openaccess-mcp config` shows"},
		{"connection_pooling:\n  max_ssh_connections: many\n", `c.yaml:2:24: connection_pooling.max_ssh_connections: "many" is not a whole number`},
		{"connection_pooling:\n  max_ssh_connections: 0\n", "c.yaml:2:24: connection_pooling.max_ssh_connections: 0 is less than 1; leave it out"},
		{"connection_pooling:\n  enabled: yes\n", `"yes" is neither true nor false`},
		{"connection_pooling: 3\n", "c.yaml:1:21: connection_pooling must hold keys"},
		{"- profiles\n", "the file must hold keys"},
		{"transport: pigeon\n", `c.yaml:1:12: transport: "pigeon" is none of stdio, http`},
		{"monitoring: {listen: '0.0.0.0:9464'}\n", `c.yaml:1:22: monitoring.listen: listen address "0.0.0.0:9464" is not loopback`},
		{"monitoring: {listen: metrics}\n", "c.yaml:1:22: monitoring.listen: listen address"},
		{"monitoring: {pprof: 1}\n", `monitoring.pprof: "1" is neither true nor false`},
		{"drain_timeout: -1\n", "c.yaml:1:16: drain_timeout: -1 is less than"},
		{"drain_timeout: .nan\n", "drain_timeout"},
		{"drain_timeout: 1\ndrain_timeout: 2\n", "drain_timeout"},
		{"drain_timeout:\n", "has no value"},
		{"profiles: {a: b}\n", "must be a plain value"},
		{"profiles: a\n---\nprofiles: b\n", "more than one document"},
		{"a: [\n", "c.yaml:1"},
	} {
		if _, err := parseConfig("c.yaml", []byte(tc.yaml)); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%q: got %v, want %q", tc.yaml, err, tc.want)
		}
	}
	two := "profils: x\ntransport: pigeon\n"
	if _, err := Load(Sources{File: writeConfig(t, two)}); err == nil || !strings.Contains(err.Error(), "profils") ||
		!strings.Contains(err.Error(), "pigeon") {
		t.Errorf("not every mistake is named: %v", err)
	}
}

func writeConfig(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "c.yaml")
	mustWrite(t, file, text)
	return file
}

// TestConfigOrder gives one key in more and more places: the next in the documented order must win each time.
func TestConfigOrder(t *testing.T) {
	const key = "connection_pooling.max_ssh_connections"
	file := writeConfig(t, "connection_pooling: {max_ssh_connections: 3}\n")
	for _, tc := range []struct {
		src    Sources
		want   int
		origin string
	}{
		{Sources{}, 10, "default"},
		{Sources{Environ: []string{"OPENACCESS_PRESET=production"}}, 50, "preset production"},
		{Sources{File: file, Environ: []string{"OPENACCESS_PRESET=production"}}, 3, file + ":1:43"},
		{Sources{Environ: []string{"OPENACCESS_CONFIG=" + file}}, 3, file + ":1:43"},
		{Sources{File: file, Environ: []string{"OPENACCESS_CONNECTION_POOLING_MAX_SSH_CONNECTIONS=4"}}, 4,
			"environment variable OPENACCESS_CONNECTION_POOLING_MAX_SSH_CONNECTIONS"},
		{Sources{File: file, Environ: []string{"OPENACCESS_CONNECTION_POOLING_MAX_SSH_CONNECTIONS=4"},
			Flags: []Flag{{"--set", key, "5"}}}, 5, "flag --set"},
		{Sources{File: file, Environ: []string{"OPENACCESS_CONNECTION_POOLING_MAX_SSH_CONNECTIONS="}}, 3, file + ":1:43"},
	} {
		c, err := Load(tc.src)
		if err != nil {
			t.Errorf("%+v: %v", tc.src, err)
			continue
		}
		i := slices.IndexFunc(c.Settings(), func(s Setting) bool { return s.Key == key })
		if got := c.Settings()[i]; c.Pooling.MaxSSHConnections != tc.want || got.Origin != tc.origin {
			t.Errorf("%+v: got %d from %s, want %d from %s", tc.src, c.Pooling.MaxSSHConnections, got.Origin, tc.want, tc.origin)
		}
	}
}

func TestConfigEnvironmentMistakes(t *testing.T) {
	for _, tc := range []struct{ env, want string }{
		{"OPENACCESS_TRANSPROT=http", "environment variable OPENACCESS_TRANSPROT: unknown: unset or rename it; did you mean OPENACCESS_TRANSPORT?"},
		{"OPENACCESS_DRAIN_TIMEOUT=soon", `environment variable OPENACCESS_DRAIN_TIMEOUT: drain_timeout: "soon" is not a number of seconds`},
		{"OPENACCESS_TRANSPORT=pigeon", "environment variable OPENACCESS_TRANSPORT: transport:"},
		{"OPENACCESS_PRESET=fast", `environment variable OPENACCESS_PRESET: preset: "fast" is none of default, production`},
		{"OPENACCESS_CONFIG=/nonexistent/c.yaml", "/nonexistent/c.yaml: no such file"},
	} {
		if _, err := Load(Sources{Environ: []string{"PATH=/bin", tc.env}}); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v, want %q", tc.env, err, tc.want)
		}
	}
	if _, err := Load(Sources{Flags: []Flag{{"--set", "conection_pooling.enabled", "true"}}}); err == nil ||
		!strings.Contains(err.Error(), "flag --set: conection_pooling.enabled: unknown key; did you mean connection_pooling.enabled?") {
		t.Errorf("got %v", err)
	}
	c, err := Load(Sources{Environ: []string{"OPENACCESS_KNOWN_HOSTS=a" + string(os.PathListSeparator) + "b", "OPENACCESSORY=1"}})
	if err != nil || !slices.Equal(c.KnownHosts, []string{"a", "b"}) {
		t.Errorf("got %q, %v", c.KnownHosts, err)
	}
}

// TestIssuedDefaults pins the values that guides and other programs count on.
func TestIssuedDefaults(t *testing.T) {
	keys := []string{
		"connection_pooling.max_ssh_connections", "connection_pooling.max_sftp_sessions", "connection_pooling.connection_timeout", "connection_pooling.idle_timeout",
		"caching.response_cache_size", "caching.response_cache_ttl", "caching.profile_cache_ttl",
		"resource_limits.max_memory_mb", "resource_limits.max_concurrent_operations", "resource_limits.max_per_profile", "resource_limits.cleanup_interval",
	}
	for preset, want := range map[string]string{
		"default": "10 10 30 300 1000 300 60 1024 100 10 300", "production": "50 30 30 300 2000 600 300 2048 100 20 300",
	} {
		c, err := Load(Sources{Flags: []Flag{{"--preset", "preset", preset}}})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, key := range keys {
			i := slices.IndexFunc(c.Settings(), func(s Setting) bool { return s.Key == key })
			got = append(got, c.Settings()[i].Value)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %v, want %s", preset, got, want)
		}
	}
}

// TestPresets checks that every preset names keys that exist, with values that differ from the defaults or equal them on purpose.
func TestPresets(t *testing.T) {
	for name, values := range presets {
		c, err := Load(Sources{Flags: []Flag{{"--preset", "preset", name}}})
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, s := range c.Settings() {
			if want, ok := values[s.Key]; ok && (s.Value != want || s.Origin != "preset "+name) {
				t.Errorf("%s: %+v, want %s", name, s, want)
			}
		}
	}
}

// TestSettingsRoundTrip reads what WriteSettings wrote: the same configuration must come out.
func TestSettingsRoundTrip(t *testing.T) {
	want, err := Load(Sources{Environ: []string{"OPENACCESS_PRESET=production", "OPENACCESS_LISTEN=[::1]:9", "OPENACCESS_KNOWN_HOSTS=/a b:/c#d",
		"OPENACCESS_CONNECTION_POOLING_IDLE_TIMEOUT=0.5", "OPENACCESS_PROFILES=/x: y", "OPENACCESS_CONNECTION_POOLING_WARM_UP=web-01, db"}})
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if err := want.WriteSettings(&text); err != nil {
		t.Fatal(err)
	}
	got, err := Load(Sources{File: writeConfig(t, text.String())})
	if err != nil {
		t.Fatalf("%v in\n%s", err, text.String())
	}
	want.absolute()
	want.origins, got.origins = nil, nil
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v\nfrom\n%s", got, want, text.String())
	}
	if !slices.Equal(got.Pooling.WarmUp, []string{"web-01", "db"}) {
		t.Errorf("warm_up: %q", got.Pooling.WarmUp)
	}
	if !strings.Contains(text.String(), "# environment variable OPENACCESS_LISTEN") {
		t.Errorf("no origins in\n%s", text.String())
	}
}

// noDefault are keys that mean something only where they are given.
var noDefault = []string{
	"monitoring.listen", "audit.key", "audit.head", "auth.tokens", "auth.jwt_issuer", "auth.jwt_audience", "auth.jwt_keys", "auth.jwt_scope",
	"auth.resource", "auth.local_name", "http.tls_certificate", "http.tls_key",
}

// TestDefaultsAreComplete wants a default for every key that is not a list: one that is forgotten would be zero.
func TestDefaultsAreComplete(t *testing.T) {
	d := defaults()
	d.Monitoring.Canary = "none unless given"
	for _, k := range configKeys {
		if v := k.of(&d); v.IsZero() && k.typ.Kind() != reflect.Slice && !slices.Contains(noDefault, k.name) {
			t.Errorf("%s has no default", k.name)
		}
	}
	if got := (Config{}).withDefaults(); got.Profiles != "profiles" || got.Pooling.MaxSFTPSessions != 10 || got.Logger == nil {
		t.Errorf("got %+v", got)
	}
}

func FuzzParseConfig(f *testing.F) {
	for _, seed := range []string{"connection_pooling: {enabled: false}\n", "profiles: [\n", "known_hosts: [a, 1, &x b, *x]\n", "? a\n: b\n", "<<: {a: b}\n", "a: |\n  b\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := parseConfig("c.yaml", data)
		if err == nil && (c.Pooling.MaxSSHConnections < 0 || c.DrainTimeout < 0) {
			t.Errorf("accepted %+v", c)
		}
	})
}

// FuzzConfigValue gives keys any text: what is taken must come out of its own YAML as it was.
func FuzzConfigValue(f *testing.F) {
	for _, seed := range []string{"true", "30", "0.5", "-1", "1e400", "nan", "a:b", "web-01, db", "\"x\\", "\u2028", "0x10", " ", "\xdc"} {
		for i := range configKeys {
			f.Add(uint8(i), seed)
		}
	}
	f.Fuzz(func(t *testing.T, key uint8, text string) {
		if !utf8.ValidString(text) || int(key) >= len(configKeys) {
			return // no YAML file can hold it
		}
		k := configKeys[key]
		v, err := k.parse(text)
		if err != nil {
			return
		}
		var c Config
		k.of(&c).Set(v)
		written := asYAML(k.of(&c))
		l := newLoader()
		section, name, nested := strings.Cut(k.name, ".")
		file := section + ": " + written + "\n"
		if nested {
			file = section + ":\n  " + name + ": " + written + "\n"
		}
		l.parse("/c.yaml", []byte(file))
		got, ok := l.given[k.name]
		if !ok || len(l.mistakes) > 0 {
			t.Fatalf("%s: %q was written as %q, which gives %v", k.name, text, file, l.mistakes)
		}
		if !slices.Contains(pathKeys, k.name) && fmt.Sprint(asYAML(got)) != written {
			t.Errorf("%s: %q was written as %s and read as %s", k.name, text, written, asYAML(got))
		}
	})
}

func TestReload(t *testing.T) {
	s, err := New(Config{Profiles: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	next := s.cfg
	next.DrainTimeout, next.Secrets = 3, "elsewhere"
	changed, restart, err := s.Reload(next)
	if err != nil || !slices.Equal(changed, []string{"drain_timeout"}) || !slices.Equal(restart, []string{"secrets"}) {
		t.Errorf("changed %v, after a restart %v, %v", changed, restart, err)
	}
	if c := s.current(); c.DrainTimeout != 3 || c.Secrets != "secrets" {
		t.Errorf("now %+v", c)
	}
	next.DrainTimeout = -1
	if _, _, err := s.Reload(next); err == nil || s.current().DrainTimeout != 3 {
		t.Errorf("a wrong configuration counts: %v", err)
	}
}
