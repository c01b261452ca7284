package access

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/time/rate"
)

// JWT says which JSON Web Tokens are let in. Issuer, Audience and Keys must all be given, or none.
type JWT struct {
	Issuer   string // whose tokens are good: the iss claim in full
	Audience string // this endpoint's name there: an aud claim
	Keys     string // URL (https, or http on loopback) or file of the issuer's key set
	Scope    string // that the scope claim must have; none
	Resource string // URL of this endpoint as its clients know it; Audience where that is a URL
}

// Check says what is missing or cannot be.
func (j *JWT) Check() error {
	if *j == (JWT{}) {
		return nil
	}
	for _, f := range []struct{ key, value string }{{"jwt_issuer", j.Issuer}, {"jwt_audience", j.Audience}, {"jwt_keys", j.Keys}} {
		if f.value == "" {
			return fmt.Errorf("%s: is missing: jwt_issuer, jwt_audience and jwt_keys are needed together", f.key)
		}
	}
	if strings.HasPrefix(j.Keys, "http") {
		u, err := url.Parse(j.Keys)
		if err != nil || u.Scheme != "https" && !(u.Scheme == "http" && isLoopback(u.Hostname())) {
			return fmt.Errorf("jwt_keys: %q is neither an https URL nor one of loopback", j.Keys)
		}
	}
	return nil
}

// methods are the signatures that are taken: none with a shared secret, and not none.
var methods = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}

// leeway is how far the issuer's clock may be off.
const leeway = 30 * time.Second

// verifier verifies JWTs of one issuer.
type verifier struct {
	cfg    JWT
	parser *jwt.Parser
	keys   jwt.Keyfunc
	cancel context.CancelFunc
}

func newVerifier(cfg JWT, logger *slog.Logger) (*verifier, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	keys, err := openKeys(ctx, cfg.Keys, logger)
	if err != nil {
		cancel()
		return nil, fmt.Errorf("jwt_keys: %s: %w", cfg.Keys, err)
	}
	return &verifier{cfg: cfg, keys: keys.Keyfunc, cancel: cancel, parser: jwt.NewParser(
		jwt.WithValidMethods(methods), jwt.WithIssuer(cfg.Issuer), jwt.WithAudience(cfg.Audience), jwt.WithExpirationRequired(),
		jwt.WithLeeway(leeway), jwt.WithIssuedAt(),
	)}, nil
}

// How keys are fetched: a token that names an unknown one has them fetched, once a minute at most; others that do meanwhile are refused at once.
const (
	fetchTimeout  = 10 * time.Second
	fetchInterval = 15 * time.Minute
)

// openKeys reads a key set from a file, or fetches it again and again from a URL, also when a token names a key that is not in it. Where the first
// fetch fails, the log says so, and no token is good until another does not.
func openKeys(ctx context.Context, place string, logger *slog.Logger) (keyfunc.Keyfunc, error) {
	if !strings.HasPrefix(place, "http") {
		data, err := os.ReadFile(place)
		if err != nil {
			return nil, bare(err)
		}
		return keyfunc.NewJWKSetJSON(data)
	}
	storage, err := jwkset.NewStorageFromHTTP(place, jwkset.HTTPClientStorageOptions{
		Client: &http.Client{Timeout: fetchTimeout, Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true}},
		Ctx:    ctx, NoErrorReturnFirstHTTPReq: true, RefreshInterval: fetchInterval,
		RefreshErrorHandler: func(_ context.Context, err error) {
			logger.Warn("the keys of JWTs cannot be fetched", "url", place, "error", err)
		},
	})
	if err != nil {
		return nil, err
	}
	client, err := jwkset.NewHTTPClient(jwkset.HTTPClientOptions{
		HTTPURLs: map[string]jwkset.Storage{place: storage}, RateLimitWaitMax: fetchTimeout, RefreshUnknownKID: rate.NewLimiter(rate.Every(time.Minute), 1),
	})
	if err != nil {
		return nil, err
	}
	return keyfunc.New(keyfunc.Options{Ctx: ctx, Storage: client})
}

