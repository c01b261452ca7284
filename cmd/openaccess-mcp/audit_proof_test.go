//go:build proof && unix

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
)

// TestProofAuditKilled kills the server at random moments under load, again and again over one record. The record verifies each time, and in strict
// mode no command ran on the host without its intent there. With PROOF=whole it kills 100 times in each mode, and writes what it saw to PROOF_DIR.
func TestProofAuditKilled(t *testing.T) {
	kills := 5
	whole := os.Getenv("PROOF") == "whole"
	if whole {
		kills = 100
	}
	var report strings.Builder
	for _, durability := range []string{"strict", "batched"} {
		t.Run(durability, func(t *testing.T) {
			k := newKillings(t, durability)
			for round := range kills {
				k.round(t, round)
			}
			fmt.Fprintf(&report, "%s: %d kills, %d commands ran on the host, %d of them without an intent in the record, %d records verified\n",
				durability, kills, len(k.ran), k.unrecorded(t), k.verify(t))
		})
	}
	t.Log("\n" + report.String())
	if dir := os.Getenv("PROOF_DIR"); dir != "" && whole && !t.Failed() {
		if err := os.WriteFile(filepath.Join(dir, "audit-killed.txt"), []byte(report.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// killings is a host, and a server in front of it that is killed.
type killings struct {
	dir, durability string

	mu  sync.Mutex
	ran map[string]bool
}

func newKillings(t *testing.T, durability string) *killings {
	k := &killings{dir: t.TempDir(), durability: durability, ran: map[string]bool{}}
	host := fakessh.Start(fakessh.Options{Handlers: map[string]fakessh.Handler{"mark": func(_ context.Context, c *fakessh.Command) int {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.ran[c.Line] = true
		return 0
	}}})
	t.Cleanup(func() {
		if err := host.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := host.WriteProfile(k.dir, "fake"); err != nil {
		t.Fatal(err)
	}
	return k
}

func (k *killings) path(name string) string { return filepath.Join(k.dir, name) }

// round starts the server, gives it more calls than it can do, kills it at a random moment, and looks at what is left.
func (k *killings) round(t *testing.T, round int) {
	cmd := exec.Command(os.Args[0], "serve", "--profiles", k.path("profiles"), "--secrets", k.path("secrets"), "--audit", k.path("audit.db"),
		"--set", "audit.durability="+k.durability, "--set", "audit.head="+k.path("head"), "--log-level", "error")
	cmd.Env = append(os.Environ(), asProgram+"=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	room := make(chan struct{}, 32) // calls under way
	go func() {
		for n := 0; ; n++ {
			room <- struct{}{}
			if _, err := fmt.Fprintf(in, `{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"ssh_exec","arguments":{"profile_id":"fake","command":"mark %d-%d"}}}`+"\n",
				n+1, round, n); err != nil {
				return
			}
		}
	}()
	time.AfterFunc(time.Duration(rand.IntN(500))*time.Millisecond, func() { _ = cmd.Process.Kill() })
	answers := bufio.NewReaderSize(out, 1<<20)
	for {
		if _, err := answers.ReadSlice('\n'); err != nil {
			break
		}
		<-room
	}
	go io.Copy(io.Discard, answers)
	_ = cmd.Wait()
	if cmd.ProcessState.Exited() {
		t.Fatalf("the server was not killed: %v", cmd.ProcessState)
	}
	select { // let the one that feeds it end
	case <-room:
	default:
	}
	if _, err := os.Stat(k.path("audit.db.key")); err != nil {
		return // killed before there was a record
	}
	k.verify(t)
	if k.durability == "strict" {
		if n := k.unrecorded(t); n > 0 {
			t.Errorf("round %d: %d commands ran without an intent in the record", round, n)
		}
	}
}

func (k *killings) program(t *testing.T, args ...string) []byte {
	t.Helper()
	var out, errs bytes.Buffer
	if code := run(args, nil, &out, &errs); code != 0 {
		t.Fatalf("%v: exit %d: %s", args, code, errs.String())
	}
	return out.Bytes()
}

// verify is the number of records of calls.
func (k *killings) verify(t *testing.T) (records int64) {
	t.Helper()
	args := []string{"audit", "verify", "--database", k.path("audit.db"), "--public-key", k.path("audit.db.key")}
	if _, err := os.Stat(k.path("head")); err == nil {
		args = append(args, "--head", k.path("head"))
	}
	fmt.Sscan(string(k.program(t, args...)), &records)
	return records
}

// unrecorded counts the commands that ran and have no intent.
func (k *killings) unrecorded(t *testing.T) int {
	t.Helper()
	intents := map[string]bool{}
	d := json.NewDecoder(bytes.NewReader(k.program(t, "audit", "list", "--database", k.path("audit.db"), "--operation", "ssh.exec", "--json")))
	for {
		var r struct{ Kind, Command string }
		err := d.Decode(&r)
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if r.Kind == "intent" {
			intents[r.Command] = true
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	n := 0
	for command := range k.ran {
		if !intents[command] {
			n++
		}
	}
	return n
}
