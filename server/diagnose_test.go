package server

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
	"github.com/openaccess-mcp/openaccess-mcp/fakessh/netem"
	"github.com/openaccess-mcp/openaccess-mcp/fakessh/wgpeer"
)

// config is that of the fixture, for a server of the test's own.
func (f *fixture) config() Config {
	return Config{Profiles: filepath.Join(f.dir, "profiles"), Secrets: filepath.Join(f.dir, "secrets")}
}

// kinds lists findings as KIND/STEP/PROFILE.
func kinds(findings []Finding) []string {
	list := []string{}
	for _, f := range findings {
		list = append(list, f.Kind+"/"+f.Step+"/"+f.ProfileID)
	}
	slices.Sort(list)
	return list
}

func (d *Diagnosis) step(t *testing.T, name, id string) Step {
	t.Helper()
	for _, s := range d.Steps {
		if s.Step == name && s.ProfileID == id {
			return s
		}
	}
	t.Errorf("no step %s of %s in %+v", name, id, d.Steps)
	return Step{}
}

func diagnose(t *testing.T, cfg Config, opts DiagnoseOptions) *Diagnosis {
	t.Helper()
	d, err := Diagnose(t.Context(), cfg, opts)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestEachCauseIsFound makes one thing wrong at a time, and wants that found and nothing else.
func TestEachCauseIsFound(t *testing.T) {
	slow := netem.Fixed(600 * time.Millisecond)
	for name, tc := range map[string]struct {
		opts   fakessh.Options
		change func(p map[string]any)
		want   []string
		sound  bool // no step fails
		says   []string
	}{
		"nothing":  {want: []string{}, sound: true},
		"banner":   {opts: fakessh.Options{Faults: fakessh.Faults{Connect: fakessh.ConnectFaults{Delay: slow}}}, want: []string{"high_latency/banner/web"}, sound: true, says: []string{"sshd starts late"}},
		"auth":     {opts: fakessh.Options{Faults: fakessh.Faults{Auth: fakessh.AuthFaults{Delay: slow}}}, want: []string{"high_latency/authentication/web"}, sound: true, says: []string{"UseDNS no", "GSSAPIAuthentication no"}},
		"command":  {opts: fakessh.Options{Faults: fakessh.Faults{Exec: fakessh.ExecFaults{Delay: slow}}}, want: []string{"high_latency/command/web"}, sound: true, says: []string{"login shell"}},
		"sftp":     {opts: fakessh.Options{Faults: fakessh.Faults{SFTP: fakessh.SFTPFaults{Delay: slow}}}, want: []string{"high_latency/sftp/web"}, sound: true, says: []string{"internal-sftp"}},
		"network":  {opts: fakessh.Options{Faults: fakessh.Faults{Network: netem.Shape{Delay: netem.Fixed(55 * time.Millisecond)}}}, want: []string{"high_latency/round_trip/web"}, sound: true, says: []string{"network is far"}},
		"sessions": {opts: fakessh.Options{MaxSessions: 2}, want: []string{"exhaustion/channel/web"}, sound: true, says: []string{"grants 2 sessions", "MaxSessions"}},
		"mute":     {opts: fakessh.Options{Faults: fakessh.Faults{Connect: fakessh.ConnectFaults{Mute: 1}}}, want: []string{"failure/banner/web"}, says: []string{"no SSH server speaks there in time"}},
		"login":    {opts: fakessh.Options{Faults: fakessh.Faults{Auth: fakessh.AuthFaults{Fail: 1}}}, want: []string{"failure/authentication/web"}, says: []string{"authorized_keys"}},
		"dead":     {change: func(p map[string]any) { p["port"] = deadPort(t) }, want: []string{"failure/tcp/web"}, says: []string{"nothing listens at the port"}},
		"host key": {change: func(p map[string]any) { p["host_key"] = otherKey }, want: []string{"failure/key_exchange/web"}, says: []string{"whether its key has changed"}},
		"no command": {opts: fakessh.Options{Handlers: map[string]fakessh.Handler{"true": func(_ context.Context, c *fakessh.Command) int {
			fmt.Fprint(c.Stderr, "This account is not available")
			return 1
		}}}, want: []string{"failure/command/web"}, sound: true, says: []string{"This account is not available", "nologin"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t, tc.opts, nil)
			f.profile(t, "web", func(p map[string]any) {
				if tc.change != nil {
					tc.change(p)
				}
			})
			cfg := f.config()
			cfg.Pooling.ConnectionTimeout = 5
			if name == "mute" {
				cfg.Pooling.ConnectionTimeout = 0.3
			}
			d := diagnose(t, cfg, DiagnoseOptions{Profile: "web", Iterations: 3}) // three, so that one that the machine held up does not count
			if got := kinds(d.Findings); !slices.Equal(got, tc.want) || d.Healthy != tc.sound {
				t.Errorf("found %v, healthy %v; want %v, %v\n%s", got, d.Healthy, tc.want, tc.sound, asJSON(d))
			}
			text := ""
			for _, finding := range d.Findings {
				text += finding.Message + "; " + finding.Remedy + "\n"
			}
			for _, words := range tc.says {
				if !strings.Contains(text, words) {
					t.Errorf("%q does not say %q", text, words)
				}
			}
			if n := f.host.Stats().AuthFailures; name == "login" && (d.Iterations != 1 || n != 1) {
				t.Errorf("a refused credential was tried %d times, %d refusals", d.Iterations, n)
			}
		})
	}
}

