package history

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver of PostgreSQL
	_ "modernc.org/sqlite"             // the driver of SQLite
)

// Store is an open history. It is safe for concurrent use, also by several programs. Close it.
type Store struct {
	db       *sql.DB
	postgres bool
	where    string // without a password
}

// Open opens a history: a postgres:// URL, or the path of a SQLite file, which is made when it is missing. It brings an older schema up to date.
// Errors name the place, without a password.
func Open(ctx context.Context, where string) (*Store, error) {
	s := &Store{where: where}
	var err error
	switch {
	case where == "":
		return nil, errors.New("no history is named; give a file or a postgres:// URL")
	case isPostgres(where):
		err = s.openPostgres(where)
	case strings.Contains(where, "://"):
		return nil, fmt.Errorf("history %s: only postgres:// URLs and files are known", redacted(where))
	default:
		err = s.openFile(where)
	}
	if err == nil {
		err = s.migrate(ctx)
	}
	if err != nil {
		if s.db != nil {
			s.db.Close()
		}
		return nil, s.failed(err)
	}
	return s, nil
}

func isPostgres(where string) bool {
	return strings.HasPrefix(where, "postgres://") || strings.HasPrefix(where, "postgresql://")
}

// redacted is a URL that may be shown.
func redacted(where string) string {
	u, err := url.Parse(where)
	if err != nil {
		scheme, _, _ := strings.Cut(where, "://")
		return scheme + "://…"
	}
	if u.Query().Has("password") {
		u.RawQuery = "…"
	}
	return u.Redacted()
}

// failed names the history in an error.
func (s *Store) failed(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("history %s: %w", s.where, err)
}

func (s *Store) openPostgres(where string) (err error) {
	s.postgres, s.where = true, redacted(where)
	if _, err := url.Parse(where); err != nil {
		return errors.New("its URL is not valid; write postgres://USER@HOST:PORT/DATABASE")
	}
	s.db, err = sql.Open("pgx", where)
	return err
}

// openFile asks for transactions that lock at once, so that programs take turns. The file stays one file: no log lies beside it.
func (s *Store) openFile(path string) error {
	if info, err := os.Stat(filepath.Dir(path)); err != nil || !info.IsDir() {
		return fmt.Errorf("the folder %s does not exist; make it first", filepath.Dir(path))
	}
	u := url.URL{Scheme: "file", Opaque: (&url.URL{Path: filepath.ToSlash(path)}).EscapedPath()}
	db, err := sql.Open("sqlite", u.String()+"?_txlock=immediate&_pragma=busy_timeout(30000)&_pragma=foreign_keys(1)")
	s.db = db
	return err
}

// Close closes the database.
func (s *Store) Close() error { return s.failed(s.db.Close()) }

// query writes a statement's parameters, ? in this package, as the database wants them.
func (s *Store) query(text string) string {
	if !s.postgres {
		return text
	}
	var b strings.Builder
	n := 0
	for _, r := range text {
		if r != '?' {
			b.WriteRune(r)
			continue
		}
		n++
		b.WriteString("$" + strconv.Itoa(n))
	}
	return b.String()
}

func (s *Store) transaction(ctx context.Context, do func(*sql.Tx) error) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // after Commit it does nothing
	if err := do(tx); err != nil {
		return err
	}
	return tx.Commit()
}

// Add keeps runs, all or none, and says how many are new. A run that is kept already, with the same content, is left alone; one of the same id
// with another content is an error that wraps ErrDiffers.
func (s *Store) Add(ctx context.Context, runs ...*Run) (added int, err error) {
	for _, r := range runs {
		if err := r.check(); err != nil {
			return 0, s.failed(fmt.Errorf("run %q: %w", r.ID, err))
		}
	}
	err = s.transaction(ctx, func(tx *sql.Tx) error {
		for _, r := range runs {
			fresh, err := s.add(ctx, tx, r)
			if err != nil {
				return fmt.Errorf("run %q: %w", r.ID, err)
			}
			if fresh {
				added++
			}
		}
		return nil
	})
	if err != nil {
		return 0, s.failed(err)
	}
	return added, nil
}

