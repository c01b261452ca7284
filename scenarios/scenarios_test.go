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
	ungraded := []string{"abrupt-disconnect", "cancel-release", "session-churn", "sftp-progress", "sftp-tree", "slow-reader", "ssh-exec-1", "ssh-exec-64", "stall"}
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
		"nothing-like-it": "known are abrupt-disconnect, cancel-release, rsync-100",
		"targets":         "unknown scenario",
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
