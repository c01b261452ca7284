package audit

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// small makes a store of a few commits, each of an intent, an outcome and a signature, and gives its file, open to be changed, with its key.
func small(t *testing.T, commits int) (db *sql.DB, path string, key ed25519.PublicKey) {
	t.Helper()
	s := open(t, Config{})
	w := &batchWriter{store: s, enc: encoder{run: s.run}}
	for n := range commits {
		c := Call{Time: time.Now(), Operation: "ssh.exec", Profile: "web", Actor: "me", Command: fmt.Sprint("echo ", n)}
		w.encode([]item{{kind: intent, n: int64(n), call: c}, {kind: outcome, n: int64(n), call: c, outcome: Outcome{Bytes: 3}}})
		_, err := w.write(0)
		must(t, err)
	}
	w.close()
	path = closed(t, s)
	db, err := sql.Open("sqlite", dataSource(path))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db, path, s.PublicKey()
}

// changed runs a change, gives what verification makes of it, and takes the change back.
func changed(t *testing.T, db *sql.DB, key ed25519.PublicKey, head *Head, change string, args ...any) error {
	t.Helper()
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	for statement := range strings.SplitSeq(change, ";") {
		if _, err := tx.Exec(statement, args...); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	return walk(t, tx, key, head)
}

func walk(t *testing.T, q rowQuerier, key ed25519.PublicKey, head *Head) error {
	v := verifier{db: q, key: key}
	if head != nil {
		var err error
		if v.headHash, err = head.hash(key); err != nil {
			t.Fatal(err)
		}
		v.headSeq = head.Seq
	}
	_, err := v.walk(t.Context())
	return err
}

func wantBroken(t *testing.T, err error, seq int64, what string) {
	t.Helper()
	broken, ok := errors.AsType[*ChainError](err)
	if !ok || seq != 0 && broken.Seq != seq {
		t.Errorf("%s: got %v, want it found at record %d", what, err, seq)
	}
}

// TestEveryByteCounts changes each byte of each column of each record, one at a time.
func TestEveryByteCounts(t *testing.T) {
	db, _, key := small(t, 2)
	if err := walk(t, db, key, nil); err != nil {
		t.Fatal(err)
	}
	_, texts, hashes := storedIn(t, db)
	bytes := 0
	for i := range texts {
		seq := int64(i + 1)
		for column, value := range map[string][]byte{"record": []byte(texts[i]), "hash": hashes[i]} {
			for at := range value {
				bytes++
				spoilt := []byte(string(value))
				spoilt[at] ^= byte(1 + at%255)
				var v any = spoilt
				if column == "record" {
					v = string(spoilt)
				}
				err := changed(t, db, key, nil, fmt.Sprintf(`UPDATE records SET %s = ? WHERE seq = %d`, column, seq), v)
				wantBroken(t, err, seq, fmt.Sprintf("byte %d of %s", at, column))
			}
		}
		for bit := range 16 {
			err := changed(t, db, key, nil, `UPDATE records SET seq = ? WHERE seq = ?`, seq^1<<bit+1000, seq)
			wantBroken(t, err, 0, "another number")
		}
	}
	if bytes < 1000 {
		t.Errorf("only %d bytes were changed", bytes)
	}
}

func storedIn(t *testing.T, db *sql.DB) (records []map[string]any, texts []string, hashes [][]byte) {
	t.Helper()
	var path string
	if err := db.QueryRow(`SELECT file FROM pragma_database_list WHERE name = 'main'`).Scan(&path); err != nil {
		t.Fatal(err)
	}
	return stored(t, path)
}

// TestForgery has somebody who can write the store, and knows how the chain is made, but not the key.
func TestForgery(t *testing.T) {
	db, path, key := small(t, 4)
	head, err := ReadStoreHead(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	const last = 12
	if head.Seq != last {
		t.Fatalf("head %+v", head)
	}
	for seq := int64(1); seq <= last; seq++ {
		if err := changed(t, db, key, nil, `DELETE FROM records WHERE seq = ?`, seq); seq < last || err == nil {
			wantBroken(t, err, seq, "one removed")
		}
		wantBroken(t, changed(t, db, key, head, `DELETE FROM records WHERE seq >= ?`, seq), seq, "the end cut off, against the head")
		if seq == last {
			continue
		}
		wantBroken(t, changed(t, db, key, nil, `UPDATE records SET seq = -1 WHERE seq = ?1; UPDATE records SET seq = ?1 WHERE seq = ?1 + 1;
			UPDATE records SET seq = ?1 + 1 WHERE seq = -1`, seq), 0, "two in each other's place")
	}
	for cut := int64(1); cut < last; cut++ { // without the head only whole commits can go unseen
		err := changed(t, db, key, nil, `DELETE FROM records WHERE seq > ?`, cut)
		if whole := cut%3 == 0; whole != (err == nil) {
			t.Errorf("cut behind %d without a head: %v", cut, err)
		}
	}
	rehashed := func(edit func(texts []string) []string) error {
		_, texts, _ := storedIn(t, db)
		tx, err := db.Begin()
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Rollback()
		rewrite(t, tx, edit(texts))
		return walk(t, tx, key, nil)
	}
	if err := rehashed(func(texts []string) []string { return texts }); err != nil {
		t.Errorf("nothing changed: %v", err)
	}
	wantBroken(t, rehashed(func(texts []string) []string {
		texts[3] = strings.Replace(texts[3], "echo 1", "echo 9", 1)
		return texts
	}), 6, "changed, and all hashes made anew")
	wantBroken(t, rehashed(func(texts []string) []string { return append(texts[:3], texts[6:]...) }), 6, "a commit removed")
	wantBroken(t, rehashed(func(texts []string) []string { return append(texts, texts[0]) }), 13, "a record added")
	wantBroken(t, rehashed(func(texts []string) []string { return append(texts, texts[11]) }), 13, "a signature repeated")
	var unsigned []string
	wantBroken(t, rehashed(func(texts []string) []string {
		for _, text := range texts {
			if !strings.HasPrefix(text, signaturePrefix) {
				unsigned = append(unsigned, text)
			}
		}
		return unsigned
	}), 8, "no signatures")
}

// rewrite makes a store of texts, with a chain that holds.
func rewrite(t *testing.T, tx *sql.Tx, texts []string) {
	t.Helper()
	if _, err := tx.Exec(`DELETE FROM records`); err != nil {
		t.Fatal(err)
	}
	before := make([]byte, sha256.Size)
	for i, text := range texts {
		sum := sha256.Sum256([]byte(string(before) + text))
		before = sum[:]
		if _, err := tx.Exec(`INSERT INTO records VALUES (?, ?, ?)`, i+1, text, sum[:]); err != nil {
			t.Fatal(err)
		}
	}
}

// TestNothingForgedIsSigned changes the end of a store while nobody writes and while somebody does: what was changed gets no signature.
func TestNothingForgedIsSigned(t *testing.T) {
	db, path, key := small(t, 2)
	forge := `UPDATE records SET record = record || ' ' WHERE seq = (SELECT max(seq) FROM records)`
	if _, err := db.Exec(forge); err != nil {
		t.Fatal(err)
	}
	if s, err := Open(Config{Path: path}); err == nil || !strings.Contains(err.Error(), "record 6") || !strings.Contains(err.Error(), path) {
		t.Errorf("a store whose end was changed was opened: %v", err)
		s.Close()
	}
	if _, err := db.Exec(`DELETE FROM records WHERE seq = 6`); err != nil {
		t.Fatal(err)
	}
	if s, err := Open(Config{Path: path}); err == nil || !strings.Contains(err.Error(), "no signature") {
		t.Errorf("a store whose end is unsigned was opened: %v", err)
		s.Close()
	}
	if _, err := db.Exec(`DELETE FROM records WHERE seq > 3`); err != nil {
		t.Fatal(err)
	}
	s := open(t, Config{Path: path, Patience: time.Millisecond}) // cut off, which only a head shows
	s.End(s.Begin(Call{Operation: "op"}), Outcome{})
	waitFor(t, func() bool { return s.Stats().Written == 2 })
	if err := walk(t, db, key, nil); err != nil {
		t.Error(err)
	}
	if _, err := db.Exec(`DELETE FROM records WHERE seq > 3`); err != nil {
		t.Fatal(err)
	}
	s.Begin(Call{Operation: "op"})
	waitFor(t, func() bool { return s.Stats().Failing })
	if text := s.Stats().Error; !strings.Contains(text, "it was written and is gone") {
		t.Error(text)
	}
}

// TestUnsignedStoreIsTakenOver opens a store of a version that did not sign. With a key that is there already it may be a forgery.
func TestUnsignedStoreIsTakenOver(t *testing.T) {
	db, path, _ := small(t, 2)
	if _, err := db.Exec(`DELETE FROM records WHERE seq > 2`); err != nil {
		t.Fatal(err)
	}
	if s, err := Open(Config{Path: path}); err == nil {
		s.Close()
		t.Error("an unsigned store was taken over under a key that was there before")
	}
	os.Remove(path + ".key")
	s := open(t, Config{Path: path})
	s.Begin(Call{Operation: "op"})
	if n := verified(t, closed(t, s)); n != 3 {
		t.Errorf("%d records", n)
	}
}

func TestHead(t *testing.T) {
	file := filepath.Join(t.TempDir(), "head")
	s := open(t, Config{Head: file})
	for range 3 {
		s.End(s.Begin(Call{Operation: "op"}), Outcome{})
	}
	path, key := closed(t, s), s.PublicKey()
	head, err := ReadHead(file)
	if err != nil {
		t.Fatal(err)
	}
	now, err := ReadStoreHead(t.Context(), path)
	if err != nil || *now != *head {
		t.Errorf("kept %+v, stored %+v, %v", head, now, err)
	}
	got, err := Verify(t.Context(), path, key, head)
	if err != nil || !got.Tail || got.Records != 6 || got.Signatures < 1 {
		t.Errorf("%+v, %v", got, err)
	}
	s = open(t, Config{Path: path, Head: file})
	s.Begin(Call{Operation: "op"})
	closed(t, s)
	if got, err := Verify(t.Context(), path, key, head); err != nil || !got.Tail || got.Records != 7 {
		t.Errorf("against an older head: %+v, %v", got, err)
	}
	for name, bad := range map[string]func(h *Head){
		"number":  func(h *Head) { h.Seq-- },
		"version": func(h *Head) { h.Version = 2 },
		"hash":    func(h *Head) { h.Before = strings.Repeat("0", 64) },
		"short":   func(h *Head) { h.Before = "00" },
		"record":  func(h *Head) { h.Record = strings.Replace(h.Record, "at", "ta", 1) },
	} {
		h := *head
		bad(&h)
		if _, err := Verify(t.Context(), path, key, &h); err == nil || !strings.Contains(err.Error(), "head") {
			t.Errorf("%s changed: %v", name, err)
		}
	}
	other, _, _ := ed25519.GenerateKey(nil)
	if _, err := Verify(t.Context(), path, other, nil); err == nil {
		t.Error("another key verifies the store")
	}
}

func TestVerifyMissing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "none.db")
	key, _, _ := ed25519.GenerateKey(nil)
	if _, err := Verify(t.Context(), path, key, nil); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("verification made a file")
	}
}

