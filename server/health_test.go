package server

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/admission"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/cache"
)

// startHealthy makes a fixture whose server has a record of calls, and what edit adds to its configuration.
func startHealthy(t *testing.T, opts fakessh.Options, edit func(f *fixture, cfg *Config)) *fixture {
	t.Helper()
	f := start(t, opts, nil)
	f.server.Close()
	on := true
	cfg := f.config()
	cfg.Audit = Audit{Enabled: &on, Path: filepath.Join(f.dir, "audit.db")}
	if edit != nil {
		edit(f, &cfg)
	}
	var err error
	if f.server, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.server.Close)
	return f
}

// health asks for fresh checks.
func (f *fixture) health(t *testing.T) *HealthData {
	t.Helper()
	d, err := f.server.health.refresh(t.Context(), f.server)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func (d *HealthData) check(name string) HealthCheck {
	for _, c := range d.Checks {
		if c.Name == name {
			return c
		}
	}
	return HealthCheck{}
}

// wantHealth wants one check in this state, saying these words, and all others healthy.
func (d *HealthData) wantHealth(t *testing.T, name string, status Health, words string) {
	t.Helper()
	for _, c := range d.Checks {
		want := Healthy
		if c.Name == name {
			want = status
		}
		if c.Status != want || c.Name == name && !strings.Contains(c.Message, words) {
			t.Errorf("%+v, want %s %q", c, want, words)
		}
	}
	if d.Status != status {
		t.Errorf("in all %s, want %s", d.Status, status)
	}
}

func TestHealthy(t *testing.T) {
	f := startHealthy(t, fakessh.Options{}, nil)
	c := f.connect(t.Context(), t)
	defer c.end()
	e := c.call("server_health", args{"refresh": true})
	if !e.Success || e.Data["status"] != "healthy" || e.Data["ready"] != true || e.Data["interval_s"] != 30.0 {
		t.Fatalf("got %+v", e)
	}
	var names []string
	for _, each := range e.Data["checks"].([]any) {
		check := each.(map[string]any)
		names = append(names, check["name"].(string))
		at, err := time.Parse(time.RFC3339Nano, check["checked_at"].(string))
		if err != nil || time.Since(at) > time.Minute || check["status"] != "healthy" || check["message"] == "" || check["duration_s"].(float64) <= 0 {
			t.Errorf("%v", check)
		}
	}
	if got := strings.Join(names, " "); got != "server database ssh resources cache pools" {
		t.Errorf("checks %s", got)
	}
	before := e.Data["checked_at"]
	time.Sleep(20 * time.Millisecond)
	if e = c.call("server_health", nil); e.Data["checked_at"] != before || e.Data["age_s"].(float64) < 0.02 {
		t.Errorf("the cached answer: %v, %v", e.Data["checked_at"], e.Data["age_s"])
	}
	if e = c.call("server_health", args{"refresh": true}); e.Data["checked_at"] == before {
		t.Error("refresh gave the old answer")
	}
}

func TestDatabaseTurnsRed(t *testing.T) {
	f := startHealthy(t, fakessh.Options{}, nil)
	path := f.server.cfg.Audit.Path
	f.health(t).wantHealth(t, "", Healthy, "")
	if err := os.Rename(path, path+".gone"); err != nil {
		t.Fatal(err)
	}
	d := f.health(t)
	d.wantHealth(t, "database", Unhealthy, path+": the file was removed")
	if d.Ready || len(d.Reasons) != 1 || !strings.Contains(d.Reasons[0], "the file was removed") {
		t.Errorf("ready %v, %v", d.Ready, d.Reasons)
	}
	if err := os.Rename(path+".gone", path); err != nil {
		t.Fatal(err)
	}
	if d = f.health(t); !d.Ready {
		t.Errorf("not ready: %v", d.Reasons)
	}
	d.wantHealth(t, "", Healthy, "")
}

func TestCanaryTurnsRed(t *testing.T) {
	f := startHealthy(t, fakessh.Options{}, func(_ *fixture, cfg *Config) { cfg.Monitoring.Canary = "fake" })
	f.health(t).wantHealth(t, "ssh", Healthy, "ran true on canary fake")
	if n := f.host.Stats().Commands["true"].Finished; n != 1 {
		t.Errorf("%d commands", n)
	}
	if err := f.host.SetFaults(fakessh.Faults{Connect: fakessh.ConnectFaults{Refuse: 1}}); err != nil {
		t.Fatal(err)
	}
	f.host.CloseClientConnections()
	waitUntil(t, "the connection is gone", func() bool { return f.server.pool.Stats().Open == 0 })
	d := f.health(t)
	d.wantHealth(t, "ssh", Unhealthy, "canary fake: ")
	if !d.Ready {
		t.Errorf("a host that is down keeps the server from working: %v", d.Reasons)
	}
	if err := f.host.SetFaults(fakessh.Faults{}); err != nil {
		t.Fatal(err)
	}
	waitUntil(t, "the canary is well", func() bool { return f.health(t).check("ssh").Status == Healthy })
}

// TestCanaryKeepsToItsPolicy opens a channel where no command may be run.
func TestCanaryKeepsToItsPolicy(t *testing.T) {
	f := startHealthy(t, fakessh.Options{}, func(f *fixture, cfg *Config) {
		cfg.Monitoring.Canary = "fake"
		f.profile(t, "fake", func(p map[string]any) {
			p["policy"] = map[string]any{"command_allowlist": []string{"^uptime$"}, "local_roots": []string{"."}}
		})
	})
	f.health(t).wantHealth(t, "ssh", Healthy, "opened a channel on canary fake")
	if n := f.host.Stats().Commands["true"].Started; n != 0 {
		t.Errorf("%d commands", n)
	}
}

func TestUnknownCanary(t *testing.T) {
	f := start(t, fakessh.Options{}, nil)
	cfg := f.config()
	cfg.Monitoring.Canary = "fakr"
	if s, err := New(cfg); err == nil || !strings.Contains(err.Error(), `monitoring.canary: no such profile: "fakr"`) {
		t.Errorf("got %v", err)
		s.Close()
	}
	if _, problems := Check(cfg); len(problems) != 1 || !strings.Contains(problems[0].Error(), `monitoring.canary: no such profile: "fakr": did you mean "fake"?: name a profile of `) {
		t.Errorf("Check: %v", problems)
	}
	next := f.server.cfg
	next.Monitoring.Canary = "fakr"
	if _, _, err := f.server.Reload(next); err == nil || !strings.Contains(err.Error(), "monitoring.canary") {
		t.Errorf("reloaded: %v", err)
	}
}

// TestHostsAreJudged has no canary: what calls have met decides.
func TestHostsAreJudged(t *testing.T) {
	f := startHealthy(t, fakessh.Options{}, func(f *fixture, _ *Config) {
		f.profile(t, "down", func(p map[string]any) { p["port"] = deadPort(t) })
	})
	c := f.connect(t.Context(), t)
	defer c.end()
	exec := func(id string) envelope { return c.call("ssh_exec", args{"profile_id": id, "command": "true"}) }
	exec("fake")
	f.health(t).wantHealth(t, "ssh", Healthy, "1 connections open")
	waitUntil(t, "the breaker is open", func() bool { exec("down"); return f.server.pool.Stats().BreakersOpen == 1 })
	d := f.health(t)
	if c := d.check("ssh"); c.Status != Degraded || !strings.Contains(c.Message, "1 of 2 hosts cannot be reached: 127.0.0.1:") {
		t.Errorf("%+v", c)
	}
	if c := d.check("pools"); c.Status != Degraded || !strings.Contains(c.Message, "1 hosts are not tried now") {
		t.Errorf("%+v", c)
	}
}

func TestNoHostCanBeReached(t *testing.T) {
	f := startHealthy(t, fakessh.Options{}, func(f *fixture, _ *Config) {
		f.profile(t, "fake", func(p map[string]any) { p["port"] = deadPort(t) })
	})
	c := f.connect(t.Context(), t)
	defer c.end()
	c.call("ssh_exec", args{"profile_id": "fake", "command": "true"})
	f.health(t).wantHealth(t, "ssh", Degraded, "1 of the last 1 attempts to connect failed")
	for range fewFailures - 1 {
		c.call("ssh_exec", args{"profile_id": "fake", "command": "true"})
	}
	f.health(t).wantHealth(t, "ssh", Unhealthy, "all of the last 3 attempts to connect failed")
	waitUntil(t, "the breaker is open", func() bool {
		c.call("ssh_exec", args{"profile_id": "fake", "command": "true"})
		return f.server.pool.Stats().BreakersOpen == 1
	})
	if c := f.health(t).check("ssh"); c.Status != Unhealthy || !strings.Contains(c.Message, "no host can be reached: 127.0.0.1:") {
		t.Errorf("%+v", c)
	}
}

func TestMemoryTurnsRed(t *testing.T) {
	f := startHealthy(t, fakessh.Options{}, nil)
	c := f.connect(t.Context(), t) // which reads the memory
	defer c.end()
	waitUntil(t, "the memory is read", func() bool { return f.server.memory.Usage().Resident > 0 })
	f.health(t).wantHealth(t, "resources", Healthy, " of 1024 MB")
	used := f.server.memory.Usage().Resident
	f.server.memory.SetMark(used * 9 / 10)
	if c := f.health(t).check("resources"); c.Status != Degraded || !strings.Contains(c.Message, "caches shrink") {
		t.Errorf("%+v", c)
	}
	f.server.memory.SetMark(used / 3)
	waitUntil(t, "work is refused", func() bool { return f.server.memory.Usage().Refusing })
	d := f.health(t)
	if c := d.check("resources"); c.Status != Unhealthy || !strings.Contains(c.Message, "new work is refused") {
		t.Errorf("%+v", c)
	}
	if d.Ready || !strings.Contains(strings.Join(d.Reasons, ""), "MB of memory") {
		t.Errorf("%v", d.Reasons)
	}
	f.server.memory.SetMark(0)
	waitUntil(t, "it is ready again", func() bool { return f.health(t).Ready })
}

// TestCPUTurnsRed judges invented samples.
func TestCPUTurnsRed(t *testing.T) {
	f := startHealthy(t, fakessh.Options{}, nil)
	h := &f.server.health.history
	at := f.server.sample()
	at.at, at.cpu = time.Now().Add(-10*time.Second), max(time.Nanosecond, cpuTime())
	for name, tc := range map[string]struct {
		used time.Duration
		want Health
	}{"idle": {time.Second / 100, Healthy}, "busy": {1000 * time.Hour, Degraded}} {
		before := at
		before.cpu = cpuTime() - tc.used
		h.mu.Lock()
		h.all = []sample{before}
		h.mu.Unlock()
		if status, message := checkResources(t.Context(), f.server); status != tc.want || !strings.Contains(message, "of 80 %") {
			t.Errorf("%s: %s, %s", name, status, message)
		}
	}
}

func TestSlotsTurnRed(t *testing.T) {
	f := startHealthy(t, fakessh.Options{}, func(_ *fixture, cfg *Config) { cfg.Limits.MaxConcurrentOperations = 1 })
	c := f.connect(t.Context(), t)
	defer c.end()
	var calls []<-chan message
	for range 2 {
		_, ch := c.send("tools/call", map[string]any{"name": "ssh_exec", "arguments": args{"profile_id": "fake", "command": "sleep 1"}})
		calls = append(calls, ch)
	}
	waitUntil(t, "one runs and one waits", func() bool {
		_, waiting := f.server.limits.Stats()
		return waiting == 1 && f.host.Stats().Running == 1
	})
	for range 2 { // one that waits for a moment is nothing; the first round may have begun before
		f.health(t)
	}
	f.health(t).wantHealth(t, "pools", Degraded, "1 calls wait for a slot, while 1 run")
	for _, ch := range calls {
		c.await(ch)
	}
	f.health(t).wantHealth(t, "", Healthy, "")
}

// stub replaces the checks by one.
func stub(s *Server, look func(context.Context) (Health, string)) {
	s.health.checks = []*check{{name: "stub", timeout: quickCheck, look: func(ctx context.Context, _ *Server) (Health, string) { return look(ctx) }}}
}

// TestRefreshIsShared has many ask at once: those who came after a round had begun share the next one.
func TestRefreshIsShared(t *testing.T) {
	f := startHealthy(t, fakessh.Options{}, nil)
	var looks atomic.Int64
	release := make(chan struct{})
	stub(f.server, func(context.Context) (Health, string) { looks.Add(1); <-release; return Healthy, "" })
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if d := f.health(t); d == nil || d.Status != Healthy {
				t.Errorf("got %+v", d)
			}
		})
	}
	impatient, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := f.server.health.refresh(impatient, f.server); err == nil {
		t.Error("a caller that gave up got an answer")
	}
	close(release)
	wg.Wait()
	if n := looks.Load(); n > 3 { // the round of the first, that of the rest, and one of who came while that ran
		t.Errorf("%d looks", n)
	}
}

