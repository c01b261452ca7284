package profile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/secret"
)

// entry caches what is known of one profile, in three steps that age apart: the
// content of its file, the login made of that and the credential, and the target
// made of the login and the jumps before it.
type entry struct {
	store *Store
	id    string
	file  string
	rival string // another file of the same id: neither counts

	reading sync.Mutex // held while content is renewed
	content atomic.Pointer[content]

	linking chan struct{} // holds one element while login is renewed
	login   *login

	target atomic.Pointer[fresh]
}

func newEntry(s *Store, id, file string) *entry {
	return &entry{store: s, id: id, file: file, linking: make(chan struct{}, 1)}
}

// content is what the file said when it was last read.
type content struct {
	profile *Profile
	err     error
	stamp   stamp
	seen    time.Time
}

// login is a profile with its credential and host key rule.
type login struct {
	profile    *Profile
	user       string
	credential *secret.Credential
	known      *knownHosts // that the rule was made from; nil with a pinned key
	rule       hostKeys
	stamps     []stamp   // of credential.Files
	expires    time.Time // zero is never
}

// fresh is the outcome of the last resolving. Until a moment it is given out
// without a look at anything.
type fresh struct {
	target *Target
	err    error
	login  *login
	until  time.Time
}

// profile returns the content of the file as it is now or was a second ago.
func (e *entry) profile(now time.Time) (*Profile, error) {
	if c := e.content.Load(); c != nil && now.Sub(c.seen) < statInterval {
		return c.profile, c.err
	}
	e.reading.Lock()
	defer e.reading.Unlock()
	c := e.content.Load()
	if c == nil || now.Sub(c.seen) >= statInterval {
		c = e.read(now, c)
		e.content.Store(c)
	}
	return c.profile, c.err
}

func (e *entry) read(now time.Time, old *content) *content {
	if e.rival != "" {
		return &content{seen: now, err: &Problem{File: e.file, Field: "id",
			Message: fmt.Sprintf("%s has the same id %q", e.rival, e.id), Remedy: "keep one of the two files"}}
	}
	st := e.store.stat(e.file)
	if old != nil && st.same(old.stamp) {
		return &content{profile: old.profile, err: old.err, stamp: st, seen: now}
	}
	if errors.Is(st.err, fs.ErrNotExist) {
		return &content{err: st.err, stamp: st, seen: now}
	}
	d, st := loadFile(e.file, e.id, e.store.cfg.Validate)
	if err := joined(d.problems); err != nil {
		return &content{err: err, stamp: st, seen: now}
	}
	return &content{profile: d.profile, stamp: st, seen: now}
}

// resolve is Resolve within a chain of jumps, which holds the ids that came before.
func (s *Store) resolve(ctx context.Context, id string, chain []string) (*Target, error) {
	now := s.now()
	if e := s.entry(id); e != nil {
		if f := e.target.Load(); f != nil && now.Before(f.until) {
			return f.target, f.err
		}
	}
	if slices.Contains(chain, id) {
		return nil, errors.New("the jumps lead in a circle: " + strings.Join(append(chain, id), " → ") + ": remove one of them")
	}
	e, p, err := s.lookup(id, now)
	if err != nil {
		return nil, err
	}
	l, err := e.renew(ctx, p, now)
	var jump *Target
	if err == nil && p.Jump != "" {
		jump, err = s.resolve(ctx, p.Jump, append(chain, id))
		err = jumpError(p, err)
	}
	if err != nil {
		if ctx.Err() == nil && len(chain) == 0 { // a circle is another one seen from elsewhere
			e.target.Store(&fresh{err: err, until: now.Add(statInterval)})
		}
		return nil, err
	}
	return e.publish(l, jump, now), nil
}

// jumpError names the profile whose jump failed. That the jump's profile is
// missing does not make this one so.
func jumpError(p *Profile, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrNotFound):
		return fmt.Errorf("profile %s: jump: %v", p.ID, err)
	}
	return fmt.Errorf("profile %s: jump: %w", p.ID, err)
}

// publish makes the target, or keeps the one there is where nothing changed.
func (e *entry) publish(l *login, jump *Target, now time.Time) *Target {
	old := e.target.Load()
	f := &fresh{login: l, until: now.Add(statInterval)}
	if old != nil && old.login == l && old.target.Jump == jump {
		f.target = old.target
	} else {
		f.target = l.target(jump)
	}
	e.target.Store(f)
	return f.target
}

func (l *login) target(jump *Target) *Target {
	through := ""
	if jump != nil {
		through = jump.Key
	}
	addr := l.profile.Addr()
	vpn := l.profile.viaName()
	return &Target{
		Profile:           l.profile,
		Addr:              addr,
		User:              l.user,
		Key:               l.user + "@" + addr + " " + fingerprintOf(l.credential.Fingerprint(), l.rule.identity, through, vpn),
		Jump:              jump,
		VPN:               vpn,
		Auth:              l.credential.AuthMethods(),
		HostKeyCallback:   ssh.HostKeyCallback(l.rule.callback),
		HostKeyAlgorithms: l.rule.algorithms,
	}
}

// renew returns the login of a profile, made anew where anything it was made of
// changed. While another caller is at that, the login before will do, so that a
// slow agent holds up nobody but the first.
func (e *entry) renew(ctx context.Context, p *Profile, now time.Time) (*login, error) {
	select {
	case e.linking <- struct{}{}:
	default:
		if f := e.target.Load(); f != nil && f.login != nil && f.login.profile == p {
			return f.login, nil
		}
		select {
		case e.linking <- struct{}{}:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	defer func() { <-e.linking }()
	var known *knownHosts
	if p.hostKey == nil {
		known = e.store.known.get(now)
	}
	if l := e.login; l != nil && l.profile == p && l.known == known && e.store.current(l, now) {
		return l, nil
	}
	l, err := e.store.newLogin(ctx, p, known, now)
	if err != nil {
		return nil, err
	}
	e.login = l
	return l, nil
}

func (s *Store) current(l *login, now time.Time) bool {
	if !l.expires.IsZero() && !now.Before(l.expires) {
		return false
	}
	for i, file := range l.credential.Files {
		if !s.stat(file).same(l.stamps[i]) {
			return false
		}
	}
	return true
}

func (s *Store) newLogin(ctx context.Context, p *Profile, known *knownHosts, now time.Time) (*login, error) {
	credential, err := s.secrets.Resolve(ctx, p.Auth)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, &CredentialError{Profile: p.ID, Err: err}
	}
	l := &login{profile: p, user: p.Username, credential: credential, known: known}
	if l.user == "" {
		l.user = credential.Username
	}
	if l.user == "" {
		return nil, &CredentialError{Profile: p.ID, Err: errors.New("neither the profile nor its secret has a username: set one")}
	}
	if p.hostKey != nil {
		l.rule = pinned(p.Addr(), p.hostKey)
	} else {
		l.rule = known.rule(p.Addr())
	}
	s.date(l, now)
	return l, nil
}

// unsettled is how young a file is whose change may have been missed between
// reading it and looking at its time.
const unsettled = 2 * time.Second

// date sets until when the login holds.
func (s *Store) date(l *login, now time.Time) {
	if l.profile.Auth.Type != secret.TypeFile {
		l.expires = now.Add(s.cfg.TTL)
	}
	for _, file := range l.credential.Files {
		st := s.stat(file)
		l.stamps = append(l.stamps, st)
		if st.err == nil && now.Sub(st.info.ModTime()).Abs() < unsettled && l.profile.Auth.Type == secret.TypeFile {
			l.expires = now.Add(unsettled)
		}
	}
}
