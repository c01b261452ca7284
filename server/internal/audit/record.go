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

type querier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// tail returns number and hash of the last record; 0 where there is none.
func tail(ctx context.Context, q querier) (seq int64, h hash, err error) {
	var stored []byte
	err = q.QueryRowContext(ctx, `SELECT seq, hash FROM records ORDER BY seq DESC LIMIT 1`).Scan(&seq, &stored)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, hash{}, nil
	}
	if err != nil {
		return 0, hash{}, err
	}
	return seq, h, h.set(seq, stored)
}

func (h *hash) set(seq int64, stored []byte) error {
	if len(stored) != len(h) {
		return &ChainError{seq, "its hash has a wrong length"}
	}
	copy(h[:], stored)
	return nil
}

// checkTail wants the record seq, the last, to be a signature of the key that follows from the record before. A writer asks for it before it puts
// more behind, so that nothing that was changed meanwhile is ever signed.
func (s *Store) checkTail(ctx context.Context, q querier, seq int64) error {
	var record, stored []byte
	if err := q.QueryRowContext(ctx, s.db.q(`SELECT record, hash FROM records WHERE seq = ?`), seq).Scan(&record, &stored); err != nil {
		return err
	}
	var before, h hash
	if seq > 1 {
		var prior []byte
		err := q.QueryRowContext(ctx, s.db.q(`SELECT hash FROM records WHERE seq = ?`), seq-1).Scan(&prior)
		if err == nil {
			err = before.set(seq-1, prior)
		}
		if errors.Is(err, sql.ErrNoRows) {
			return &ChainError{seq - 1, "missing"}
		}
		if err != nil {
			return err
		}
	}
	h = before
	if h.chain(record, nil); !slices.Equal(h[:], stored) {
		return &ChainError{seq, "its hash is not that of its text and the record before"}
	}
	if s.key.fresh && !isSignature(record) { // the record of a version that did not sign
		return nil
	}
	if why := checkSignature(s.key.public(), seq, before, record); why != "" {
		return &ChainError{seq, why + "; run `openaccess-mcp audit verify`, and begin a new record, or give the key of this one with audit.key"}
	}
	return nil
}
