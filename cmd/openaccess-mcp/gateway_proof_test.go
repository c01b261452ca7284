//go:build proof && unix

package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestProofGateway kills and restarts each of three servers behind the gateway under load, several times. With PROOF=whole it takes its time and
// writes what it saw to PROOF_DIR.
func TestProofGateway(t *testing.T) {
	plan := crashPlan{callers: 32, kills: 3, before: time.Second, down: time.Second, after: 2 * time.Second}
	whole := os.Getenv("PROOF") == "whole"
	if whole {
		plan = crashPlan{callers: 64, kills: 12, before: 2 * time.Second, down: 2 * time.Second, after: 4 * time.Second}
	}
	r := crash(t, plan)
	t.Log("\n" + r.String())
	if dir := os.Getenv("PROOF_DIR"); dir != "" && whole && !t.Failed() {
		if err := os.WriteFile(filepath.Join(dir, "gateway.txt"), []byte(r.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
