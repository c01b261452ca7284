package server

import (
	"reflect"
	"slices"
	"strings"
)

// liveKeys are the keys, or sections with a dot at the end, that Reload changes in a running server.
var liveKeys = []string{
	"log_level", "drain_timeout", "preset", "resource_limits.", "caching.", "connection_pooling.", "jobs.", "monitoring.health_check_interval", "monitoring.canary",
}

func live(key string) bool {
	return slices.ContainsFunc(liveKeys, func(k string) bool { return k == key || strings.HasSuffix(k, ".") && strings.HasPrefix(key, k) })
}

// current is the configuration as it is now. It must not be changed.
func (s *Server) current() *Config {
	if c := s.settings.Load(); c != nil {
		return c
	}
	return &s.cfg
}

// limit gives the limits of c to those who keep them.
func (s *Server) limit(c *Config) {
	s.limits.SetMax(c.Limits.MaxConcurrentOperations)
	s.memory.SetMark(c.Limits.memory())
	s.responses.configure(c.Caching)
	s.profiles.SetTTL(c.Caching.ProfileCacheTTL.Duration())
	s.pool.Reconfigure(s.pooling(c))
}

// Reload gives a running server another configuration, without touching the calls under way. It returns the keys whose new values count
// from now on, and those that count only after a restart; it logs both. An error leaves everything as it was. LogLevel is for the owner
// of the Logger to follow.
func (s *Server) Reload(cfg Config) (changed, restart []string, err error) {
	if err := cfg.validate(); err != nil {
		return nil, nil, err
	}
	if err := checkCanaryKey(&cfg, s.profiles); err != nil {
		return nil, nil, err
	}
	s.reloading.Lock()
	defer s.reloading.Unlock()
	cfg = cfg.withDefaults()
	next := *s.current()
	next.origins = cfg.origins
	for _, k := range configKeys {
		from, to := k.of(&next), k.of(&cfg)
		switch {
		case reflect.DeepEqual(from.Interface(), to.Interface()):
		case live(k.name):
			from.Set(to)
			changed = append(changed, k.name)
		default:
			restart = append(restart, k.name)
		}
	}
	s.settings.Store(&next)
	s.limit(&next)
	if slices.Contains(changed, "connection_pooling.warm_up") {
		s.warmer.again()
	}
	s.cfg.Logger.Info("configuration reloaded", "changed", changed, "after_restart", restart)
	return changed, restart, nil
}