// TestStrict wants an intent in the file before Committed returns, and an error where it cannot come there.
func TestStrict(t *testing.T) {
	s := open(t, Config{Strict: true, Patience: time.Millisecond})
	for range 3 {
		token := s.Begin(Call{Operation: "op"})
		if err := s.Committed(t.Context(), token); err != nil {
			t.Fatal(err)
		}
		if records, _, _ := stored(t, s.cfg.Path); len(records) == 0 || records[len(records)-1]["call"] != fmt.Sprintf("%s-%d", s.run, token.n) {
			t.Fatalf("%d records, and not the one of the call", len(records))
		}
		s.End(token, Outcome{})
	}
	statement(t, s.cfg.Path, `CREATE TRIGGER full BEFORE INSERT ON records BEGIN SELECT RAISE(ABORT, 'disk full'); END`)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Committed(ctx, s.Begin(Call{Operation: "left"})); !errors.Is(err, ErrUnrecorded) {
		t.Errorf("a caller who has left: %v", err)
	}
	if err := s.Committed(t.Context(), s.Begin(Call{Operation: "op"})); !errors.Is(err, ErrUnrecorded) || !strings.Contains(err.Error(), "disk full") {
		t.Errorf("a full disk: %v", err)
	}
	statement(t, s.cfg.Path, `DROP TRIGGER full`)
	if err := s.Committed(t.Context(), s.Begin(Call{Operation: "op"})); err != nil {
		t.Errorf("once there is room: %v", err)
	}
	verified(t, closed(t, s))
	if err := s.Committed(t.Context(), s.Begin(Call{Operation: "op"})); !errors.Is(err, ErrUnrecorded) {
		t.Errorf("after Close: %v", err)
	}
}

