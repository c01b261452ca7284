package profile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/secret"
)

// Store holds the profiles of a folder and follows its changes. While Watch runs,
// a file that is added, changed or removed counts at once; else that is noticed
// within about a second of being asked for. A file that is broken by an edit
// leaves its last good content in place, which Problems and the log tell.
//
// It is safe for concurrent use, starts nothing and, but for Watch, holds nothing
// open.
type Store struct {
	cfg     Config
	secrets *secret.Resolver
	known   *hostKeyFiles
	now     func() time.Time
	stat    func(string) stamp

	redactors redactors

	ttl     atomic.Int64  // nanoseconds
	turn    atomic.Uint64 // moves on when any file may have changed
	watched atomic.Bool   // every change moves turn
	watch   watching
	count   counters

	mu      sync.RWMutex
	entries map[string]*entry
	dir     stamp // state of the folder that entries shows
	dirAge  age
}

type counters struct{ hits, misses, reads atomic.Int64 }

// Open loads the profiles. Its error joins one *Problem for each mistake in
// their files. Secrets and host keys are not looked at: one that is missing
// fails the Resolve of the profiles that need it, and no other.
func Open(cfg Config) (*Store, error) {
	if cfg.CredentialTTL == 0 {
		cfg.CredentialTTL = defaultCredentialTTL
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Store{cfg: cfg, secrets: cfg.resolver(), known: newHostKeyFiles(cfg.KnownHosts, cfg.Logger), now: time.Now, stat: stampFile}
	s.watch.turn = make(chan struct{}, 1)
	s.SetTTL(cfg.TTL)
	now := s.now()
	s.dir, s.dirAge = s.stat(cfg.Dir), s.age(now)
	set := loadDir(cfg)
	if err := joined(set.problems); err != nil {
		return nil, err
	}
	s.entries = make(map[string]*entry, len(set.docs))
	for id, d := range set.docs {
		e := newEntry(s, id, d.file)
		e.content.Store(&content{profile: d.profile, sum: d.sum, stamp: set.stamps[id], young: set.stamps[id].young(now), age: s.dirAge})
		s.entries[id] = e
	}
	return s, nil
}

func joined(problems []*Problem) error {
	errs := make([]error, len(problems))
	for i, p := range problems {
		errs[i] = p
	}
	return errors.Join(errs...)
}

// SetTTL sets how long profiles are given out without a look at their files, if
// none of them is seen to change; 0 means 60 s. It counts at once.
func (s *Store) SetTTL(d time.Duration) {
	if d <= 0 {
		d = defaultTTL
	}
	s.ttl.Store(int64(d))
	s.changed()
}

// List returns the profiles sorted by id, without those whose file was never
// good.
func (s *Store) List() []*Profile {
	now := s.now()
	s.rescan(now)
	entries := s.all()
	profiles := make([]*Profile, 0, len(entries))
	for _, e := range entries {
		if p, err := e.profile(now); err == nil {
			profiles = append(profiles, p)
		}
	}
	return profiles
}

// all lists the entries sorted by id.
func (s *Store) all() []*entry {
	s.mu.RLock()
	entries := slices.Collect(maps.Values(s.entries))
	s.mu.RUnlock()
	slices.SortFunc(entries, func(a, b *entry) int { return strings.Compare(a.id, b.id) })
	return entries
}

// Get returns a profile: its last good content where its file was broken by an
// edit. The error matches ErrNotFound where none has the id, and joins its
// *Problem where the file was never good.
func (s *Store) Get(id string) (*Profile, error) {
	now := s.now()
	if e := s.entry(id); e != nil {
		if c := e.content.Load(); c != nil && s.holds(c.age, now) && c.profile != nil {
			s.count.hits.Add(1)
			return c.profile, nil
		}
	}
	s.count.misses.Add(1)
	_, p, err := s.lookup(id, now)
	return p, err
}

// Resolve returns the target of a profile: its address, credential, host key
// rule and jumps, all as the files are now or, without Watch, were a second ago.
// What an edit broke counts as it was before. Errors are those of Get, a
// *CredentialError, a *Problem, or that of ctx. While one caller resolves anew,
// others may get the target as it was before.
func (s *Store) Resolve(ctx context.Context, id string) (*Target, error) {
	now := s.now()
	if f := s.fresh(id, now); f != nil {
		s.count.hits.Add(1)
		return f.target, f.err
	}
	s.count.misses.Add(1)
	f, err := s.resolve(ctx, id, nil)
	if err != nil {
		return nil, err
	}
	return f.target, nil
}

// fresh is the outcome of the last resolving, or nil where that no longer counts.
func (s *Store) fresh(id string, now time.Time) *fresh {
	if e := s.entry(id); e != nil {
		if f := e.target.Load(); f != nil && s.holds(f.age, now) {
			return f
		}
	}
	return nil
}

// lookup finds the entry of an id and its current profile.
func (s *Store) lookup(id string, now time.Time) (*entry, *Profile, error) {
	e := s.entry(id)
	if e != nil {
		p, err := e.profile(now)
		if !errors.Is(err, fs.ErrNotExist) {
			return e, p, err
		}
	}
	s.rescan(now)
	again := s.entry(id)
	if again == nil || again == e {
		return nil, nil, s.notFound(id)
	}
	p, err := again.profile(now)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, s.notFound(id)
	}
	return again, p, err
}

func (s *Store) entry(id string) *entry {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.entries[id]
}

func (s *Store) notFound(id string) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	ids := make([]string, 0, len(s.entries))
	for known := range s.entries {
		if known != id {
			ids = append(ids, known)
		}
	}
	slices.Sort(ids)
	if near := nearest(id, ids); near != "" {
		return fmt.Errorf("%w: %q: did you mean %q?", ErrNotFound, id, near)
	}
	return fmt.Errorf("%w: %q", ErrNotFound, id)
}

// rescan brings the entries in line with the folder, if that changed.
func (s *Store) rescan(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.holds(s.dirAge, now) {
		return
	}
	a := s.age(now)
	dir := s.stat(s.cfg.Dir)
	if dir.same(s.dir) && !dir.young(now) {
		s.dirAge = a
		return
	}
	files, err := os.ReadDir(s.cfg.Dir)
	if err != nil {
		return // keep what is known; files that are gone say so themselves
	}
	entries := make(map[string]*entry, len(files))
	for _, f := range files {
		id, ok := profileID(f.Name())
		if !ok || f.IsDir() {
			continue
		}
		s.place(entries, id, filepath.Join(s.cfg.Dir, f.Name()))
	}
	for id, old := range s.entries {
		if entries[id] != nil || old.rival != "" {
			continue
		}
		if c := old.look(now); c.profile != nil { // an editor may be replacing the file
			entries[id], dir, a = old, stamp{}, a.atMost(c.age.until)
		}
	}
	s.entries, s.dir, s.dirAge = entries, dir, a
}

// place enters a file, with what is known of its profile; s.mu is held.
func (s *Store) place(entries map[string]*entry, id, file string) {
	old := s.entries[id]
	e := newEntry(s, id, file)
	switch first := entries[id]; {
	case first != nil:
		e.file, e.rival = first.file, file
	case old != nil && old.file == file && old.rival == "":
		entries[id] = old
		return
	}
	if old != nil && old.rival != "" && old.rival == e.rival && old.file == e.file {
		e = old
	} else if old != nil {
		if c := old.content.Load(); c != nil && c.profile != nil {
			e.content.Store(&content{profile: c.profile, sum: c.sum}) // counts until the file was read
		}
	}
	entries[id] = e
}