// TestCheckThatHangs has a check ignore its deadline. It is not begun again, and the others do not wait for it.
func TestCheckThatHangs(t *testing.T) {
	f := startHealthy(t, fakessh.Options{}, nil)
	release := make(chan struct{})
	var looks atomic.Int64
	stub(f.server, func(context.Context) (Health, string) { looks.Add(1); <-release; return Healthy, "" })
	f.health(t).wantHealth(t, "stub", Unhealthy, "no answer within 1s")
	f.health(t).wantHealth(t, "stub", Unhealthy, "the check before has not ended")
	close(release)
	waitUntil(t, "the check has ended", func() bool { return !f.server.health.checks[0].busy.Load() })
	waitUntil(t, "it is well again", func() bool { return f.health(t).Status == Healthy })
	if n := looks.Load(); n != 2 {
		t.Errorf("%d looks", n)
	}
}

// TestHealthInterval counts the rounds of an hour of virtual time.
func TestHealthInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		s, err := New(Config{Profiles: dir, Secrets: dir, Monitoring: Monitoring{HealthCheckInterval: 60}})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		var looks atomic.Int64
		stub(s, func(context.Context) (Health, string) { looks.Add(1); return Healthy, "" })
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); s.health.run(ctx, s) }()
		time.Sleep(time.Hour + time.Second)
		synctest.Wait()
		if n := looks.Load(); n != 61 {
			t.Errorf("%d rounds", n)
		}
		if d := s.health.cached(s); d == nil || d.AgeS != 1 {
			t.Errorf("got %+v", d)
		}
		cancel()
		<-done
	})
}

