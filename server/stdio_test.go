package server

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
)

func TestCancelStopsTheRemoteCommandUnderLoad(t *testing.T) {
	f := start(t, fakessh.Options{}, nil)
	c := f.connect(t.Context(), t)
	defer c.end()
	ids := make([]int, 150) // more than mcp-go's own stdio server can run
	for i := range ids {
		ids[i], _ = c.send("tools/call", map[string]any{"name": "ssh_exec", "arguments": args{"profile_id": "fake", "command": "sleep 60"}})
	}
	waitUntil(t, "all commands run", func() bool { return f.host.Stats().Running >= 100 })
	for _, id := range ids {
		c.notify("notifications/cancelled", map[string]any{"requestId": id})
	}
	waitUntil(t, "all commands have ended", func() bool { return f.host.Stats().Running == 0 })
	if e := c.call("ssh_exec", args{"profile_id": "fake", "command": "echo next"}); e.Data["stdout"] != "next\n" {
		t.Errorf("the next call: %+v", e)
	}
}

func TestCancelRightBehindItsRequest(t *testing.T) {
	f := start(t, fakessh.Options{}, nil)
	c := f.connect(t.Context(), t)
	defer c.end()
	for range 50 {
		id, _ := c.send("tools/call", map[string]any{"name": "ssh_exec", "arguments": args{"profile_id": "fake", "command": "sleep 60"}})
		c.notify("notifications/cancelled", map[string]any{"requestId": id})
	}
	waitUntil(t, "nothing runs", func() bool {
		running, waiting := f.server.limits.Stats()
		return running+waiting == 0 && f.host.Stats().Running == 0
	})
}

func TestClosedInputDrainsRunningCalls(t *testing.T) {
	f := start(t, fakessh.Options{}, nil)
	c := f.connect(t.Context(), t)
	_, answer := c.send("tools/call", map[string]any{"name": "ssh_exec", "arguments": args{"profile_id": "fake", "command": "sleep 0.2"}})
	waitUntil(t, "the command runs", func() bool { return f.host.Stats().Running == 1 })
	c.end()
	if e := c.envelope(c.await(answer)); !e.Success {
		t.Errorf("a call under way at the end of input: %+v", e)
	}
}

func TestEndedContextDrainsRunningCallsButNotForEver(t *testing.T) {
	f := start(t, fakessh.Options{}, nil)
	f.server.cfg.DrainTimeout = 0.1
	ctx, stop := context.WithCancel(t.Context())
	c := f.connect(ctx, t)
	for _, command := range []string{"sleep 0.01", "sleep 60"} {
		c.send("tools/call", map[string]any{"name": "ssh_exec", "arguments": args{"profile_id": "fake", "command": command}})
	}
	waitUntil(t, "the commands run", func() bool { return f.host.Stats().Commands["sleep"].Started == 2 })
	stop()
	select {
	case err := <-c.done:
		if err != nil {
			t.Errorf("Run: %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("Run did not return")
	}
	waitUntil(t, "nothing runs on the host", func() bool { return f.host.Stats().Running == 0 })
}

func TestStdioRefusesWhatIsNotAMessage(t *testing.T) {
	f := start(t, fakessh.Options{}, nil)
	in := strings.NewReader("not json\n\n{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"nope\"}\n[]\n")
	var out syncBuffer
	if err := f.server.Run(t.Context(), Stdio(in, &out)); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(strings.NewReader(out.String()))
	codes := map[float64]bool{}
	for lines.Scan() {
		var m struct {
			Error struct{ Code float64 }
		}
		if err := json.Unmarshal(lines.Bytes(), &m); err != nil {
			t.Fatalf("%q: %v", lines.Text(), err)
		}
		codes[m.Error.Code] = true
	}
	if !codes[-32700] || !codes[-32601] {
		t.Errorf("error codes %v of %q", codes, out.String())
	}
}

func TestStdioRefusesAnEndlessMessage(t *testing.T) {
	f := start(t, fakessh.Options{}, nil)
	err := f.server.Run(t.Context(), Stdio(io.LimitReader(zeros{}, maxMessage+100<<10), io.Discard))
	if err == nil || !strings.Contains(err.Error(), "longer than") {
		t.Errorf("got %v", err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '0'
	}
	return len(p), nil
}

func TestTooManyRequestsAreRefusedAndReadingGoesOn(t *testing.T) {
	f := start(t, fakessh.Options{}, nil)
	c := f.connect(t.Context(), t)
	defer c.end()
	var answers []<-chan message
	var ids []int
	for range maxInFlight + 10 {
		id, ch := c.send("tools/call", map[string]any{"name": "ssh_exec", "arguments": args{"profile_id": "fake", "command": "sleep 60"}})
		ids, answers = append(ids, id), append(answers, ch)
	}
	for _, ch := range answers[maxInFlight:] {
		if m := c.await(ch); m.Error == nil || !strings.Contains(m.Error.Message, "in flight") {
			t.Fatalf("got %+v", m)
		}
	}
	for _, id := range ids {
		c.notify("notifications/cancelled", map[string]any{"requestId": id})
	}
	waitUntil(t, "all have ended", func() bool { return f.host.Stats().Running == 0 })
}

// TestNothingRemainsAfterManyCalls makes 1,000 calls, cancels a third of them, and looks for what they left behind.
func TestNothingRemainsAfterManyCalls(t *testing.T) {
	f := start(t, fakessh.Options{}, nil)
	c := f.connect(t.Context(), t)
	c.call("ssh_exec", args{"profile_id": "fake", "command": "true"})
	descriptors := countDescriptors(t)
	var wg sync.WaitGroup
	for i := range 1000 {
		if i%50 == 0 {
			wg.Wait()
		}
		command := "echo hi"
		if i%3 == 0 {
			command = "sleep 60"
		}
		id, answer := c.send("tools/call", map[string]any{"name": "ssh_exec", "arguments": args{"profile_id": "fake", "command": command}})
		if i%3 == 0 {
			c.notify("notifications/cancelled", map[string]any{"requestId": id})
			continue
		}
		wg.Go(func() {
			if e := c.envelope(c.await(answer)); e.Data["stdout"] != "hi\n" {
				t.Errorf("got %+v", e)
			}
		})
	}
	wg.Wait()
	waitUntil(t, "nothing runs on the host", func() bool { return f.host.Stats().Running == 0 })
	waitUntil(t, "every lease is back", func() bool { return f.server.pool.Stats().Leased == 0 })
	f.server.pool.Close()
	waitUntil(t, "descriptors are closed", func() bool { return countDescriptors(t) <= descriptors })
	c.end()
	// goleak in TestMain looks for goroutines.
}

// countDescriptors counts this process's open files, where the system shows them.
func countDescriptors(t *testing.T) int {
	t.Helper()
	dir := "/proc/self/fd"
	if runtime.GOOS != "linux" {
		dir = "/dev/fd"
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

type syncBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
