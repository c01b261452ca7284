//go:build unix

package remote

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestRsyncEnviron has a program in place of rsync tell its environment: nothing of the server's own may be in it.
func TestRsyncEnviron(t *testing.T) {
	dir := t.TempDir()
	script := "#!/bin/sh\nenv >\"" + dir + "/variables\"\necho 'rsync  version 3.2.7  protocol version 31'\n"
	if err := os.WriteFile(filepath.Join(dir, "rsync"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	t.Setenv("WEB_01_SECRET", "hunter2")
	before := rsyncFound.Swap(nil)
	defer rsyncFound.Store(before)
	if _, err := localRsync(); err != nil {
		t.Fatal(err)
	}
	variables, err := os.ReadFile(filepath.Join(dir, "variables"))
	if err != nil || !strings.Contains(string(variables), "LC_ALL=C") || strings.Contains(string(variables), "hunter2") {
		t.Errorf("it has the variables %s, %v", variables, err)
	}
	for _, v := range rsyncEnviron("A=b") {
		if strings.Contains(v, "hunter2") {
			t.Error(v)
		}
	}
}