func fetch(t *testing.T, url string) (status int, body string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(data)
}

func readiness(t *testing.T, url string) (int, Readiness) {
	t.Helper()
	status, body := fetch(t, url)
	var r Readiness
	if err := json.Unmarshal([]byte(body), &r); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	return status, r
}

func TestProbes(t *testing.T) {
	f := startHealthy(t, fakessh.Options{}, nil)
	mux := http.NewServeMux()
	f.server.healthRoutes(mux)
	srv := httptest.NewServer(mux)
	defer srv.Close()
	defer http.DefaultClient.CloseIdleConnections()
	if status, body := fetch(t, srv.URL+"/healthz"); status != 200 || !strings.Contains(body, `"status":"alive"`) {
		t.Errorf("%d %s", status, body)
	}
	if status, r := readiness(t, srv.URL+"/readyz"); status != 200 || r.Status != "ready" || r.CheckedAt != "" {
		t.Errorf("before any check: %d %+v", status, r)
	}
	f.health(t)
	if status, r := readiness(t, srv.URL+"/readyz"); status != 200 || r.Status != "ready" || r.Health != Healthy || r.AgeS <= 0 {
		t.Errorf("%d %+v", status, r)
	}
	if err := os.Remove(f.server.cfg.Audit.Path); err != nil {
		t.Fatal(err)
	}
	if status, _ := readiness(t, srv.URL+"/readyz"); status != 200 {
		t.Errorf("what is slow to find out is not taken from the last checks: %d", status)
	}
	f.health(t)
	if status, r := readiness(t, srv.URL+"/readyz"); status != 503 || r.Status != "not ready" || len(r.Reasons) != 1 || !strings.Contains(r.Reasons[0], "removed") {
		t.Errorf("%d %+v", status, r)
	}
	f.server.memory.SetMark(1 << 20)
	ctx, cancel := context.WithCancel(t.Context())
	var watch sync.WaitGroup
	watch.Go(func() { f.server.memory.Run(ctx) })
	waitUntil(t, "work is refused", func() bool { return f.server.memory.Usage().Refusing })
	if status, r := readiness(t, srv.URL+"/readyz"); status != 503 || len(r.Reasons) != 2 { // found without another check
		t.Errorf("%d %+v", status, r)
	}
	cancel()
	watch.Wait()
	if status, _ := fetch(t, srv.URL+"/healthz"); status != 200 {
		t.Errorf("a server that works badly is not alive: %d", status)
	}
	if got := post(t, srv.URL+"/readyz", "", nil); got.status != http.StatusMethodNotAllowed {
		t.Errorf("POST: %+v", got)
	}
}