func (s *Store) add(ctx context.Context, tx *sql.Tx, r *Run) (fresh bool, err error) {
	done, err := tx.ExecContext(ctx, s.query(`INSERT INTO runs (id, started, branch, revision, cpu, cores, os) VALUES (?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (id) DO NOTHING`), r.ID, r.Started.UTC().Format(timeForm), r.Branch, r.Revision, r.Machine.CPU, r.Machine.Cores, r.Machine.OS)
	if err != nil {
		return false, err
	}
	if n, err := done.RowsAffected(); err != nil || n == 0 {
		return false, errors.Join(err, s.compare(ctx, tx, r))
	}
	insert, err := tx.PrepareContext(ctx, s.query("INSERT INTO figures (run, cell, load, metric, value) VALUES (?, ?, ?, ?, ?)"))
	if err != nil {
		return false, err
	}
	defer insert.Close()
	for _, f := range r.Figures {
		if _, err := insert.ExecContext(ctx, r.ID, f.Cell, f.Load, f.Metric, f.Value); err != nil {
			return false, err
		}
	}
	return true, nil
}

// compare looks whether the run of that id says the same.
func (s *Store) compare(ctx context.Context, tx *sql.Tx, r *Run) error {
	kept, err := s.read(ctx, tx, Filter{id: r.ID})
	if err != nil {
		return err
	}
	if len(kept) != 1 || !kept[0].same(r) {
		return fmt.Errorf("%w, with other content; a result is added once", ErrDiffers)
	}
	return nil
}

// timeForm has a fixed width, so that times sort as texts.
const timeForm = "2006-01-02T15:04:05.000000000Z"

// Filter chooses runs; its zero value is all.
type Filter struct {
	Branch string
	id     string
}

// Runs returns the runs in the order in which they were started.
func (s *Store) Runs(ctx context.Context, f Filter) (runs []*Run, err error) {
	err = s.transaction(ctx, func(tx *sql.Tx) (err error) {
		runs, err = s.read(ctx, tx, f)
		return err
	})
	return runs, s.failed(err)
}

func (s *Store) read(ctx context.Context, tx *sql.Tx, f Filter) ([]*Run, error) {
	where, args := "1 = 1", []any{}
	if f.Branch != "" {
		where, args = where+" AND branch = ?", append(args, f.Branch)
	}
	if f.id != "" {
		where, args = where+" AND id = ?", append(args, f.id)
	}
	rows, err := tx.QueryContext(ctx, s.query("SELECT id, started, branch, revision, cpu, cores, os FROM runs WHERE "+where+" ORDER BY started, id"), args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var runs []*Run
	byID := map[string]*Run{}
	for rows.Next() {
		r, started := &Run{Schema: Schema}, ""
		if err := rows.Scan(&r.ID, &started, &r.Branch, &r.Revision, &r.Machine.CPU, &r.Machine.Cores, &r.Machine.OS); err != nil {
			return nil, err
		}
		if r.Started, err = time.Parse(timeForm, started); err != nil {
			return nil, fmt.Errorf("run %q: started: %w", r.ID, err)
		}
		runs, byID[r.ID] = append(runs, r), r
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return nil, err
	}
	return runs, s.readFigures(ctx, tx, byID, "SELECT run, cell, load, metric, value FROM figures WHERE run IN (SELECT id FROM runs WHERE "+where+")", args)
}

func (s *Store) readFigures(ctx context.Context, tx *sql.Tx, runs map[string]*Run, query string, args []any) error {
	rows, err := tx.QueryContext(ctx, s.query(query), args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var id string
		var f Figure
		if err := rows.Scan(&id, &f.Cell, &f.Load, &f.Metric, &f.Value); err != nil {
			return err
		}
		if r := runs[id]; r != nil {
			r.Figures = append(r.Figures, f)
		}
	}
	for _, r := range runs {
		r.Figures = sorted(r.Figures)
	}
	return rows.Err()
}
