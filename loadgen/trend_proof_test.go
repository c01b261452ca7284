//go:build proof

package loadgen

import (
	"os"
	"path/filepath"
	"testing"
)

// TestProofVerdicts judges a thousand made-up soaks of each kind.
func TestProofVerdicts(t *testing.T) {
	report := verdicts(t, 1000)
	if dir := os.Getenv("PROOF_DIR"); dir != "" && os.Getenv("PROOF") == "whole" {
		if err := os.WriteFile(filepath.Join(dir, "soak-verdicts.txt"), []byte(report), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
