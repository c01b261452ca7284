// Package access decides who may speak to an HTTP endpoint, before anything reads what they say: requests from web pages are turned away, tokens are
// looked up and JWTs verified, and callers that come too often are told to wait.
//
// Start with Open and Guard.Wrap. An Identity that a request has proved to have is in its context, see From. Tokens are in tokens.go, JWTs in jwt.go,
// what an endpoint needs before it may listen on more than loopback in listen.go, and how many connections may wait for their first request in crowd.go.
package access

import (
	"context"
	"log/slog"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/loopback"
)

// Config says whom a Guard lets in. Its zero value lets in this machine's processes, without asking who they are.
type Config struct {
	Tokens string // file of tokens; none
	JWT    JWT

	Hosts   []string // names, besides those of loopback, that requests may be for
	Origins []string // of the web pages, besides those of loopback, that may speak here: https://app.example.com
	Rate    float64  // requests a second of each caller, twice as many at once; 0 sets no bound

	Logger *slog.Logger // nil discards
}

// Authenticated says whether callers must prove who they are.
func (c *Config) Authenticated() bool { return c.Tokens != "" || c.JWT.Issuer != "" }

// Identity is who a caller has proved to be, and what that one may do.
type Identity struct {
	Actor    string   // token:NAME or jwt:SUBJECT
	Roles    []string // as profiles' policies name them
	Profiles []string // ids, or patterns such as web-*; empty is all
	Tools    []string // operations such as ssh.exec or ssh_exec, or patterns; empty is all
}

// AdmitsProfile says whether the identity is for a profile. A nil identity is for all.
func (id *Identity) AdmitsProfile(profile string) bool {
	return id == nil || len(id.Profiles) == 0 || slices.ContainsFunc(id.Profiles, func(p string) bool { return matches(p, profile) })
}

// AdmitsTool says whether the identity is for a dotted operation. A nil identity is for all.
func (id *Identity) AdmitsTool(operation string) bool {
	return id == nil || len(id.Tools) == 0 || slices.ContainsFunc(id.Tools, func(p string) bool {
		return matches(strings.ReplaceAll(p, "_", "."), strings.ReplaceAll(operation, "_", "."))
	})
}

func matches(pattern, name string) bool {
	ok, err := path.Match(pattern, name)
	return ok && err == nil
}

type key struct{}

// With puts an identity into a context.
func With(ctx context.Context, id *Identity) context.Context {
	return context.WithValue(ctx, key{}, id)
}

// From is the identity of a request's context; nil where callers need none.
func From(ctx context.Context) *Identity {
	id, _ := ctx.Value(key{}).(*Identity)
	return id
}

// Guard stands before an HTTP endpoint. It is safe for concurrent use. Close ends it.
type Guard struct {
	cfg    Config
	tokens *tokenFile // nil where there are none
	jwt    *verifier  // likewise
	rates  *lru.Cache[string, *rate.Limiter]
}

// callersRated is how many callers' rates are remembered: those who came last.
const callersRated = 10_000

// Open reads the tokens and the keys of JWTs. Its error names what cannot be used.
func Open(cfg Config) (*Guard, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	g := &Guard{cfg: cfg}
	g.rates, _ = lru.New[string, *rate.Limiter](callersRated) // fails for sizes below 1 only
	var err error
	if cfg.Tokens != "" {
		if g.tokens, err = openTokens(cfg.Tokens, cfg.Logger); err != nil {
			return nil, err
		}
	}
	if cfg.JWT.Issuer != "" {
		if g.jwt, err = newVerifier(cfg.JWT, cfg.Logger); err != nil {
			return nil, err
		}
	}
	return g, nil
}

// Close ends what fetches keys. A nil Guard has nothing to end.
func (g *Guard) Close() {
	if g != nil && g.jwt != nil {
		g.jwt.close()
	}
}

// open are paths that tell nothing but how the server is: load balancers ask for them without a token.
var open = []string{"/healthz", "/readyz"}

// Wrap gives requests that may be served to next, with the caller's identity in their context.
func (g *Guard) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if why := loopback.ForeignTo(r, g.cfg.Hosts, g.cfg.Origins); why != "" {
			w.Header().Set("Connection", "close")
			http.Error(w, why, http.StatusForbidden)
			return
		}
		switch {
		case g.jwt != nil && strings.HasPrefix(r.URL.Path, metadataPath):
			unread(w, r)
			g.jwt.serveMetadata(w, r)
			return
		case !g.cfg.Authenticated():
			letIn(r)
			next.ServeHTTP(w, r)
			return
		case slices.Contains(open, r.URL.Path):
			unread(w, r)
			next.ServeHTTP(w, r)
			return
		}
		id, refused := g.authenticate(r)
		if refused != nil {
			g.challenge(w, refused)
			return
		}
		letIn(r)
		if wait := g.wait(id.Actor); wait > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(int(wait/time.Second)+1))
			http.Error(w, "too many requests: see Retry-After", http.StatusTooManyRequests)
			return
		}
		next.ServeHTTP(w, r.WithContext(With(r.Context(), id)))
	})
}

// unread has the connection closed behind an answer to who need not be let in, should there be a body: nobody waits for that.
func unread(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength != 0 {
		w.Header().Set("Connection", "close")
	}
}

// refusal is why a caller is not let in, as RFC 6750 has it.
type refusal struct {
	status  int
	code    string // error of the challenge; empty where no token came at all
	message string
}

func invalid(message string) *refusal {
	return &refusal{http.StatusUnauthorized, "invalid_token", message}
}

func (g *Guard) authenticate(r *http.Request) (*Identity, *refusal) {
	given := r.Header.Values("Authorization")
	if len(given) == 0 {
		return nil, &refusal{http.StatusUnauthorized, "", "a bearer token is needed: Authorization: Bearer TOKEN"}
	}
	scheme, token, _ := strings.Cut(given[0], " ")
	if len(given) > 1 || !strings.EqualFold(scheme, "bearer") || token == "" {
		return nil, &refusal{http.StatusUnauthorized, "invalid_request", "the header Authorization must be one bearer token: Authorization: Bearer TOKEN"}
	}
	if g.tokens != nil {
		if id, refused := g.tokens.find(token, time.Now()); id != nil || refused != nil {
			return id, refused
		}
	}
	if g.jwt != nil && strings.Count(token, ".") == 2 {
		return g.jwt.verify(token)
	}
	return nil, invalid("the token is not known here")
}

// challenge turns a caller away and closes the connection, so that those who are not let in hold none.
func (g *Guard) challenge(w http.ResponseWriter, no *refusal) {
	c := `Bearer realm="openaccess-mcp"`
	if no.code != "" {
		c += `, error="` + no.code + `", error_description="` + strings.ReplaceAll(no.message, `"`, "'") + `"`
	}
	if g.jwt != nil {
		c += g.jwt.challenge()
	}
	w.Header().Set("WWW-Authenticate", c)
	w.Header().Set("Connection", "close")
	http.Error(w, no.message, no.status)
}

// wait is how long the caller should stay away; 0 lets the request through.
func (g *Guard) wait(actor string) time.Duration {
	if g.cfg.Rate == 0 {
		return 0
	}
	l, ok := g.rates.Get(actor)
	if !ok {
		l = rate.NewLimiter(rate.Limit(g.cfg.Rate), max(1, int(2*g.cfg.Rate)))
		if before, found, _ := g.rates.PeekOrAdd(actor, l); found {
			l = before
		}
	}
	r := l.Reserve()
	wait := r.Delay()
	if wait > 0 {
		r.Cancel()
	}
	return wait
}
