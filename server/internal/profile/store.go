package profile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/secret"
)

// Store holds the profiles of a folder and follows its changes: a file that is
// added, changed or removed is noticed within about a second of being asked for.
// It is safe for concurrent use, starts nothing and holds nothing open.
type Store struct {
	cfg     Config
	secrets *secret.Resolver
	known   *hostKeyFiles
	now     func() time.Time
	stat    func(string) stamp

	redactors redactors

	mu      sync.RWMutex
	entries map[string]*entry
	dir     stamp // state of the folder that entries shows
	dirSeen time.Time
}

// Open loads the profiles. Its error joins one *Problem for each mistake in
// their files. Secrets and host keys are not looked at: one that is missing
// fails the Resolve of the profiles that need it, and no other.
func Open(cfg Config) (*Store, error) {
	if cfg.TTL == 0 {
		cfg.TTL = defaultTTL
	}
	s := &Store{cfg: cfg, secrets: cfg.resolver(), known: newHostKeyFiles(cfg.KnownHosts), now: time.Now, stat: stampFile}
	s.dir, s.dirSeen = s.stat(cfg.Dir), s.now()
	set := loadDir(cfg)
	if err := joined(set.problems); err != nil {
		return nil, err
	}
	s.entries = make(map[string]*entry, len(set.docs))
	for id, d := range set.docs {
		e := newEntry(s, id, d.file)
		e.content.Store(&content{profile: d.profile, stamp: set.stamps[id], seen: s.dirSeen})
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

// List returns the profiles sorted by id, without those whose file was broken
// after Open.
func (s *Store) List() []*Profile {
	now := s.now()
	s.rescan(now)
	s.mu.RLock()
	entries := make([]*entry, 0, len(s.entries))
	for _, e := range s.entries {
		entries = append(entries, e)
	}
	s.mu.RUnlock()
	profiles := make([]*Profile, 0, len(entries))
	for _, e := range entries {
		if p, err := e.profile(now); err == nil {
			profiles = append(profiles, p)
		}
	}
	slices.SortFunc(profiles, func(a, b *Profile) int { return strings.Compare(a.ID, b.ID) })
	return profiles
}

// Get returns a profile. The error matches ErrNotFound where none has the id,
// and joins its *Problem where its file was broken after Open.
func (s *Store) Get(id string) (*Profile, error) {
	_, p, err := s.lookup(id, s.now())
	return p, err
}

// Resolve returns the target of a profile: its address, credential, host key
// rule and jumps, all as the files are now or were a second ago. Errors are those
// of Get, a *CredentialError, a *Problem, or that of ctx. While one caller
// resolves anew, others may get the target as it was before.
func (s *Store) Resolve(ctx context.Context, id string) (*Target, error) {
	return s.resolve(ctx, id, nil)
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

// rescan brings the entries in line with the folder, if that changed. It looks
// at most once in statInterval.
func (s *Store) rescan(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Sub(s.dirSeen) < statInterval {
		return
	}
	dir := s.stat(s.cfg.Dir)
	if dir.same(s.dir) {
		s.dirSeen = now
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
		file := filepath.Join(s.cfg.Dir, f.Name())
		switch old, first := s.entries[id], entries[id]; {
		case first != nil:
			entries[id] = newEntry(s, id, first.file)
			entries[id].rival = file
		case old != nil && old.file == file && old.rival == "":
			entries[id] = old
		default:
			entries[id] = newEntry(s, id, file)
		}
	}
	s.entries, s.dir, s.dirSeen = entries, dir, now
}
