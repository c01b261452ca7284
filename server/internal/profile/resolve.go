package profile

import (
	"context"
	"crypto/sha256"
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

// content is what the file said when it was last good, and what is wrong with it
// now.
type content struct {
	profile *Profile          // nil where it was never good, or is gone
	err     error             // nil, or fs.ErrNotExist, or the joined *Problem
	sum     [sha256.Size]byte // of the file that profile is from
	stamp   stamp
	young   bool      // the file may have changed without another stamp
	missed  time.Time // since when the file is not there
	age     age
}

func (c *content) get() (*Profile, error) {
	if c.profile != nil {
		return c.profile, nil
	}
	return nil, c.err
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
	turn       uint64    // of the store; counts for young files
	young      bool      // the files may have changed without another stamp
	problem    error     // why credential is the last good one
}

// fresh is the outcome of the last resolving. It is given out without a look at
// anything as long as its age holds.
type fresh struct {
	target *Target
	err    error
	login  *login
	age    age
}

// profile returns the content of the file.
func (e *entry) profile(now time.Time) (*Profile, error) { return e.look(now).get() }

// look reads the file anew where what is known of it no longer counts.
func (e *entry) look(now time.Time) *content {
	if c := e.content.Load(); c != nil && e.store.holds(c.age, now) {
		return c
	}
	e.reading.Lock()
	defer e.reading.Unlock()
	old := e.content.Load()
	if old == nil {
		old = &content{}
	}
	if e.store.holds(old.age, now) {
		return old
	}
	c := e.read(now, old)
	e.content.Store(c)
	e.report(old, c)
	return c
}

// replaceTime is for how long the file of a profile may be away after the last
// change to be seen, while an editor puts another in its place. It is only
// granted where changes are watched, and for a second at most.
const replaceTime = 100 * time.Millisecond

// replaceLook is how often it is looked for meanwhile: one that is replaced over
// and over is found, should the watch lag behind.
const replaceLook = replaceTime / 10

func (e *entry) read(now time.Time, old *content) *content {
	next := *old
	next.age = e.store.age(now)
	if e.rival != "" {
		next.stamp = stamp{}
		next.err = &Problem{File: e.file, Field: "id", Message: fmt.Sprintf("%s has the same id %q", e.rival, e.id), Remedy: "keep one of the two files"}
		return &next
	}
	st := e.store.stat(e.file)
	if errors.Is(st.err, fs.ErrNotExist) {
		return e.missing(now, &next, st)
	}
	next.missed = time.Time{}
	if st.same(old.stamp) && !old.young {
		return &next
	}
	e.store.count.reads.Add(1)
	d, st := loadFile(e.file, e.id, e.store.cfg.Validate)
	next.stamp, next.young = st, st.young(now)
	switch err := joined(d.problems); {
	case err != nil:
		next.err = err
	case d.sum == old.sum && old.profile != nil: // the pointer stays that of what was derived from it
		next.err = nil
	default:
		next.profile, next.sum, next.err = d.profile, d.sum, nil
	}
	return &next
}

func (e *entry) missing(now time.Time, next *content, st stamp) *content {
	if next.missed.IsZero() {
		next.missed = now
	}
	end := next.missed
	if last := time.Unix(0, e.store.watch.last.Load()); last.After(end) {
		end = last
	}
	if end = end.Add(replaceTime); end.After(next.missed.Add(statInterval)) {
		end = next.missed.Add(statInterval)
	}
	if next.profile != nil && e.store.watched.Load() && now.Before(end) {
		next.age = next.age.atMost(end).atMost(now.Add(replaceLook))
		return next
	}
	return &content{err: fs.ErrNotExist, stamp: st, age: next.age}
}

// report logs what a file's edit has done.
func (e *entry) report(old, now *content) {
	log := e.store.cfg.Logger
	was, is := text(old.err), text(now.err)
	switch {
	case errors.Is(now.err, fs.ErrNotExist):
		if old.profile != nil {
			log.Info("profile removed", "profile", e.id)
		}
	case is != "" && is != was && now.profile != nil:
		log.Warn("profile cannot be used as its file is now; the last good one stays", "profile", e.id, "problem", is)
	case is != "" && is != was:
		log.Warn("profile cannot be used", "profile", e.id, "problem", is)
	case is == "" && (now.profile != old.profile || was != ""):
		log.Info("profile read", "profile", e.id)
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// resolve is Resolve within a chain of jumps, which holds the ids that came before.
func (s *Store) resolve(ctx context.Context, id string, chain []string) (*fresh, error) {
	now := s.now()
	if f := s.fresh(id, now); f != nil {
		return f, f.err
	}
	if slices.Contains(chain, id) {
		return nil, errors.New("the jumps lead in a circle: " + strings.Join(append(chain, id), " → ") + ": remove one of them")
	}
	a := s.age(now)
	e, p, err := s.lookup(id, now)
	if err != nil {
		return nil, err
	}
	l, err := e.renew(ctx, p, now, a)
	var jump *fresh
	if err == nil && p.Jump != "" {
		jump, err = s.resolve(ctx, p.Jump, append(chain, id))
		err = jumpError(p, err)
	}
	if err != nil {
		if ctx.Err() == nil && len(chain) == 0 { // a circle is another one seen from elsewhere
			e.target.Store(&fresh{err: err, age: a.atMost(now.Add(statInterval))})
		}
		return nil, err
	}
	return e.publish(l, jump, a), nil
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
func (e *entry) publish(l *login, jump *fresh, a age) *fresh {
	if !l.expires.IsZero() {
		a = a.atMost(l.expires)
	}
	var through *Target
	if jump != nil {
		through, a = jump.target, a.atMost(jump.age.until)
	}
	old := e.target.Load()
	f := &fresh{login: l, age: a}
	if old != nil && old.login == l && old.target.Jump == through {
		f.target = old.target
	} else {
		f.target = l.target(through)
	}
	e.target.Store(f)
	return f
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
func (e *entry) renew(ctx context.Context, p *Profile, now time.Time, a age) (*login, error) {
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
		known = e.store.known.get(now, a)
	}
	if l := e.login; l != nil && l.profile == p && l.known == known && e.store.current(l, now, a) {
		return l, nil
	}
	l, err := e.store.newLogin(ctx, p, e.login, known, now, a)
	if err != nil {
		return nil, err
	}
	if was := e.login; l.problem != nil && (was == nil || text(was.problem) != text(l.problem)) {
		e.store.cfg.Logger.Warn("credential cannot be used as its file is now; the last good one stays", "profile", p.ID, "problem", l.problem.Error())
	}
	e.login = l
	return l, nil
}

func (s *Store) current(l *login, now time.Time, a age) bool {
	if !l.expires.IsZero() && !now.Before(l.expires) || l.young && l.turn != a.turn {
		return false
	}
	for i, file := range l.credential.Files {
		if !s.stat(file).same(l.stamps[i]) {
			return false
		}
	}
	return true
}

// newLogin reads the credential of a profile. One whose text an edit has broken
// counts as it was in the login before, last.
func (s *Store) newLogin(ctx context.Context, p *Profile, last *login, known *knownHosts, now time.Time, a age) (*login, error) {
	l := &login{profile: p, user: p.Username, known: known, turn: a.turn}
	var err error
	l.credential, err = s.secrets.Resolve(ctx, p.Auth)
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case errors.Is(err, secret.ErrUnreadable) && last != nil && last.profile.Auth == p.Auth:
		l.credential, l.problem = last.credential, err
	default:
		return nil, &CredentialError{Profile: p.ID, Err: err}
	}
	if l.user == "" {
		l.user = l.credential.Username
	}
	if l.user == "" {
		return nil, &CredentialError{Profile: p.ID, Err: errors.New("neither the profile nor its secret has a username: set one")}
	}
	if p.hostKey != nil {
		l.rule = pinned(p.Addr(), p.hostKey)
	} else {
		l.rule = known.rule(p.Addr())
	}
	s.watch.follow(l.credential.Files)
	s.date(l, now)
	return l, nil
}

// date sets until when the login holds.
func (s *Store) date(l *login, now time.Time) {
	if l.profile.Auth.Type != secret.TypeFile {
		l.expires = now.Add(s.cfg.CredentialTTL)
	}
	for _, file := range l.credential.Files {
		st := s.stat(file)
		l.stamps = append(l.stamps, st)
		if st.young(now) && l.profile.Auth.Type == secret.TypeFile {
			l.young, l.expires = true, now.Add(unsettled)
		}
	}
}
