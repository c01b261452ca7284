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
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
	"github.com/openaccess-mcp/openaccess-mcp/loadgen/driver"
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

// TestGatewayUpgrade drains servers, ends them and starts them again, under load. No call without a session fails. Sessions are gone with their
// server, and of their calls only one that meets the closing of its connection has an unknown outcome.
func TestGatewayUpgrade(t *testing.T) {
	host := startCounted(t)
	servers := host.servers(t, 2)
	config := filepath.Join(t.TempDir(), "gateway.yaml")
	configure := func(drained *process) {
		text := "listen: 127.0.0.1:0\nbackends:\n"
		for _, s := range servers {
			text += fmt.Sprintf("  - {url: %s, drain: %v}\n", s.url, s == drained)
		}
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	configure(nil)
	front := start(t, "gateway", "--config", config)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	attempts := startCallers(ctx, t, front.url, 16)
	var ended []kill
	for _, s := range servers {
		time.Sleep(300 * time.Millisecond)
		configure(s)
		_ = front.cmd.Process.Signal(syscall.SIGHUP)
		eventually(t, "the server is drained", func() bool { return front.of(s).State == gateway.Drained })
		k := kill{addr: s.addr(), from: time.Now()}
		s.end()
		k.to = time.Now()
		ended = append(ended, k)
		s.run()
		configure(nil)
		_ = front.cmd.Process.Signal(syscall.SIGHUP)
		eventually(t, "the server is ready again", func() bool { return front.of(s).State == gateway.Ready })
	}
	time.Sleep(300 * time.Millisecond)
	stop()
	all, sessions, met := attempts(), 0, 0
	for _, a := range all {
		cut := slices.ContainsFunc(ended, func(k kill) bool {
			return a.code == "OUTCOME_UNKNOWN" && strings.Contains(a.text, k.addr) && !a.end.Before(k.from) && !a.start.After(k.to)
		})
		switch {
		case a.text == "":
		case a.stateful && strings.Contains(a.text, sessionGone):
			sessions++
		case a.stateful && cut:
			met++
		default:
			t.Errorf("failed: %+v", a)
		}
	}
	t.Logf("%d calls, %d of sessions that were gone, %d that met the closing of their connection", len(all), sessions, met)
	if twice := host.twice(); len(all) < 100 || sessions > 16 || met > 8 || len(twice) > 0 {
		t.Errorf("too many; these ran twice: %v", twice)
	}
	front.end()
}

// TestGatewaySurvivesItsServers is acceptance in short; TestGatewayProof under the tag proof is the same, whole.
func TestGatewaySurvivesItsServers(t *testing.T) {
	r := crash(t, crashPlan{callers: 16, kills: 2, before: 300 * time.Millisecond, down: 300 * time.Millisecond, after: 700 * time.Millisecond})
	t.Log(r)
}

// crashPlan says how servers behind a gateway are killed under load.
type crashPlan struct {
	callers             int           // half of them in sessions of the older wire, half in the newer wire
	kills               int           // one server after another
	before, down, after time.Duration // load before a kill, until the server is started again, and after that
}

// attempt is one call as its caller saw it.
type attempt struct {
	stateful   bool
	start, end time.Time
	code, text string // empty for success
}

// kill is one server's death: its calls are lost between from and to.
type kill struct {
	addr            string
	from, to, again time.Time
	inFlight        int // calls that it had, as the gateway counts them, just before the signal
	lost            int
	more            int // calls that it was sent between that count and its death
}

// report is what a crash run saw.
type report struct {
	plan                 crashPlan
	calls                int
	kills                []kill
	lost, sessions, late int
}

func (r report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Three servers behind the gateway, %d callers (half in sessions, half without), %d calls.\n", r.plan.callers, r.calls)
	for i, k := range r.kills {
		fmt.Fprintf(&b, "  kill %2d: %s with %d requests in flight on it, and %d more until it was dead %v later; %d calls lost; back after %v\n", i+1, k.addr,
			k.inFlight, k.more, k.to.Sub(k.from).Round(time.Millisecond), k.lost, k.again.Sub(k.from).Round(time.Millisecond))
	}
	fmt.Fprintf(&b, "Calls that failed with OUTCOME_UNKNOWN, all in flight on a killed server: %d\n", r.lost)
	fmt.Fprintf(&b, "Calls of sessions on a killed server, answered once each that the session is gone: %d\n", r.sessions)
	fmt.Fprintf(&b, "Other failures: 0. Failures later than two seconds after a kill: %d\n", r.late)
	fmt.Fprintf(&b, "Commands that ran twice on the host: 0\n")
	return b.String()
}

// crash runs the plan and judges what every caller saw.
func crash(t *testing.T, plan crashPlan) report {
	host := startCounted(t)
	servers := host.servers(t, 3)
	front := startGateway(t, servers)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	callers := startCallers(ctx, t, front.url, plan.callers)
	r := report{plan: plan}
	for i := range plan.kills {
		victim := servers[i%len(servers)]
		time.Sleep(plan.before)
		alive := front.of(victim)
		k := kill{addr: victim.addr(), inFlight: alive.InFlight, from: time.Now()}
		victim.kill()
		k.to = time.Now()
		dead := front.of(victim)
		k.more = int(dead.Requests - alive.Requests - (dead.Refused - alive.Refused))
		time.Sleep(plan.down)
		victim.run()
		k.again = time.Now()
		r.kills = append(r.kills, k)
		eventually(t, "the server is ready again", func() bool { return front.of(victim).State == gateway.Ready })
		served := front.of(victim).Requests
		eventually(t, "the server is given calls again", func() bool { return front.of(victim).Requests > served })
		time.Sleep(plan.after)
	}
	stop()
	r.judge(t, callers())
	if twice := host.twice(); len(twice) > 0 {
		t.Errorf("commands ran twice: %v", twice)
	}
	if s := front.status(); int(s.Unknown) != r.lost {
		t.Errorf("the gateway counts %d calls lost, the callers %d", s.Unknown, r.lost)
	}
	front.end()
	return r
}

// judge holds every failed call against the kills.
func (r *report) judge(t *testing.T, attempts []attempt) {
	t.Helper()
	r.calls = len(attempts)
	gone := make([]int, len(r.kills)) // sessions, by kill
	for _, a := range attempts {
		if a.text == "" {
			continue
		}
		i := slices.IndexFunc(r.kills, func(k kill) bool {
			return !a.end.Before(k.from) && (a.code == "OUTCOME_UNKNOWN" && !a.start.After(k.to) && strings.Contains(a.text, k.addr) ||
				a.stateful && strings.Contains(a.text, sessionGone) && a.start.Before(k.from.Add(2*time.Second)))
		})
		switch {
		case i < 0:
			t.Errorf("failed without a reason, %s: %+v", r.when(a), a)
			continue
		case a.code == "OUTCOME_UNKNOWN":
			r.lost++
			r.kills[i].lost++
		default:
			r.sessions++
			gone[i]++
		}
		if a.start.After(r.kills[i].from.Add(2 * time.Second)) {
			r.late++
		}
	}
	for i, k := range r.kills {
		if k.lost > k.inFlight+k.more {
			t.Errorf("kill %d: %d calls lost of %d and %d more that were in flight", i+1, k.lost, k.inFlight, k.more)
		}
		if gone[i] > r.plan.callers/2 {
			t.Errorf("kill %d: sessions were gone %d times, more than there were sessions", i+1, gone[i])
		}
	}
	if r.calls < 50*r.plan.kills || r.late > 0 {
		t.Errorf("%d calls, %d of them failed late", r.calls, r.late)
	}
}

// when tells a failed call's time relative to the kills.
func (r *report) when(a attempt) string {
	var b strings.Builder
	for i, k := range r.kills {
		fmt.Fprintf(&b, "begun %v and ended %v after kill %d of %s (dead %v later); ", a.start.Sub(k.from), a.end.Sub(k.from), i+1, k.addr, k.to.Sub(k.from))
	}
	return b.String()
}

// sessionGone is what a client is told that must begin a new session.
const sessionGone = "session not found"

// startCallers has n callers call until ctx ends. The function returned waits for them.
func startCallers(ctx context.Context, t *testing.T, url string, n int) (attempts func() []attempt) {
	var all []attempt
	var mu sync.Mutex
	var wg sync.WaitGroup
	var drivers []loadgen.Driver
	var ids atomic.Int64
	for _, protocol := range []string{driver.ProtocolStateful, driver.ProtocolStateless} {
		d, err := driver.HTTP(ctx, driver.HTTPConfig{URL: url, Client: driver.Client{Protocol: protocol}})
		if err != nil {
			t.Fatal(err)
		}
		drivers = append(drivers, d)
		for range n / 2 {
			wg.Go(func() {
				mine := callOn(ctx, d, protocol == driver.ProtocolStateful, &ids)
				mu.Lock()
				defer mu.Unlock()
				all = append(all, mine...)
			})
		}
	}
	return func() []attempt {
		wg.Wait()
		for _, d := range drivers {
			_ = d.Close()
		}
		return all
	}
}

// callOn calls until ctx ends. Where its session is gone, it begins another, as the protocol wants of a client.
func callOn(ctx context.Context, d loadgen.Driver, stateful bool, ids *atomic.Int64) (all []attempt) {
	var session loadgen.Session
	for ctx.Err() == nil {
		a := attempt{stateful: stateful, start: time.Now()}
		var reply loadgen.Reply
		var err error
		if session == nil {
			if session, err = d.Open(context.WithoutCancel(ctx)); err != nil {
				a.end, a.text = time.Now(), "open: "+err.Error()
				all = append(all, a)
				continue
			}
		}
		reply, err = session.Call(context.WithoutCancel(ctx), loadgen.Call{Tool: "ssh_exec", Args: map[string]any{
			"profile_id": "fake", "command": fmt.Sprintf("once %d", ids.Add(1)),
		}})
		a.end, a.code, a.text = time.Now(), reply.Code, reply.Error
		if err != nil {
			a.text = err.Error()
		}
		if err != nil || strings.Contains(a.text, sessionGone) {
			_ = session.Close()
			session = nil
		}
		all = append(all, a)
	}
	if session != nil {
		_ = session.Close()
	}
	return all
}