// TestReadyzWhileDraining stops a server with a call under way: until the call has ended, /readyz says that it stops, and new calls are refused.
func TestReadyzWhileDraining(t *testing.T) {
	f := start(t, fakessh.Options{}, nil)
	var log syncBuffer
	f.server.cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- f.server.Run(ctx, HTTP("127.0.0.1:0")) }()
	urlOf := regexp.MustCompile(`url=(\S+)/mcp`)
	waitUntil(t, "the address is logged", func() bool { return urlOf.MatchString(log.String()) })
	url := urlOf.FindStringSubmatch(log.String())[1]
	if status, r := readiness(t, url+"/readyz"); status != 200 {
		t.Errorf("%d %+v", status, r)
	}
	if c := f.health(t).check("server"); c.Status != Healthy {
		t.Errorf("%+v", c)
	}
	session := map[string]string{"Mcp-Session-Id": post(t, url+"/mcp", initialize, nil).header.Get("Mcp-Session-Id")}
	answer := make(chan reply, 1)
	go func() {
		answer <- post(t, url+"/mcp", `{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"ssh_exec","arguments":{"profile_id":"fake","command":"sleep 0.5"}}}`, session)
	}()
	waitUntil(t, "the command runs", func() bool { return f.host.Stats().Running == 1 })
	stop()
	waitUntil(t, "/readyz says so", func() bool {
		status, r := readiness(t, url+"/readyz")
		return status == 503 && strings.Contains(strings.Join(r.Reasons, ""), "the server is stopping")
	})
	if status, _ := fetch(t, url+"/healthz"); status != 200 {
		t.Errorf("/healthz: %d", status)
	}
	if c := f.health(t).check("server"); c.Status != Unhealthy || !strings.Contains(c.Message, "stopping; 1 calls still run") {
		t.Errorf("%+v", c)
	}
	waitUntil(t, "new calls are refused", func() bool { return post(t, url+"/mcp", initialize, nil).status == 503 })
	if got := <-answer; got.status != 200 || !strings.Contains(got.body, `"success":true`) {
		t.Errorf("the call under way: %+v", got)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	http.DefaultClient.CloseIdleConnections()
}

