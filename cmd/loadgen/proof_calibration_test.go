//go:build proof

package main

import (
	"path/filepath"
	"testing"
	"time"
)

// TestProofCalibration: percentiles are within 2 % of the delays that the fake host recorded, through SSH alone and through the server, and a
// report can carry the certificate.
func TestProofCalibration(t *testing.T) {
	file := filepath.Join(t.TempDir(), "calibration.json")
	args := []string{"calibrate", "--quiet", "--duration", length(60*time.Second, 5*time.Second), "--out", file}
	if !whole() {
		args = append(args, "--within", "30")
	}
	u, code := attempt(t, program(t, "loadgen"), args...)
	for range 2 {
		if code == exitHeld || whole() && code != exitHarness {
			break
		}
		t.Logf("made again:\n%s", u.stdout)
		u, code = attempt(t, program(t, "loadgen"), args...)
	}
	if code != exitHeld {
		t.Errorf("exit code %d\n%s", code, u.stdout)
	}
	keep(t, "calibration.txt", string(u.stdout))
	if code == exitHeld {
		d, _ := measure(t, "ssh-exec-1", "--duration", "1s", "--warmup", "0s", "--calibration", file)
		if d.Calibration == nil || !d.Calibration.OK {
			t.Errorf("the report does not carry the certificate: %+v", d.Calibration)
		}
	}
}
