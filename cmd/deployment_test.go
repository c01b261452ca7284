package cmd

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
)

// TestDeploymentCommands runs the shell blocks of docs/deployment.md as one script, in a folder with profiles and the gateway.yaml of the document.
// Addresses that something else may have are replaced by free ones.
func TestDeploymentCommands(t *testing.T) {
	data, err := os.ReadFile("../docs/deployment.md")
	if err != nil {
		t.Fatal(err)
	}
	text := freePorts(t, string(data))
	bin, dir := t.TempDir(), t.TempDir()
	if out, err := exec.Command("go", "build", "-o", bin, "./openaccess-mcp", "./loadgen").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	host := fakessh.Start(fakessh.Options{})
	t.Cleanup(func() { host.Close() })
	if err := host.WriteProfile(dir, "fake"); err != nil {
		t.Fatal(err)
	}
	config := fenced(text, "yaml")
	if len(config) != 1 {
		t.Fatalf("the document has %d yaml blocks, want gateway.yaml alone", len(config))
	}
	if err := os.WriteFile(filepath.Join(dir, "gateway.yaml"), []byte(config[0]), 0o600); err != nil {
		t.Fatal(err)
	}
	out := runScript(t, bin, dir, strings.Join(fenced(text, "sh"), "sleep 1\n"))
	for _, want := range []string{"1 profile, no mistakes", "Verdict: all held", "servers=3"} {
		if !strings.Contains(out, want) {
			t.Errorf("the output lacks %q:\n%s", want, out)
		}
	}
	if n := strings.Count(out, `msg="configuration reloaded"`); n != 2 {
		t.Errorf("the gateway reloaded %d times, want 2:\n%s", n, out)
	}
	if strings.Contains(out, "level=ERROR") {
		t.Errorf("something went wrong:\n%s", out)
	}
}

// runScript runs a script with bash and ends what it leaves running.
func runScript(t *testing.T, bin, dir, script string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-e", "-u", "-o", "pipefail", "-c", "trap 'kill $(jobs -p); wait' EXIT\n"+script+"sleep 1\n")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "XDG_STATE_HOME="+t.TempDir(), "PATH="+bin+string(filepath.ListSeparator)+os.Getenv("PATH"))
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s\n%v\n%s", script, err, out)
	}
	return string(out)
}

// fenced lists the fenced blocks of a document in a language.
func fenced(text, language string) (found []string) {
	for _, m := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllStringSubmatch(text, -1) {
		found = append(found, m[1])
	}
	return found
}

// freePorts replaces each 127.0.0.1:87xx.
func freePorts(t *testing.T, text string) string {
	t.Helper()
	given := map[string]string{}
	return regexp.MustCompile(`127\.0\.0\.1:87\d\d`).ReplaceAllStringFunc(text, func(addr string) string {
		if given[addr] == "" {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() })
			given[addr] = l.Addr().String()
			l.Close()
		}
		return given[addr]
	})
}

// TestDeploymentTable checks that the document names every key of the gateway with its default.
func TestDeploymentTable(t *testing.T) {
	data, err := os.ReadFile("../docs/deployment.md")
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("go", "run", "./openaccess-mcp", "gateway", "--help").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, m := range regexp.MustCompile(`--([a-z-]+) .*\(default "?([^")]+)"?\)`).FindAllStringSubmatch(string(out), -1) {
		key := fmt.Sprintf("`%s`", strings.ReplaceAll(m[1], "-", "_"))
		row := regexp.MustCompile(`(?m)^\|[^|]*` + key + `[^|]*\|([^|]*)\|`).FindStringSubmatch(string(data))
		if row == nil || !strings.Contains(row[1], m[2]) {
			t.Errorf("the document says %q of %s, whose default is %s", row, key, m[2])
		}
	}
}
