package server

import (
	"context"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
)

// startMonitored is start with a configuration of its own, and a log.
func startMonitored(t *testing.T, edit func(*Config)) (*fixture, *syncBuffer) {
	t.Helper()
	f := start(t, fakessh.Options{}, nil)
	log := &syncBuffer{}
	cfg := Config{
		Profiles: filepath.Join(f.dir, "profiles"), Secrets: filepath.Join(f.dir, "secrets"),
		Logger: slog.New(slog.NewTextHandler(log, nil)), Version: "1.2.3",
	}
	edit(&cfg)
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	f.server = s
	return f, log
}

var monitorURL = regexp.MustCompile(`monitor_url=(\S+)`)

func (b *syncBuffer) monitorURL(t *testing.T) string {
	t.Helper()
	waitUntil(t, "the address is logged", func() bool { return monitorURL.MatchString(b.String()) })
	return monitorURL.FindStringSubmatch(b.String())[1]
}

func get(t *testing.T, url string, header map[string]string) reply {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range header {
		req.Header.Set(k, v)
		if k == "Host" {
			req.Host = v
		}
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{resp.StatusCode, resp.Header, string(data)}
}

// value finds a sample in the text format by its name with labels.
func (r reply) value(t *testing.T, sample string) float64 {
	t.Helper()
	for line := range strings.Lines(r.body) {
		if number, ok := strings.CutPrefix(line, sample+" "); ok {
			v, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
			if err != nil {
				t.Error(err)
			}
			return v
		}
	}
	t.Errorf("no sample %s in\n%s", sample, r.body)
	return 0
}

func TestMonitorBesideStdio(t *testing.T) {
	yes := true
	f, log := startMonitored(t, func(c *Config) { c.Monitoring.Listen, c.Monitoring.Pprof = "127.0.0.1:0", &yes })
	c := f.connect(t.Context(), t)
	for range 3 {
		c.call("ssh_exec", args{"profile_id": "fake", "command": "echo hi"})
	}
	c.call("ssh_exec", args{"profile_id": "made-up", "command": "echo hi"})
	url := log.monitorURL(t)
	got := get(t, url+"/metrics", nil)
	for sample, want := range map[string]float64{
		`openaccess_mcp_operations_total{operation="ssh.exec",profile="fake"}`:                            3,
		`openaccess_mcp_operations_total{operation="ssh.exec",profile=""}`:                                1,
		`openaccess_mcp_operation_errors_total{code="PROFILE_NOT_FOUND",operation="ssh.exec",profile=""}`: 1,
		`openaccess_mcp_operation_bytes_total{operation="ssh.exec",profile="fake"}`:                       9,
		`openaccess_mcp_operation_duration_seconds_count{operation="ssh.exec",profile="fake"}`:            3,
		`openaccess_mcp_operation_phase_duration_seconds_count{operation="ssh.exec",phase="dial"}`:        1,
		`openaccess_mcp_operation_phase_duration_seconds_count{operation="ssh.exec",phase="remote"}`:      3,
		`openaccess_mcp_pool_connections`:                                                                 1,
		`openaccess_mcp_pool_dials_total{outcome="success"}`:                                              1,
		`openaccess_mcp_pool_dial_duration_seconds_count`:                                                 1,
		`openaccess_mcp_pool_leases_total`:                                                                3,
		`openaccess_mcp_admission_limit`:                                                                  100,
		`openaccess_mcp_memory_mark_bytes`:                                                                1 << 30,
		fmt.Sprintf(`openaccess_mcp_build_info{go_version=%q,version="1.2.3"}`, runtime.Version()):        1,
	} {
		if v := got.value(t, sample); v != want {
			t.Errorf("%s is %v, want %v", sample, v, want)
		}
	}
	for _, direction := range []string{"receive", "transmit"} {
		if v := got.value(t, `openaccess_mcp_ssh_network_bytes_total{direction="`+direction+`"}`); v < 1000 {
			t.Errorf("%s: %v bytes cannot have been all", direction, v)
		}
	}
	for _, profile := range []string{"heap", "goroutine", "mutex", "profile?seconds=1"} {
		if got := get(t, url+"/debug/pprof/"+profile, nil); got.status != 200 || len(got.body) < 100 {
			t.Errorf("%s: status %d, %d bytes", profile, got.status, len(got.body))
		}
	}
	if got := get(t, url+"/mcp", nil); got.status != 404 {
		t.Errorf("the MCP endpoint is beside stdio: status %d", got.status)
	}
	c.end()
	if _, err := net.Dial("tcp", strings.TrimPrefix(url, "http://")); err == nil {
		t.Error("it listens when the transport has ended")
	}
}

func TestMonitorBesideMCP(t *testing.T) {
	f, _ := startMonitored(t, func(*Config) {})
	srv := web(t, f)
	for _, tc := range []struct {
		path   string
		header map[string]string
		status int
	}{
		{"/metrics", nil, 200},
		{"/metrics", map[string]string{"Origin": "http://localhost:1"}, 200},
		{"/metrics", map[string]string{"Origin": "https://evil.example"}, 403},
		{"/metrics", map[string]string{"Host": "evil.example"}, 403},
		{"/debug/pprof/heap", nil, 404},
		{"/debug/pprof/", nil, 404},
		{"/metrics/x", nil, 404},
	} {
		if got := get(t, srv.URL+tc.path, tc.header); got.status != tc.status {
			t.Errorf("%s %v: status %d, want %d", tc.path, tc.header, got.status, tc.status)
		}
	}
	if got := post(t, srv.URL+"/metrics", "", nil); got.status != http.StatusMethodNotAllowed {
		t.Errorf("POST: status %d", got.status)
	}
}

// TestPprofOnLoopbackOnly asks a handler that its owner has listening elsewhere.
func TestPprofOnLoopbackOnly(t *testing.T) {
	yes := true
	f, _ := startMonitored(t, func(c *Config) { c.Monitoring.Pprof = &yes })
	h := f.server.Handler()
	for local, status := range map[string]int{"127.0.0.1": 200, "::1": 200, "192.0.2.1": 403} {
		req := httptest.NewRequest(http.MethodGet, "http://localhost/debug/pprof/cmdline", nil)
		req = req.WithContext(context.WithValue(req.Context(), http.LocalAddrContextKey, &net.TCPAddr{IP: net.ParseIP(local)}))
		w := httptest.NewRecorder()
		h.ServeHTTP(w, req)
		if w.Code != status {
			t.Errorf("to %s: status %d, want %d", local, w.Code, status)
		}
	}
}

func TestMonitorListener(t *testing.T) {
	if _, err := New(Config{Profiles: t.TempDir(), Monitoring: Monitoring{Listen: "0.0.0.0:0"}}); err == nil || !strings.Contains(err.Error(), "monitoring.listen") {
		t.Errorf("not loopback: %v", err)
	}
	f, log := startMonitored(t, func(c *Config) { c.Monitoring.Listen = "127.0.0.1:0" })
	first, second := f.connect(t.Context(), t), f.connect(t.Context(), t)
	url := log.monitorURL(t)
	first.end()
	if got := get(t, url+"/metrics", nil); got.status != 200 {
		t.Errorf("one transport of two has ended: status %d", got.status)
	}
	busy := strings.TrimPrefix(url, "http://")
	s, err := New(Config{Profiles: t.TempDir(), Monitoring: Monitoring{Listen: busy}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Run(t.Context(), Stdio(strings.NewReader(""), io.Discard)); err == nil || !strings.Contains(err.Error(), "monitoring.listen: ") {
		t.Errorf("an address in use: %v", err)
	}
	second.end()
	if n := strings.Count(log.String(), "monitor_url="); n != 1 {
		t.Errorf("%d listeners", n)
	}
}

func TestStatsReset(t *testing.T) {
	f, log := startMonitored(t, func(c *Config) { c.Monitoring.Listen = "127.0.0.1:0" })
	c := f.connect(t.Context(), t)
	defer c.end()
	url := log.monitorURL(t)
	const sample = `openaccess_mcp_operations_total{operation="ssh.exec",profile="fake"}`
	calls := func(e envelope, key string) any {
		op, _ := e.Data[key].(map[string]any)["ssh.exec"].(map[string]any)
		return op["calls"]
	}
	for range 20 {
		c.call("ssh_exec", args{"profile_id": "fake", "command": "echo hi"})
	}
	first := c.call("server_stats", args{"reset": true, "profile_id": "fake"})
	if calls(first, "operations") != 20.0 || calls(first, "profile_operations") != 20.0 {
		t.Errorf("got %v", first.Data)
	}
	exec := first.Data["operations"].(map[string]any)["ssh.exec"].(map[string]any)
	if p50, p95 := exec["p50_s"].(float64), exec["p95_s"].(float64); p50 < exec["min_s"].(float64) || p50 > p95 || p95 > exec["max_s"].(float64) || exec["p99_s"] != nil {
		t.Errorf("got %v", exec)
	}
	before := get(t, url+"/metrics", nil).value(t, sample)
	c.call("ssh_exec", args{"profile_id": "fake", "command": "echo hi"})
	second := c.call("server_stats", nil)
	if calls(second, "operations") != 1.0 || second.Data["profile_operations"] != nil || second.Data["since"].(string) <= first.Data["since"].(string) {
		t.Errorf("after the reset: %v", second.Data)
	}
	if after := get(t, url+"/metrics", nil).value(t, sample); before != 20 || after != 21 {
		t.Errorf("Prometheus sees %v and then %v calls", before, after)
	}
	c.call("server_stats", args{"profile_id": "none"}).wantCode(t, CodeProfileNotFound)
	process := second.Data["process"].(map[string]any)
	if process["ssh_received_bytes"].(float64) < 1000 || (process["virtual_bytes"] == nil) != (process["threads"] == nil) {
		t.Errorf("process: %v", process)
	}
}

func TestMonitoringOff(t *testing.T) {
	no := false
	f, log := startMonitored(t, func(c *Config) { c.Monitoring.Listen, c.Monitoring.MetricsCollection = "127.0.0.1:0", &no })
	c := f.connect(t.Context(), t)
	defer c.end()
	if got := get(t, log.monitorURL(t)+"/metrics", nil); got.status != 404 {
		t.Errorf("status %d", got.status)
	}
	if e := c.call("server_stats", nil); len(e.Data["operations"].(map[string]any)) != 0 {
		t.Errorf("got %v", e.Data)
	}
	c.call("server_stats", args{"reset": true}).wantCode(t, CodeInvalidParameters, "monitoring.metrics_collection")

	f, log = startMonitored(t, func(c *Config) { c.Monitoring.Listen, c.Monitoring.PerformanceMonitoring = "127.0.0.1:0", &no })
	c2 := f.connect(t.Context(), t)
	defer c2.end()
	c2.call("ssh_exec", args{"profile_id": "fake", "command": "echo hi"})
	got := get(t, log.monitorURL(t)+"/metrics", nil)
	if got.value(t, `openaccess_mcp_operations_total{operation="ssh.exec",profile=""}`) != 1 || strings.Contains(got.body, "phase=") {
		t.Errorf("got %s", got.body)
	}
	c2.call("server_stats", args{"profile_id": "fake"}).wantCode(t, CodeInvalidParameters, "monitoring.performance_monitoring")
}

// TestCodesAreComplete compares the list with the constants.
func TestCodesAreComplete(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "envelope.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || !strings.HasPrefix(spec.Names[0].Name, "Code") {
			return true
		}
		found++
		code, _ := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		if !slices.Contains(codes, code) {
			t.Errorf("%s is missing", code)
		}
		return true
	})
	if found != len(codes) {
		t.Errorf("%d constants and %d codes", found, len(codes))
	}
}