// samplesOf makes samples half a minute apart, of which values holds what of sets.
func samplesOf(set func(s *sample, n int), values ...int) []sample {
	var all []sample
	for i, n := range values {
		s := sample{at: time.Unix(int64(30*i), 0), goroutines: 50, descriptors: 20}
		set(&s, n)
		all = append(all, s)
	}
	return all
}

func TestLeaks(t *testing.T) {
	goroutines := func(s *sample, n int) { s.goroutines = n }
	busy := func(s *sample, n int) { s.goroutines, s.connections = n, n/10 }
	for name, tc := range map[string]struct {
		set    func(*sample, int)
		values []int
		want   string
	}{
		"flat":         {goroutines, []int{100, 100, 100, 100, 100, 100, 100, 100, 100}, ""},
		"grows":        {goroutines, []int{100, 200, 300, 400, 500, 600, 700, 800, 900}, "goroutines grew from 100 to 700 in 4m0s without more work"},
		"too young":    {goroutines, []int{100, 300, 500, 700, 900, 1100, 1300, 1500}, ""},
		"little":       {goroutines, []int{100, 110, 120, 130, 140, 150, 160, 170, 180}, ""},
		"a peak":       {goroutines, []int{100, 100, 100, 900, 900, 900, 100, 100, 100}, ""},
		"peaks":        {goroutines, []int{100, 5000, 100, 100, 5000, 100, 100, 9000, 100}, ""},
		"a step":       {goroutines, []int{100, 100, 100, 5000, 5000, 5000, 5000, 5000, 5000}, ""},
		"peaks above":  {goroutines, []int{100, 9000, 100, 500, 9000, 500, 900, 9000, 900}, "goroutines grew from 100 to 900"},
		"more to do":   {busy, []int{100, 200, 300, 400, 500, 600, 700, 800, 900}, ""},
		"descriptors":  {func(s *sample, n int) { s.descriptors = n }, []int{10, 50, 100, 150, 200, 250, 300, 350, 400}, "file descriptors grew from 10 to 300"},
		"sessions":     {func(s *sample, n int) { s.sessions = int64(n) }, []int{0, 500, 1000, 1500, 2000, 2500, 3000, 3500, 4000}, "MCP sessions grew from 0 to 3000"},
		"few sessions": {func(s *sample, n int) { s.sessions = int64(n) }, []int{0, 5, 10, 15, 20, 25, 30, 35, 40}, ""},
	} {
		got := leaksIn(samplesOf(tc.set, tc.values...))
		switch {
		case tc.want == "" && len(got) > 0, tc.want != "" && (len(got) != 1 || got[0].Kind != FindingLeak || !strings.Contains(got[0].Message, tc.want)):
			t.Errorf("%s: %+v, want %q", name, got, tc.want)
		}
	}
}

