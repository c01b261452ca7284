package profile

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/secret"
)

// settleTime is how long after the last change all files are read, calls or no
// calls, so that what an edit broke is told at once.
const settleTime = replaceTime

// watching is the part of a Store that follows its files.
type watching struct {
	turn chan struct{} // holds one element while a Watch runs
	last atomic.Int64  // Unix nanoseconds of the last change seen

	mu sync.Mutex
	on *watcher // nil while nothing is watched
}

// follow has the folders of these files watched as well, in a moment.
func (w *watching) follow(files []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.on == nil {
		return
	}
	known := len(w.on.wanted)
	for _, file := range files {
		w.on.want(file)
	}
	if len(w.on.wanted) > known {
		w.on.again()
	}
}

// watcher is one Watch at work. The mutex of watching guards what is below look.
type watcher struct {
	store  *Store
	notify *fsnotify.Watcher
	look   chan struct{} // the watched folders are to be looked over

	files  map[string]bool        // of interest, besides what is a profile or secret by its name
	wanted map[string]bool        // folders
	dirs   map[string]fs.FileInfo // those watched, as they were when that began
	failed string                 // why not all are, as last logged
}

// Watch follows the files until ctx ends: a change counts at once, and what has
// not changed is looked at once in TTL. Where the system cannot watch them, which
// the log tells, files are looked at each second, as without Watch. One Watch
// runs at a time; a further one waits for its turn.
func (s *Store) Watch(ctx context.Context) {
	select {
	case s.watch.turn <- struct{}{}:
	case <-ctx.Done():
		return
	}
	defer func() { <-s.watch.turn }()
	notify, err := fsnotify.NewWatcher()
	if err != nil {
		s.cfg.Logger.Warn("profiles and secrets cannot be watched; they are looked at each second", "error", err)
		return
	}
	w := &watcher{
		store: s, notify: notify, look: make(chan struct{}, 1),
		files: map[string]bool{}, wanted: map[string]bool{}, dirs: map[string]fs.FileInfo{},
	}
	s.watch.mu.Lock()
	s.watch.on = w
	w.gather()
	w.sync()
	s.watch.mu.Unlock()
	defer s.unwatch()
	var errs sync.WaitGroup
	errs.Go(func() { // apart from run, which must not be waited for while it adds a folder
		for range notify.Errors {
			s.changed() // something may have been missed
			w.again()
		}
	})
	defer errs.Wait()
	defer notify.Close()
	w.run(ctx)
}

func (w *watcher) again() {
	select {
	case w.look <- struct{}{}:
	default:
	}
}

func (s *Store) unwatch() {
	s.watch.mu.Lock()
	defer s.watch.mu.Unlock()
	s.watch.on = nil
	s.watched.Store(false)
	s.changed()
}

func (w *watcher) run(ctx context.Context) {
	tick := time.NewTicker(statInterval)
	defer tick.Stop()
	settled := time.NewTimer(settleTime)
	defer settled.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case ev, ok := <-w.notify.Events:
			if !ok {
				return
			}
			if w.heed(ev) {
				w.store.watch.last.Store(w.store.now().UnixNano())
				w.store.changed()
				settled.Reset(settleTime)
			}
		case <-w.look:
			w.lookAround(false)
			settled.Reset(settleTime)
		case <-settled.C:
			w.lookAround(true)
			w.store.renewAll(ctx)
		case <-tick.C:
			if w.lookAround(false) {
				settled.Reset(settleTime)
			}
		}
	}
}

// heed reports whether an event may be of a file that counts. Folders may hold
// files that are written all the time.
func (w *watcher) heed(ev fsnotify.Event) bool {
	w.store.watch.mu.Lock()
	defer w.store.watch.mu.Unlock()
	if ev.Has(fsnotify.Remove) || ev.Has(fsnotify.Rename) {
		delete(w.dirs, ev.Name) // where it was a folder, it is watched no more
		return true
	}
	_, named := profileID(filepath.Base(ev.Name))
	return ev.Has(fsnotify.Create) || named || w.files[ev.Name]
}

// lookAround watches folders that have come or were replaced, and reports
// whether there were any. Links are followed anew where all is set.
func (w *watcher) lookAround(all bool) (changed bool) {
	w.store.watch.mu.Lock()
	defer w.store.watch.mu.Unlock()
	if all {
		w.gather()
	}
	return w.sync()
}

