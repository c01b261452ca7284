// Package audit keeps the record of every call: an intent before it runs and an outcome after, in a SQLite file or in PostgreSQL, each chained
// to the one before by a hash, each commit signed.
//
// Start with Store.Begin and Store.End, which only put a record into a bounded buffer; one goroutine (writer.go) commits what the buffer
// holds every 50 ms. What a record looks like and how the chain is made is in record.go, how it is signed in signature.go, and how all that is
// checked in verify.go. Several processes may write to one store: they take turns, and their records make one chain.
//
// A buffer that is full makes calls wait, so that nothing is lost while the store can be written. When it cannot be written for five seconds,
// the server goes on without: what would have been written is counted, logged and shown by Stats, and once the store can be written again a
// record of the gap stands in its place. What the last 50 ms have brought is lost with the process when that is killed. With Config.Strict no
// call needs to go on without: Committed says when its intent is safe.
package audit

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Config says where the record is kept. Fields other than Path may be zero.
type Config struct {
	Path   string // SQLite file, or postgres:// URL without a password
	Key    string // file of the private key that signs, made where there is none; Path with .key behind it. A URL needs one
	Head   string // file to put the newest signature into; none
	Strict bool   // Committed waits
	// Patience is for a store that cannot be written; 5 s.
	Patience time.Duration
	Logger   *slog.Logger // hears of failures; nil is nobody
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
	db  *database
	key *signer
	run string // names this process's calls

	file    os.FileInfo   // the file that was opened; nil for PostgreSQL
	probing chan struct{} // holds one element while Probe works

	calls atomic.Int64

	mu       sync.Mutex
	room     sync.Cond // signalled when the buffer was taken
	buffer   []item
	pending  *commit // of what is in the buffer; nil unless strict
	closed   bool
	waiting  int // callers that wait for room
	stats    Stats
	reported int64 // of stats.Lost, those that a gap in the file tells of

	wake chan struct{} // the buffer is half full
	stop chan struct{}
	done chan struct{}

	heads chan Head // the newest for the file of Config.Head; nil where there is none
	saved chan struct{}
}

// commit is the writing of one batch.
type commit struct {
	done chan struct{} // closed once it has ended
	err  error
}

func newCommit() *commit { return &commit{done: make(chan struct{})} }

// Stats says how the record is doing.
type Stats struct {
	Written  int64     // records committed, signatures aside
	Commits  int64     // batches that they came in
	Buffered int       // records that wait now
	Waiting  int       // calls that wait for room in the buffer now
	Failing  bool      // the last attempt to write failed
	Lost     int64     // records that could not be written
	Error    string    // of the last attempt that failed
	Since    time.Time // when writing began to fail; zero while it does not
}

// Open opens or makes the store and the key, readable by their owner only, with the folders to them, and starts the writer, which Close ends. The
// error names the store.
func Open(cfg Config) (*Store, error) {
	if cfg.Buffer == 0 {
		cfg.Buffer = bufferSize
	}
	cfg.Patience = cmp.Or(cfg.Patience, patience)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Key == "" && !IsURL(cfg.Path) {
		cfg.Key = cfg.Path + ".key"
	}
	s := &Store{
		cfg: cfg, run: newRun(), probing: make(chan struct{}, 1), wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}),
	}
	s.room.L = &s.mu
	if err := s.open(); err != nil {
		return nil, fmt.Errorf("audit record %s: %w", cfg.Path, err)
	}
	if cfg.Strict {
		s.pending = newCommit()
	}
	if cfg.Head != "" {
		s.heads, s.saved = make(chan Head, 1), make(chan struct{})
		go s.keepHead()
	}
	go s.writer()
	return s, nil
}

// open opens key and store and makes sure that what is there may be gone on with.
func (s *Store) open() (err error) {
	if s.db, err = openDatabase(s.cfg.Path, s.cfg.Strict); err != nil {
		return err
	}
	if s.key, err = openKey(s.cfg.Key); err != nil {
		return errors.Join(fmt.Errorf("key %s: %w", s.cfg.Key, err), s.db.Close())
	}
	if !s.db.postgres {
		if s.file, err = os.Stat(s.cfg.Path); err != nil {
			return errors.Join(bare(err), s.db.Close())
		}
	}
	ctx, cancel := s.db.bounded(context.Background())
	defer cancel()
	seq, _, err := tail(ctx, s.db)
	if err == nil && seq > 0 {
		err = s.checkTail(ctx, s.db, seq)
	}
	if err == nil && s.key.fresh {
		err = s.adopt(seq)
	}
	if err != nil {
		return errors.Join(err, s.db.Close())
	}
	return nil
}

// adopt signs the records of a version that did not sign, with a key that is new as well.
func (s *Store) adopt(records int64) error {
	if records > 0 {
		w := &batchWriter{store: s, adopting: true}
		defer w.close()
		if _, err := w.write(0); err != nil {
			return err
		}
	}
	s.key.fresh = false
	return nil
}

func newRun() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
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
	n      int64
	call   Call
	commit *commit // of the intent; nil unless strict
}

// Begin records the intent of a call. The call must not change its Parameters any more. It returns at once but for a full buffer.
func (s *Store) Begin(c Call) Token {
	if s == nil {
		return Token{}
	}
	t := Token{n: s.calls.Add(1), call: c}
	t.commit = s.put(item{kind: intent, n: t.n, call: c})
	return t
}

// ErrUnrecorded is the cause why a call must not run in a strict store.
var ErrUnrecorded = errors.New("the call cannot be recorded")

// Committed returns nil once the intent that t stands for is committed, at once unless the store is strict. Else its error is an ErrUnrecorded, also
// when ctx ends first: the call must not run, although its intent may yet come into the store.
func (s *Store) Committed(ctx context.Context, t Token) error {
	if s == nil || !s.cfg.Strict {
		return nil
	}
	if t.commit == nil {
		return fmt.Errorf("%w: the record is closed or its buffer full", ErrUnrecorded)
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
	select {
	case <-t.commit.done:
	case <-ctx.Done():
		return fmt.Errorf("%w: the wait for it ended: %w", ErrUnrecorded, context.Cause(ctx))
	}
	if t.commit.err != nil {
		return fmt.Errorf("%w: %w", ErrUnrecorded, t.commit.err)
	}
	return nil
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

// put returns the commit that i will be part of; nil where it is lost or nobody may wait.
func (s *Store) put(i item) *commit {
	s.mu.Lock()
	for len(s.buffer) >= s.cfg.Buffer && !s.closed && !s.stats.Failing {
		s.waiting++
		s.room.Wait()
		s.waiting--
	}
	if s.closed || len(s.buffer) >= s.cfg.Buffer {
		s.stats.Lost++
		s.mu.Unlock()
		return nil
	}
	s.buffer = append(s.buffer, i)
	commit := s.pending
	half := len(s.buffer) == s.cfg.Buffer/2
	s.mu.Unlock()
	if half {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
	return commit
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
	if s.saved != nil {
		<-s.saved
	}
	return s.db.Close()
}

// PublicKey is the key that the store's signatures hold under.
func (s *Store) PublicKey() ed25519.PublicKey { return s.key.public() }
