//go:build proof && linux

package main

import (
	"context"
	"crypto/ed25519"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
	"github.com/openaccess-mcp/openaccess-mcp/fakessh/memfs"
)

// TestProofFaults has every operation meet every fault at every moment where that makes sense, in front of the fake host. With PROOF=whole it makes all
// cells, and writes the table to PROOF_DIR.
func TestProofFaults(t *testing.T) {
	r := newRig(t, func(string) faultHost { return newFakeHost(t) })
	keepReport(t, "faults.txt", faultReport("The fake host", runFaults(t, r, wholeFaults())))
}

// fakeHost is the fake host as a faultHost.
type fakeHost struct {
	t    *testing.T
	opts fakessh.Options

	mu    sync.Mutex
	host  *fakessh.Host // nil while it is dead
	count map[string]int
	gate  chan struct{} // closed while nobody holds the commands
}

func newFakeHost(t *testing.T) *fakeHost {
	_, key, _ := ed25519.GenerateKey(nil)
	signer, err := ssh.NewSignerFromSigner(key)
	must(t, err)
	h := &fakeHost{t: t, count: map[string]int{}, gate: make(chan struct{})}
	close(h.gate)
	h.opts = fakessh.Options{HostKey: signer, FS: memfs.New(memfs.Options{}), Handlers: map[string]fakessh.Handler{"count": h.handle}}
	must(t, h.opts.FS.WriteFile("/source", []byte(strings.Repeat("x", payload)), 0o644))
	h.host = fakessh.Start(h.opts)
	h.opts.Addr = h.host.Addr()
	t.Cleanup(func() { must(t, h.host.Close()) })
	return h
}

func (h *fakeHost) handle(ctx context.Context, c *fakessh.Command) int {
	h.mu.Lock()
	h.count[c.Args[1]]++
	gate := h.gate
	h.mu.Unlock()
	select {
	case <-gate:
	case <-ctx.Done():
		return 1
	}
	_, _ = c.Stdout.Write([]byte("done\n"))
	return 0
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

func (h *fakeHost) begun(id string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.count[id]
}

func (h *fakeHost) hold() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.gate = make(chan struct{})
}

func (h *fakeHost) release() { close(h.gate) }

func (h *fakeHost) fill(t *testing.T) { h.opts.FS.SetCapacity(h.opts.FS.Used() + payload/2) }

func (h *fakeHost) drain(t *testing.T) { h.opts.FS.SetCapacity(0) }

func (h *fakeHost) kill(t *testing.T) { must(t, h.host.Close()) }

func (h *fakeHost) revive(t *testing.T) { h.host = fakessh.Start(h.opts) }

func (h *fakeHost) remote(name string) string { return "/" + name }
