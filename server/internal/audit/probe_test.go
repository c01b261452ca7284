package audit

import (
	"context"
	"database/sql"
	"os"
	"strings"
	"testing"
	"time"
)

// TestProbeWrites wants the probe in the file, seen by another connection, and the chain as it was.
func TestProbeWrites(t *testing.T) {
	s := open(t, Config{})
	s.End(s.Begin(Call{Operation: "op"}), Outcome{})
	waitFor(t, func() bool { return s.Stats().Written == 2 })
	db, err := sql.Open("sqlite", dataSource(s.cfg.Path))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	before := time.Now()
	for range 3 {
		if err := s.Probe(t.Context()); err != nil {
			t.Fatal(err)
		}
		var rows int
		var at string
		if err := db.QueryRow(`SELECT count(*), max(at) FROM probes`).Scan(&rows, &at); err != nil {
			t.Fatal(err)
		}
		when, err := time.Parse(time.RFC3339Nano, at)
		if err != nil || when.Before(before) || rows != 1 {
			t.Errorf("%d probes, the last at %s, %v", rows, at, err)
		}
		before = when
	}
	s.End(s.Begin(Call{Operation: "op"}), Outcome{})
	if n := verified(t, closed(t, s)); n != 4 {
		t.Errorf("%d records verified", n)
	}
}

func TestProbeFails(t *testing.T) {
	for name, tc := range map[string]struct {
		spoil func(t *testing.T, path string) (mend func())
		words string
	}{
		"removed": {func(t *testing.T, path string) func() {
			if err := os.Rename(path, path+".old"); err != nil {
				t.Fatal(err)
			}
			return func() { os.Rename(path+".old", path) }
		}, "the file was removed"},
		"replaced": {func(t *testing.T, path string) func() {
			os.Rename(path, path+".old")
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			return func() { os.Rename(path+".old", path) }
		}, "another file has taken the place"},
		"no writes": {func(t *testing.T, path string) func() {
			statement(t, path, `CREATE TRIGGER full BEFORE INSERT ON probes BEGIN SELECT RAISE(ABORT, 'disk full'); END`)
			return func() { statement(t, path, `DROP TRIGGER full`) }
		}, "disk full"},
		"no table": {func(t *testing.T, path string) func() {
			statement(t, path, `ALTER TABLE records RENAME TO away`)
			return func() { statement(t, path, `ALTER TABLE away RENAME TO records`) }
		}, "no such table"},
		"a broken end": {func(t *testing.T, path string) func() {
			statement(t, path, `INSERT INTO records VALUES (99, 'x', x'00')`)
			return func() { statement(t, path, `DELETE FROM records WHERE seq = 99`) }
		}, "record 99"},
		"locked": {func(t *testing.T, path string) func() { return lock(t, path) }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, Config{})
			mend := tc.spoil(t, s.cfg.Path)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second/2)
			defer cancel()
			if err := s.Probe(ctx); err == nil || !strings.Contains(err.Error(), tc.words) || !strings.Contains(err.Error(), s.cfg.Path) {
				t.Errorf("got %v, want %q", err, tc.words)
			}
			mend()
			if err := s.Probe(t.Context()); err != nil {
				t.Errorf("once mended: %v", err)
			}
		})
	}
}

func statement(t *testing.T, path, text string) {
	t.Helper()
	db, err := sql.Open("sqlite", dataSource(path))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(text); err != nil {
		t.Fatal(err)
	}
}

func TestNilStoreHasNothingToProbe(t *testing.T) {
	var s *Store
	if err := s.Probe(t.Context()); err != nil {
		t.Error(err)
	}
}