// TestResetsAreFound has the host throw every connection away, which may show before or after it was opened.
func TestResetsAreFound(t *testing.T) {
	f := start(t, fakessh.Options{Faults: fakessh.Faults{Connect: fakessh.ConnectFaults{Refuse: 1}}}, nil)
	d := diagnose(t, f.config(), DiagnoseOptions{Profile: "fake", Iterations: 2})
	for _, found := range d.Findings {
		if found.Kind != FindingFailure || found.Step != "tcp" && found.Step != "banner" || !strings.Contains(found.Remedy, "MaxStartups") {
			t.Errorf("found %+v", found)
		}
	}
	if len(d.Findings) == 0 || d.Healthy {
		t.Errorf("got %s", asJSON(d))
	}
}

const otherKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKabPv6pFIhe0U7shvr5TNwddLlIgU0hhQHXrpscmoi1"

func asJSON(v any) string {
	text, _ := json.MarshalIndent(v, "", " ")
	return string(text)
}

// deadPort is one at which nothing listens.
func deadPort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// TestDiagnosisTimesEachHop wants the steps of a jump host told apart from those of the host behind it.
func TestDiagnosisTimesEachHop(t *testing.T) {
	bastion := fakessh.Start(fakessh.Options{Faults: fakessh.Faults{Auth: fakessh.AuthFaults{Delay: netem.Fixed(600 * time.Millisecond)}}})
	t.Cleanup(func() { bastion.Close() })
	f := start(t, fakessh.Options{}, nil)
	if err := bastion.WriteProfile(f.dir, "bastion"); err != nil {
		t.Fatal(err)
	}
	f.profile(t, "web", func(p map[string]any) { p["jump"] = "bastion" })
	d := diagnose(t, f.config(), DiagnoseOptions{Profile: "web", Iterations: 2})
	if got, want := kinds(d.Findings), []string{"high_latency/authentication/bastion"}; !slices.Equal(got, want) {
		t.Errorf("found %v, want %v\n%s", got, want, asJSON(d))
	}
	if !slices.Equal(d.Through, []string{"bastion"}) {
		t.Errorf("through %v", d.Through)
	}
	for _, id := range []string{"bastion", "web"} {
		for _, step := range []string{"tcp", "banner", "key_exchange", "authentication", "round_trip"} {
			if s := d.step(t, step, id); s.Count != 2 || s.MinS <= 0 || s.MinS > s.MedianS || s.MedianS > s.MaxS || s.P95S != nil {
				t.Errorf("%+v", s)
			}
		}
	}
	if s := d.step(t, "tcp", "web"); s.MaxS > 0.6 {
		t.Errorf("the time of the jump host's login is part of %+v", s)
	}
	if s := d.step(t, "dns", "web"); !strings.Contains(s.Note, "jump host looks it up") {
		t.Errorf("%+v", s)
	}
}

