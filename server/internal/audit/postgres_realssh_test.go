//go:build realssh

package audit

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestPostgreSQL has several servers write to one store on a real server of Debian's package postgresql, which must be installed. It runs as root,
// and the server as the package's user.
func TestPostgreSQL(t *testing.T) {
	const stores, calls = 3, 200
	place := startPostgres(t)
	key := filepath.Join(t.TempDir(), "key")
	cfg := Config{Path: place, Key: key, Strict: true}
	var open1 []*Store
	for range stores {
		open1 = append(open1, open(t, cfg))
	}
	var wg sync.WaitGroup
	for _, s := range open1 {
		for range 4 {
			wg.Go(func() {
				for range calls / 4 {
					token := s.Begin(Call{Time: time.Now(), Operation: "ssh.exec", Command: "echo é\x00"})
					if err := s.Committed(t.Context(), token); err != nil {
						t.Error(err)
					}
					s.End(token, Outcome{})
				}
			})
		}
	}
	wg.Wait()
	for _, s := range open1 {
		if err := s.Probe(t.Context()); err != nil {
			t.Error(err)
		}
		closed(t, s)
	}
	public := open1[0].PublicKey()
	head, err := ReadStoreHead(t.Context(), place)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Verify(t.Context(), place, public, head)
	if err != nil || got.Records != 2*stores*calls || !got.Tail {
		t.Errorf("%+v, %v", got, err)
	}
	n := 0
	if err := List(t.Context(), place, Filter{Code: "ok"}, func(*Record) error { n++; return nil }); err != nil || n != stores*calls {
		t.Errorf("%d outcomes, %v", n, err)
	}
	if s, err := Open(Config{Path: place, Key: filepath.Join(t.TempDir(), "other")}); err == nil || !strings.Contains(err.Error(), "audit.key") {
		t.Errorf("a store of another key was opened: %v", err)
		s.Close()
	}
	db, err := openDatabase(place, false)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, change := range []string{
		`DELETE FROM records WHERE seq = 7`, `UPDATE records SET record = record || ' ' WHERE seq = 9`,
		`DELETE FROM records WHERE seq > 100`,
	} {
		tx, err := db.Begin()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec(change); err != nil {
			t.Fatal(err)
		}
		wantBroken(t, walk(t, tx, public, head), 0, change)
		tx.Rollback()
	}
}

func startPostgres(t *testing.T) (place string) {
	t.Helper()
	bin := postgresBin(t)
	dir, err := os.MkdirTemp("", "audit-pg-") // t.TempDir's parents are not open to another user
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	must(t, os.Chmod(dir, 0o755))
	data, password := filepath.Join(dir, "data"), filepath.Join(dir, "password")
	asPostgres(t, exec.Command("install", "-d", "-o", "postgres", "-m", "700", data))
	must(t, os.WriteFile(password, []byte("hunter2\n"), 0o644))
	t.Setenv("PGPASSWORD", "hunter2")
	asPostgres(t, exec.Command("runuser", "-u", "postgres", "--", bin+"/initdb", "-D", data, "-A", "scram-sha-256", "-U", "audit", "--pwfile", password, "-N"))
	port := freePort(t)
	server := exec.Command("runuser", "-u", "postgres", "--", bin+"/postgres", "-D", data, "-h", "127.0.0.1", "-p", fmt.Sprint(port), "-k", "", "-F")
	server.Dir = "/"
	must(t, server.Start())
	t.Cleanup(func() {
		asPostgres(t, exec.Command("runuser", "-u", "postgres", "--", bin+"/pg_ctl", "-D", data, "-m", "fast", "-w", "stop"))
		_ = server.Wait()
	})
	place = fmt.Sprintf("postgres://audit@127.0.0.1:%d/postgres?sslmode=disable", port)
	waitFor(t, func() bool {
		db, err := openDatabase(place, false)
		return err == nil && db.Close() == nil
	})
	return place
}

func postgresBin(t *testing.T) string {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil || len(found) == 0 {
		t.Fatal("there is no /usr/lib/postgresql/*/bin: install Debian's package postgresql")
	}
	return slices.Max(found)
}

func asPostgres(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	cmd.Dir = "/"
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, out)
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
