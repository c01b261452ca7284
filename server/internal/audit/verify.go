package audit

import (
	"context"
	"crypto/ed25519"
	"database/sql"
	"errors"
	"fmt"
	"slices"
)

// ChainError says where a record is not what it was when it was written, or is missing.
type ChainError struct {
	Seq  int64 // of the first record that does not fit
	What string
}

func (e *ChainError) Error() string { return fmt.Sprintf("record %d: %s", e.Seq, e.What) }

// Verified is what a store without fault holds.
type Verified struct {
	Records    int64 // of calls and gaps
	Signatures int64
	Last       int64 // number of the last record, a signature
	Tail       bool  // a head was given, and all records up to it are there
}

// Verify walks the whole chain of a store, a file or a PostgreSQL URL, and checks the signatures with the public key alone. What was changed,
// removed or put in another place is a *ChainError, and so is a missing end where a head says that there was more. Without head it cannot see that
// records are missing at the end.
func Verify(ctx context.Context, place string, key ed25519.PublicKey, head *Head) (Verified, error) {
	db, err := openReader(place)
	if err != nil {
		return Verified{}, fmt.Errorf("audit record %s: %w", place, err)
	}
	defer db.Close()
	v := verifier{db: db, key: key}
	if head != nil {
		if v.headHash, err = head.hash(key); err != nil {
			return Verified{}, fmt.Errorf("the head %w", err)
		}
		v.headSeq = head.Seq
	}
	got, err := v.walk(ctx)
	if err != nil {
		return got, fmt.Errorf("audit record %s: %w", place, err)
	}
	return got, nil
}

// verifier walks one store.
type verifier struct {
	db       rowQuerier
	key      ed25519.PublicKey
	headSeq  int64 // 0 where there is none
	headHash hash
	each     bool // check each signature, not the last alone
}

type rowQuerier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// walk checks that each record follows from the one before. The last signature vouches for all that is before it; where it does not hold, a second
// walk finds the first that does not.
func (v *verifier) walk(ctx context.Context) (got Verified, err error) {
	rows, err := v.db.QueryContext(ctx, `SELECT seq, record, hash FROM records ORDER BY seq`)
	if err != nil {
		return got, err
	}
	defer rows.Close()
	var record, stored sql.RawBytes
	var last []byte
	var scratch []byte
	var before, h hash
	for want := int64(1); rows.Next(); want++ {
		if err := rows.Scan(&got.Last, &record, &stored); err != nil {
			return got, err
		}
		if got.Last != want {
			return got, &ChainError{want, "missing"}
		}
		before = h
		if scratch = h.chain(record, scratch); !slices.Equal(h[:], stored) {
			return got, &ChainError{want, "its hash is not that of its text and the record before"}
		}
		if want == v.headSeq && h != v.headHash {
			return got, &ChainError{want, "it is not the record of the head: records were replaced at or before it"}
		}
		if !isSignature(record) {
			got.Records++
			last = last[:0]
			continue
		}
		got.Signatures++
		last = append(last[:0], record...)
		if v.each {
			if why := checkSignature(v.key, want, before, last); why != "" {
				return got, &ChainError{want, why}
			}
		}
	}
	if err := rows.Err(); err != nil {
		return got, err
	}
	rows.Close()
	return v.end(ctx, got, before, last)
}

// end checks the last record and that the head was passed.
func (v *verifier) end(ctx context.Context, got Verified, before hash, last []byte) (Verified, error) {
	if got.Last < v.headSeq {
		return got, &ChainError{got.Last + 1, fmt.Sprintf("missing: the head is of record %d, so the end was cut off", v.headSeq)}
	}
	got.Tail = v.headSeq > 0
	if got.Last == 0 || v.each {
		return got, nil
	}
	why := checkSignature(v.key, got.Last, before, last)
	if why == "" {
		return got, nil
	}
	v.each = true
	if _, err := v.walk(ctx); err != nil {
		if _, ok := errors.AsType[*ChainError](err); ok {
			return got, err
		}
	}
	return got, &ChainError{got.Last, why}
}