// TestDiagnosisKeepsToThePolicy wants nothing done that a call could not do.
func TestDiagnosisKeepsToThePolicy(t *testing.T) {
	policy := func(rules map[string]any) func(map[string]any) {
		return func(p map[string]any) {
			rules["local_roots"] = []string{"."}
			p["policy"] = rules
		}
	}
	for name, tc := range map[string]struct {
		change    func(p map[string]any)
		operation string
		commands  int64 // run on the host
		steps     map[string]string
		refused   string
	}{
		"allow list":     {change: policy(map[string]any{"command_allowlist": []string{"^uptime$"}}), steps: map[string]string{"channel": "", "command": "refused by rule command_allowlist", "sftp": ""}},
		"deny list":      {change: policy(map[string]any{"command_denylist": []string{"^true$"}}), operation: "ssh.exec", steps: map[string]string{"channel": "", "command": "command_denylist[0]"}},
		"ticket":         {change: policy(map[string]any{"require_change_ticket_for": []string{"ssh.exec"}}), operation: "ssh_exec", steps: map[string]string{"channel": "", "command": "needs a change_ticket"}},
		"only sftp":      {change: func(p map[string]any) { p["protocols"] = []string{"sftp"} }, steps: map[string]string{"command": "refused by rule protocols", "sftp": ""}},
		"only ssh":       {change: func(p map[string]any) { p["protocols"] = []string{"ssh"} }, commands: 1, steps: map[string]string{"command": "", "sftp": "refused by rule protocols"}},
		"nothing at all": {change: func(p map[string]any) { p["protocols"] = []string{"tunnel"} }, refused: "nothing of all may be timed"},
		"sftp asked for": {change: func(p map[string]any) { p["protocols"] = []string{"ssh"} }, operation: "sftp.transfer", refused: "nothing of sftp.transfer may be timed"},
		"connect":        {change: func(p map[string]any) { p["protocols"] = []string{"tunnel"} }, operation: "connect", steps: map[string]string{"authentication": ""}},
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t, fakessh.Options{}, nil)
			f.profile(t, "web", tc.change)
			d, err := Diagnose(t.Context(), f.config(), DiagnoseOptions{Profile: "web", Operation: tc.operation, Iterations: 1})
			stats := f.host.Stats()
			if tc.refused != "" {
				if err == nil || codeOf(err) != CodePolicyViolation || !strings.Contains(err.Error(), tc.refused) || stats.Connections != 0 {
					t.Errorf("got %v with %d connections", err, stats.Connections)
				}
				return
			}
			if err != nil || !d.Healthy || len(d.Findings) > 0 {
				t.Fatalf("%v, %s", err, asJSON(d))
			}
			if n := stats.Commands["true"].Started; (n > 0) != (tc.commands > 0) {
				t.Errorf("%d commands run", n)
			}
			for step, note := range tc.steps {
				if s := d.step(t, step, "web"); (s.Count > 0) != (note == "") || !strings.Contains(s.Note, note) {
					t.Errorf("%+v, want the note %q", s, note)
				}
			}
		})
	}
}

func TestDiagnosisRefusesNonsense(t *testing.T) {
	f := start(t, fakessh.Options{}, nil)
	c := f.connect(t.Context(), t)
	defer c.end()
	for _, tc := range []struct {
		args  args
		code  Code
		words string
	}{
		{args{"operation": "all"}, CodeInvalidParameters, "profile_id is required"},
		{args{"profile_id": "fake"}, CodeInvalidParameters, "operation is required"},
		{args{"operation": "dance", "profile_id": "fake"}, CodeInvalidParameters, "known are all, connect"},
		{args{"operation": "all", "profile_id": "fake", "iterations": 0}, CodeInvalidParameters, "from 1 to 100"},
		{args{"operation": "all", "profile_id": "fake", "iterations": 101}, CodeInvalidParameters, "from 1 to 100"},
		{args{"operation": "all", "profile_id": "fak"}, CodeProfileNotFound, "fake"},
	} {
		c.call("debug_performance", tc.args).wantCode(t, tc.code, tc.words)
	}
	if n := f.host.Stats().Connections; n != 0 {
		t.Errorf("%d connections were made", n)
	}
}

// TestDebugPerformance is the tool: its answer, and its place among calls.
func TestDebugPerformance(t *testing.T) {
	f := start(t, fakessh.Options{}, nil)
	c := f.connect(t.Context(), t)
	defer c.end()
	e := c.call("debug.performance", args{"operation": "ssh.exec", "profile_id": "fake", "iterations": 20})
	if !e.Success || e.Data["healthy"] != true || e.Data["iterations"] != 20.0 || len(e.Data["findings"].([]any)) != 0 {
		t.Fatalf("got %+v", e)
	}
	seen := map[string]bool{}
	for _, s := range e.Data["steps"].([]any) {
		step := s.(map[string]any)
		seen[step["step"].(string)] = true
		if n := step["count"]; n == 20.0 && step["p95_s"] == nil {
			t.Errorf("20 repeats and no p95: %v", step)
		}
	}
	for _, step := range []string{"dns", "tcp", "banner", "key_exchange", "authentication", "round_trip", "channel", "command", "pooled_channel", "pooled_command"} {
		if !seen[step] {
			t.Errorf("no %s", step)
		}
	}
	if op := f.server.metrics.Snapshot()["debug.performance"]; op.Calls != 1 {
		t.Errorf("counted as %+v", op)
	}
	if n := f.server.pool.Stats().Dials; n != 1 {
		t.Errorf("%d connections in the pool", n)
	}
}

