//go:build proof && linux

package main

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
	"github.com/openaccess-mcp/openaccess-mcp/fakessh/memfs"
	"github.com/openaccess-mcp/openaccess-mcp/server"
)

// TestProofFaults has every operation meet every fault at every moment where that makes sense, in front of the fake host and a WireGuard peer. With
// PROOF=whole it makes all cells. The table goes to PROOF_DIR, where that is set.
func TestProofFaults(t *testing.T) {
	host := newFakeHost(t)
	r := newRig(t, func(string) faultHost { return host })
	outcomes := runFaults(t, r, faultTable, wholeFaults())
	outcomes = append(outcomes, runVPNFaults(t, r, host, wholeFaults())...)
	keepReport(t, "faults.txt", faultReport("The fake host", r, outcomes))
}

// counter runs a command that counts how often it begins.
type counter struct {
	mu    sync.Mutex
	count map[string]int
	gate  chan struct{} // closed while nobody holds the commands
}

func newCounter() *counter {
	c := &counter{count: map[string]int{}, gate: make(chan struct{})}
	close(c.gate)
	return c
}

func (c *counter) handle(ctx context.Context, cmd *fakessh.Command) int {
	c.mu.Lock()
	c.count[cmd.Args[1]]++
	gate := c.gate
	c.mu.Unlock()
	select {
	case <-gate:
	case <-ctx.Done():
		return 1
	}
	_, _ = cmd.Stdout.Write([]byte("done\n"))
	return 0
}

func (c *counter) begun(id string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.count[id]
}

func (c *counter) hold(*testing.T) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gate = make(chan struct{})
}

func (c *counter) release(*testing.T) {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.gate)
}

// fakeHost is the fake host as a faultHost.
type fakeHost struct {
	*counter
	opts fakessh.Options

	life sync.Mutex
	host *fakessh.Host
	dead bool
	past deeds // of those that were killed
}

func newFakeHost(t *testing.T) *fakeHost {
	_, key, _ := ed25519.GenerateKey(nil)
	signer, err := ssh.NewSignerFromSigner(key)
	must(t, err)
	h := &fakeHost{counter: newCounter(), dead: true}
	h.opts = fakessh.Options{Addr: steadyAddr(t), HostKey: signer, FS: memfs.New(memfs.Options{}),
		Handlers: map[string]fakessh.Handler{"count": h.handle, "devour": devour}}
	must(t, h.opts.FS.WriteFile("/source", []byte(strings.Repeat("x", payload)), 0o644))
	must(t, h.opts.FS.MkdirAll("/source-tree", 0o755))
	for i := range treeFiles {
		must(t, h.opts.FS.WriteFile(fmt.Sprint("/source-tree/", i), []byte(treeFile), 0o644))
	}
	h.revive(t)
	t.Cleanup(func() { h.kill(t) })
	return h
}

func (h *fakeHost) address() string { return h.opts.Addr }

func (h *fakeHost) profile(t *testing.T, dir, id string, port int, goodKey bool) {
	fields := map[string]any{"host": "127.0.0.1", "port": port}
	if !goodKey {
		fields["host_key"] = strangersKey(t)
	}
	must(t, h.host.WriteProfileWith(dir, id, fields, dir))
}

func (h *fakeHost) command(id string) string { return "count " + id }

func (h *fakeHost) greedy() string { return "devour" }

func devour(ctx context.Context, c *fakessh.Command) int {
	for range greed / len(treeFile) {
		if _, err := c.Stdout.Write([]byte(treeFile)); err != nil {
			return 1
		}
	}
	<-ctx.Done()
	return 1
}

func (h *fakeHost) did(_ *testing.T, id string) deeds {
	h.life.Lock()
	defer h.life.Unlock()
	d := h.past
	if !h.dead {
		d = deedsOf(d, h.host.Stats())
	}
	d.begun = h.begun(id)
	return d
}

func deedsOf(d deeds, s fakessh.Stats) deeds {
	d.created += int(s.FilesCreated)
	d.renamed += int(s.FilesRenamed)
	d.listened += int(s.Listeners)
	d.forwarded += int(s.Forwards)
	return d
}

func (h *fakeHost) fill(*testing.T, *rig) { h.opts.FS.SetCapacity(h.opts.FS.Used() + payload/2) }

func (h *fakeHost) drain(*testing.T) { h.opts.FS.SetCapacity(0) }

func (h *fakeHost) fullCode() server.Code { return full }

func (h *fakeHost) kill(t *testing.T) {
	h.life.Lock()
	defer h.life.Unlock()
	if h.dead {
		return
	}
	for deadline := time.Now().Add(soon); ; { // Close waits some seconds each time
		err := h.host.Close()
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Errorf("the host does not end: %v", err)
			break
		}
	}
	h.dead, h.past = true, deedsOf(h.past, h.host.Stats())
}

func (h *fakeHost) revive(t *testing.T) {
	h.life.Lock()
	defer h.life.Unlock()
	if !h.dead {
		return
	}
	opts := h.opts
	opts.Listener = listenAgain(t, h.opts.Addr)
	h.host, h.dead = fakessh.Start(opts), false
}

func (h *fakeHost) quiet(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(soon); ; time.Sleep(5 * time.Millisecond) {
		s := h.host.Stats()
		if s.OpenConnections+s.OpenSessions+s.OpenForwards+s.OpenListeners+s.Running == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("the host is still at work: %+v", s)
			return
		}
	}
}

func (h *fakeHost) remote(name string) string { return "/" + name }
