package audit

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"time"
)

// rowsPerInsert is how many records one statement takes: enough that its own cost does not count.
const rowsPerInsert = 64

// writer commits what the buffer holds, until the store is closed.
func (s *Store) writer() {
	defer close(s.done)
	if s.heads != nil {
		defer close(s.heads)
	}
	w := &batchWriter{store: s, enc: encoder{run: s.run, redact: s.cfg.Redact}}
	defer w.close()
	tick := time.NewTicker(interval)
	defer tick.Stop()
	var spare []item
	for {
		last := false
		select {
		case <-tick.C:
		case <-s.wake:
		case <-s.stop:
			last = true
		}
		s.mu.Lock()
		batch := s.buffer
		s.buffer = spare[:0]
		commit := s.pending
		if commit != nil {
			s.pending = newCommit()
		}
		s.room.Broadcast()
		s.mu.Unlock()
		err := w.commit(batch, last)
		if commit != nil {
			commit.err = err
			close(commit.done)
		}
		clear(batch) // so that nothing of the calls is kept
		spare = batch
		if last {
			return
		}
	}
}

// batchWriter writes batches. It belongs to the writer's goroutine.
type batchWriter struct {
	store   *Store
	enc     encoder
	records []byte // of the batch, one behind the other
	ends    []int  // where each ends
	scratch []byte
	args    []any
	conn    *sql.Conn
	many    *sql.Stmt // rowsPerInsert rows
	one     *sql.Stmt

	last, next position // of the last record that this writer put there, a signature; next before it is committed
	adopting   bool     // sign although there is nothing new
}

// position is a record's place in the chain.
type position struct {
	seq  int64
	hash hash
}

// commit writes a batch. While that fails it tries again, with others waiting, until patience ends; then the batch is lost.
func (w *batchWriter) commit(batch []item, last bool) error {
	s := w.store
	if len(batch) == 0 && !s.Stats().Failing {
		return nil
	}
	w.encode(batch)
	for begin, pause := time.Now(), interval; ; pause = min(2*pause, time.Second) {
		lost := s.unreported()
		n, err := w.write(lost)
		if err == nil {
			s.succeeded(n, lost)
			return nil
		}
		w.close()
		if last || s.Stats().Failing || time.Since(begin) > s.cfg.Patience {
			s.failed(err, len(batch))
			return err
		}
		select {
		case <-time.After(pause):
		case <-s.stop:
			last = true
		}
	}
}

func (w *batchWriter) encode(batch []item) {
	w.records, w.ends = w.records[:0], w.ends[:0]
	for i := range batch {
		w.records = w.enc.encode(w.records, &batch[i])
		w.ends = append(w.ends, len(w.records))
	}
}

func (w *batchWriter) open(ctx context.Context) (err error) {
	db := w.store.db
	if w.conn, err = db.Conn(ctx); err != nil {
		w.conn = nil
		return err
	}
	insert := `INSERT INTO records (seq, record, hash) VALUES (?, ?, ?)`
	if w.one, err = w.conn.PrepareContext(ctx, db.q(insert)); err == nil {
		w.many, err = w.conn.PrepareContext(ctx, db.q(insert+strings.Repeat(", (?, ?, ?)", rowsPerInsert-1)))
	}
	return err
}

func (w *batchWriter) close() {
	for _, stmt := range []*sql.Stmt{w.one, w.many} {
		if stmt != nil {
			_ = stmt.Close()
		}
	}
	if w.conn != nil {
		_ = w.conn.Close()
	}
	w.conn, w.one, w.many = nil, nil, nil
}

// write commits the encoded batch behind whatever is in the store now, after a record of the gap where records were lost and before a
// signature. It returns how many records that are, signature aside.
func (w *batchWriter) write(lost int64) (records int64, err error) {
	ctx, cancel := w.store.db.bounded(context.Background())
	defer cancel()
	if w.conn == nil {
		if err := w.open(ctx); err != nil {
			return 0, err
		}
	}
	for _, statement := range w.store.db.begin() {
		if err := w.exec(ctx, statement); err != nil {
			return 0, err // closing the connection rolls back
		}
	}
	var head *Head
	if records, head, err = w.insert(ctx, lost); err == nil {
		err = w.exec(ctx, "COMMIT")
	}
	if err != nil {
		return 0, errors.Join(err, w.exec(ctx, "ROLLBACK"))
	}
	if head != nil {
		w.last = w.next
		w.store.committed(*head)
	}
	return records, nil
}

func (w *batchWriter) exec(ctx context.Context, statement string) error {
	_, err := w.conn.ExecContext(ctx, statement)
	return err
}

func (w *batchWriter) insert(ctx context.Context, lost int64) (records int64, head *Head, err error) {
	seq, h, err := tail(ctx, w.conn)
	if err == nil && seq > 0 && w.last != (position{seq, h}) {
		err = w.store.checkTail(ctx, w.conn, seq)
	}
	if err != nil {
		return 0, nil, err
	}
	if seq < w.last.seq {
		return 0, nil, &ChainError{w.last.seq, "it was written and is gone; run `openaccess-mcp audit verify`, and begin a new record"}
	}
	w.args = w.args[:0]
	add := func(record []byte) {
		seq++
		w.scratch = h.chain(record, w.scratch)
		sum := h
		w.args = append(w.args, seq, string(record), sum[:])
	}
	if lost > 0 {
		add(w.enc.encode(nil, &item{kind: gap, call: Call{Time: time.Now()}, lost: lost}))
	}
	start := 0
	for _, end := range w.ends {
		add(w.records[start:end])
		start = end
	}
	records = int64(len(w.args) / 3)
	if records > 0 || w.adopting {
		before, signature := h, w.store.key.sign(seq+1, h, time.Now())
		add(signature)
		now := newHead(seq, before, signature)
		head = &now
		w.next.seq, w.next.hash = seq, h
	}
	defer clear(w.args[:cap(w.args)])
	return records, head, w.execute(ctx)
}

// execute inserts the rows of args.
func (w *batchWriter) execute(ctx context.Context) error {
	rest := w.args
	for ; len(rest) >= 3*rowsPerInsert; rest = rest[3*rowsPerInsert:] {
		if _, err := w.many.ExecContext(ctx, rest[:3*rowsPerInsert]...); err != nil {
			return err
		}
	}
	for ; len(rest) > 0; rest = rest[3:] {
		if _, err := w.one.ExecContext(ctx, rest[:3]...); err != nil {
			return err
		}
	}
	return nil
}

// unreported is how many records were lost since the last gap was written.
func (s *Store) unreported() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats.Lost - s.reported
}

// succeeded counts records written, of which one may be the gap of those lost.
func (s *Store) succeeded(records, lost int64) {
	s.mu.Lock()
	recovered := s.stats.Failing
	s.reported += lost
	s.stats.Written += records
	s.stats.Commits++
	s.stats.Failing, s.stats.Since, s.stats.Error = false, time.Time{}, ""
	s.mu.Unlock()
	if recovered {
		s.cfg.Logger.Warn("the audit record can be written again", "path", s.cfg.Path, "lost", lost)
	}
}

// failed counts records lost. From now on a full buffer holds nobody up.
func (s *Store) failed(err error, records int) {
	s.mu.Lock()
	first := !s.stats.Failing
	s.stats.Failing, s.stats.Error = true, err.Error()
	s.stats.Lost += int64(records)
	if first {
		s.stats.Since = time.Now()
	}
	s.room.Broadcast()
	s.mu.Unlock()
	if first {
		s.cfg.Logger.Error("the audit record cannot be written; calls go on without", "path", s.cfg.Path, "error", err)
	}
}
