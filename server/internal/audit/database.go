package audit

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

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	_ "modernc.org/sqlite" // the driver
)

// database is a store's SQLite file or PostgreSQL schema. Statements are written for SQLite; q makes them fit.
type database struct {
	*sql.DB
	postgres bool
}

const schema = `CREATE TABLE IF NOT EXISTS records (seq INTEGER PRIMARY KEY, record TEXT NOT NULL, hash BLOB NOT NULL) STRICT;
	CREATE TABLE IF NOT EXISTS probes (id INTEGER PRIMARY KEY CHECK (id = 1), at TEXT NOT NULL) STRICT`

// pgSchema holds the tables in PostgreSQL, so that they may share a database with others. One server at a time makes it.
const (
	pgSchema = "openaccess_audit"
	pgTables = `SELECT pg_advisory_xact_lock(7142870265); CREATE SCHEMA IF NOT EXISTS ` + pgSchema + `;
	CREATE TABLE IF NOT EXISTS records (seq BIGINT PRIMARY KEY, record TEXT NOT NULL, hash BYTEA NOT NULL);
	CREATE TABLE IF NOT EXISTS probes (id INTEGER PRIMARY KEY CHECK (id = 1), at TEXT NOT NULL)`
)

// pgPatience bounds each statement in PostgreSQL, whose server may be out of reach.
const pgPatience = 10 * time.Second

// IsURL says whether a place is a PostgreSQL database rather than a file.
func IsURL(place string) bool {
	return strings.HasPrefix(place, "postgres://") || strings.HasPrefix(place, "postgresql://")
}

// CheckURL says what is wrong with a PostgreSQL URL.
func CheckURL(place string) error {
	u, err := url.Parse(place)
	if err != nil {
		return errors.New("the URL cannot be read; write it as postgres://user@host:5432/database") // the error may repeat a password
	}
	if _, has := u.User.Password(); has || u.Query().Has("password") {
		return errors.New("the URL holds a password, which configurations and process lists show: leave it out, and give it with PGPASSFILE or PGPASSWORD")
	}
	return nil
}

// openDatabase opens a store to write to it, made where it is missing.
func openDatabase(place string, strict bool) (*database, error) {
	if IsURL(place) {
		return openPostgres(place, true)
	}
	if err := os.MkdirAll(filepath.Dir(place), 0o700); err != nil {
		return nil, bare(err)
	}
	f, err := os.OpenFile(place, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, bare(err)
	}
	f.Close()
	source := dataSource(place)
	if strict {
		source += "&_pragma=synchronous(FULL)" // a commit survives the loss of power
	}
	return openSQLite(source, schema)
}

// openReader opens a store that exists, to read it only.
func openReader(place string) (*database, error) {
	if IsURL(place) {
		return openPostgres(place, false)
	}
	if _, err := os.Stat(place); err != nil {
		return nil, bare(err)
	}
	return openSQLite(dataSource(place)+"&mode=ro", `SELECT count(*) FROM records WHERE seq = 1`)
}

func openSQLite(source, first string) (*database, error) {
	db, err := sql.Open("sqlite", source)
	if err != nil {
		return nil, err
	}
	if _, err = db.Exec(first); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &database{DB: db}, nil
}

func openPostgres(place string, create bool) (*database, error) {
	if err := CheckURL(place); err != nil {
		return nil, err
	}
	cfg, err := pgx.ParseConfig(place)
	if err != nil {
		return nil, err
	}
	cfg.RuntimeParams["search_path"] = pgSchema
	cfg.RuntimeParams["application_name"] = "openaccess-mcp audit"
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = pgPatience
	}
	db := &database{stdlib.OpenDB(*cfg), true}
	ctx, cancel := db.bounded(context.Background())
	defer cancel()
	if create {
		err = db.create(ctx)
	} else {
		err = db.PingContext(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

func (db *database) create(ctx context.Context) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // does nothing after Commit
	for statement := range strings.SplitSeq(pgTables, ";") {
		if _, err := tx.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// bounded is ctx with an end where the database may be out of reach. SQLite waits for locks only, as long as busy_timeout says.
func (db *database) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if !db.postgres {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, pgPatience)
}

// q writes the placeholders of a statement as the database wants them.
func (db *database) q(statement string) string {
	if !db.postgres {
		return statement
	}
	parts := strings.Split(statement, "?")
	var b strings.Builder
	b.WriteString(parts[0])
	for i, part := range parts[1:] {
		b.WriteString("$" + strconv.Itoa(i+1) + part)
	}
	return b.String()
}

// begin are the statements that begin a transaction which no other writer can come between.
func (db *database) begin() []string {
	if db.postgres {
		return []string{"BEGIN", "LOCK TABLE records IN SHARE ROW EXCLUSIVE MODE"}
	}
	return []string{"BEGIN IMMEDIATE"}
}

// dataSource asks for transactions that lock at once, so that processes take turns, and for a log that a killed process cannot break.
func dataSource(path string) string {
	u := url.URL{Scheme: "file", Opaque: (&url.URL{Path: filepath.ToSlash(path)}).EscapedPath()}
	return u.String() + "?_txlock=immediate&_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)" +
		"&_pragma=cache_size(-256)" // KiB: what is only appended needs little
}

// bare is a file system error without the path, which the caller names.
func bare(err error) error {
	if e, ok := errors.AsType[*os.PathError](err); ok {
		return fmt.Errorf("%s: %w", e.Op, e.Err)
	}
	if e, ok := errors.AsType[*os.LinkError](err); ok {
		return fmt.Errorf("%s: %w", e.Op, e.Err)
	}
	return err
}
