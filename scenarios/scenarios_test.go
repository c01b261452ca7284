package scenarios

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
)

func TestEmbeddedScenarios(t *testing.T) {
	ungraded := []string{"abrupt-disconnect", "cache-hit-http", "cache-hit-slow", "cache-hit-stdio", "cancel-release",
		"overhead-http-1", "overhead-http-64", "overhead-stdio-1", "overhead-stdio-64", "session-churn", "sftp-progress", "sftp-small", "sftp-tree", "slow-reader", "soak", "ssh-exec-1", "ssh-exec-64", "stall"}
	want := append([]string{"rsync-100", "sftp-1mb", "ssh-exec", "tunnel-create", "vpn-toggle"}, ungraded...)
	slices.Sort(want)
	got := List()
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("List() = %v, want %v", got, want)
	}
	for _, name := range got {
		p, err := Load(name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if p.Name != name {
			t.Errorf("%s names itself %q", name, p.Name)
		}
		if err := loadgen.ValidatePlan(p); err != nil { // again, now that it has its target
			t.Errorf("%s: %v", name, err)
		}
		if (p.Target == nil) != slices.Contains(ungraded, name) {
			t.Errorf("%s: target %+v", name, p.Target)
		}
	}
}

func TestTargetsTable(t *testing.T) {
	want := []struct {
		operation, scenario string
		planned             bool
		target, acceptable  time.Duration
	}{
		{"ssh.exec", "ssh-exec", false, 100 * time.Millisecond, 500 * time.Millisecond},
		{"sftp.transfer", "sftp-1mb", false, time.Second, 5 * time.Second},
		{"rsync.sync", "rsync-100", false, 10 * time.Second, 30 * time.Second},
		{"tunnel.create", "tunnel-create", false, 200 * time.Millisecond, time.Second},
		{"vpn.wireguard_toggle", "vpn-toggle", false, 500 * time.Millisecond, 2 * time.Second},
	}
	rows := Targets()
	if len(rows) != len(want) {
		t.Fatalf("%d rows, want %d", len(rows), len(want))
	}
	for i, w := range want {
		r := rows[i]
		if r.Target.Operation != w.operation || r.Scenario != w.scenario || r.Planned != w.planned ||
			r.Target.Target != w.target || r.Target.Acceptable != w.acceptable || r.Target.Statistic != "p95" {
			t.Errorf("row %d is %+v, want %+v", i, r, w)
		}
		if !slices.Contains(List(), r.Scenario) {
			t.Errorf("row %s has no scenario", r.Scenario)
		}
	}
	if got := Defaults(); !slices.Equal(got, []string{"ssh-exec", "sftp-1mb", "rsync-100", "tunnel-create", "vpn-toggle"}) {
		t.Errorf("Defaults() = %v", got)
	}
}

// TestDocumentedScenario keeps the scenario that a document quotes the one that loadgen runs.
func TestDocumentedScenario(t *testing.T) {
	text, err := os.ReadFile("../docs/coordinated-omission.md")
	if err != nil {
		t.Fatal(err)
	}
	scenario, err := embedded.ReadFile("stall.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), "```yaml\n"+string(scenario)+"```\n") {
		t.Error("the document does not hold stall.yaml as it is")
	}
}

// TestDefaultRunIsShort keeps a default run, warm-ups included, well inside 110 seconds.
func TestDefaultRunIsShort(t *testing.T) {
	var total time.Duration
	for _, name := range Defaults() {
		p, err := Load(name)
		if err != nil {
			t.Fatal(err)
		}
		total += time.Duration(max(len(p.Arms), 1)) * (p.Executor.Warmup + p.Executor.Duration)
	}
	if total > 95*time.Second {
		t.Errorf("the default run takes %v", total)
	}
}

func TestLoadFile(t *testing.T) {
	data, err := embedded.ReadFile("ssh-exec-1.yaml")
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "mine.yaml")
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := Load(name)
	if err != nil || p.Name != "ssh-exec-1" {
		t.Errorf("got %+v, %v", p, err)
	}
}

func TestLoadRefuses(t *testing.T) {
	for ref, want := range map[string]string{
		"ssh-exce":        `did you mean "ssh-exec"?`,
		"nothing-like-it": "known are abrupt-disconnect, cache-hit-http, cache-hit-slow",
		"targets":         "unknown scenario",
		"groups":          "unknown scenario",
		"overhaed":        `did you mean "overhead"?`,
		"":                "unknown scenario",
	} {
		_, err := Load(ref)
		if !errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), want) {
			t.Errorf("Load(%q): %v, want %q", ref, err, want)
		}
	}
	if _, err := Load("no/such.yaml"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
}

func TestGroups(t *testing.T) {
	for _, g := range Groups() {
		if slices.Contains(List(), g.Name) {
			t.Errorf("group %s has the name of a scenario", g.Name)
		}
		for _, name := range g.Scenarios {
			if !slices.Contains(List(), name) {
				t.Errorf("group %s has %s, which is no scenario", g.Name, name)
			}
		}
	}
	got := Expand([]string{"ssh-exec", "cache", "./overhead"})
	if want := []string{"ssh-exec", "cache-hit-stdio", "cache-hit-http", "cache-hit-slow", "./overhead"}; !slices.Equal(got, want) {
		t.Errorf("Expand gives %v, want %v", got, want)
	}
}

// TestOverheadCompares holds the scenarios to what they are there to show: the same connections on both sides, and the bounds.
func TestOverheadCompares(t *testing.T) {
	for _, name := range Expand([]string{"overhead"}) {
		p, err := Load(name)
		if err != nil {
			t.Fatal(err)
		}
		pooling, _ := p.Arms[0].ServerConfig["connection_pooling"].(map[string]any)
		if raw := int64(p.Arms[1].Driver.Connections); raw == 0 || pooling["max_ssh_connections"] != raw {
			t.Errorf("%s: the server may open %v connections, raw-ssh opens %d", name, pooling["max_ssh_connections"], raw)
		}
		want := "p50<=p50(raw)+p50(noop)+60µs"
		if p.Executor.VUs == 64 {
			want = "rate>=0.85/(1/rate(raw)+1/rate(noop))"
		}
		if len(p.Compare) != 1 || p.Compare[0].String() != want {
			t.Errorf("%s compares %v, want %s", name, p.Compare, want)
		}
	}
}
