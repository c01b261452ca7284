//go:build containers

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
)

// nobody is the user that the image runs as.
const nobody = 65532

// TestContainerImage builds the image as `make image` does and starts it over stdio as an MCP client would: nothing writable but the record, no
// capability, no root.
func TestContainerImage(t *testing.T) {
	out, err := exec.Command("make", "-C", "../..", "image", "VERSION=test").CombinedOutput()
	if err != nil {
		t.Fatalf("make image: %v\n%s", err, out)
	}
	t.Cleanup(func() { _ = exec.Command("docker", "image", "rm", "-f", "openaccess-mcp:test").Run() })
	host := fakessh.Start(fakessh.Options{})
	t.Cleanup(func() { host.Close() })
	dir := t.TempDir()
	must(t, host.WriteProfile(dir, "real"))
	must(t, filepath.Walk(dir, func(path string, _ os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, nobody, nobody)
	}))
	must(t, os.Chmod(filepath.Dir(dir), 0o755))
	run := []string{"run", "--rm", "-i", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--network", "host", "-v", "/state"}
	for _, folder := range []string{"profiles", "secrets"} {
		run = append(run, "-v", fmt.Sprintf("%s:/etc/openaccess-mcp/%s:ro", filepath.Join(dir, folder), folder))
	}
	run = append(run, "openaccess-mcp:test")

	if out, err := exec.Command("docker", append(run, "check")...).CombinedOutput(); err != nil || !strings.Contains(string(out), "1 profile, no mistakes") {
		t.Fatalf("check in the container: %v\n%s", err, out)
	}
	cmd := exec.Command("docker", run...)
	cmd.Stderr = os.Stderr
	session, err := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil).Connect(t.Context(), &mcp.CommandTransport{Command: cmd}, nil)
	must(t, err)
	mustExec(t, session, "echo from the container", "from the container\n")
	must(t, session.Close())

	user, err := exec.Command("docker", "image", "inspect", "-f", "{{.Config.User}}", "openaccess-mcp:test").Output()
	must(t, err)
	if got := strings.TrimSpace(string(user)); got != fmt.Sprintf("%d:%d", nobody, nobody) {
		t.Errorf("the image runs as %q", got)
	}
}
