//go:build unix

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
	"github.com/openaccess-mcp/openaccess-mcp/server/gateway"
)

// process is the program serving over HTTP.
type process struct {
	t    *testing.T
	args []string
	url  string
	cmd  *exec.Cmd
	log  *syncLog
}

// syncLog keeps what a process logs.
type syncLog struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *syncLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

var urlInLog = regexp.MustCompile(`url=(\S+)`)

// start runs the program until the end of the test and waits for its URL.
func start(t *testing.T, args ...string) *process {
	t.Helper()
	p := &process{t: t, args: args, log: &syncLog{}}
	p.run()
	t.Cleanup(p.kill)
	return p
}

// run starts the program, also again after kill.
func (p *process) run() {
	p.t.Helper()
	p.cmd = program(p.args...)
	p.cmd.Stderr = nil
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	found := make(chan string, 1)
	go func() {
		lines := bufio.NewScanner(stderr)
		for lines.Scan() {
			p.log.mu.Lock()
			fmt.Fprintln(&p.log.b, lines.Text())
			p.log.mu.Unlock()
			if m := urlInLog.FindStringSubmatch(lines.Text()); m != nil {
				select {
				case found <- m[1]:
				default:
				}
			}
		}
		close(found)
	}()
	url, ok := <-found
	if !ok {
		p.t.Fatalf("%v served no URL:\n%s", p.args, p.log)
	}
	p.url = url
}

// kill ends the program as a crash does.
func (p *process) kill() {
	if p.cmd != nil {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
		p.cmd = nil
	}
}

// end ends the program in good order, which must succeed.
func (p *process) end() {
	p.t.Helper()
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	if err := p.cmd.Wait(); err != nil {
		p.t.Errorf("after SIGTERM: %v\n%s", err, p.log)
	}
	p.cmd = nil
}

// addr is the host:port of the URL.
func (p *process) addr() string {
	return strings.TrimSuffix(strings.TrimPrefix(p.url, "http://"), "/mcp")
}

// counted is a fake host whose command "once ID" takes a while and counts how often each ID ran.
type counted struct {
	*fakessh.Host
	dir   string
	takes atomic.Int64 // nanoseconds

	mu  sync.Mutex
	ran map[string]int
}

func startCounted(t *testing.T) *counted {
	t.Helper()
	c := &counted{Host: fakessh.Start(fakessh.Options{}), dir: t.TempDir(), ran: map[string]int{}}
	t.Cleanup(func() { c.Close() })
	if err := c.WriteProfileWith(c.dir, "fake", map[string]any{"policy": map[string]any{"max_concurrent_sessions": 1000}}); err != nil {
		t.Fatal(err)
	}
	c.takes.Store(int64(20 * time.Millisecond))
	c.Handle("once", func(ctx context.Context, cmd *fakessh.Command) int {
		c.mu.Lock()
		c.ran[cmd.Args[1]]++
		c.mu.Unlock()
		select {
		case <-time.After(time.Duration(c.takes.Load())):
		case <-ctx.Done():
			return 1
		}
		fmt.Fprintln(cmd.Stdout, cmd.Args[1])
		return 0
	})
	return c
}

// twice lists the commands that ran more than once.
func (c *counted) twice() (ids []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, n := range c.ran {
		if n > 1 {
			ids = append(ids, id)
		}
	}
	return ids
}

// servers starts n servers over the host, each with a record of its own.
func (c *counted) servers(t *testing.T, n int) []*process {
	t.Helper()
	list := make([]*process, n)
	for i := range list {
		args := []string{"serve", "--transport", "http", "--profiles", filepath.Join(c.dir, "profiles"), "--secrets", filepath.Join(c.dir, "secrets"),
			"--audit", filepath.Join(t.TempDir(), "audit.db"), "--set", "resource_limits.max_concurrent_operations=1000", "--listen"}
		list[i] = start(t, append(args, "127.0.0.1:0")...)
		list[i].args = append(args, list[i].addr()) // the same when it is started again
	}
	return list
}

func startGateway(t *testing.T, servers []*process, args ...string) *process {
	t.Helper()
	args = append([]string{"gateway", "--listen", "127.0.0.1:0"}, args...)
	for _, s := range servers {
		args = append(args, "--backend", s.url)
	}
	return start(t, args...)
}

// status asks a gateway how it is.
func (p *process) status() gateway.Status {
	p.t.Helper()
	resp, err := http.Get("http://" + p.addr() + "/status")
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	var s gateway.Status
	if err := json.NewDecoder(resp.Body).Decode(&s); err != nil {
		p.t.Fatal(err)
	}
	return s
}

func (p *process) of(s *process) gateway.BackendStatus {
	p.t.Helper()
	for _, b := range p.status().Backends {
		if b.URL == s.url {
			return b
		}
	}
	p.t.Fatalf("the gateway does not know %s", s.url)
	return gateway.BackendStatus{}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("still waiting until %s", what)
		}
	}
}

