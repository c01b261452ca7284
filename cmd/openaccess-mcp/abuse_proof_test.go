//go:build proof && linux

package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
	"github.com/openaccess-mcp/openaccess-mcp/server"
)

// abuse is one measurement: a legitimate caller alone and beside those who must be refused, in turn.
type abuse struct {
	rounds int
	slice  time.Duration // of one turn
	idle   int           // connections that say nothing, or no more than the begin of a request
	judge  bool          // the latencies, too: on a machine that others share, a slice this short says nothing of them

	opened atomic.Int64 // idle connections, those that came again included
}

// TestProofAbuse has a server refuse requests without a token, with a wrong, expired or out-of-scope one, from foreign origins and for foreign hosts,
// and with bodies of 1 GiB, while idle connections are held open, all of them from the address of the legitimate caller. That one is served all the while:
// each of its calls succeeds. With PROOF=whole it holds 10,000 connections, in slices that are longer than the server waits for them, wants the p95 of
// those calls to be at most twice what it is without, in the same run, and writes what it saw to PROOF_DIR.
func TestProofAbuse(t *testing.T) {
	a := abuse{rounds: 2, slice: 3 * time.Second, idle: 1000}
	whole := os.Getenv("PROOF") == "whole"
	if whole {
		a = abuse{rounds: 4, slice: 35 * time.Second, idle: 10_000, judge: true}
	}
	var files syscall.Rlimit // three quarters of which the server spares for who waits
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil || files.Cur < uint64(a.idle)*3/2+500 {
		t.Fatalf("%d connections need half as many again of open files, of which the limit is %d, %v: raise it with ulimit -n", a.idle, files.Cur, err)
	}
	report := a.run(t)
	t.Log("\n" + report)
	if dir := os.Getenv("PROOF_DIR"); dir != "" && whole && !t.Failed() {
		if err := os.WriteFile(filepath.Join(dir, "abuse.txt"), []byte(report), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func (a *abuse) run(t *testing.T) string {
	host := fakessh.Start(fakessh.Options{})
	t.Cleanup(func() { host.Close() })
	dir := t.TempDir()
	noError(t, host.WriteProfile(dir, "fake"))
	tokens := filepath.Join(dir, "tokens.yaml")
	token := func(o server.TokenOptions) string {
		text, err := server.NewToken(tokens, o)
		noError(t, err)
		return text
	}
	good, old := token(server.TokenOptions{Name: "good"}), token(server.TokenOptions{Name: "old", Expires: time.Now().Add(-time.Hour)})
	scoped := token(server.TokenOptions{Name: "scoped", Profiles: []string{"other"}})
	p := start(t, "serve", "--transport", "http", "--listen", "127.0.0.1:0", "--profiles", filepath.Join(dir, "profiles"), "--secrets", filepath.Join(dir, "secrets"),
		"--audit", filepath.Join(dir, "audit.db"), "--set", "auth.tokens="+tokens, "--set", "auth.rate_limit=1000", "--log-level", "info")
	kinds := []*refused{
		{name: "no token", want: "401"},
		{name: "a wrong token", want: "401", header: "Authorization: Bearer " + good + "x\r\n"},
		{name: "an expired token", want: "401", header: "Authorization: Bearer " + old + "\r\n"},
		{name: "a token for another profile", want: "200", body: "AUTHORIZATION_FAILED", header: "Authorization: Bearer " + scoped + "\r\n"},
		{name: "a foreign origin", want: "403", header: "Origin: https://evil.example\r\nAuthorization: Bearer " + good + "\r\n"},
		{name: "a foreign host", want: "403", host: "evil.example", header: "Authorization: Bearer " + good + "\r\n"},
		{name: "1 GiB", want: "413", length: 1 << 30, header: "Authorization: Bearer " + good + "\r\n", pause: 200 * time.Millisecond},
		{name: "1 GiB without a token", want: "401", length: 1 << 30, pause: 200 * time.Millisecond},
		{name: "1 GiB of unknown length", length: -1, header: "Authorization: Bearer " + good + "\r\n", pause: time.Second},
	}
	caller := &caller{url: p.url, token: good}
	caller.serve(t, time.Second) // warm
	var alone, beside []time.Duration
	var cpuAlone, cpuBeside float64
	for range a.rounds {
		before := cpuSeconds(t, p.cmd.Process.Pid)
		alone = append(alone, caller.serve(t, a.slice)...)
		cpuAlone += cpuSeconds(t, p.cmd.Process.Pid) - before
		stop := a.begin(t, p.addr(), kinds)
		before = cpuSeconds(t, p.cmd.Process.Pid)
		beside = append(beside, caller.serve(t, a.slice)...)
		cpuBeside += cpuSeconds(t, p.cmd.Process.Pid) - before
		stop()
	}
	slices.Sort(alone)
	slices.Sort(beside)
	p95, p95Beside := alone[len(alone)*95/100], beside[len(beside)*95/100]
	if a.judge && p95Beside > 2*p95 {
		t.Errorf("p95 %v beside the abuse, %v without", p95Beside, p95)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "legitimate calls of ssh_exec, 50/s: %d without abuse, p50 %v, p95 %v; %d beside it, p50 %v, p95 %v; failed %d\n",
		len(alone), alone[len(alone)/2], p95, len(beside), beside[len(beside)/2], p95Beside, caller.failed.Load())
	total := int64(0)
	for _, k := range kinds {
		n := k.refused.Load()
		total += n
		if n == 0 || k.wrong.Load() > 0 {
			t.Errorf("%s: %d refused, %d answered otherwise (%v)", k.name, n, k.wrong.Load(), k.last.Load())
		}
		fmt.Fprintf(&b, "%s: %d refused\n", k.name, n)
		if k.length != 0 {
			fmt.Fprintf(&b, "  at most %d KiB of a body were taken\n", k.taken.Load()>>10)
			if k.taken.Load() > 64<<20 {
				t.Errorf("%s: %d bytes were taken", k.name, k.taken.Load())
			}
		}
	}
	if caller.failed.Load() > 0 {
		t.Errorf("%d legitimate calls failed: %v", caller.failed.Load(), caller.last.Load())
	}
	fmt.Fprintf(&b, "%d idle connections at a time, %d opened in all; the server's peak of resident memory %s; its CPU %.2f s without and %.2f s beside %d refusals\n",
		a.idle, a.opened.Load(), peak(t, p.cmd.Process.Pid), cpuAlone, cpuBeside, total)
	return b.String()
}

// begin starts everything that must be refused, and returns once the idle connections have been opened. stop ends it all.
func (a *abuse) begin(t *testing.T, addr string, kinds []*refused) (stop func()) {
	done := make(chan struct{})
	var running, opened sync.WaitGroup
	room := make(chan struct{}, 64) // connections being opened at once
	for i := range a.idle {
		opened.Add(1)
		running.Go(func() {
			first := true
			for {
				room <- struct{}{}
				c, err := net.Dial("tcp", addr)
				<-room
				if first {
					first = false
					opened.Done()
				}
				if err == nil {
					a.opened.Add(1)
					if i%4 == 0 {
						_, _ = io.WriteString(c, "POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\n")
					}
					hold(c, done)
				}
				select {
				case <-done:
					return
				case <-time.After(2 * time.Second): // as a client that comes back
				}
			}
		})
	}
	opened.Wait()
	for _, k := range kinds {
		running.Go(func() { k.keepAsking(addr, done) })
	}
	return func() { close(done); running.Wait() }
}

// hold keeps a connection until the other side, or done, ends it.
func hold(c net.Conn, done <-chan struct{}) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = io.Copy(io.Discard, c)
	}()
	select {
	case <-done:
	case <-ended:
	}
	c.Close()
	<-ended
}

// caller is who must be served.
type caller struct {
	url, token string
	failed     atomic.Int64
	last       atomic.Value
}

// message is the call of a tool in the newer wire.
const message = `{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"ssh_exec","arguments":{"profile_id":"fake","command":"true"},` +
	`"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}`

const messageHeader = "Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\nMcp-Protocol-Version: 2026-07-28\r\n" +
	"Mcp-Method: tools/call\r\nMcp-Name: ssh_exec\r\n"

// serve makes 50 calls a second, whether or not those before have ended, and returns how long each took from when it was due.
func (c *caller) serve(t *testing.T, d time.Duration) (took []time.Duration) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}, Timeout: time.Minute}
	defer client.CloseIdleConnections()
	const gap = 20 * time.Millisecond
	var mu sync.Mutex
	var calls sync.WaitGroup
	begin := time.Now()
	for n := range int(d / gap) {
		due := begin.Add(time.Duration(n) * gap)
		time.Sleep(time.Until(due))
		calls.Go(func() {
			if err := c.call(client); err != nil {
				c.failed.Add(1)
				c.last.Store(err.Error())
				return
			}
			mu.Lock()
			defer mu.Unlock()
			took = append(took, time.Since(due))
		})
	}
	calls.Wait()
	if len(took) == 0 {
		t.Fatalf("no call succeeded: %v", c.last.Load())
	}
	return took
}

