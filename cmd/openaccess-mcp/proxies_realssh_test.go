//go:build realssh

package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
	"github.com/openaccess-mcp/openaccess-mcp/loadgen/driver"
)

// proxied is a proxy of another project, run with our file under deploy/, whose ports alone are replaced.
type proxied struct {
	url string
	log *syncLog
}

// startProxy checks and runs a configuration. servers are the addresses behind it.
func startProxy(t *testing.T, name string, servers []string) proxied {
	t.Helper()
	dir := t.TempDir()
	file := map[string]string{"haproxy": "haproxy.cfg", "nginx": "nginx.conf"}[name]
	text, err := os.ReadFile(filepath.Join("../../deploy", name, file))
	must(t, err)
	front := freeAddr(t)
	replaced := strings.NewReplacer("127.0.0.1:8720", front, "127.0.0.1:8731", servers[0], "127.0.0.1:8732", servers[1], "127.0.0.1:8733", servers[2]).Replace(string(text))
	config := filepath.Join(dir, file)
	write(t, config, replaced, 0o644)
	check, run := []string{"-c", "-f", config}, []string{"-db", "-f", config}
	if name == "nginx" {
		check = []string{"-t", "-p", dir, "-c", config}
		run = []string{"-p", dir, "-c", config, "-g", "daemon off;"}
	}
	path, err := exec.LookPath(name)
	if err != nil {
		path = "/usr/sbin/" + name // not on every user's PATH
	}
	if out, err := exec.Command(path, check...).CombinedOutput(); err != nil {
		t.Fatalf("%s does not accept %s: %v (install Debian's %s)\n%s", name, file, err, name, out)
	}
	p := proxied{"http://" + front + "/mcp", &syncLog{}}
	cmd := exec.Command(path, run...)
	cmd.Stderr = p.log
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s said:\n%s", name, p.log)
		}
	})
	eventually(t, name+" listens", func() bool {
		c, err := net.Dial("tcp", front)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	return p
}

func (l *syncLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().String()
}

func addresses(servers []*process) []string {
	var list []string
	for _, s := range servers {
		list = append(list, s.addr())
	}
	return list
}

// TestProxies runs sessions of both wires through HAProxy and nginx over three servers, each of which has a host of its own so that its
// answers tell which it is, and kills one under load.
func TestProxies(t *testing.T) {
	for _, name := range []string{"haproxy", "nginx"} {
		t.Run(name, func(t *testing.T) {
			var hosts []*counted
			var servers []*process
			for i := range 3 {
				h := startCounted(t)
				h.Handle("where", func(_ context.Context, c *fakessh.Command) int { fmt.Fprint(c.Stdout, i); return 0 })
				hosts = append(hosts, h)
				servers = append(servers, h.servers(t, 1)...)
			}
			p := startProxy(t, name, addresses(servers))
			t.Run("sessions stay and calls spread", func(t *testing.T) { proxySpreads(t, p) })
			t.Run("events at once", func(t *testing.T) { proxyStreams(t, p) })
			t.Run("guards", func(t *testing.T) { proxyGuards(t, p) })
			t.Run("a server is killed", func(t *testing.T) { proxySurvives(t, name, p, servers) })
			ran := map[string]int{}
			for _, h := range hosts {
				h.mu.Lock()
				for id, n := range h.ran {
					ran[id] += n
				}
				h.mu.Unlock()
			}
			for id, n := range ran {
				if n > 1 {
					t.Errorf("once %s ran %d times", id, n)
				}
			}
		})
	}
}

func open(t *testing.T, p proxied, protocol string) loadgen.Session {
	t.Helper()
	d, err := driver.HTTP(t.Context(), driver.HTTPConfig{URL: p.url, Client: driver.Client{Protocol: protocol}})
	must(t, err)
	t.Cleanup(func() { _ = d.Close() })
	s, err := d.Open(t.Context())
	must(t, err)
	return s
}

func where(t *testing.T, s loadgen.Session) string {
	t.Helper()
	r, err := s.Call(t.Context(), loadgen.Call{Tool: "ssh_exec", Args: map[string]any{"profile_id": "fake", "command": "where"}})
	if err != nil || r.Code != "" {
		t.Errorf("%v %+v", err, r)
	}
	out, _ := r.Data["stdout"].(string)
	return out
}

func proxySpreads(t *testing.T, p proxied) {
	sessions := map[string]bool{}
	for range 12 {
		s := open(t, p, driver.ProtocolStateful)
		at := where(t, s)
		sessions[at] = true
		for range 5 {
			if now := where(t, s); now != at {
				t.Errorf("a session moved from %s to %s", at, now)
			}
		}
	}
	calls := map[string]int{}
	for range 3 {
		s := open(t, p, driver.ProtocolStateless)
		for range 10 {
			calls[where(t, s)]++
		}
	}
	if len(sessions) < 2 || len(calls) != 3 {
		t.Errorf("sessions were at %v and calls at %v", sessions, calls)
	}
}

// proxyStreams opens the older wire's stream, which says nothing after its head for as long as nothing happens.
func proxyStreams(t *testing.T, p proxied) {
	resp, err := http.Post(p.url, "application/json", strings.NewReader(
		`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`))
	must(t, err)
	resp.Body.Close()
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, p.url, nil)
	req.Header.Set("Mcp-Session-Id", resp.Header.Get("Mcp-Session-Id"))
	stream, err := http.DefaultClient.Do(req)
	must(t, err)
	defer stream.Body.Close()
	if stream.StatusCode != 200 || stream.Header.Get("Content-Type") != "text/event-stream" {
		t.Errorf("%s %v", stream.Status, stream.Header)
	}
}

