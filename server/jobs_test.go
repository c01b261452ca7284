package server

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
)

// gated is a command that writes a line, and another once the gate opens.
func gated(gate <-chan struct{}) fakessh.Handler {
	return func(ctx context.Context, c *fakessh.Command) int {
		io.WriteString(c.Stdout, "begun\n")
		select {
		case <-gate:
		case <-ctx.Done():
			return 143
		}
		io.WriteString(c.Stdout, "ended\n")
		io.WriteString(c.Stderr, "warning\n")
		return 3
	}
}

// startJobs makes a fixture whose host knows the command gated, and whose server keeps a record.
func startJobs(t *testing.T, gate <-chan struct{}, change func(*Config)) *fixture {
	t.Helper()
	f := start(t, fakessh.Options{Handlers: map[string]fakessh.Handler{"gated": gated(gate)}}, nil)
	f.server.Close()
	cfg := f.config()
	on := true
	cfg.Audit = Audit{Enabled: &on, Path: filepath.Join(f.dir, "audit.db")}
	if change != nil {
		change(&cfg)
	}
	f.restart(t, cfg)
	return f
}

// job begins a job and returns its id.
func (c *client) job(command string) string {
	c.t.Helper()
	e := c.call("ssh_exec", args{"profile_id": "fake", "command": command, "background": true})
	id, _ := e.Data["job_id"].(string)
	if !e.Success || id == "" || e.Data["exit_code"] != -1.0 {
		c.t.Fatalf("%s in the background: %+v", command, e)
	}
	return id
}

// status is what job_status says of a job.
func (c *client) status(id string) JobInfo {
	c.t.Helper()
	e := c.call("job_status", args{"job_id": id})
	if !e.Success {
		c.t.Fatalf("job_status: %+v", e)
	}
	var data JobStatusData
	text, _ := json.Marshal(e.Data)
	if err := json.Unmarshal(text, &data); err != nil || len(data.Jobs) != 1 {
		c.t.Fatalf("%s: %v", text, err)
	}
	return data.Jobs[0]
}

// output reads a stream of a job to its end, in pages.
func (c *client) output(id, stream string) string {
	c.t.Helper()
	var all strings.Builder
	for offset := 0.0; ; {
		e := c.call("job_output", args{"job_id": id, "stream": stream, "offset": offset, "limit": 7, "wait_seconds": 30})
		if !e.Success {
			c.t.Fatalf("job_output: %+v", e)
		}
		all.WriteString(e.Data["text"].(string))
		if offset = e.Data["next_offset"].(float64); e.Data["eof"] == true {
			return all.String()
		}
	}
}

