package audit

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"
)

// Record is one record of a store, as it is read back.
type Record struct {
	Seq        int64     `json:"seq"`
	Kind       string    `json:"kind"` // intent, outcome, gap or signature
	Time       time.Time `json:"at"`
	Call       string    `json:"call,omitempty"` // joins intent and outcome
	Operation  string    `json:"operation,omitempty"`
	Profile    string    `json:"profile,omitempty"`
	Actor      string    `json:"actor,omitempty"`
	Caller     string    `json:"caller,omitempty"`
	Command    string    `json:"command,omitempty"`
	Parameters string    `json:"parameters,omitempty"`
	Code       string    `json:"code,omitempty"` // of an outcome; empty is success
	Bytes      int64     `json:"bytes,omitempty"`
	DurationNS int64     `json:"duration_ns,omitempty"`
	Lost       int64     `json:"lost,omitempty"`

	Text []byte `json:"-"` // as it is stored
	Hash []byte `json:"-"`
}

// Filter chooses records of calls and gaps. A zero field chooses all.
type Filter struct {
	Since, Until time.Time // the first moment, and the one behind the last
	Profile      string
	Operation    string
	Actor        string
	Code         string // of outcomes; "ok" is success
}

func (f *Filter) admits(r *Record) bool {
	is := func(want, got string) bool { return want == "" || want == got }
	code := f.Code == "" || r.Kind == string(outcome) && (f.Code == r.Code || f.Code == "ok" && r.Code == "")
	return code && is(f.Profile, r.Profile) && is(f.Operation, r.Operation) && is(f.Actor, r.Actor) &&
		!r.Time.Before(f.Since) && (f.Until.IsZero() || r.Time.Before(f.Until)) && r.Kind != signatureKind
}

const signatureKind = "signature"

// List gives the records of a store that the filter admits to each, in their order, until that fails. It verifies nothing.
func List(ctx context.Context, place string, f Filter, each func(*Record) error) error {
	return read(ctx, place, func(r *Record) error {
		if !f.admits(r) {
			return nil
		}
		return each(r)
	})
}

// All gives every record of a store to each, signatures included. Text and Hash hold until each returns.
func All(ctx context.Context, place string, each func(*Record) error) error {
	return read(ctx, place, each)
}

func read(ctx context.Context, place string, each func(*Record) error) error {
	db, err := openReader(place)
	if err != nil {
		return fmt.Errorf("audit record %s: %w", place, err)
	}
	defer db.Close()
	rows, err := db.QueryContext(ctx, `SELECT seq, record, hash FROM records ORDER BY seq`)
	if err != nil {
		return fmt.Errorf("audit record %s: %w", place, err)
	}
	defer rows.Close()
	var text, stored sql.RawBytes
	for rows.Next() {
		r := new(Record)
		if err := rows.Scan(&r.Seq, &text, &stored); err != nil {
			return fmt.Errorf("audit record %s: %w", place, err)
		}
		seq := r.Seq
		if err := json.Unmarshal(text, r); err != nil {
			return fmt.Errorf("audit record %s: record %d is no record, run `openaccess-mcp audit verify`: %w", place, seq, err)
		}
		r.Seq, r.Text, r.Hash = seq, text, stored
		if err := each(r); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("audit record %s: %w", place, err)
	}
	return nil
}

// ReadStoreHead is the newest signature of a store; an error where it ends with none.
func ReadStoreHead(ctx context.Context, place string) (*Head, error) {
	db, err := openReader(place)
	if err != nil {
		return nil, fmt.Errorf("audit record %s: %w", place, err)
	}
	defer db.Close()
	rows, err := db.QueryContext(ctx, `SELECT seq, record, hash FROM records ORDER BY seq DESC LIMIT 2`)
	if err != nil {
		return nil, fmt.Errorf("audit record %s: %w", place, err)
	}
	defer rows.Close()
	var head Head
	var before hash
	for n := 0; rows.Next(); n++ {
		var seq int64
		var record, stored []byte
		if err := rows.Scan(&seq, &record, &stored); err != nil {
			return nil, fmt.Errorf("audit record %s: %w", place, err)
		}
		if n == 1 {
			copy(before[:], stored)
			break
		}
		if !isSignature(record) {
			return nil, fmt.Errorf("audit record %s: %w", place, &ChainError{seq, "it is no signature, so nothing vouches for it"})
		}
		head = newHead(seq, hash{}, record)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("audit record %s: %w", place, err)
	}
	if head.Seq == 0 {
		return nil, fmt.Errorf("audit record %s holds no record yet", place)
	}
	head = newHead(head.Seq, before, []byte(head.Record))
	return &head, nil
}