// TestDiagnosisFindsTheBreaker has the server avoid a host that is well again.
func TestDiagnosisFindsTheBreaker(t *testing.T) {
	f := start(t, fakessh.Options{Faults: fakessh.Faults{Connect: fakessh.ConnectFaults{Refuse: 1}}}, nil)
	c := f.connect(t.Context(), t)
	defer c.end()
	waitUntil(t, "the breaker is open", func() bool {
		c.call("ssh_exec", args{"profile_id": "fake", "command": "true"})
		return f.server.pool.Stats().BreakersOpen == 1
	})
	if err := f.host.SetFaults(fakessh.Faults{}); err != nil {
		t.Fatal(err)
	}
	e := c.call("debug_performance", args{"operation": "ssh.exec", "profile_id": "fake", "iterations": 1})
	if e.Data["healthy"] != false || !strings.Contains(asJSON(e.Data["findings"]), "the server does not try") {
		t.Errorf("got %s", asJSON(e))
	}
}

// TestDiagnosisFindsTheQueue has all slots of the profile taken.
func TestDiagnosisFindsTheQueue(t *testing.T) {
	f := start(t, fakessh.Options{}, func(f *fixture) {
		f.profile(t, "one", func(p map[string]any) {
			p["policy"] = map[string]any{"max_concurrent_sessions": 1, "local_roots": []string{"."}}
		})
	})
	c := f.connect(t.Context(), t)
	defer c.end()
	_, busy := c.send("tools/call", map[string]any{"name": "ssh_exec", "arguments": args{"profile_id": "one", "command": "sleep 0.5"}})
	waitUntil(t, "the command runs", func() bool { return f.host.Stats().Running == 1 })
	e := c.call("debug_performance", args{"operation": "connect", "profile_id": "one", "iterations": 1})
	c.await(busy)
	if text := asJSON(e.Data["findings"]); !strings.Contains(text, "wait for a slot; this one waited") {
		t.Errorf("got %s", text)
	}
}

// TestGrowth wants what is left behind told, where nothing else may have grown.
func TestGrowth(t *testing.T) {
	for _, tc := range []struct {
		grown growth
		n     int
		alone bool
		want  int
	}{
		{growth{0, 0}, 10, true, 0}, {growth{9, 9}, 10, true, 0}, {growth{10, 0}, 10, true, 1}, {growth{30, 12}, 10, true, 2},
		{growth{30, 12}, 10, false, 0}, {growth{2, 2}, 1, true, 0}, {growth{-5, 3}, 1, true, 1},
	} {
		if got := tc.grown.findings(tc.n, tc.alone); len(got) != tc.want {
			t.Errorf("%+v: %+v", tc, got)
		}
	}
	before := takeGrowth()
	stop := make(chan struct{})
	for range 20 { // some that are on their way out may go meanwhile
		go func() { <-stop }()
	}
	files := make([]net.Listener, 20)
	for i := range files {
		files[i], _ = net.Listen("tcp", "127.0.0.1:0")
	}
	if got := before.until(t.Context()); got.goroutines < 10 || got.descriptors < 10 {
		t.Errorf("grown by %+v", got)
	}
	close(stop)
	for _, l := range files {
		l.Close()
	}
	if got := before.until(t.Context()); got.goroutines > 0 || got.descriptors > 0 {
		t.Errorf("grown by %+v", got)
	}
}

// slowNames answers every question for an address with 127.0.0.1, or with nothing, after a while, and has the process ask there.
func slowNames(t *testing.T, delay time.Duration, found bool) {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		var pending sync.WaitGroup
		defer pending.Wait()
		for buf := make([]byte, 512); ; {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			answer := nameAnswer(t, slices.Clone(buf[:n]), found)
			pending.Go(func() {
				time.Sleep(delay)
				_, _ = conn.WriteTo(answer, from)
			})
		}
	}()
	before := net.DefaultResolver
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
	t.Cleanup(func() { net.DefaultResolver = before; conn.Close(); <-done })
}