func proxyGuards(t *testing.T, p proxied) {
	for _, tc := range []struct {
		path, name, value string
		status            int
	}{
		{"/mcp", "Host", "evil.example", 403},
		{"/mcp", "Host", "127.0.0.1.evil.example", 403},
		{"/mcp", "Origin", "https://evil.example", 403},
		{"/mcp", "Origin", "null", 403},
		{"/other", "", "", 404},
		{"/healthz", "", "", 200},
	} {
		req, _ := http.NewRequest(http.MethodGet, strings.TrimSuffix(p.url, "/mcp")+tc.path, nil)
		if tc.name == "Host" {
			req.Host = tc.value
		} else if tc.name != "" {
			req.Header.Set(tc.name, tc.value)
		}
		resp, err := http.DefaultClient.Do(req)
		must(t, err)
		resp.Body.Close()
		if resp.StatusCode != tc.status {
			t.Errorf("%s %s: %s is answered %d, want %d", tc.path, tc.name, tc.value, resp.StatusCode, tc.status)
		}
	}
}

// proxySurvives kills a server under load and starts it again. What fails was in flight when it died, or of a session that is gone. HAProxy hangs
// up instead of answering 502 where the client's connection had carried a request before.
func proxySurvives(t *testing.T, name string, p proxied, servers []*process) {
	const callers = 12
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	attempts := startCallers(ctx, t, p.url, callers)
	time.Sleep(500 * time.Millisecond)
	killed := time.Now()
	servers[1].kill()
	dead := time.Now()
	time.Sleep(2500 * time.Millisecond)
	servers[1].run()
	time.Sleep(1500 * time.Millisecond)
	stop()
	lost, sessions, after := 0, 0, 0
	all := attempts()
	for _, a := range all {
		switch {
		case a.text == "":
			if a.start.After(dead) {
				after++
			}
		case a.end.Before(killed) || a.start.After(killed.Add(2*time.Second)):
			t.Errorf("failed, begun %v after the kill: %+v", a.start.Sub(killed), a)
		case a.stateful && strings.Contains(a.text, "404"):
			sessions++
		case (strings.Contains(a.text, "502") || strings.Contains(a.text, "EOF") && name == "haproxy") && !a.start.After(dead):
			lost++
		default:
			t.Errorf("failed otherwise, begun %v after the kill, which took %v: %+v", a.start.Sub(killed), dead.Sub(killed), a)
		}
	}
	t.Logf("%d calls, %d lost with the server, %d of sessions that were gone", len(all), lost, sessions)
	if lost > callers || sessions > callers/2 || after < 100 {
		t.Errorf("%d callers lost %d calls and %d sessions; %d calls went well afterwards", callers, lost, sessions, after)
	}
}

// TestHAProxyDrains has servers that say what /readyz shall say: one that is about to end keeps its sessions and gets nothing else, and its
// sessions are gone when it is.
func TestHAProxyDrains(t *testing.T) {
	var ready [3]atomic.Int64
	var servers []*http.Server
	var addrs []string
	for i := range ready {
		ready[i].Store(200)
		l, err := net.Listen("tcp", "127.0.0.1:0")
		must(t, err)
		srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/readyz" {
				w.WriteHeader(int(ready[i].Load()))
				return
			}
			if r.Header.Get("Mcp-Session-Id") == "" {
				w.Header().Set("Mcp-Session-Id", fmt.Sprintf("session-%d-%d", i, time.Now().UnixNano()))
			}
			fmt.Fprint(w, i)
		})}
		go srv.Serve(l)
		t.Cleanup(func() { srv.Close() })
		servers, addrs = append(servers, srv), append(addrs, l.Addr().String())
	}
	p := startProxy(t, "haproxy", addrs)
	ask := func(session string) (status int, at, id string) {
		req, _ := http.NewRequest(http.MethodPost, p.url, strings.NewReader("{}"))
		if session != "" {
			req.Header.Set("Mcp-Session-Id", session)
		}
		resp, err := http.DefaultClient.Do(req)
		must(t, err)
		defer resp.Body.Close()
		var b [1]byte
		_, _ = resp.Body.Read(b[:])
		return resp.StatusCode, string(b[:]), resp.Header.Get("Mcp-Session-Id")
	}
	_, at, id := ask("")
	n := int(at[0] - '0')
	ready[n].Store(503)
	spread := func() bool {
		for range 6 {
			if _, now, _ := ask(""); now == at {
				return false
			}
		}
		return true
	}
	eventually(t, "the server gets nothing new", spread)
	if status, now, _ := ask(id); status != 200 || now != at {
		t.Errorf("its session is answered %d by %s", status, now)
	}
	servers[n].Close()
	if status, _, _ := ask(id); status != 404 {
		t.Errorf("a session whose server is gone is answered %d", status)
	}
	if status, _, _ := ask("nobody's"); status != 404 {
		t.Errorf("an unknown session is answered %d", status)
	}
}
