//go:build realssh

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestSystemdUnit has systemd read the unit and rate its sandbox, and the program understand every command and variable in it.
func TestSystemdUnit(t *testing.T) {
	text, err := os.ReadFile("../../deploy/systemd/openaccess-mcp.service")
	must(t, err)
	dir := t.TempDir()
	unit := filepath.Join(dir, "openaccess-mcp.service")
	write(t, unit, strings.ReplaceAll(string(text), "/usr/local/bin/openaccess-mcp", os.Args[0]), 0o644)
	if out, err := exec.Command("systemd-analyze", "verify", unit).CombinedOutput(); err != nil || strings.Contains(string(out), unit) {
		t.Errorf("systemd-analyze verify (Debian's systemd): %v\n%s", err, out)
	}
	out, err := exec.Command("systemd-analyze", "security", "--offline=true", "--no-pager", unit).CombinedOutput()
	must(t, err)
	m := regexp.MustCompile(`Overall exposure level.*: ([0-9.]+)`).FindSubmatch(out)
	if m == nil {
		t.Fatalf("no rating in\n%s", out)
	}
	if level, _ := strconv.ParseFloat(string(m[1]), 64); level > 2 {
		t.Errorf("an exposure of %s, want at most 2\n%s", m[1], out)
	}

	config := program("config")
	config.Env = append(config.Env, regexp.MustCompile(`OPENACCESS_\S+=\S+`).FindAllString(string(text), -1)...)
	for i, entry := range config.Env {
		if strings.HasPrefix(entry, "OPENACCESS_CONFIG=") { // only for those who have one
			config.Env = append(config.Env[:i], config.Env[i+1:]...)
			break
		}
	}
	shown, err := config.Output()
	must(t, err)
	for _, want := range []string{"/etc/openaccess-mcp/profiles", "/etc/openaccess-mcp/secrets", "/var/lib/openaccess-mcp/audit.db"} {
		if !strings.Contains(string(shown), want) {
			t.Errorf("the server would not use %s:\n%s", want, shown)
		}
	}
	for _, m := range regexp.MustCompile(`(?m)^Exec\w+=/usr/local/bin/openaccess-mcp (.*)$`).FindAllStringSubmatch(string(text), -1) {
		if err := program(append(strings.Fields(m[1]), "--help")...).Run(); err != nil {
			t.Errorf("%s: %v", m[1], err)
		}
	}
}