func (c *caller) call(client *http.Client) error {
	req, err := http.NewRequest(http.MethodPost, c.url, strings.NewReader(message))
	if err != nil {
		return err
	}
	for line := range strings.SplitSeq(strings.TrimSpace(messageHeader), "\r\n") {
		name, value, _ := strings.Cut(line, ": ")
		req.Header.Set(name, value)
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && (resp.StatusCode != http.StatusOK || !bytes.Contains(body, []byte(`"exit_code":0`))) {
		err = fmt.Errorf("%s: %s", resp.Status, body)
	}
	return err
}

// refused is one kind of request that must be refused.
type refused struct {
	name, header, host string
	want               string // status
	body               string // a word of the answer's body; empty for any
	length             int64  // of the request's body where that is no message; -1 says none
	pause              time.Duration

	refused, wrong, taken atomic.Int64
	last                  atomic.Value
}

// keepAsking asks over a new connection each time, until done.
func (k *refused) keepAsking(addr string, done <-chan struct{}) {
	pause := max(k.pause, 20*time.Millisecond)
	for {
		status, body, err := k.ask(addr)
		switch {
		case err != nil && k.length != 0: // cut off in the middle of the body, before the answer was read
			k.refused.Add(1)
		case err == nil && (k.want == "" && status != "200" || status == k.want) && strings.Contains(body, k.body):
			k.refused.Add(1)
		default:
			k.wrong.Add(1)
			k.last.Store(fmt.Sprintf("%s %.200s %v", status, body, err))
		}
		select {
		case <-done:
			return
		case <-time.After(pause):
		}
	}
}

func (k *refused) ask(addr string) (status, body string, err error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return "", "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	host := k.host
	if host == "" {
		host = addr
	}
	head := "POST /mcp HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n" + messageHeader + k.header
	switch {
	case k.length > 0:
		head += "Content-Length: " + strconv.FormatInt(k.length, 10) + "\r\n\r\n"
	case k.length < 0:
		head += "Transfer-Encoding: chunked\r\n\r\n"
	default:
		head += "Content-Length: " + strconv.Itoa(len(message)) + "\r\n\r\n" + message
	}
	answer := make(chan []byte, 1)
	go func() {
		all, _ := io.ReadAll(io.LimitReader(c, 1<<20))
		answer <- all
	}()
	if _, err = io.WriteString(c, head); err == nil && k.length != 0 {
		err = k.pour(c)
	}
	text := <-answer
	if len(text) == 0 {
		return "", "", fmt.Errorf("no answer: %w", orEOF(err))
	}
	line, rest, _ := strings.Cut(string(text), "\r\n")
	_, status, _ = strings.Cut(line, " ")
	status, _, _ = strings.Cut(status, " ")
	return status, rest, nil
}

// orEOF makes an error of none.
func orEOF(err error) error {
	if err == nil {
		return io.EOF
	}
	return err
}

// pour writes a body of 1 GiB, until the server takes no more.
func (k *refused) pour(c net.Conn) error {
	block := bytes.Repeat([]byte(" "), 64<<10)
	sent := int64(0)
	defer func() {
		for {
			most := k.taken.Load()
			if sent <= most || k.taken.CompareAndSwap(most, sent) {
				return
			}
		}
	}()
	for sent < 1<<30 {
		if k.length < 0 {
			if _, err := fmt.Fprintf(c, "%x\r\n", len(block)); err != nil {
				return err
			}
		}
		n, err := c.Write(block)
		sent += int64(n)
		if err == nil && k.length < 0 {
			_, err = io.WriteString(c, "\r\n")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// cpuSeconds is the CPU time that a process has had.
func cpuSeconds(t *testing.T, pid int) float64 {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	noError(t, err)
	_, rest, _ := strings.Cut(string(data), ") ")
	fields := strings.Fields(rest)
	user, _ := strconv.ParseFloat(fields[11], 64)
	system, _ := strconv.ParseFloat(fields[12], 64)
	return (user + system) / 100
}

// peak is the most resident memory that a process has had.
func peak(t *testing.T, pid int) string {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	noError(t, err)
	_, rest, _ := strings.Cut(string(data), "VmHWM:")
	line, _, _ := strings.Cut(rest, "\n")
	return strings.TrimSpace(line)
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
