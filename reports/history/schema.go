package history

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// migrations bring a database from version i to version i+1. What was released is never changed: another is appended. They are plain enough for
// both kinds of database.
var migrations = []string{
	`CREATE TABLE runs (
		id TEXT PRIMARY KEY, started TEXT NOT NULL, branch TEXT NOT NULL, revision TEXT NOT NULL,
		cpu TEXT NOT NULL, cores INTEGER NOT NULL, os TEXT NOT NULL);
	CREATE TABLE figures (
		run TEXT NOT NULL REFERENCES runs(id) ON DELETE CASCADE, cell TEXT NOT NULL, load TEXT NOT NULL, metric TEXT NOT NULL,
		value DOUBLE PRECISION NOT NULL, PRIMARY KEY (run, cell, load, metric));
	CREATE INDEX runs_by_class ON runs (branch, cpu, cores, os, started)`,
}

// advisoryLock is the number under which programs that migrate a PostgreSQL database take turns.
const advisoryLock = 0x6f616d6370 // "oamcp"

// migrate brings the database to the newest version, in one transaction. Others that do the same wait.
func (s *Store) migrate(ctx context.Context) error {
	return s.transaction(ctx, func(tx *sql.Tx) error {
		if s.postgres {
			if _, err := tx.ExecContext(ctx, "SELECT pg_advisory_xact_lock($1)", int64(advisoryLock)); err != nil {
				return err
			}
		}
		if _, err := tx.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS history_version (version INTEGER NOT NULL)"); err != nil {
			return err
		}
		version := 0
		err := tx.QueryRowContext(ctx, "SELECT version FROM history_version").Scan(&version)
		if errors.Is(err, sql.ErrNoRows) {
			_, err = tx.ExecContext(ctx, "INSERT INTO history_version VALUES (0)")
		}
		switch {
		case err != nil:
			return err
		case version > len(migrations):
			return fmt.Errorf("its schema has version %d, and this program knows up to %d; use the program that made it, or a newer one", version, len(migrations))
		case version == len(migrations):
			return nil
		}
		for _, m := range migrations[version:] {
			if _, err := tx.ExecContext(ctx, m); err != nil {
				return err
			}
		}
		_, err = tx.ExecContext(ctx, s.query("UPDATE history_version SET version = ?"), len(migrations))
		return err
	})
}
