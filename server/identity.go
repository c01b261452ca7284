package server

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/access"
)

// Auth says who callers are and how they prove it. Over HTTP, Tokens or the JWT keys make every caller prove it; without, this machine's processes
// are let in, and no others.
type Auth struct {
	Tokens      string   `yaml:"tokens"`       // file of tokens, as `openaccess-mcp token new` makes it; none
	JWTIssuer   string   `yaml:"jwt_issuer"`   // whose JWTs are good: the iss claim; none
	JWTAudience string   `yaml:"jwt_audience"` // this server's name there: an aud claim
	JWTKeys     string   `yaml:"jwt_keys"`     // URL or file of the issuer's key set
	JWTScope    string   `yaml:"jwt_scope"`    // that the scope claim must have; none
	Resource    string   `yaml:"resource"`     // URL of the endpoint as clients know it, for its metadata; jwt_audience where that is a URL
	RateLimit   float64  `yaml:"rate_limit"`   // requests a second of each caller who has proved who they are, twice as many at once; 100
	LocalName   string   `yaml:"local_name"`   // actor over stdio; the user who runs the server
	LocalRoles  []string `yaml:"local_roles"`  // roles of callers over stdio; none
}

// HTTPConf says how the http transport is reached.
type HTTPConf struct {
	Certificate string   `yaml:"tls_certificate"` // file of the certificate and its chain; none is no TLS
	Key         string   `yaml:"tls_key"`         // file of its private key
	BehindProxy *bool    `yaml:"behind_proxy"`    // TLS ends at a proxy that nobody can go around; false
	Hosts       []string `yaml:"hosts"`           // names besides those of loopback that requests may be for; none
	Origins     []string `yaml:"origins"`         // of web pages, besides those of loopback, that may call; none

	Waiting           int `yaml:"waiting_connections" min:"1"` // that have brought no request that was let in; 16384, at most three quarters of the open files
	WaitingPerAddress int `yaml:"waiting_per_address" min:"1"` // the same for each address; 12288
}

func (h *HTTPConf) endpoint(listen string) access.Endpoint {
	return access.Endpoint{Listen: listen, Certificate: h.Certificate, Key: h.Key, BehindProxy: h.BehindProxy != nil && *h.BehindProxy,
		Crowd: access.Crowd{Most: h.Waiting, Each: h.WaitingPerAddress}}
}

func (c *Config) access() access.Config {
	a := &c.Auth
	return access.Config{
		Tokens: a.Tokens, Hosts: c.HTTP.Hosts, Origins: c.HTTP.Origins, Rate: a.RateLimit, Logger: c.Logger,
		JWT: access.JWT{Issuer: a.JWTIssuer, Audience: a.JWTAudience, Keys: a.JWTKeys, Scope: a.JWTScope, Resource: a.Resource},
	}
}

// validateHTTP checks that the http transport lets nobody in who must stay out.
func (c *Config) validateHTTP() (errs []error) {
	who := c.access()
	if err := who.JWT.Check(); err != nil {
		return []error{fmt.Errorf("auth.%w", err)}
	}
	if c.Transport != "http" || c.Listen == "" {
		return nil
	}
	at := c.HTTP.endpoint(c.Listen)
	if err := at.Check(&who); err != nil {
		errs = append(errs, errors.New("section http: "+err.Error()))
	}
	return errs
}

// isURL tells URLs from paths in keys that take both.
func isURL(path string) bool { return strings.Contains(path, "://") }

// admitsTool refuses what the caller's token is not for.
func (c *call) admitsTool(operation string) error {
	if c.identity.AdmitsTool(operation) {
		return nil
	}
	return &callError{CodeAuthorizationFailed, fmt.Sprintf("%s may not use %s: its token is not for it", c.identity.Actor, operation)}
}

// admitsProfile is the same for profiles. It does not tell whether there is such a one.
func (c *call) admitsProfile(id string) error {
	if c.identity.AdmitsProfile(id) {
		return nil
	}
	return &callError{CodeAuthorizationFailed, fmt.Sprintf("%s may not use profile %q: its token is not for it", c.identity.Actor, id)}
}

// hasRole wants one of the roles that the profile's policy names, where it names any.
func (c *call) hasRole() error {
	want := c.profile.Policy.Roles
	if len(want) == 0 {
		return nil
	}
	var has []string
	switch {
	case c.identity != nil:
		has = c.identity.Roles
	case strings.HasPrefix(c.metadata.Actor, "stdio:") || strings.HasPrefix(c.metadata.Actor, "doctor:"):
		has = c.s.cfg.Auth.LocalRoles
	}
	if slices.ContainsFunc(want, func(role string) bool { return slices.Contains(has, role) }) {
		return nil
	}
	return &callError{CodePolicyViolation, fmt.Sprintf("refused by rule roles of profile %s: %s has none of the roles %s",
		c.profile.ID, c.metadata.Actor, strings.Join(want, ", "))}
}

// TokenOptions say what a new token is for. Empty lists are everything.
type TokenOptions struct {
	Name                   string
	Expires                time.Time // zero is never
	Profiles, Tools, Roles []string
}

// NewToken makes a token, and puts the entry that admits it, which holds no more than a hash, into a file. The token itself is kept nowhere.
func NewToken(file string, o TokenOptions) (token string, err error) {
	token, entry, err := access.NewToken(access.Token{Name: o.Name, Expires: o.Expires, Profiles: o.Profiles, Tools: o.Tools, Roles: o.Roles})
	if err != nil {
		return "", err
	}
	if err := access.AddToken(file, entry); err != nil {
		return "", err
	}
	return token, nil
}