func (v *verifier) close() { v.cancel() }

// claims are what of a token counts. Lists may also be one text, its items separated by blanks.
type claims struct {
	jwt.RegisteredClaims
	Scope    list `json:"scope"`
	Roles    list `json:"roles"`
	Profiles list `json:"openaccess_profiles"`
	Tools    list `json:"openaccess_tools"`
}

type list []string

func (l *list) UnmarshalJSON(data []byte) error {
	var text string
	if json.Unmarshal(data, &text) == nil {
		*l = strings.Fields(text)
		return nil
	}
	return json.Unmarshal(data, (*[]string)(l))
}

func (v *verifier) verify(token string) (*Identity, *refusal) {
	var c claims
	_, err := v.parser.ParseWithClaims(token, &c, v.keys)
	switch {
	case errors.Is(err, jwt.ErrTokenExpired):
		return nil, invalid("the token has expired")
	case errors.Is(err, jwt.ErrTokenInvalidIssuer), errors.Is(err, jwt.ErrTokenInvalidAudience):
		return nil, invalid("the token is of another issuer or for another audience")
	case err != nil:
		return nil, invalid("the token cannot be verified")
	case c.Subject == "" || len(c.Subject) > 256:
		return nil, invalid("the token names no subject")
	case v.cfg.Scope != "" && !slices.Contains(c.Scope, v.cfg.Scope):
		return nil, &refusal{http.StatusForbidden, "insufficient_scope", "the token lacks the scope " + v.cfg.Scope}
	case emptyClaim(c.Profiles) || emptyClaim(c.Tools):
		return nil, invalid("the token is for no profile or no tool")
	}
	return &Identity{Actor: "jwt:" + c.Subject, Roles: c.Roles, Profiles: c.Profiles, Tools: c.Tools}, nil
}

// emptyClaim tells a claim that admits nothing from one that is not there.
func emptyClaim(l list) bool { return l != nil && len(l) == 0 }

// metadataPath is where RFC 9728 has clients look for the authorization server, with the endpoint's path behind it or not.
const metadataPath = "/.well-known/oauth-protected-resource"

func (v *verifier) resource() string {
	if v.cfg.Resource != "" {
		return v.cfg.Resource
	}
	if u, err := url.Parse(v.cfg.Audience); err == nil && (u.Scheme == "https" || u.Scheme == "http") {
		return v.cfg.Audience
	}
	return ""
}

// challenge names the metadata, where the endpoint knows its own URL, and the scope.
func (v *verifier) challenge() (parameters string) {
	if v.cfg.Scope != "" {
		parameters = `, scope="` + v.cfg.Scope + `"`
	}
	u, err := url.Parse(v.resource())
	if err != nil || u.Host == "" {
		return parameters
	}
	return parameters + `, resource_metadata="` + u.Scheme + "://" + u.Host + metadataPath + strings.TrimSuffix(u.EscapedPath(), "/") + `"`
}

func (v *verifier) serveMetadata(w http.ResponseWriter, r *http.Request) {
	resource := v.resource()
	u, err := url.Parse(resource)
	if rest := strings.TrimPrefix(r.URL.Path, metadataPath); err != nil || resource == "" || rest != "" && rest != strings.TrimSuffix(u.Path, "/") {
		http.NotFound(w, r)
		return
	}
	if r.Method != http.MethodGet {
		w.Header().Set("Allow", http.MethodGet)
		http.Error(w, "only GET", http.StatusMethodNotAllowed)
		return
	}
	doc := map[string]any{
		"resource": resource, "authorization_servers": []string{v.cfg.Issuer}, "bearer_methods_supported": []string{"header"}, "resource_name": "OpenAccess MCP",
	}
	if v.cfg.Scope != "" {
		doc["scopes_supported"] = []string{v.cfg.Scope}
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "max-age=300")
	_ = json.NewEncoder(w).Encode(doc)
}
