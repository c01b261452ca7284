package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
	"github.com/openaccess-mcp/openaccess-mcp/server"
)

// program is the test binary run as openaccess-mcp.
func program(args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	cmd.Stderr = os.Stderr
	return cmd
}

// serveHTTP starts the program over HTTP and returns its URL. The program must exit 0 on SIGTERM.
func serveHTTP(t *testing.T, args ...string) string {
	t.Helper()
	cmd := program(append([]string{"serve", "--transport", "http", "--listen", "127.0.0.1:0"}, args...)...)
	cmd.Stderr = nil
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Errorf("after SIGTERM: %v", err)
		}
	})
	lines := bufio.NewScanner(stderr)
	urlOf := regexp.MustCompile(`url=(\S+)`)
	for lines.Scan() {
		if m := urlOf.FindStringSubmatch(lines.Text()); m != nil {
			go func() {
				for lines.Scan() {
				}
			}()
			return m[1]
		}
	}
	t.Fatal("the server logged no url")
	return ""
}

// TestOfficialSDK lists and calls the tools with the official Go SDK's client, over both transports.
func TestOfficialSDK(t *testing.T) {
	host := fakessh.Start(fakessh.Options{})
	defer host.Close()
	dir := t.TempDir()
	if err := host.WriteProfile(dir, "fake", dir); err != nil {
		t.Fatal(err)
	}
	folders := []string{"--profiles", filepath.Join(dir, "profiles"), "--secrets", filepath.Join(dir, "secrets")}
	for name, transport := range map[string]func(t *testing.T) mcp.Transport{
		"stdio": func(*testing.T) mcp.Transport {
			return &mcp.CommandTransport{Command: program(append([]string{"serve"}, folders...)...)}
		},
		"http": func(t *testing.T) mcp.Transport {
			return &mcp.StreamableClientTransport{Endpoint: serveHTTP(t, folders...)}
		},
	} {
		t.Run(name, func(t *testing.T) {
			session, err := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil).Connect(t.Context(), transport(t), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer session.Close()
			tools, err := session.ListTools(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, tool := range tools.Tools {
				names = append(names, tool.Name)
			}
			if !slices.Contains(names, "ssh_exec") || !slices.Contains(names, "sftp_transfer") {
				t.Errorf("tools %v", names)
			}
			for _, tool := range []string{"ssh_exec", "ssh.exec"} {
				got := sdkExec(t.Context(), t, session, tool, "echo hi")
				if got.Data == nil || got.Data.Stdout != "hi\n" {
					t.Errorf("%s: %+v", tool, got)
				}
			}
		})
	}
}

func sdkExec(ctx context.Context, t *testing.T, session *mcp.ClientSession, tool, command string) server.Envelope[server.ExecData] {
	t.Helper()
	var env server.Envelope[server.ExecData]
	result, err := session.CallTool(ctx, &mcp.CallToolParams{Name: tool, Arguments: map[string]any{"profile_id": "fake", "command": command}})
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(result.StructuredContent)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &env); err != nil {
		t.Fatal(err)
	}
	return env
}

// TestSIGTERMDrains sends the signal under a running call, over stdio: the call ends, then the program, with exit code 0.
func TestSIGTERMDrains(t *testing.T) {
	host := fakessh.Start(fakessh.Options{})
	defer host.Close()
	dir := t.TempDir()
	if err := host.WriteProfile(dir, "fake"); err != nil {
		t.Fatal(err)
	}
	started := make(chan struct{})
	host.Handle("slow", func(_ context.Context, c *fakessh.Command) int {
		close(started)
		time.Sleep(300 * time.Millisecond)
		_, _ = c.Stdout.Write([]byte("done\n"))
		return 0
	})
	cmd := program("serve", "--profiles", filepath.Join(dir, "profiles"), "--secrets", filepath.Join(dir, "secrets"))
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(in, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"ssh_exec","arguments":{"profile_id":"fake","command":"slow"}}}`+"\n"); err != nil {
		t.Fatal(err)
	}
	<-started
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("exit: %v", err)
	}
	if !strings.Contains(out.String(), `"stdout":"done\n"`) {
		t.Errorf("the call under way was answered by %q", out.String())
	}
}
