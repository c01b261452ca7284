package cache

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// whole reports whether the random tests do as many operations as the documents claim.
func whole() bool { return os.Getenv("PROOF") == "whole" }

// operations is how many random operations a test does: few, or with PROOF=whole in the environment as many as the documents claim.
func operations(few, claimed int) int {
	if whole() {
		return claimed
	}
	return few
}

var proof = []string{"The response cache under random use, by `PROOF=whole go test -race ./server/internal/cache`.\n"}

// keep logs what a random test has done since begin, and writes it where PROOF_DIR says.
func keep(t *testing.T, begin time.Time, format string, args ...any) {
	t.Helper()
	text := fmt.Sprintf(format, args...)
	t.Log(text)
	dir := os.Getenv("PROOF_DIR")
	if dir == "" || !whole() || t.Failed() {
		return
	}
	proof = append(proof, fmt.Sprintf("%s, %v: %s", t.Name(), time.Since(begin).Round(time.Second), text))
	if err := os.WriteFile(filepath.Join(dir, "cache.txt"), []byte(strings.Join(proof, "\n")+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
}
