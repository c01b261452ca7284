package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
	"github.com/openaccess-mcp/openaccess-mcp/reports/result"
)

func TestMerge(t *testing.T) {
	base := map[string]any{"a": map[string]any{"x": 1, "y": map[string]any{"z": 1}}, "b": 1, "c": map[string]any{"d": 1}}
	over := map[string]any{"a": map[string]any{"y": map[string]any{"w": 2}}, "b": map[string]any{"e": 2}, "c": 3, "f": nil}
	want := map[string]any{
		"a": map[string]any{"x": 1, "y": map[string]any{"z": 1, "w": 2}}, "b": map[string]any{"e": 2}, "c": 3, "f": nil,
	}
	if got := merge(base, over); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if y := base["a"].(map[string]any)["y"].(map[string]any); len(y) != 1 {
		t.Errorf("the base was changed: %v", base)
	}
	if got := merge(nil, over); !reflect.DeepEqual(got, over) {
		t.Errorf("over nothing: %v", got)
	}
}

func TestServerAtURLKeepsItsConfiguration(t *testing.T) {
	s := &serverChoice{url: "http://h/mcp", driver: loadgen.ArmDriver{Kind: "http"}}
	arms := []loadgen.Arm{{Name: "plain"}, {Name: "other", ServerConfig: map[string]any{"a": 1}}}
	var notes bytes.Buffer
	p, err := s.fit(&loadgen.Plan{Name: "x", Arms: arms}, &notes)
	if err != nil || len(p.Arms) != 1 || p.Arms[0].Name != "plain" || !strings.Contains(notes.String(), "arm other is left out") {
		t.Errorf("got %+v, %v, %q", p, err, notes.String())
	}
	if _, err = s.fit(&loadgen.Plan{Name: "x", Arms: arms[1:]}, &notes); err == nil {
		t.Error("a plan without any arm left is accepted")
	}
}

func TestDriverOfArm(t *testing.T) {
	started := &serverChoice{path: "/bin/server", wire: "stdio", target: &target{profileDir: "p"}, driver: loadgen.ArmDriver{Kind: "stdio", Sessions: "per-vu"}}
	running := &serverChoice{url: "http://h/mcp", wire: "stdio", target: &target{}, driver: loadgen.ArmDriver{Kind: "http", Protocol: "2026-07-28"}}
	inside := &serverChoice{wire: "stdio", target: &target{profileDir: "p"}, driver: loadgen.ArmDriver{Kind: "inprocess"}}
	config := map[string]any{"a": 1}
	for _, tt := range []struct {
		name string
		s    *serverChoice
		arm  loadgen.Arm
		want loadgen.ArmDriver
		err  string
	}{
		{"the run's", started, loadgen.Arm{ServerConfig: config}, started.driver, ""},
		{"of its own", started, loadgen.Arm{Driver: &loadgen.ArmDriver{Kind: "http", Sessions: "shared"}}, loadgen.ArmDriver{Kind: "http", Sessions: "shared"}, ""},
		{"in part", running, loadgen.Arm{Driver: &loadgen.ArmDriver{ReadRate: 9}}, loadgen.ArmDriver{Kind: "http", Protocol: "2026-07-28", ReadRate: 9}, ""},
		{"a limit takes no flags", started, loadgen.Arm{Driver: &loadgen.ArmDriver{Kind: "raw-ssh"}}, loadgen.ArmDriver{Kind: "raw-ssh"}, ""},
		{"no-op beside a URL", running, loadgen.Arm{Driver: &loadgen.ArmDriver{Kind: "mcp-noop"}}, loadgen.ArmDriver{Kind: "mcp-noop", Protocol: "2026-07-28"}, ""},
		{"in process too", started, loadgen.Arm{Driver: &loadgen.ArmDriver{Kind: "inprocess"}}, loadgen.ArmDriver{Kind: "inprocess"}, ""},
		{"unknown", started, loadgen.Arm{Driver: &loadgen.ArmDriver{Kind: "smoke"}}, loadgen.ArmDriver{}, "kind \"smoke\" is not known"},
		{"stdio at a URL", running, loadgen.Arm{Driver: &loadgen.ArmDriver{Kind: "stdio"}}, loadgen.ArmDriver{}, "runs already"},
		{"in process at a URL", running, loadgen.Arm{Driver: &loadgen.ArmDriver{Kind: "inprocess"}}, loadgen.ArmDriver{}, "needs the target's profiles"},
		{"SSH at a URL", running, loadgen.Arm{Driver: &loadgen.ArmDriver{Kind: "raw-ssh"}}, loadgen.ArmDriver{}, "needs the target's profiles"},
		{"no program", inside, loadgen.Arm{Driver: &loadgen.ArmDriver{Kind: "http"}}, loadgen.ArmDriver{}, "needs a server program"},
		{"nothing to configure", started, loadgen.Arm{Driver: &loadgen.ArmDriver{Kind: "mcp-noop"}, ServerConfig: config}, loadgen.ArmDriver{}, "no server that server_config could configure"},
		{"no protocol", started, loadgen.Arm{Driver: &loadgen.ArmDriver{Kind: "inprocess", Protocol: "2025-11-25"}}, loadgen.ArmDriver{}, "inprocess has no protocol"},
		{"no sessions", started, loadgen.Arm{Driver: &loadgen.ArmDriver{Kind: "raw-ssh", Sessions: "shared"}}, loadgen.ArmDriver{}, "raw-ssh has no sessions"},
		{"no slow reader", started, loadgen.Arm{Driver: &loadgen.ArmDriver{Kind: "raw-ssh", ReadRate: 1}}, loadgen.ArmDriver{}, "raw-ssh has no read_rate"},
	} {
		got, err := tt.s.driverOf(tt.arm)
		if tt.err == "" && (err != nil || got != tt.want) || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
			t.Errorf("%s: %+v, %v, want %+v, %s", tt.name, got, err, tt.want, tt.err)
		}
	}
	graded := &loadgen.Plan{Arms: []loadgen.Arm{{Driver: &loadgen.ArmDriver{Kind: "raw-ssh"}}, {}}, Target: &loadgen.Target{}}
	if p, err := started.fit(graded, io.Discard); err != nil || p.Target != nil {
		t.Errorf("a limit is graded: %v, %v", p, err)
	}
	graded.Arms = graded.Arms[1:]
	if p, err := started.fit(graded, io.Discard); err != nil || p.Target == nil {
		t.Errorf("the server is not graded: %v, %v", p, err)
	}
}

