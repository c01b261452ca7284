package audit

import (
	"bytes"
	"crypto/sha256"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"go.uber.org/goleak"
)

// asWriter makes the test binary write records until it is killed.
const asWriter = "TEST_AS_AUDIT_WRITER"

func TestMain(m *testing.M) {
	if path := os.Getenv(asWriter); path != "" {
		writeForever(path)
	}
	goleak.VerifyTestMain(m)
}

func writeForever(path string) {
	s, err := Open(Config{Path: path})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	for n := 0; ; n++ {
		t := s.Begin(Call{Time: time.Now(), Operation: "ssh.exec", Profile: "web", Command: fmt.Sprint("echo ", n)})
		s.End(t, Outcome{Duration: time.Millisecond})
		if n%100 == 0 {
			time.Sleep(time.Millisecond)
			fmt.Println(s.Stats().Written)
		}
	}
}

func open(t testing.TB, cfg Config) *Store {
	t.Helper()
	if cfg.Path == "" {
		cfg.Path = filepath.Join(t.TempDir(), "state", "audit.db")
	}
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func closed(t testing.TB, s *Store) string {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return s.cfg.Path
}

// stored reads the records of calls and gaps back, and all texts with their hashes, without any help of the package.
func stored(t testing.TB, path string) (records []map[string]any, texts []string, hashes [][]byte) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.Query("SELECT record, hash FROM records ORDER BY seq")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var text string
		var sum []byte
		var m map[string]any
		if err := errors.Join(rows.Scan(&text, &sum), json.Unmarshal([]byte(text), &m)); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		if m["kind"] != "signature" {
			records = append(records, m)
		}
		texts, hashes = append(texts, text), append(hashes, sum)
	}
	return records, texts, hashes
}

func TestRecords(t *testing.T) {
	redact := func(profile, text string) string { return strings.ReplaceAll(text, "hunter2", "[redacted]") }
	s := open(t, Config{Redact: redact})
	at := time.Date(2026, 5, 4, 3, 2, 1, 500, time.UTC)
	token := s.Begin(Call{
		Time: at, Operation: "ssh.exec", Profile: "web", Actor: "stdio:me", Caller: "agent \"7\"", Command: "login -p hunter2 é\x01",
		Parameters: map[string]any{"b": []any{true, nil, 1.5}, "a": map[string]any{"password": "hunter2"}},
	})
	s.End(token, Outcome{Code: "TIMEOUT", Bytes: 7, Duration: 1500})
	path := closed(t, s)
	records, texts, _ := stored(t, path)
	digest := fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(`{"a":{"password":"[redacted]"},"b":[true,null,1.5]}`)))
	run := s.run + "-1"
	want := []map[string]any{
		{"v": 1.0, "kind": "intent", "at": "2026-05-04T03:02:01.0000005Z", "call": run, "operation": "ssh.exec", "profile": "web", "actor": "stdio:me",
			"caller": "agent \"7\"", "command": "login -p [redacted] é\x01", "parameters": digest},
		{"v": 1.0, "kind": "outcome", "at": "2026-05-04T03:02:01.0000005Z", "call": run, "operation": "ssh.exec", "profile": "web", "actor": "stdio:me",
			"code": "TIMEOUT", "bytes": 7.0, "duration_ns": 1500.0},
	}
	if fmt.Sprint(records) != fmt.Sprint(want) {
		t.Errorf("got  %v\nwant %v", records, want)
	}
	if strings.Contains(strings.Join(texts, ""), "hunter2") {
		t.Error("a secret is stored")
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if s.Begin(Call{}); s.Stats().Lost != 1 {
		t.Error("a record after Close is not counted as lost")
	}
}

func TestLongTexts(t *testing.T) {
	s := open(t, Config{})
	s.Begin(Call{Command: strings.Repeat("é", maxCommand), Caller: strings.Repeat("x", 1000), Profile: strings.Repeat("p", 1000)})
	records, _, _ := stored(t, closed(t, s))
	if c := records[0]["command"].(string); len(c) != maxCommand+len("…") || !strings.HasSuffix(c, "é…") {
		t.Errorf("%d bytes of command", len(c))
	}
	if c := records[0]["caller"].(string); len(c) != maxName+len("…") {
		t.Errorf("%d bytes of caller", len(c))
	}
}