func (f *fixture) outcomes(t *testing.T, operation string) (codes []string) {
	t.Helper()
	err := ListAudit(t.Context(), filepath.Join(f.dir, "audit.db"), AuditFilter{}, func(r *AuditRecord) error {
		if r.Operation == operation {
			codes = append(codes, r.Kind+":"+r.Code)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return codes
}

func TestJob(t *testing.T) {
	gate := make(chan struct{})
	f := startJobs(t, gate, nil)
	c := f.connect(t.Context(), t)
	id := c.job("gated")
	e := c.call("job_output", args{"job_id": id, "wait_seconds": 30})
	if e.Data["text"] != "begun\n" || e.Data["eof"] != false || e.Data["next_offset"] != 6.0 {
		t.Errorf("while it runs: %+v", e)
	}
	if now := c.status(id); now.State != "running" || now.ExitCode != nil || now.ProfileID != "fake" || now.Command != "gated" {
		t.Errorf("while it runs: %+v", now)
	}
	if running, _ := f.server.limits.Stats(); running != 1 {
		t.Errorf("%d calls count as running, want the job", running)
	}
	close(gate)
	if got := c.output(id, "stdout"); got != "begun\nended\n" {
		t.Errorf("stdout %q", got)
	}
	if got := c.output(id, "stderr"); got != "warning\n" {
		t.Errorf("stderr %q", got)
	}
	waitUntil(t, "the job is done", func() bool { return c.status(id).State == "done" })
	now := c.status(id)
	if now.ExitCode == nil || *now.ExitCode != 3 || now.EndedAt == "" || now.SessionID == "" || now.StdoutBytes != 12 || now.Timing == nil || now.ErrorCode != "" {
		t.Errorf("at its end: %+v", now)
	}
	if e := c.call("job_cancel", args{"job_id": id}); !e.Success || e.Data["state"] != "done" {
		t.Errorf("cancelled after its end: %+v", e)
	}
	c.end()
	f.server.Close()
	if got := fmt.Sprint(f.outcomes(t, "ssh.exec")); got != "[intent: outcome:]" {
		t.Errorf("recorded %s", got)
	}
}

// TestJobCancel stops one job that runs and one that waits for a slot.
func TestJobCancel(t *testing.T) {
	f := startJobs(t, nil, func(cfg *Config) { cfg.Limits.MaxConcurrentOperations = 1 })
	c := f.connect(t.Context(), t)
	runs := c.job("gated")
	c.call("job_output", args{"job_id": runs, "wait_seconds": 30})
	waits := c.job("gated")
	if e := c.call("job_cancel", args{"job_id": waits, "dry_run": true}); !e.Success || e.Data["state"] != "queued" {
		t.Errorf("a dry run: %+v", e)
	}
	if e := c.call("job_cancel", args{"job_id": waits}); !e.Success || e.Data["state"] != "cancelled" || !strings.Contains(e.Data["error"].(string), "before anything was run") {
		t.Errorf("one that waits: %+v", e)
	}
	e := c.call("job_cancel", args{"job_id": runs})
	if !e.Success || e.Data["state"] != "cancelled" || e.Data["error_code"] != "TIMEOUT" || !strings.Contains(e.Data["error"].(string), "job_cancel") {
		t.Errorf("one that runs: %+v", e)
	}
	if got := c.output(runs, "stdout"); got != "begun\n" {
		t.Errorf("its output: %q", got)
	}
	if e := c.call("ssh_exec", args{"profile_id": "fake", "command": "echo hi"}); !e.Success {
		t.Errorf("the slot was not given back: %+v", e)
	}
	c.end()
}

// TestJobBounds keeps as many jobs as the configuration admits, and of their output the newest.
func TestJobBounds(t *testing.T) {
	f := startJobs(t, nil, func(cfg *Config) { cfg.Jobs = Jobs{MaxPerCaller: 2, MaxOutputBytes: 100} })
	c := f.connect(t.Context(), t)
	first := c.job("bytes 1000")
	all := ""
	waitUntil(t, "its output is there", func() bool { return c.status(first).State == "done" })
	e := c.call("job_output", args{"job_id": first})
	all = e.Data["text"].(string)
	if want := string(fakessh.Pattern(1000)[900:]); all != want || e.Data["offset"] != 900.0 || e.Data["first_offset"] != 900.0 || e.Data["eof"] != true {
		t.Errorf("%+v", e)
	}
	second, third := c.job("gated"), c.job("gated") // the first makes room
	c.call("job_output", args{"job_id": first}).wantCode(t, CodeInvalidParameters, "no job", first)
	e = c.call("ssh_exec", args{"profile_id": "fake", "command": "gated", "background": true})
	e.wantCode(t, CodeLimitExceeded, "jobs.max_per_caller", "job_cancel")
	c.call("job_cancel", args{"job_id": second})
	if id := c.job("gated"); id == third {
		t.Error("two jobs have one id")
	}
	if e := c.call("job_status", nil); len(e.Data["jobs"].([]any)) != 2 {
		t.Errorf("%+v", e)
	}
	for _, bad := range []args{{}, {"job_id": third, "stream": "both"}, {"job_id": third, "offset": -1}, {"job_id": third, "limit": 1}, {"job_id": third, "offset": 0.5}} {
		c.call("job_output", bad).wantCode(t, CodeInvalidParameters)
	}
	c.end()
}

// TestEndedJobMakesRoom has a job begin while the end of another shows in its state and is not recorded yet.
func TestEndedJobMakesRoom(t *testing.T) {
	js := &jobs{}
	add := func(id string) (*job, error) {
		j := &job{id: id, owner: "me", done: make(chan struct{}), cancel: func(error) {}}
		return j, js.add(j, Jobs{MaxJobs: 1, MaxPerCaller: 1}, func() {})
	}
	first, err := add("job-a")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := add("job-b"); err == nil {
		t.Error("a second job was admitted beside one that runs")
	}
	first.end(nil, nil, nil, &call{})
	if _, err := add("job-c"); err != nil || js.counts() != (jobCounts{active: 1}) {
		t.Errorf("after its end: %v, %+v", err, js.counts())
	}
}

// TestJobsAreForgotten has a job expire.
func TestJobsAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		js := &jobs{}
		j := &job{id: "job-a", owner: "me", done: make(chan struct{}), cancel: func(error) {}}
		if err := js.add(j, Jobs{MaxJobs: 1, MaxPerCaller: 1}, func() { close(j.done); js.keep(j, time.Hour) }); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour - time.Nanosecond)
		synctest.Wait()
		if js.find("job-a", "me") == nil || js.find("job-a", "you") != nil || len(js.of("you")) != 0 {
			t.Error("before its time")
		}
		time.Sleep(2 * time.Nanosecond)
		synctest.Wait()
		if js.find("job-a", "me") != nil {
			t.Error("after its time")
		}
		js.close()
	})
}