func TestHalfWrittenFileIsNotLeftBehind(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "result.json")
	if err := os.WriteFile(name, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	broken := func(w io.Writer, _ *result.Doc) error {
		io.WriteString(w, "half")
		return errors.New("broken")
	}
	if err := writeFile(name, broken, &result.Doc{}); err == nil {
		t.Error("no error")
	}
	data, err := os.ReadFile(name)
	if entries, _ := os.ReadDir(dir); err != nil || string(data) != "old" || len(entries) != 1 {
		t.Errorf("%q, %v, %v", data, err, entries)
	}
}

func TestReportThatCannotBePrintedIsAFailureOfTheHarness(t *testing.T) {
	dir := t.TempDir()
	d, err := result.FromRun(result.Meta{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var exit *exitError
	err = output(fullDisk{}, dir, "text", d)
	if !errors.As(err, &exit) || exit.code != exitHarness {
		t.Errorf("got %v", err)
	}
	if _, err := readResult(filepath.Join(dir, "result.json")); err != nil {
		t.Errorf("the result was not written for all that: %v", err)
	}
}

func TestVerdictTakesTheFirstThatApplies(t *testing.T) {
	for _, c := range []struct {
		kinds []result.Kind
		want  int
	}{
		{nil, exitHeld},
		{[]result.Kind{result.Inconclusive}, exitInconclusive},
		{[]result.Kind{result.Inconclusive, result.Missed}, exitMissed},
		{[]result.Kind{result.Inconclusive, result.Missed, result.Unbelievable}, exitHarness},
	} {
		var fs []result.Finding
		for _, k := range c.kinds {
			fs = append(fs, result.Finding{Kind: k})
		}
		got := exitHeld
		var exit *exitError
		if errors.As(verdict(fs), &exit) {
			got = exit.code
		}
		if got != c.want {
			t.Errorf("%v: %d, want %d", c.kinds, got, c.want)
		}
	}
}

// TestReadProfileNamesTheFile gives profiles that are no YAML, the last of which the library panics at.
func TestReadProfileNamesTheFile(t *testing.T) {
	for _, text := range []string{"id: [", "vpn:\n  peers: x\n", "vpn:\n  peers:\n   ! "} {
		file := filepath.Join(t.TempDir(), "p.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readProfile(file); err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestIsolatedFakeHostDiesWithItsParent closes the only thing that binds the two: the standard input.
func TestIsolatedFakeHostDiesWithItsParent(t *testing.T) {
	dir := t.TempDir()
	in, parent := io.Pipe()
	lines, out := io.Pipe()
	code := make(chan int, 1)
	go func() {
		code <- run(context.Background(), []string{fakeHostName, dir, dir}, in, out, io.Discard)
		out.Close()
	}()
	var ready fakeReady
	if err := json.NewDecoder(lines).Decode(&ready); err != nil || ready.Addr == "" {
		t.Fatalf("%+v, %v", ready, err)
	}
	if p, err := readProfile(filepath.Join(dir, "profiles", fakeProfile+".json")); err != nil || p.ID != fakeProfile {
		t.Errorf("profile %q, %v", p.ID, err)
	}
	parent.Close()
	if c := <-code; c != exitHeld {
		t.Errorf("exit code %d", c)
	}
}
