package main

import "time"

// parseStart reads --start-at.
func parseStart(s string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, s)
	switch {
	case err != nil:
		return t, usage("--start-at %q is no time: write one like 2026-01-31T12:00:00Z", s)
	case time.Until(t) < 0:
		return t, usage("--start-at %s has passed: give a time that leaves all shards room to start", s)
	}
	return t, nil
}
