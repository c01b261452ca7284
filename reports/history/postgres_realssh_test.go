//go:build realssh

package history

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// TestPostgreSQL runs the suite on a real server of Debian's package postgresql, which must be installed. It runs as root, and the server as
// the package's user.
func TestPostgreSQL(t *testing.T) { storeSuite(t, startPostgres(t)) }

func startPostgres(t *testing.T) (where string) {
	t.Helper()
	bin := postgresBin(t)
	dir, err := os.MkdirTemp("", "history-pg-") // t.TempDir's parents are not open to another user
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	must(t, os.Chmod(dir, 0o755))
	data := filepath.Join(dir, "data")
	asPostgres(t, "make the folder", exec.Command("install", "-d", "-o", "postgres", "-m", "700", data))
	password := filepath.Join(dir, "password")
	must(t, os.WriteFile(password, []byte("hunter2\n"), 0o644))
	asPostgres(t, "initdb", exec.Command("runuser", "-u", "postgres", "--", bin+"/initdb", "-D", data, "-A", "scram-sha-256", "-U", "loadgen", "--pwfile", password, "-N"))
	port := freePort(t)
	server := exec.Command("runuser", "-u", "postgres", "--", bin+"/postgres", "-D", data, "-h", "127.0.0.1", "-p", fmt.Sprint(port), "-k", "", "-F")
	server.Dir = "/"
	must(t, server.Start())
	t.Cleanup(func() { stopPostgres(t, bin, data, server) })
	where = fmt.Sprintf("postgres://loadgen:hunter2@127.0.0.1:%d/postgres?sslmode=disable", port)
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		s, err := Open(t.Context(), where)
		if err == nil {
			must(t, s.Close())
			return where
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

func stopPostgres(t *testing.T, bin, data string, server *exec.Cmd) {
	asPostgres(t, "stop", exec.Command("runuser", "-u", "postgres", "--", bin+"/pg_ctl", "-D", data, "-m", "fast", "-w", "stop"))
	if err := server.Wait(); err != nil {
		t.Logf("postgres: %v", err)
	}
}

func postgresBin(t *testing.T) string {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil || len(found) == 0 {
		t.Fatal("there is no /usr/lib/postgresql/*/bin: install Debian's package postgresql")
	}
	return slices.Max(found)
}

func asPostgres(t *testing.T, what string, cmd *exec.Cmd) {
	t.Helper()
	cmd.Dir = "/"
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", what, err, out)
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
