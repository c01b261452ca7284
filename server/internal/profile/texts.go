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
	texts []string // every one seen so far, so that what was replaced lately stays hidden; the longest first
	age   age
}

// Redact replaces the secrets of a profile, those of its login and of its WireGuard peers, in a text by "[redacted]". The files are read
// when they may have changed.
func (s *Store) Redact(id, text string) string {
	now := s.now()
	_, p, err := s.lookup(id, now)
	if err != nil {
		return text
	}
	s.redactors.mu.Lock()
	defer s.redactors.mu.Unlock()
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
	return r.redact(text)
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

func (s *Store) learn(r *redactor, p *Profile) {
	known := len(r.texts)
	refs := []secret.Ref{p.Auth}
	for _, peer := range p.VPN.Peers {
		refs = append(refs, peer.PrivateKeyRef, peer.PresharedKeyRef)
	}
	for _, ref := range refs {
		for _, v := range s.secrets.Texts(ref) {
			if text := v.Reveal(); !slices.Contains(r.texts, text) {
				r.texts = append(r.texts, text)
			}
		}
	}
	if len(r.texts) > known { // the longest first, so that no other cuts a piece out of it
		slices.SortFunc(r.texts, func(a, b string) int { return len(b) - len(a) })
	}
}
