//go:build realssh

package reports

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestPrometheusTakesTheFile makes blocks of a database from the exposition, as docs/reports.md says.
func TestPrometheusTakesTheFile(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "run.om")
	if err := os.WriteFile(file, []byte(render(t, "openmetrics", sample(t, execRun(), sftpRun()))), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("promtool", "tsdb", "create-blocks-from", "openmetrics", file, dir).CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("BLOCK ULID")) {
		t.Errorf("%v: %s", err, out)
	}
}
