package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
	"github.com/openaccess-mcp/openaccess-mcp/server"
)

// A client runs a command on a host, over stdio.
func Example() {
	host := fakessh.Start(fakessh.Options{})
	defer host.Close()
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	if err := host.WriteProfile(dir, "web-01"); err != nil {
		panic(err)
	}

	s, err := server.New(server.Config{Profiles: dir + "/profiles", Secrets: dir + "/secrets"})
	if err != nil {
		panic(err)
	}
	defer s.Close()
	in := strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":` +
		`{"name":"ssh_exec","arguments":{"profile_id":"web-01","command":"echo hello"}}}` + "\n")
	var out bytes.Buffer
	if err := s.Run(context.Background(), server.Stdio(in, &out)); err != nil {
		panic(err)
	}

	var answer struct {
		Result struct {
			StructuredContent server.Envelope[server.ExecData]
		}
	}
	if err := json.Unmarshal(out.Bytes(), &answer); err != nil {
		panic(err)
	}
	fmt.Print(answer.Result.StructuredContent.Data.Stdout)
	// Output: hello
}
