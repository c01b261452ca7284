package audit

import "time"

// headInterval is the time between two writings of the head's file.
const headInterval = time.Second

// committed hands a new head to who keeps it, in place of one that was not fetched.
func (s *Store) committed(h Head) {
	if s.heads == nil {
		return
	}
	select {
	case <-s.heads:
	default:
	}
	s.heads <- h
}

// keepHead writes the newest head to its file, beside the writer, which a slow file system must not hold up.
func (s *Store) keepHead() {
	defer close(s.saved)
	failing := false
	for h := range s.heads {
		err := h.save(s.cfg.Head)
		switch {
		case err != nil && !failing:
			s.cfg.Logger.Error("the head of the audit record cannot be kept", "path", s.cfg.Head, "error", err)
		case err == nil && failing:
			s.cfg.Logger.Warn("the head of the audit record can be kept again", "path", s.cfg.Head)
		}
		failing = err != nil
		select {
		case <-time.After(headInterval):
		case <-s.stop:
		}
	}
}
