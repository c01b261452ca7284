package profile

import (
	"slices"
	"strings"
	"sync"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/secret"
)

// redactors keeps what Redact needs. The zero value is ready.
type redactors struct {
	mu  sync.Mutex
	all map[string]*redactor // by profile
}

type redactor struct {
	texts  []string // every one seen so far, so that what was replaced lately stays hidden; the longest first
	stream *secret.Redactor
	age    age
}

// Redact replaces the secrets of a profile, those of its login, of its WireGuard peers and of the profiles on the way to it, in a text by
// "[redacted]". The files are read when they may have changed.
func (s *Store) Redact(id, text string) string {
	r := s.redactor(id)
	if r == nil {
		return text
	}
	defer s.redactors.mu.Unlock()
	return r.redact(text)
}

// Redactor takes the same secrets out of what comes from the profile's host, but for those too short to be told from other text. It is nil where
// there are none.
func (s *Store) Redactor(id string) *secret.Redactor {
	r := s.redactor(id)
	if r == nil {
		return nil
	}
	defer s.redactors.mu.Unlock()
	return r.stream
}

// redactor finds what Redact needs, and leaves s.redactors.mu locked; nil, with nothing locked, where there is no such profile.
func (s *Store) redactor(id string) *redactor {
	now := s.now()
	_, p, err := s.lookup(id, now)
	if err != nil {
		return nil
	}
	s.redactors.mu.Lock()
	r := s.redactors.all[id]
	if r == nil {
		r = &redactor{}
		if s.redactors.all == nil {
			s.redactors.all = map[string]*redactor{}
		}
		s.redactors.all[id] = r
	}
	if !s.holds(r.age, now) {
		r.age = s.age(now)
		s.learn(r, p)
	}
	return r
}

// redact makes what it needs when a secret is there, which is seldom: kept for each profile, it would take more memory than its connection.
func (r *redactor) redact(text string) string {
	if !slices.ContainsFunc(r.texts, func(secret string) bool { return strings.Contains(text, secret) }) {
		return text
	}
	pairs := make([]string, 0, 2*len(r.texts))
	for _, secret := range r.texts {
		pairs = append(pairs, secret, "[redacted]")
	}
	return strings.NewReplacer(pairs...).Replace(text)
}

// maxWay bounds the profiles on the way to one; longer ways are refused elsewhere.
const maxWay = 16

// learn adds the secrets that p's files hold now.
func (s *Store) learn(r *redactor, p *Profile) {
	known := len(r.texts)
	for _, ref := range s.refs(p, maxWay) {
		for _, v := range s.secrets.Texts(ref) {
			if text := v.Reveal(); !slices.Contains(r.texts, text) {
				r.texts = append(r.texts, text)
			}
		}
	}
	if len(r.texts) > known { // the longest first, so that no other cuts a piece out of it
		slices.SortFunc(r.texts, func(a, b string) int { return len(b) - len(a) })
		r.stream = secret.NewRedactor(secret.Patterns(r.texts))
	}
}

// refs are the references to secrets of p and of those on the way to it.
func (s *Store) refs(p *Profile, way int) []secret.Ref {
	refs := []secret.Ref{p.Auth}
	for _, peer := range p.VPN.Peers {
		refs = append(refs, peer.PrivateKeyRef, peer.PresharedKeyRef)
	}
	peerOf, _, other := strings.Cut(p.ViaVPN, "/")
	if !other {
		peerOf = ""
	}
	for _, id := range []string{p.Jump, peerOf} {
		if id == "" || way == 0 {
			continue
		}
		if _, next, err := s.lookup(id, s.now()); err == nil {
			refs = append(refs, s.refs(next, way-1)...)
		}
	}
	return refs
}
