//go:build proof

package loadgen_test

import (
	"os"
	"testing"
)

// TestProofCapacitySearch makes a thousand searches of each system in virtual time.
func TestProofCapacitySearch(t *testing.T) {
	if os.Getenv("PROOF") != "whole" {
		searches(t, 100, 0.9)
		return
	}
	searches(t, 1000, 0.93)
}
