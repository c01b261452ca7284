package audit

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"
)

// kind tells records apart.
type kind string

const (
	intent  kind = "intent"
	outcome kind = "outcome"
	gap     kind = "gap" // records that could not be written
)

// item is a record that waits to be written.
type item struct {
	kind    kind
	n       int64 // of the call, in its process
	call    Call
	outcome Outcome
	lost    int64 // of a gap
}

// Bounds of the texts that callers choose; longer ones are cut. The digest of the parameters covers all.
const (
	maxCommand = 16 << 10
	maxName    = 256
)

// hash is the SHA-256 of the hash before and a record.
type hash [sha256.Size]byte

func (h *hash) chain(record []byte, scratch []byte) []byte {
	scratch = append(append(scratch[:0], h[:]...), record...)
	*h = sha256.Sum256(scratch)
	return scratch
}

// encoder writes records in their one form: JSON without white space, its fields in this order, empty ones left out.
type encoder struct {
	run    string
	redact func(profile, text string) string
	text   []byte
}

func (e *encoder) encode(dst []byte, i *item) []byte {
	c := &i.call
	dst = append(dst, `{"v":1,"kind":"`...)
	dst = append(append(dst, i.kind...), `","at":"`...)
	dst = append(c.Time.UTC().AppendFormat(dst, time.RFC3339Nano), '"')
	if i.kind == gap {
		dst = append(dst, `,"lost":`...)
		return append(strconv.AppendInt(dst, i.lost, 10), '}')
	}
	dst = append(append(append(dst, `,"call":"`...), e.run...), '-')
	dst = append(strconv.AppendInt(dst, i.n, 10), '"')
	dst = e.field(dst, "operation", c.Operation)
	dst = e.field(dst, "profile", e.clean(c.Profile, c.Profile, maxName))
	dst = e.field(dst, "actor", c.Actor)
	if i.kind == outcome {
		dst = e.field(dst, "code", i.outcome.Code)
		dst = append(dst, `,"bytes":`...)
		dst = strconv.AppendInt(dst, i.outcome.Bytes, 10)
		dst = append(dst, `,"duration_ns":`...)
		return append(strconv.AppendInt(dst, int64(i.outcome.Duration), 10), '}')
	}
	dst = e.field(dst, "caller", e.clean(c.Profile, c.Caller, maxName))
	dst = e.field(dst, "command", e.clean(c.Profile, c.Command, maxCommand))
	dst = append(dst, `,"parameters":"sha256:`...)
	e.text = e.value(e.text[:0], c.Profile, c.Parameters)
	dst = fmt.Appendf(dst, "%x", sha256.Sum256(e.text))
	return append(dst, `"}`...)
}

// clean takes the secrets out of a text and cuts it to a length.
func (e *encoder) clean(profile, text string, limit int) string {
	if e.redact != nil && text != "" {
		text = e.redact(profile, text)
	}
	if len(text) <= limit {
		return text
	}
	for limit > 0 && !utf8.RuneStart(text[limit]) {
		limit--
	}
	return text[:limit] + "…"
}

func (e *encoder) field(dst []byte, name, value string) []byte {
	if value == "" {
		return dst
	}
	dst = append(append(append(dst, `,"`...), name...), `":`...)
	return appendString(dst, value)
}

// appendString appends s as a JSON string.
func appendString(dst []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= 0x7f || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			text, _ := json.Marshal(s) // a string never fails
			return append(dst, text...)
		}
	}
	return append(append(append(dst, '"'), s...), '"')
}

// value appends a parameter in its one form: JSON with sorted keys, without secrets.
func (e *encoder) value(dst []byte, profile string, v any) []byte {
	switch v := v.(type) {
	case map[string]any:
		dst = append(dst, '{')
		for i, key := range slices.Sorted(maps.Keys(v)) {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(appendString(dst, key), ':')
			dst = e.value(dst, profile, v[key])
		}
		return append(dst, '}')
	case []any:
		dst = append(dst, '[')
		for i, item := range v {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = e.value(dst, profile, item)
		}
		return append(dst, ']')
	case string:
		if e.redact != nil {
			v = e.redact(profile, v)
		}
		return appendString(dst, v)
	default:
		text, err := json.Marshal(v)
		if err != nil {
			text = appendString(nil, fmt.Sprint(v))
		}
		return append(dst, text...)
	}
}

// ChainError says where a record is not what it was when it was written, or is missing.
type ChainError struct {
	Seq  int64 // of the first record that does not fit
	What string
}

func (e *ChainError) Error() string { return fmt.Sprintf("record %d: %s", e.Seq, e.What) }

// Verify walks the whole chain of a file and counts its records. A break is a *ChainError. It cannot see that records are missing at the end.
func Verify(path string) (records int64, err error) {
	db, err := sql.Open("sqlite", dataSource(path))
	if err != nil {
		return 0, err
	}
	defer db.Close()
	return verify(db, 0, hash{})
}

// verify walks the chain behind the record seq, whose hash is h.
func verify(db rowQuerier, seq int64, h hash) (records int64, err error) {
	rows, err := db.Query(`SELECT seq, record, hash FROM records WHERE seq > ? ORDER BY seq`, seq)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	var record, stored sql.RawBytes
	var scratch []byte
	for want := seq + 1; rows.Next(); want++ {
		if err := rows.Scan(&seq, &record, &stored); err != nil {
			return records, err
		}
		if seq != want {
			return records, &ChainError{want, "missing"}
		}
		if scratch = h.chain(record, scratch); !slices.Equal(h[:], stored) {
			return records, &ChainError{seq, "its hash is not that of its text and the record before"}
		}
		records++
	}
	return records, rows.Err()
}

// checkTail looks at the last record only, so that opening stays quick.
func checkTail(db *sql.DB) error {
	seq, _, err := tail(db)
	if err != nil || seq == 0 {
		return err
	}
	var before hash
	if seq > 1 {
		if err := scanHash(db.QueryRow(`SELECT seq, hash FROM records WHERE seq = ?`, seq-1), new(int64), &before); err != nil {
			return &ChainError{seq - 1, "missing"}
		}
	}
	_, err = verify(db, seq-1, before)
	return err
}

type rowQuerier interface {
	Query(query string, args ...any) (*sql.Rows, error)
}

type querier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// tail returns number and hash of the last record; 0 where there is none.
func tail(q querier) (seq int64, h hash, err error) {
	err = scanHash(q.QueryRowContext(context.Background(), `SELECT seq, hash FROM records ORDER BY seq DESC LIMIT 1`), &seq, &h)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, hash{}, nil
	}
	return seq, h, err
}

func scanHash(row *sql.Row, seq *int64, h *hash) error {
	var stored []byte
	if err := row.Scan(seq, &stored); err != nil {
		return err
	}
	if len(stored) != len(h) {
		return &ChainError{*seq, "its hash has a wrong length"}
	}
	copy(h[:], stored)
	return nil
}