// TestGatewayWithOfficialSDK speaks to two servers behind a gateway as the official SDK's client does, progress and goodbye included.
func TestGatewayWithOfficialSDK(t *testing.T) {
	host := startCounted(t)
	servers := host.servers(t, 2)
	front := startGateway(t, servers, "--strategy", "round-robin")
	for range 2 {
		session, err := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil).
			Connect(t.Context(), &mcp.StreamableClientTransport{Endpoint: front.url}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if tools, err := session.ListTools(t.Context(), nil); err != nil || len(tools.Tools) < 5 {
			t.Errorf("tools: %v", err)
		}
		if got := sdkExec(t.Context(), t, session, "ssh_exec", "echo hi"); got.Data == nil || got.Data.Stdout != "hi\n" {
			t.Errorf("ssh_exec: %+v", got)
		}
		if err := session.Close(); err != nil {
			t.Error(err)
		}
	}
	for _, s := range servers {
		if b := front.of(s); b.Requests == 0 || b.Failed > 0 {
			t.Errorf("%+v", b)
		}
	}
	front.end()
}

// TestGatewayResultFitsTheTool has a server die with a call and compares what the client is told with the schema that the tool advertises.
func TestGatewayResultFitsTheTool(t *testing.T) {
	host := startCounted(t)
	host.takes.Store(int64(time.Hour))
	servers := host.servers(t, 1)
	front := startGateway(t, servers)
	schema := outputSchema(t, front.url)
	done := make(chan map[string]any, 1)
	go func() {
		done <- post(t, front.url, `{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{`+modernMeta+`,"name":"ssh_exec","arguments":{"profile_id":"fake","command":"once a"}}}`)
	}()
	eventually(t, "the command runs", func() bool { return host.Stats().Running == 1 })
	servers[0].kill()
	got := <-done
	result, _ := got["result"].(map[string]any)
	if err := schema.Validate(result["structuredContent"]); err != nil || got["id"] != "a" || result["isError"] != true || result["resultType"] != "complete" {
		t.Errorf("%v: %v", err, got)
	}
	got = post(t, front.url, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{`+modernMeta+`,"name":"ssh_exec","arguments":{"profile_id":"fake","command":"once b"}}}`)
	result, _ = got["result"].(map[string]any)
	if err := schema.Validate(result["structuredContent"]); err != nil || !strings.Contains(fmt.Sprint(result), "CONNECTION_FAILED") {
		t.Errorf("with no server left: %v: %v", err, got)
	}
}

const modernMeta = `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}`

// post sends a message of the newer wire.
func post(t *testing.T, url, body string) (answer map[string]any) {
	req, err := http.NewRequest(http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Error(err)
		return nil
	}
	var m struct {
		Method string
		Params struct{ Name string }
	}
	_ = json.Unmarshal([]byte(body), &m)
	for k, v := range map[string]string{"Content-Type": "application/json", "Accept": "application/json, text/event-stream",
		"Mcp-Protocol-Version": "2026-07-28", "Mcp-Method": m.Method, "Mcp-Name": m.Params.Name} {
		if v != "" {
			req.Header.Set(k, v)
		}
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Error(err)
		return nil
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil {
		err = json.Unmarshal(b, &answer)
	}
	if err != nil {
		t.Errorf("%s: %v: %s", resp.Status, err, b)
	}
	return answer
}

func outputSchema(t *testing.T, url string) *jsonschema.Schema {
	t.Helper()
	got := post(t, url, `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{`+modernMeta+`}}`)
	result, _ := got["result"].(map[string]any)
	tools, _ := result["tools"].([]any)
	for _, tool := range tools {
		if tool := tool.(map[string]any); tool["name"] == "ssh_exec" {
			c := jsonschema.NewCompiler()
			if err := c.AddResource("tool.json", tool["outputSchema"]); err != nil {
				t.Fatal(err)
			}
			return c.MustCompile("tool.json")
		}
	}
	t.Fatalf("no ssh_exec in %v", got)
	return nil
}

// TestGatewayReloads drains a server with SIGHUP, takes it out, and puts it back.
func TestGatewayReloads(t *testing.T) {
	host := startCounted(t)
	servers := host.servers(t, 2)
	config := filepath.Join(t.TempDir(), "gateway.yaml")
	write := func(text string) {
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	both := fmt.Sprintf("listen: 127.0.0.1:0\nbackends:\n  - %s\n  - %s\n", servers[0].url, servers[1].url)
	write(both)
	front := start(t, "gateway", "--config", config)
	calls := func() int64 { return front.of(servers[0]).Requests }
	some := func() {
		for i := range 4 {
			post(t, front.url, fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"tools/list","params":{%s}}`, i, modernMeta))
		}
	}
	some()
	if calls() == 0 {
		t.Error("the first server got nothing")
	}
	write(strings.Replace(both, "- "+servers[0].url, "- {url: "+servers[0].url+", drain: true}", 1))
	_ = front.cmd.Process.Signal(syscall.SIGHUP)
	eventually(t, "the server is drained", func() bool { return front.of(servers[0]).State == gateway.Drained })
	before := calls()
	if some(); calls() != before {
		t.Error("a drained server got a call")
	}
	write("backends: [nonsense]\n")
	_ = front.cmd.Process.Signal(syscall.SIGHUP)
	eventually(t, "the mistake is logged", func() bool { return strings.Contains(front.log.String(), "the one before stays") })
	write(both)
	_ = front.cmd.Process.Signal(syscall.SIGHUP)
	eventually(t, "the server is back", func() bool { return front.of(servers[0]).State == gateway.Ready })
	if some(); calls() == before {
		t.Error("a server taken back got nothing")
	}
	front.end()
}
