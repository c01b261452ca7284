package profile

import (
	"errors"
	"io/fs"
	"os"
	"time"
)

// statInterval is how long files that nobody watches are taken to be unchanged
// without a look.
const statInterval = time.Second

// unsettled is how young a file is whose change may have been missed between
// reading it and looking at its time.
const unsettled = 2 * time.Second

// age says how long what was seen of the files counts.
type age struct {
	until time.Time
	turn  uint64 // of the Store when it was seen
}

// age is that of what is looked at from now on.
func (s *Store) age(now time.Time) age {
	turn := s.turn.Load()
	keep := time.Duration(s.ttl.Load())
	if !s.watched.Load() {
		keep = min(keep, statInterval)
	}
	return age{now.Add(keep), turn}
}

// holds reports whether what has that age still counts.
func (s *Store) holds(a age, now time.Time) bool {
	return a.turn == s.turn.Load() && now.Before(a.until)
}

// changed makes everything be looked at again.
func (s *Store) changed() { s.turn.Add(1) }

func (a age) atMost(until time.Time) age {
	if until.Before(a.until) {
		a.until = until
	}
	return a
}

// stamp is what tells one state of a file from another without reading it. It is small, since there are several for each profile.
type stamp struct {
	id      fileID
	size    int64
	mode    fs.FileMode
	changed int64 // Unix nanoseconds
	err     error // the file cannot be looked at, and the other fields say nothing
}

func stampFile(path string) stamp {
	info, err := os.Stat(path)
	if err != nil {
		return stamp{err: err}
	}
	return stamp{id: idOf(info), size: info.Size(), mode: info.Mode(), changed: info.ModTime().UnixNano()}
}

func stampFiles(paths []string) []stamp {
	stamps := make([]stamp, len(paths))
	for i, path := range paths {
		stamps[i] = stampFile(path)
	}
	return stamps
}

func (s stamp) same(t stamp) bool {
	if s.err != nil || t.err != nil {
		return s.err != nil && t.err != nil && reason(s.err) == reason(t.err)
	}
	return s.id.same(t.id) && s.size == t.size && s.mode == t.mode && s.changed == t.changed
}

// reason is the bare cause of a file system error, without operation and path.
func reason(err error) string {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err.Error()
	}
	return err.Error()
}

// young reports whether the file may have changed since it was read without
// that showing in its stamp.
func (s stamp) young(now time.Time) bool {
	return s.err == nil && now.Sub(time.Unix(0, s.changed)).Abs() < unsettled
}