func TestKeyFiles(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "new", "key")
	made, err := openKey(path)
	if err != nil || !made.fresh {
		t.Fatal(err)
	}
	again, err := openKey(path)
	if err != nil || again.fresh || !again.private.Equal(made.private) {
		t.Errorf("read again: %v", err)
	}
	for _, file := range []string{path, path + ".pub"} {
		if public, err := PublicKey(file); err != nil || !public.Equal(made.public()) {
			t.Errorf("%s: %v", file, err)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if text := fmt.Sprintf("%v %+v %#v %s", made, made, made, made); strings.Contains(text, fmt.Sprint(made.private[0], " ")) {
		t.Errorf("the key prints as %s", text)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := openKey(path); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("an open key: %v", err)
	}
	for name, text := range map[string]string{"none": "hello", "rsa": "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := openKey(file); err == nil || !strings.Contains(err.Error(), "openssl genpkey") {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := PublicKey(file); err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestList(t *testing.T) {
	s := open(t, Config{})
	at := time.Date(2026, 5, 4, 3, 0, 0, 0, time.UTC)
	for n, code := range []string{"", "TIMEOUT", ""} {
		c := Call{Time: at.Add(time.Duration(n) * time.Hour), Operation: fmt.Sprint("op", n), Profile: fmt.Sprint("p", n%2), Actor: fmt.Sprint("a", n)}
		s.End(s.Begin(c), Outcome{Code: code, Bytes: int64(n)})
	}
	path := closed(t, s)
	for _, tc := range []struct {
		f    Filter
		want int
	}{
		{Filter{}, 6},
		{Filter{Since: at.Add(time.Hour)}, 4},
		{Filter{Since: at.Add(time.Hour), Until: at.Add(2 * time.Hour)}, 2},
		{Filter{Profile: "p0"}, 4},
		{Filter{Operation: "op1"}, 2},
		{Filter{Actor: "a2"}, 2},
		{Filter{Code: "TIMEOUT"}, 1},
		{Filter{Code: "ok"}, 2},
		{Filter{Code: "ok", Profile: "p1"}, 0},
	} {
		n := 0
		if err := List(t.Context(), path, tc.f, func(r *Record) error { n++; return nil }); err != nil || n != tc.want {
			t.Errorf("%+v: %d records, want %d, %v", tc.f, n, tc.want, err)
		}
	}
	all := 0
	if err := All(t.Context(), path, func(r *Record) error { all++; return nil }); err != nil || all <= 6 {
		t.Errorf("%d records in all, %v", all, err)
	}
}

func TestURLs(t *testing.T) {
	for place, words := range map[string]string{
		"postgres://u:hunter2@h/db":         "PGPASSFILE",
		"postgres://u@h/db?password=hunter": "PGPASSFILE",
		"postgres://u:hunter2@h:x/db":       "cannot be read",
	} {
		_, err := Open(Config{Path: place, Key: filepath.Join(t.TempDir(), "key")})
		if err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v", place, err)
		}
	}
	if err := CheckURL("postgresql://u@h:5432/db?sslmode=disable"); err != nil {
		t.Error(err)
	}
	if db := (&database{postgres: true}); db.q("a ? b ?") != "a $1 b $2" {
		t.Error(db.q("a ? b ?"))
	}
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}
