package cmd

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// blocks returns the fenced blocks of the README in a language.
func blocks(t *testing.T, language string) []string {
	t.Helper()
	data, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, m := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllStringSubmatch(string(data), -1) {
		found = append(found, m[1])
	}
	if len(found) == 0 {
		t.Fatalf("the README has no %s block", language)
	}
	return found
}

// TestReadmeCommands runs the shell blocks of the README with freshly built programs. What make does is for CI to run.
func TestReadmeCommands(t *testing.T) {
	bin := t.TempDir()
	build := exec.Command("go", "build", "-o", bin, "./openaccess-mcp", "./loadgen", "./fakessh")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, script := range blocks(t, "sh") {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, "bash", "-e", "-u", "-o", "pipefail", "-c", "set -m\n"+script)
		cmd.Dir = t.TempDir()
		cmd.Env = append(os.Environ(), "XDG_STATE_HOME="+t.TempDir(), "PATH="+bin+string(filepath.ListSeparator)+os.Getenv("PATH"))
		cmd.WaitDelay = 5 * time.Second
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s\n%v\n%s", script, err, out)
		}
		for _, want := range []string{"1 profile, no mistakes", `"stdout":"hello\n"`, "Verdict: all held"} {
			if !strings.Contains(string(out), want) {
				t.Errorf("the output lacks %q:\n%s", want, out)
			}
		}
	}
}

// TestReadmeJSON checks that the client's entry starts the server with flags that exist, and that the profile is one it accepts.
func TestReadmeJSON(t *testing.T) {
	var client struct {
		Servers map[string]struct {
			Command string
			Args    []string
		} `json:"mcpServers"`
	}
	all := blocks(t, "json")
	if err := json.Unmarshal([]byte(all[0]), &client); err != nil {
		t.Fatal(err)
	}
	entry := client.Servers["openaccess"]
	if entry.Command != "openaccess-mcp" || len(entry.Args) == 0 {
		t.Fatalf("got %+v", entry)
	}
	out, err := exec.Command("go", append([]string{"run", "./openaccess-mcp"}, append(entry.Args, "--help")...)...).CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}

	dir := t.TempDir()
	for name, data := range map[string]string{"profiles/web-01.json": all[1], "secrets/web-01.json": `{"password":"x"}`} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out, err = exec.Command("go", "run", "./openaccess-mcp", "check", "--profiles", dir+"/profiles", "--secrets", dir+"/secrets").CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
