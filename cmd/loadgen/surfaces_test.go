package main

import (
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"
)

// surfaces are the files that show how loadgen runs in continuous integration.
var surfaces = []string{
	"../../.github/workflows/perf-gate.yml", "../../.github/actions/perf-gate/action.yml", "../../docs/examples/gitlab-ci.yml", "../../docs/examples/Jenkinsfile",
}

// shownCommand is a call of loadgen in a shell line: its command, and what follows.
var shownCommand = regexp.MustCompile(`loadgen"? (gate|run|report|compare|history \w+)\b([^|;&#)` + "`" + `]*)`)

var shownFlag = regexp.MustCompile(`(?:^|[\s(])--([a-z][a-z0-9-]*)`)

// TestSurfacesShowFlagsThatExist wants every flag of loadgen in the files to be one of its command.
func TestSurfacesShowFlagsThatExist(t *testing.T) {
	for _, file := range append(surfaces, "../../docs/gate.md", "../../docs/history.md", "../../docs/reports.md") {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		shown := 0
		for _, m := range shownCommand.FindAllStringSubmatch(strings.ReplaceAll(string(data), "\\\n", " "), -1) {
			line, _, _ := strings.Cut(m[2], "\n")
			shown += flagsExist(t, file, strings.Fields(m[1]), line)
		}
		// The action gathers its flags in an array first, and users of it give more.
		for line := range strings.Lines(string(data)) {
			if at := strings.Index(line, "flags"); at >= 0 && (strings.Contains(line, "flags=(") || strings.Contains(line, "flags+=(")) {
				shown += flagsExist(t, file, []string{"gate"}, line[at:])
			} else if _, args, found := strings.Cut(line, " args: "); found {
				shown += flagsExist(t, file, []string{"gate"}, " "+args)
			}
		}
		if shown == 0 {
			t.Errorf("%s shows no flag of loadgen", file)
		}
	}
}

func flagsExist(t *testing.T, file string, command []string, line string) (shown int) {
	t.Helper()
	cmd, _, err := rootCommand(nil).Find(command)
	if err != nil {
		t.Errorf("%s: %v", file, err)
		return 0
	}
	for _, m := range shownFlag.FindAllStringSubmatch(line, -1) {
		if shown++; !hasFlag(cmd, m[1]) {
			t.Errorf("%s: loadgen %s has no flag --%s", file, strings.Join(command, " "), m[1])
		}
	}
	return shown
}

func hasFlag(cmd *cobra.Command, name string) bool {
	return cmd.Flags().Lookup(name) != nil || cmd.InheritedFlags().Lookup(name) != nil
}

// TestSurfacesAreYAML reads each file that is meant to be YAML, and wants a job or an action in it.
func TestSurfacesAreYAML(t *testing.T) {
	for _, file := range surfaces {
		if filepath.Ext(file) != ".yml" {
			continue
		}
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var top map[string]any
		if err := yaml.Unmarshal(data, &top); err != nil {
			t.Errorf("%s: %v", file, err)
		}
		if top["jobs"] == nil && top["runs"] == nil && top["perf-gate"] == nil {
			t.Errorf("%s has neither jobs nor an action", file)
		}
	}
}

// TestActionIsCalledRightly wants the workflow to give the action inputs that it has.
func TestActionIsCalledRightly(t *testing.T) {
	var action struct{ Inputs map[string]any }
	var workflow struct {
		Jobs map[string]struct {
			Steps []struct {
				Uses string
				With map[string]any
			}
		}
	}
	for file, to := range map[string]any{surfaces[0]: &workflow, surfaces[1]: &action} {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := yaml.Unmarshal(data, to); err != nil {
			t.Fatal(err)
		}
	}
	called := false
	for _, job := range workflow.Jobs {
		for _, step := range job.Steps {
			if step.Uses != "./.github/actions/perf-gate" {
				continue
			}
			called = true
			for name := range step.With {
				if _, ok := action.Inputs[name]; !ok {
					t.Errorf("the action has no input %s", name)
				}
			}
		}
	}
	if !called {
		t.Error("the workflow does not call the action")
	}
}

var exitCodeShown = regexp.MustCompile(`# exit code (\d+)`)

// TestGateDocumentCommands runs the shell blocks of docs/gate.md on recorded results: what is shown works, with the exit code that is shown.
func TestGateDocumentCommands(t *testing.T) {
	text, err := os.ReadFile("../../docs/gate.md")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, from := range map[string]string{"out/result.json": "gate-regressed.json", "base.json": "held.json", "head.json": "failed.json"} {
		data, err := os.ReadFile("../../reports/testdata/" + from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	t.Setenv("GITHUB_ACTIONS", "")
	ran := 0
	for _, block := range regexp.MustCompile("(?ms)^```sh\n(.*?)^```$").FindAllStringSubmatch(string(text), -1) {
		for line := range strings.Lines(block[1]) {
			want := 0
			if m := exitCodeShown.FindStringSubmatch(line); m != nil {
				want, _ = strconv.Atoi(m[1])
			}
			command, _, _ := strings.Cut(line, "#")
			args := strings.Fields(command)
			var stderr strings.Builder
			if got := run(t.Context(), args[1:], strings.NewReader(""), io.Discard, &stderr); got != want {
				t.Errorf("%s: exit code %d, want %d\n%s", strings.TrimSpace(line), got, want, stderr.String())
			}
			ran++
		}
	}
	if ran < 8 {
		t.Errorf("only %d commands ran", ran)
	}
}
