//go:build proof

package audit

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestProofVerify verifies a store of many records, and finds one byte changed in it. With PROOF=whole it holds a million, and must be verified within
// 20 s; what it saw goes to PROOF_DIR.
func TestProofVerify(t *testing.T) {
	records := 20_000
	whole := os.Getenv("PROOF") == "whole"
	if whole {
		records = 1_000_000
	}
	s := open(t, Config{})
	for range records / 2 {
		s.End(s.Begin(Call{Time: time.Now(), Operation: "ssh.exec", Profile: "web-01", Actor: "stdio:deploy", Caller: "agent 7",
			Command: "systemctl status nginx --no-pager", Parameters: map[string]any{"profile_id": "web-01"}}), Outcome{Bytes: 900, Duration: time.Millisecond})
	}
	path := closed(t, s)
	head, err := ReadStoreHead(t.Context(), path)
	must(t, err)
	begin := time.Now()
	got, err := Verify(t.Context(), path, s.PublicKey(), head)
	took := time.Since(begin)
	if err != nil || got.Records != int64(records) {
		t.Fatalf("%+v, %v", got, err)
	}
	report := fmt.Sprintf("%d records and %d signatures verified in %.1f s\n", got.Records, got.Signatures, took.Seconds())
	t.Log(report)
	if whole && took > 20*time.Second {
		t.Errorf("that is more than 20 s")
	}
	statement(t, path, `UPDATE records SET record = replace(record, '"bytes":900', '"bytes":901') WHERE seq = (SELECT max(seq) / 2 + 2 FROM records)
		OR seq = (SELECT max(seq) / 2 + 3 FROM records)`)
	if _, err := Verify(t.Context(), path, s.PublicKey(), nil); err == nil {
		t.Error("a changed byte is not found")
	}
	if dir := os.Getenv("PROOF_DIR"); dir != "" && whole && !t.Failed() {
		must(t, os.WriteFile(filepath.Join(dir, "audit-verify.txt"), []byte(report), 0o644))
	}
}
