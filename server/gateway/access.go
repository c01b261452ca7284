package gateway

import (
	"path/filepath"
	"slices"
	"strings"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/access"
)

// guard says whom the gateway lets in. Their Authorization goes on to the servers, which decide what they may do.
func (c *Config) guard() access.Config {
	return access.Config{
		Tokens: c.Tokens, Hosts: c.Hosts, Origins: c.Origins, Rate: c.RateLimit, Logger: c.Logger,
		JWT: access.JWT{Issuer: c.JWTIssuer, Audience: c.JWTAudience, Keys: c.JWTKeys, Scope: c.JWTScope, Resource: c.Resource},
	}
}

func (c *Config) endpoint() access.Endpoint {
	return access.Endpoint{Listen: c.Listen, Certificate: c.TLSCertificate, Key: c.TLSKey, BehindProxy: c.BehindProxy,
		Crowd: access.Crowd{Most: c.Waiting, Each: c.WaitingPerAddress}}
}

// checkAccess says why the gateway may not listen as it would.
func (c *Config) checkAccess() error {
	who, at := c.guard(), c.endpoint()
	return at.Check(&who)
}

// resolve takes relative paths from the folder of the file that gave them.
func (c *Config) resolve(file string) {
	for _, path := range []*string{&c.Tokens, &c.JWTKeys, &c.TLSCertificate, &c.TLSKey} {
		if *path != "" && !filepath.IsAbs(*path) && !strings.Contains(*path, "://") {
			*path = filepath.Join(filepath.Dir(file), *path)
		}
	}
}

// admitted reports whether an Origin is one that only the gateway admits: servers would turn it away.
func (c *Config) admitted(origin string) bool {
	return slices.ContainsFunc(c.Origins, func(o string) bool { return strings.EqualFold(o, origin) })
}