// TestChain has many goroutines and two stores write to one file, and then computes the chain with the plainest code there is.
func TestChain(t *testing.T) {
	const stores, workers, calls = 2, 4, 1500
	path := filepath.Join(t.TempDir(), "audit.db")
	open1 := []*Store{open(t, Config{Path: path, Buffer: 100}), open(t, Config{Path: path, Buffer: 100})}
	var wg sync.WaitGroup
	for w := range stores * workers {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(w), 4))
			for range calls {
				token := open1[w%stores].Begin(Call{Time: time.Now(), Operation: "op", Profile: "p", Command: strings.Repeat("c", rnd.IntN(30))})
				if rnd.IntN(200) == 0 {
					time.Sleep(time.Duration(rnd.IntN(3)) * time.Millisecond)
				}
				open1[w%stores].End(token, Outcome{Bytes: rnd.Int64N(9)})
			}
		})
	}
	wg.Wait()
	for _, s := range open1 {
		if now := s.Stats(); now.Lost != 0 {
			t.Errorf("%+v", now)
		}
		closed(t, s)
	}
	records, texts, hashes := stored(t, path)
	if len(records) != stores*workers*calls*2 {
		t.Fatalf("%d records", len(records))
	}
	before := make([]byte, sha256.Size)
	for i, text := range texts {
		sum := sha256.Sum256([]byte(string(before) + text))
		if before = sum[:]; !slices.Equal(before, hashes[i]) {
			t.Fatalf("record %d does not follow from the one before", i+1)
		}
	}
	seen := map[any]int{} // intents and outcomes of each call
	for _, r := range records {
		if r["kind"] == "intent" {
			seen[r["call"]] += 10
		} else if seen[r["call"]]++; seen[r["call"]] != 11 {
			t.Fatalf("the outcome of %v stands before its intent, or twice", r["call"])
		}
	}
	if len(seen) != stores*workers*calls {
		t.Errorf("%d calls", len(seen))
	}
	if n := verified(t, path); n != int64(len(records)) {
		t.Errorf("%d verified", n)
	}
}

// verified is the number of records of calls in a store whose key is beside it and which has no fault.
func verified(t testing.TB, path string) int64 {
	t.Helper()
	key, err := PublicKey(path + ".key.pub")
	if err != nil {
		t.Fatal(err)
	}
	got, err := Verify(t.Context(), path, key, nil)
	if err != nil {
		t.Fatal(err)
	}
	return got.Records
}

// TestKilled kills a process that writes, several times, and wants a chain that verifies and goes on.
func TestKilled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.db")
	var before int64
	for round := range 4 {
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), asWriter+"="+path)
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		var written int64
		for written < 300 {
			if _, err := fmt.Fscanln(out, &written); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Duration(round*17) * time.Millisecond)
		child.Process.Kill()
		child.Wait()
		n := verified(t, path)
		if n < before+written {
			t.Fatalf("%d records verified after %d and %d", n, before, written)
		}
		before = n
	}
}

// lock holds the file so that nobody else can write.
func lock(t *testing.T, path string) (release func()) {
	t.Helper()
	db, err := sql.Open("sqlite", dataSource(path))
	if err != nil {
		t.Fatal(err)
	}
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	return sync.OnceFunc(func() { tx.Rollback(); db.Close() })
}

// TestFullBufferWaits fills the buffer while the file is locked: callers wait, and nothing is lost.
func TestFullBufferWaits(t *testing.T) {
	s := open(t, Config{Buffer: 4})
	release := lock(t, s.cfg.Path)
	defer release()
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() { s.Begin(Call{Operation: "op"}) })
	}
	for s.Stats().Waiting == 0 {
		time.Sleep(time.Millisecond)
	}
	release()
	wg.Wait()
	if records, _, _ := stored(t, closed(t, s)); len(records) != 20 {
		t.Errorf("%d records of 20", len(records))
	}
}

// TestFailingFile takes the table away: calls go on, what is lost is counted, and the gap is recorded once the table is back.
func TestFailingFile(t *testing.T) {
	s := open(t, Config{Buffer: 10})
	db, err := sql.Open("sqlite", dataSource(s.cfg.Path))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	s.Begin(Call{Operation: "first"})
	waitFor(t, func() bool { return s.Stats().Written == 1 })
	if err := s.Probe(t.Context()); err != nil {
		t.Error(err)
	}
	run := func(statement string) {
		t.Helper()
		if _, err := db.Exec(statement); err != nil {
			t.Fatal(err)
		}
	}
	run(`ALTER TABLE records RENAME TO away`)
	if err := s.Probe(t.Context()); err == nil {
		t.Error("Probe finds nothing wrong with a file without its table")
	}
	s.Begin(Call{Operation: "lost"})
	waitFor(t, func() bool { return s.Stats().Failing })
	for range 100 { // more than the buffer holds, and nobody may wait
		s.Begin(Call{Operation: "lost"})
	}
	waitFor(t, func() bool { return s.Stats().Buffered == 0 })
	if err := s.Probe(t.Context()); err == nil || !strings.Contains(err.Error(), "records are lost") {
		t.Errorf("Probe: %v", err)
	}
	run(`ALTER TABLE away RENAME TO records`)
	waitFor(t, func() bool { return !s.Stats().Failing })
	s.Begin(Call{Operation: "last"})
	lost := s.Stats().Lost
	records, _, _ := stored(t, closed(t, s))
	var got []string
	for _, r := range records {
		got = append(got, fmt.Sprint("", r["kind"], "-", r["operation"], "-", r["lost"]))
	}
	if want := []string{"intent-first-<nil>", fmt.Sprintf("gap-<nil>-%d", lost), "intent-last-<nil>"}; lost != 101 || !slices.Equal(got, want) {
		t.Errorf("%d lost; got %v, want %v", lost, got, want)
	}
	verified(t, s.cfg.Path)
}