// TestLeakIsFound leaves goroutines behind from one check to the next.
func TestLeakIsFound(t *testing.T) {
	f := startHealthy(t, fakessh.Options{}, nil)
	stop := make(chan struct{})
	defer close(stop)
	for range leakSamples {
		f.health(t)
		for range leakGoroutines / 4 {
			go func() { <-stop }()
		}
	}
	f.health(t).wantHealth(t, "resources", Degraded, "without more work")
}

func TestHistoryIsBounded(t *testing.T) {
	var h history
	for i := range 3 * kept {
		h.add(sample{running: i})
	}
	if all := h.samples(); len(all) != kept || all[0].running != 2*kept || h.latest().running != 3*kept-1 {
		t.Errorf("%d samples, the first %+v", len(all), all[0])
	}
}

func TestCacheIsJudged(t *testing.T) {
	for name, tc := range map[string]struct {
		now      cache.Stats
		bypassed int64
		want     string
	}{
		"unused":      {cache.Stats{}, 0, ""},
		"few":         {cache.Stats{Misses: 99}, 0, ""},
		"good":        {cache.Stats{Hits: 300, Misses: 700}, 0, ""},
		"shared":      {cache.Stats{Shared: 300, Misses: 700}, 0, ""},
		"no_cache":    {cache.Stats{Hits: 10, Misses: 100}, 200, "200 calls asked not to use it (no_cache)"},
		"invalidated": {cache.Stats{Misses: 200, Invalidated: 150}, 0, "made void by calls that may change the host"},
		"expired":     {cache.Stats{Misses: 200, Expired: 150}, 0, "150 results grew too old"},
		"evicted":     {cache.Stats{Misses: 200, Evicted: 190}, 0, "gave way to others"},
		"different":   {cache.Stats{Hits: 5, Misses: 200}, 0, "served 5 of 205 calls for read-only commands: the commands are hardly ever the same"},
	} {
		got := judgeCache(sample{}, sample{cache: tc.now, bypassed: tc.bypassed})
		switch {
		case tc.want == "" && len(got) > 0, tc.want != "" && (len(got) != 1 || got[0].Kind != FindingCache || !strings.Contains(got[0].Message, tc.want)):
			t.Errorf("%s: %+v, want %q", name, got, tc.want)
		}
	}
}

// TestUselessCacheIsFound has callers pass it by.
func TestUselessCacheIsFound(t *testing.T) {
	f := startHealthy(t, fakessh.Options{}, func(f *fixture, _ *Config) {
		f.profile(t, "ro", func(p map[string]any) {
			p["policy"] = map[string]any{"read_only_commands": []string{"^echo"}, "local_roots": []string{"."}}
		})
	})
	c := f.connect(t.Context(), t)
	defer c.end()
	f.health(t).wantHealth(t, "", Healthy, "")
	for range cacheLookups {
		c.call("ssh_exec", args{"profile_id": "ro", "command": "echo hi", "no_cache": true})
	}
	f.health(t).wantHealth(t, "cache", Degraded, "no_cache")
	e := c.call("debug_performance", args{"operation": "connect", "profile_id": "ro", "iterations": 1})
	if text := asJSON(e.Data["findings"]); !strings.Contains(text, "cache_inefficiency") {
		t.Errorf("found %s", text)
	}
}

// TestHealthIsNotQueued wants health told when nothing else is done.
func TestHealthIsNotQueued(t *testing.T) {
	f := startHealthy(t, fakessh.Options{}, nil)
	f.server.limits.Refuse(&admission.Refusal{Reason: "full"})
	c := f.connect(t.Context(), t)
	defer c.end()
	if e := c.call("server_health", args{"refresh": true}); !e.Success {
		t.Errorf("got %+v", e)
	}
	c.call("debug_performance", args{"operation": "all", "profile_id": "fake"}).wantCode(t, CodeLimitExceeded)
}
