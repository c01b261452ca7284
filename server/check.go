package server

import (
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/policy"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/profile"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/secret"
)

// Problem is one mistake in a profile or its secret. Its Error names file, line, field and remedy.
type Problem = profile.Problem

// Check finds every mistake in the profiles and secrets of cfg without contacting a host, and says how many profiles it read.
func Check(cfg Config) (profiles int, problems []Problem) {
	cfg = cfg.withDefaults()
	pc := cfg.profileConfig()
	problems = profile.Check(pc)
	if store, err := profile.Open(pc); err == nil {
		profiles = len(store.List())
		problems = append(problems, checkWarmUp(&cfg, store)...)
		if err := checkCanaryKey(&cfg, store); err != nil {
			problems = append(problems, *err)
		}
	}
	return profiles, problems
}

// checkWarmUp finds the profiles to connect to that are none.
func checkWarmUp(cfg *Config, store *profile.Store) (problems []Problem) {
	const key = "connection_pooling.warm_up"
	at := cfg.origins[key]
	if at == "" {
		at = "configuration"
	}
	for _, id := range cfg.Pooling.WarmUp {
		if _, err := store.Get(id); err != nil {
			problems = append(problems, Problem{File: at, Field: key, Message: err.Error(), Remedy: "name profiles by their id, or leave it out"})
		}
	}
	return problems
}

func (c Config) profileConfig() profile.Config {
	return profile.Config{
		Dir: c.Profiles, Secrets: &secret.Resolver{Dir: c.Secrets}, KnownHosts: c.KnownHosts, Validate: validateRules,
		TTL: c.Caching.ProfileCacheTTL.Duration(), Logger: c.Logger,
	}
}

// rules gives a profile's policy section as the policy package takes it.
func rules(p *profile.Profile) policy.Rules {
	return policy.Rules{
		Protocols:              p.Protocols,
		CommandAllowlist:       p.Policy.CommandAllowlist,
		CommandDenylist:        p.Policy.CommandDenylist,
		DenySudo:               p.Policy.DenySudo,
		MaxSessionSeconds:      p.Policy.MaxSessionSeconds,
		MaxConcurrentSessions:  p.Policy.MaxConcurrentSessions,
		RequireChangeTicketFor: p.Policy.RequireChangeTicketFor,
		ReadOnlyCommands:       p.Policy.ReadOnlyCommands,
		TunnelTargets:          p.Policy.TunnelTargets,
		TunnelListenHosts:      p.Policy.TunnelListenHosts,
		MaxTunnels:             p.Policy.MaxTunnels,
		RemoteRoots:            p.Policy.RemoteRoots,
		RemoteDenylist:         p.Policy.RemoteDenylist,
		ChangeTicketFormat:     p.Policy.ChangeTicketFormat,
	}
}

// validateRules finds the policy rules that do not compile.
func validateRules(p *profile.Profile) (mistakes []profile.FieldError) {
	_, err := policy.Compile(rules(p))
	for _, e := range policy.Mistakes(err) {
		mistakes = append(mistakes, profile.FieldError{Field: "policy." + e.Field, Message: e.Message, Remedy: e.Remedy})
	}
	return append(mistakes, checkTicketCheck(p)...)
}
