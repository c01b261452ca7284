package rsyncshell

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/rsyncshell/helper"
)

// TestConfinedProgram starts a shell in a folder beside another: it reaches what is in its own, as far as it may, and nothing else, whatever links say.
func TestConfinedProgram(t *testing.T) {
	if _, _, errno := syscall.RawSyscall(444, 0, 0, 1); errno != 0 {
		t.Skipf("this system does not know Landlock (%v), so that nothing can be confined", errno)
	}
	const script = `cat in; cat sub/in; cat ../out/file; cat far/file; cat link; ls far; ls /etc
echo new >made; echo new >far/made; echo new >../out/made; echo new >link; mkdir newdir; mkdir far/newdir; rm far/other; mv in far/in; ln -s x newlink; cp /usr/bin/env far/env; : >far/file; cat </dev/null >/dev/null`
	for _, writes := range []bool{false, true} {
		dir := t.TempDir()
		for _, sub := range []string{"work/sub", "out"} {
			must(t, os.MkdirAll(filepath.Join(dir, sub), 0o755))
		}
		for name, text := range map[string]string{"work/in": "inside\n", "work/sub/in": "inside\n", "out/file": "outside\n", "out/other": "outside\n"} {
			must(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
		}
		must(t, os.Symlink("../out", filepath.Join(dir, "work/far")))
		must(t, os.Symlink("../out/file", filepath.Join(dir, "work/link")))
		name, args, err := Confined("/bin/sh", writes, []string{"-c", script})
		must(t, err)
		cmd := exec.Command(name, args...)
		cmd.Dir, cmd.Env = filepath.Join(dir, "work"), []string{helper.Variable + "=unused", "PATH=/usr/bin:/bin"}
		out, err := cmd.CombinedOutput()
		t.Logf("%s%v", out, err)
		if strings.Count(string(out), "inside") != 2 || strings.Contains(string(out), "outside\n") || strings.Contains(string(out), "passwd") {
			t.Errorf("writes %v: it read\n%s", writes, out)
		}
		if strings.Contains(string(out), "null") {
			t.Errorf("writes %v: /dev/null cannot be used:\n%s", writes, out)
		}
		for _, made := range []string{"made", "newdir", "newlink"} {
			if _, err := os.Lstat(filepath.Join(dir, "work", made)); (err == nil) != writes {
				t.Errorf("writes %v: %s: %v", writes, made, err)
			}
		}
		entries, err := os.ReadDir(filepath.Join(dir, "out"))
		must(t, err)
		if len(entries) != 2 {
			t.Errorf("writes %v: outside are %v", writes, entries)
		}
		for _, name := range []string{"file", "other"} {
			if text, err := os.ReadFile(filepath.Join(dir, "out", name)); string(text) != "outside\n" {
				t.Errorf("writes %v: %s holds %q, %v", writes, name, text, err)
			}
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