func nameAnswer(t *testing.T, query []byte, found bool) []byte {
	var m dnsmessage.Message
	if err := m.Unpack(query); err != nil {
		t.Error(err)
	}
	m.Response, m.Additionals = true, nil
	switch q := m.Questions[0]; {
	case !found:
		m.RCode = dnsmessage.RCodeNameError
	case q.Type == dnsmessage.TypeA:
		m.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 60}, Body: &dnsmessage.AResource{A: [4]byte{127, 0, 0, 1}},
		}}
	}
	answer, err := m.Pack()
	if err != nil {
		t.Error(err)
	}
	return answer
}

func TestNamesAreFound(t *testing.T) {
	for name, tc := range map[string]struct {
		delay time.Duration
		found bool
		want  []string
	}{
		"quick": {0, true, []string{}},
		"slow":  {300 * time.Millisecond, true, []string{"high_latency/dns/web"}},
		"none":  {0, false, []string{"failure/dns/web"}},
	} {
		t.Run(name, func(t *testing.T) {
			slowNames(t, tc.delay, tc.found)
			f := start(t, fakessh.Options{}, nil)
			f.profile(t, "web", func(p map[string]any) { p["host"] = "web.test" })
			d := diagnose(t, f.config(), DiagnoseOptions{Profile: "web", Operation: "connect", Iterations: 1})
			if got := kinds(d.Findings); !slices.Equal(got, tc.want) || d.Healthy != tc.found {
				t.Errorf("found %v, healthy %v; want %v\n%s", got, d.Healthy, tc.want, asJSON(d))
			}
			if s := d.step(t, "dns", "web"); tc.found && (s.Count != 1 || s.MinS < tc.delay.Seconds() || s.Note != "") {
				t.Errorf("%+v", s)
			}
			if s := d.step(t, "dns", "web"); !tc.found && !strings.Contains(s.Error, "no such host") {
				t.Errorf("%+v", s)
			}
		})
	}
}

// TestDiagnosisThroughATunnel goes through the server's own tunnel; a doctor has none of its own unless asked to make one.
func TestDiagnosisThroughATunnel(t *testing.T) {
	f, _ := startVPN(t, wgpeer.Options{})
	c := f.connect(t.Context(), t)
	diagnosis := args{"operation": "ssh.exec", "profile_id": "fake-inside", "iterations": 2}
	e := c.call("debug_performance", diagnosis)
	if text := asJSON(e.Data["findings"]); !e.Success || e.Data["healthy"] != false || !strings.Contains(text, "vpn_wireguard_toggle") {
		t.Errorf("while it is down: %+v", e)
	}
	if e := c.call("vpn_wireguard_toggle", toggle("up")); !e.Success {
		t.Fatalf("%+v", e)
	}
	e = c.call("debug_performance", diagnosis)
	if e.Data["healthy"] != true || fmt.Sprint(e.Data["through"]) != "[WireGuard fake/lab]" || len(e.Data["findings"].([]any)) != 0 {
		t.Errorf("while it is up: %s", asJSON(e))
	}
	c.call("vpn_wireguard_toggle", toggle("down"))
	c.end()
	d := diagnose(t, f.config(), DiagnoseOptions{Profile: "fake-inside", Operation: "connect", Iterations: 1, BringUpVPN: true})
	if s := d.step(t, "vpn", "fake-inside"); !d.Healthy || s.Count != 1 || len(d.Findings) != 0 {
		t.Errorf("the tunnel of its own: %s", asJSON(d))
	}
}

// TestSlowStepsAreJudgedByTheRoundTrip wants each step slow just above its allowance, and not at it.
func TestSlowStepsAreJudgedByTheRoundTrip(t *testing.T) {
	for _, trip := range []time.Duration{0, 80 * time.Millisecond} {
		for _, slow := range slowSteps {
			limit := (time.Duration(slow.trips*float64(trip)) + slow.allowance).Seconds()
			for _, tc := range []struct {
				median float64
				want   int
			}{{limit, 0}, {limit + 0.001, 1}} {
				steps := []Step{
					{Step: stepRoundTrip, ProfileID: "web", MedianS: trip.Seconds()},
					{Step: stepRoundTrip, ProfileID: "other", MedianS: 0.09},
					{Step: slow.step, ProfileID: "web", MedianS: tc.median},
				}
				got := latencies(steps)
				if len(got) != tc.want || tc.want == 1 && (got[0].Step != slow.step || got[0].ProfileID != "web" || got[0].Remedy == "") {
					t.Errorf("%s of %v at a round trip of %v: %+v", slow.step, tc.median, trip, got)
				}
			}
		}
	}
}