// TestJobOutlivesClient loses the client over HTTP, and asks for the job from elsewhere, as the same identity and as another.
func TestJobOutlivesClient(t *testing.T) {
	gate := make(chan struct{})
	tokens := filepath.Join(t.TempDir(), "tokens.yaml")
	var who [3]string
	for i, o := range []TokenOptions{{Name: "a"}, {Name: "b"}, {Name: "c", Tools: []string{"ssh_exec"}}} {
		var err error
		if who[i], err = NewToken(tokens, o); err != nil {
			t.Fatal(err)
		}
	}
	f := startJobs(t, gate, func(cfg *Config) { cfg.Auth.Tokens = tokens })
	srv := web(t, f)
	begun := callAs(t, srv.URL, who[0], "ssh_exec", `{"profile_id":"fake","command":"gated","background":true}`).body
	_, rest, _ := strings.Cut(begun, `"job_id":"`)
	id, _, _ := strings.Cut(rest, `"`)
	http.DefaultClient.CloseIdleConnections()
	defer http.DefaultClient.CloseIdleConnections()
	named := fmt.Sprintf(`{"job_id":%q}`, id)
	for tool, word := range map[string]string{"job_status": "there is no job", "job_output": "there is no job", "job_cancel": "there is no job"} {
		if got := callAs(t, srv.URL, who[1], tool, named).body; !strings.Contains(got, word) || !strings.Contains(got, "INVALID_PARAMETERS") {
			t.Errorf("another identity, %s: %s", tool, got)
		}
		if got := callAs(t, srv.URL, who[2], tool, named).body; !strings.Contains(got, "AUTHORIZATION_FAILED") {
			t.Errorf("out of scope, %s: %s", tool, got)
		}
	}
	if got := callAs(t, srv.URL, who[1], "job_status", `{}`).body; !strings.Contains(got, `"jobs":[]`) {
		t.Errorf("another identity's list: %s", got)
	}
	close(gate)
	waitUntil(t, "the job is done", func() bool {
		return strings.Contains(callAs(t, srv.URL, who[0], "job_status", named).body, `"state":"done"`)
	})
	if got := callAs(t, srv.URL, who[0], "job_output", named).body; !strings.Contains(got, `"text":"begun\nended\n"`) {
		t.Errorf("its output: %s", got)
	}
}

// TestJobAtShutdown closes the server under a job that runs and one that waits.
func TestJobAtShutdown(t *testing.T) {
	f := startJobs(t, nil, func(cfg *Config) { cfg.Limits.MaxConcurrentOperations = 1 })
	c := f.connect(t.Context(), t)
	runs := c.job("gated")
	c.call("job_output", args{"job_id": runs, "wait_seconds": 30})
	c.job("gated")
	c.end()
	f.server.Close()
	if got := fmt.Sprint(f.outcomes(t, "ssh.exec")); got != "[intent: intent: outcome:OUTCOME_UNKNOWN outcome:CONNECTION_FAILED]" &&
		got != "[intent: intent: outcome:CONNECTION_FAILED outcome:OUTCOME_UNKNOWN]" {
		t.Errorf("recorded %s", got)
	}
	if err := f.server.jobs.add(&job{}, Jobs{MaxJobs: 1, MaxPerCaller: 1}, func() {}); err == nil {
		t.Error("a closed server takes a job")
	}
}

// TestJobPolicy wants what may not run refused before there is a job, and a dry run to leave none.
func TestJobPolicy(t *testing.T) {
	f := start(t, fakessh.Options{}, func(f *fixture) {
		f.profile(t, "strict", func(p map[string]any) { p["policy"] = map[string]any{"command_allowlist": []string{"^ls"}} })
	})
	c := f.connect(t.Context(), t)
	defer c.end()
	c.call("ssh_exec", args{"profile_id": "strict", "command": "rm x", "background": true}).wantCode(t, CodePolicyViolation)
	if e := c.call("ssh_exec", args{"profile_id": "fake", "command": "true", "background": true, "dry_run": true}); !e.Success || e.Data["job_id"] != nil {
		t.Errorf("a dry run: %+v", e)
	}
	if n := f.server.jobs.counts(); n != (jobCounts{}) {
		t.Errorf("%+v", n)
	}
}