// gather collects the folders to watch.
func (w *watcher) gather() {
	for _, dir := range []string{w.store.cfg.Dir, w.store.secrets.Dir} {
		if dir == "" {
			continue
		}
		w.wanted[filepath.Clean(dir)] = true
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			if e.Type()&fs.ModeSymlink != 0 {
				w.want(filepath.Join(dir, e.Name()))
			}
		}
	}
	for _, file := range w.store.known.files {
		w.want(file)
	}
}

// want adds the folder of a file, and that of what it links to.
func (w *watcher) want(file string) {
	add := func(file string) {
		w.files[filepath.Clean(file)], w.wanted[filepath.Dir(file)] = true, true
	}
	add(file)
	if target, err := filepath.EvalSymlinks(file); err == nil && target != file {
		add(target)
	}
}

// sync watches the wanted folders and reports whether it began with any. One
// that is not there yet is looked for again.
func (w *watcher) sync() (began bool) {
	var failed error
	for dir := range w.wanted {
		info, err := os.Stat(dir)
		old := w.dirs[dir]
		if err == nil && old != nil && os.SameFile(old, info) {
			continue
		}
		if old != nil {
			_ = w.notify.Remove(dir)
			delete(w.dirs, dir)
			began = true
		}
		if err == nil {
			err = w.notify.Add(dir)
		}
		switch {
		case err == nil:
			w.dirs[dir], began = info, true
		case !errors.Is(err, fs.ErrNotExist):
			failed = err
		}
	}
	w.judge(failed)
	if began {
		w.store.changed()
	}
	return began
}

// judge sets whether every change will be seen.
func (w *watcher) judge(failed error) {
	if why := text(failed); why != w.failed {
		w.failed = why
		if failed != nil {
			w.store.cfg.Logger.Warn("not all profiles and secrets can be watched; they are looked at each second", "error", failed)
		}
	}
	if w.store.watched.Swap(failed == nil) != (failed == nil) {
		w.store.changed()
	}
}

// renewAll reads what has changed, for the log to tell what is wrong with it and
// for the next calls to find it ready.
func (s *Store) renewAll(ctx context.Context) {
	now := s.now()
	s.rescan(now)
	for _, e := range s.all() {
		e.look(now)
		if f := e.target.Load(); f != nil && f.login != nil && f.login.profile.Auth.Type == secret.TypeFile && ctx.Err() == nil {
			_, _ = s.resolve(ctx, e.id, nil) // the call that needs it gets the error
		}
	}
}

// Stats says how a Store is doing.
type Stats struct {
	Profiles int   // that can be used
	Broken   int   // whose file, or credential, cannot be used as it is
	Watched  bool  // changes count at once
	Hits     int64 // calls of Get and Resolve that were answered without a look at any file
	Misses   int64
	Reads    int64 // profile files read since Open
}

// Stats returns the counts, as far as files were read.
func (s *Store) Stats() Stats {
	st := Stats{
		Watched: s.watched.Load(), Hits: s.count.hits.Load(), Misses: s.count.misses.Load(), Reads: s.count.reads.Load(),
		Broken: len(s.Broken()),
	}
	for _, e := range s.all() {
		if c := e.content.Load(); c != nil && c.profile != nil {
			st.Profiles++
		}
	}
	return st
}

// Broken is a profile whose file, secret or host keys cannot be used as they are
// now.
type Broken struct {
	ID   string // empty for known_hosts files
	Err  error  // joined *Problem, or of the secret
	Kept bool   // the last good state counts; else calls fail
}

// Broken lists what is wrong with the files, as far as they were read, sorted by
// id. Credentials are only among it where a call has needed them.
func (s *Store) Broken() []Broken {
	var list []Broken
	if err, kept := s.known.broken(); err != nil {
		list = append(list, Broken{"", err, kept})
	}
	for _, e := range s.all() {
		if c := e.content.Load(); c != nil && c.err != nil && !errors.Is(c.err, fs.ErrNotExist) {
			list = append(list, Broken{e.id, c.err, c.profile != nil})
		}
		if f := e.target.Load(); f != nil && f.login != nil && f.login.problem != nil {
			list = append(list, Broken{e.id, f.login.problem, true})
		}
	}
	return list
}
