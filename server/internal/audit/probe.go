package audit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// Probe asks the file for its last record and really writes to it: the time, into a table of one row beside the records, whose chain it leaves
// alone. An error says what is wrong with the file or with the writing of records. It waits its turn and for the file as long as ctx lets it; a
// nil Store has nothing to probe.
func (s *Store) Probe(ctx context.Context) error {
	if s == nil {
		return nil
	}
	select {
	case s.probing <- struct{}{}:
		defer func() { <-s.probing }()
	case <-ctx.Done():
		return fmt.Errorf("audit record %s: the probe before has not ended: %w", s.cfg.Path, context.Cause(ctx))
	}
	if now := s.Stats(); now.Failing {
		return fmt.Errorf("audit record %s cannot be written since %v, and %d records are lost: %s",
			s.cfg.Path, now.Since.UTC().Format(time.RFC3339), now.Lost, now.Error)
	}
	err := s.inPlace()
	if err == nil {
		err = s.touch(ctx)
	}
	if err != nil {
		return fmt.Errorf("audit record %s: %w", s.cfg.Path, err)
	}
	return nil
}

// inPlace finds out whether the path still leads to the file that was opened. Writing to one that was removed fails nowhere, and what is written
// is gone with the process.
func (s *Store) inPlace() error {
	if s.file == nil {
		return nil
	}
	now, err := os.Stat(s.cfg.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return errors.New("the file was removed: restart the server to begin a new one")
	case err != nil:
		return bare(err)
	case !os.SameFile(now, s.file):
		return errors.New("another file has taken the place of the one that is written: restart the server to go on there")
	}
	return nil
}

// touch reads the end of the chain and commits a write.
func (s *Store) touch(ctx context.Context) error {
	ctx, cancel := s.db.bounded(ctx)
	defer cancel()
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // does nothing after Commit
	if _, _, err := tail(ctx, tx); err != nil {
		return err
	}
	upsert := s.db.q(`INSERT INTO probes (id, at) VALUES (1, ?) ON CONFLICT (id) DO UPDATE SET at = excluded.at`)
	if _, err := tx.ExecContext(ctx, upsert, time.Now().UTC().Format(time.RFC3339Nano)); err != nil {
		return err
	}
	return tx.Commit()
}
