package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
)

// log keeps what is written.
type log struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// await waits until the log holds a text once more than it did the last time.
func (l *log) await(t *testing.T, text string) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		l.mu.Lock()
		got := l.text.String()
		if _, rest, found := strings.Cut(got, text); found {
			l.text.Reset()
			l.text.WriteString(rest)
			l.mu.Unlock()
			return
		}
		l.mu.Unlock()
		if time.Now().After(deadline) {
			t.Fatalf("%q is not told: %q", text, got)
		}
	}
}

func TestFaultsFileIsFollowed(t *testing.T) {
	name := filepath.Join(t.TempDir(), "faults.yaml")
	edit := func(text string) {
		if err := os.WriteFile(name+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(name+".new", name); err != nil {
			t.Fatal(err)
		}
	}
	edit("max_sessions: 1")
	file := faultsFile{name: name}
	faults, err := file.read()
	if err != nil {
		t.Fatal(err)
	}
	host := fakessh.Start(fakessh.Options{Faults: faults})
	defer host.Close()
	ctx, cancel := context.WithCancel(context.Background())
	hangup := make(chan os.Signal)
	var told log
	var wg sync.WaitGroup
	wg.Go(func() { file.follow(ctx, host, hangup, &told) })
	defer wg.Wait()
	defer cancel()

	edit("max_sessions: 2")
	told.await(t, name+" is in force")
	if got := host.Faults().MaxSessions; got != 2 {
		t.Errorf("max_sessions is %d after the edit", got)
	}
	edit("max_sessions: many")
	told.await(t, name+`:1:15: max_sessions: "many" is no whole number`)
	told.await(t, "the last good version")
	if got := host.Faults().MaxSessions; got != 2 {
		t.Errorf("max_sessions is %d after the broken edit", got)
	}
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	hangup <- os.Interrupt
	told.await(t, "the last good version")
	edit("max_sessions: 3")
	told.await(t, name+" is in force")
	hangup <- os.Interrupt // reads it again all the same
	told.await(t, name+" is in force")
	if got := host.Faults().MaxSessions; got != 3 {
		t.Errorf("max_sessions is %d in the end", got)
	}
}
