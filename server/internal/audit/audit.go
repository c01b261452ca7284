// Package audit keeps the record of every call: an intent before it runs and an outcome after, in a SQLite file, each chained to the one
// before by a hash.
//
// Start with Store.Begin and Store.End, which only put a record into a bounded buffer; one goroutine (writer.go) commits what the buffer
// holds every 50 ms. What a record looks like and how the chain is made is in record.go. Several processes may write to one file.
//
// A buffer that is full makes calls wait, so that nothing is lost while the file can be written. When it cannot be written for five seconds,
// the server goes on without: what would have been written is counted, logged and shown by Stats, and once the file can be written again a
// record of the gap stands in its place. What the last 50 ms have brought is lost with the process when that is killed.
package audit

import (
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	_ "modernc.org/sqlite" // the driver
)

// Config says where the record is kept. Fields other than Path may be zero.
type Config struct {
	Path   string
	Logger *slog.Logger // hears of failures; nil is nobody
	// Redact takes secrets out of a text that a caller of the profile gave. It is called by one goroutine at a time, outside the path of the
	// call. Nil leaves texts as they are.
	Redact func(profile, text string) string
	Buffer int // records that wait to be written; 8192
}

const (
	interval   = 50 * time.Millisecond // between two commits
	patience   = 5 * time.Second       // for a file that cannot be written
	bufferSize = 8192
)

// Store is an open record. It is safe for concurrent use. A nil Store records nothing.
type Store struct {
	cfg Config
	db  *sql.DB
	run string // names this process's calls

	file    os.FileInfo   // the file that was opened
	probing chan struct{} // holds one element while Probe works

	calls atomic.Int64

	mu       sync.Mutex
	room     sync.Cond // signalled when the buffer was taken
	buffer   []item
	closed   bool
	waiting  int // callers that wait for room
	stats    Stats
	reported int64 // of stats.Lost, those that a gap in the file tells of

	wake chan struct{} // the buffer is half full
	stop chan struct{}
	done chan struct{}
}

// Stats says how the record is doing.
type Stats struct {
	Written  int64     // records committed
	Commits  int64     // batches that they came in
	Buffered int       // records that wait now
	Waiting  int       // calls that wait for room in the buffer now
	Failing  bool      // the last attempt to write failed
	Lost     int64     // records that could not be written
	Error    string    // of the last attempt that failed
	Since    time.Time // when writing began to fail; zero while it does not
}

const schema = `CREATE TABLE IF NOT EXISTS records (seq INTEGER PRIMARY KEY, record TEXT NOT NULL, hash BLOB NOT NULL) STRICT;
	CREATE TABLE IF NOT EXISTS probes (id INTEGER PRIMARY KEY CHECK (id = 1), at TEXT NOT NULL) STRICT`

// Open opens or makes the file, readable by its owner only, with the folders to it, and starts the writer, which Close ends. The error
// names the file.
func Open(cfg Config) (*Store, error) {
	if cfg.Buffer == 0 {
		cfg.Buffer = bufferSize
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	db, err := openFile(cfg.Path)
	if err != nil {
		return nil, fmt.Errorf("audit record %s: %w", cfg.Path, err)
	}
	s := &Store{
		cfg: cfg, db: db, run: newRun(), probing: make(chan struct{}, 1),
		wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}),
	}
	if s.file, err = os.Stat(cfg.Path); err != nil {
		return nil, fmt.Errorf("audit record %s: %w", cfg.Path, errors.Join(bare(err), db.Close()))
	}
	s.room.L = &s.mu
	go s.writer()
	return s, nil
}

func newRun() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

func openFile(path string) (*sql.DB, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, bare(err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, bare(err)
	}
	f.Close()
	db, err := sql.Open("sqlite", dataSource(path))
	if err != nil {
		return nil, err
	}
	if _, err = db.Exec(schema); err == nil {
		err = checkTail(db)
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
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
	return err
}

// Call is one call as it is known before it runs.
type Call struct {
	Time       time.Time
	Operation  string // dotted
	Profile    string // as the caller named it
	Actor      string // who the server holds the caller to be
	Caller     string // who the caller says it is
	Command    string // the command line, for operations that have one
	Parameters map[string]any
}

// Outcome is what became of a call.
type Outcome struct {
	Code     string // error code; empty is success
	Bytes    int64  // payload moved
	Duration time.Duration
}

// Open calls are told apart by a Token.
type Token struct {
	n    int64
	call Call
}

// Begin records the intent of a call. The call must not change its Parameters any more. It returns at once but for a full buffer.
func (s *Store) Begin(c Call) Token {
	if s == nil {
		return Token{}
	}
	t := Token{s.calls.Add(1), c}
	s.put(item{kind: intent, n: t.n, call: c})
	return t
}

// End records the outcome of the call that Begin returned t for.
func (s *Store) End(t Token, o Outcome) {
	if s == nil {
		return
	}
	c := t.call
	c.Parameters, c.Command, c.Caller = nil, "", ""
	s.put(item{kind: outcome, n: t.n, call: c, outcome: o})
}

func (s *Store) put(i item) {
	s.mu.Lock()
	for len(s.buffer) >= s.cfg.Buffer && !s.closed && !s.stats.Failing {
		s.waiting++
		s.room.Wait()
		s.waiting--
	}
	if s.closed || len(s.buffer) >= s.cfg.Buffer {
		s.stats.Lost++
		s.mu.Unlock()
		return
	}
	s.buffer = append(s.buffer, i)
	half := len(s.buffer) == s.cfg.Buffer/2
	s.mu.Unlock()
	if half {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

// Stats returns how the record is doing; all zero for a nil Store.
func (s *Store) Stats() Stats {
	if s == nil {
		return Stats{}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.stats
	now.Buffered, now.Waiting = len(s.buffer), s.waiting
	return now
}

// Close writes what is buffered and closes the file. Calls of Begin and End that come later record nothing.
func (s *Store) Close() error {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		close(s.stop)
		s.room.Broadcast()
	}
	s.mu.Unlock()
	<-s.done
	return s.db.Close()
}
