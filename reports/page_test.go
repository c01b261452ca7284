package reports

import (
	"os"
	"testing"
)

func TestPageForLooking(t *testing.T) {
	dir := os.Getenv("PAGE_DIR")
	if dir == "" {
		t.Skip("no PAGE_DIR")
	}
	os.WriteFile(dir+"/page.html", []byte(render(t, "html", sample(t, execRun(), sftpRun()))), 0o644)
}