func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not within 30 s")
		}
	}
}

func TestOpenFails(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "text"), []byte("not a database, but long enough to be looked at"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{filepath.Join(dir, "text"), filepath.Join(dir, "text", "audit.db"), dir} {
		if s, err := Open(Config{Path: path}); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", path, err)
			s.Close()
		}
	}
	odd := open(t, Config{Path: filepath.Join(dir, "a?b #%41.db")})
	if _, err := os.Stat(closed(t, odd)); err != nil {
		t.Error(err)
	}
	entries, _ := os.ReadDir(dir)
	if len(entries) != 4 { // the text, the store, its key and the public half

		t.Errorf("%v", entries)
	}
}

func TestNilStore(t *testing.T) {
	var s *Store
	s.End(s.Begin(Call{}), Outcome{})
	if s.Stats() != (Stats{}) || s.Close() != nil {
		t.Error("a nil store does something")
	}
}

// TestEncode wants JSON of whatever bytes callers send.
func TestEncode(t *testing.T) {
	rnd := rand.New(rand.NewPCG(8, 8))
	text := func() string {
		b := make([]byte, rnd.IntN(20))
		for i := range b {
			b[i] = byte(rnd.IntN(256))
		}
		return string(b)
	}
	e := encoder{run: "r"}
	for range 20_000 {
		c := Call{Command: text(), Caller: text(), Profile: text(), Parameters: map[string]any{text(): rnd.NormFloat64(), "x": text()}}
		var m map[string]any
		if record := e.encode(nil, &item{kind: intent, call: c}); json.Unmarshal(record, &m) != nil || !json.Valid(e.text) {
			t.Fatalf("%q of %+v", record, c)
		}
	}
}

// FuzzEncode wants one line of JSON of whatever callers send, from which well-formed texts come back as they were.
func FuzzEncode(f *testing.F) {
	f.Add("echo hi", "web", "me", "no_cache", "x")
	f.Add("\x00\xff\u2028<script>&\\\"", "é", "\n", "", "\xc3")
	f.Fuzz(func(t *testing.T, command, profile, caller, key, value string) {
		e := encoder{run: "r"}
		record := e.encode(nil, &item{kind: intent, call: Call{
			Command: command, Profile: profile, Caller: caller, Operation: "ssh.exec", Parameters: map[string]any{key: value, "list": []any{value, 1.5, nil}},
		}})
		var m struct{ Command, Profile, Caller string }
		if err := json.Unmarshal(record, &m); err != nil || bytes.ContainsAny(record, "\n\r") || !json.Valid(e.text) {
			t.Fatalf("%q, parameters %q: %v", record, e.text, err)
		}
		if utf8.ValidString(command) && len(command) <= maxCommand && m.Command != command {
			t.Errorf("command %q came back as %q", command, m.Command)
		}
	})
}

// BenchmarkCall is what recording a call costs on its own path. The writer works beside it.
func BenchmarkCall(b *testing.B) {
	s := open(b, Config{})
	params := map[string]any{"profile_id": "web", "command": "echo hello"}
	b.ReportAllocs()
	for b.Loop() {
		t := s.Begin(Call{Time: time.Now(), Operation: "ssh.exec", Profile: "web", Actor: "stdio:me", Command: "echo hello", Parameters: params})
		s.End(t, Outcome{Bytes: 6, Duration: time.Millisecond})
	}
}

// BenchmarkCallPaced is the same at a pace that the writer keeps up with.
func BenchmarkCallPaced(b *testing.B) {
	s := open(b, Config{Buffer: 1 << 20})
	params := map[string]any{"profile_id": "web", "command": "echo hello"}
	b.ReportAllocs()
	b.ResetTimer()
	for n := range b.N {
		t := s.Begin(Call{Time: time.Now(), Operation: "ssh.exec", Profile: "web", Actor: "stdio:me", Command: "echo hello", Parameters: params})
		s.End(t, Outcome{Bytes: 6, Duration: time.Millisecond})
		if n%1000 == 999 {
			b.StopTimer()
			for s.Stats().Buffered > 0 {
				time.Sleep(time.Millisecond)
			}
			b.StartTimer()
		}
	}
}

// BenchmarkWrite is what the writer spends on one record.
func BenchmarkWrite(b *testing.B) {
	s := open(b, Config{})
	w := &batchWriter{store: s, enc: encoder{run: s.run}}
	defer w.close()
	batch := make([]item, 600) // 6,000 calls a second
	for i := range batch {
		batch[i] = item{kind: intent, call: Call{Time: time.Now(), Operation: "ssh.exec", Profile: "web", Actor: "stdio:me", Command: "echo hello",
			Parameters: map[string]any{"profile_id": "web", "command": "echo hello"}}}
	}
	b.ReportAllocs()
	for b.Loop() {
		w.encode(batch)
		if _, err := w.write(0); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(batch)), "ns/record")
}
