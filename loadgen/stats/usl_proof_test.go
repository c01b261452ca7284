//go:build proof

package stats

import "testing"

func TestProofUSLIntervals(t *testing.T) { recoverUSL(t, 100, 0.9) }
