//go:build unix

package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
)

// syncBuffer collects what a child writes.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) await(t *testing.T, text string) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		s.mu.Lock()
		all := s.b.String()
		s.mu.Unlock()
		if strings.Contains(all, text) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%q is not in\n%s", text, all)
		}
	}
}

// TestHangup changes the configuration of a running server twice, well and badly, under a call that must not notice.
func TestHangup(t *testing.T) {
	host := fakessh.Start(fakessh.Options{})
	t.Cleanup(func() { host.Close() })
	dir := t.TempDir()
	if err := host.WriteProfile(dir, "fake"); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "server.yaml")
	write := func(text string) {
		if err := os.WriteFile(config, []byte("profiles: profiles\nsecrets: secrets\n"+text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("")
	child := exec.Command(os.Args[0], "serve", "--config", config)
	child.Env = append(os.Environ(), asProgram+"=1")
	var logs syncBuffer
	child.Stderr = &logs
	in, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { child.Process.Kill(); child.Wait() })
	answers := bufio.NewScanner(out)
	call := func(id int, command string) {
		fmt.Fprintf(in, `{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"ssh_exec","arguments":{"profile_id":"fake","command":%q}}}`+"\n", id, command)
	}
	answer := func(want string) {
		t.Helper()
		if !answers.Scan() || !strings.Contains(answers.Text(), want) {
			t.Errorf("answered %q, want %q", answers.Text(), want)
		}
	}
	call(1, "echo ready")
	answer("ready")
	call(2, "sleep 1")
	write("drain_timeout: 7\nsecrets_: x\n")
	child.Process.Signal(syscall.SIGHUP)
	logs.await(t, "server.yaml:4:1: secrets_: unknown key")
	write("drain_timeout: 7\nlisten: 127.0.0.1:8723\nlog_level: debug\n")
	child.Process.Signal(syscall.SIGHUP)
	logs.await(t, `changed="[log_level drain_timeout]" after_restart=[listen]`)
	answer(`"id":2`)
	in.Close()
	if err := child.Wait(); err != nil {
		t.Errorf("%v\n%s", err, logs.b.String())
	}
}
