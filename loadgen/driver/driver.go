// Package driver connects the load generator to an MCP server: over the stdio of a child process, over HTTP, or in this process.
//
// Start with [Stdio], [HTTP], [HTTPChild] or [InProcess]; each returns a loadgen.Driver that is ready to open sessions. The handshake and
// the HTTP transport are mcp-go's. Calls over stdio and in process go through a codec of this package, and all replies through one decoder,
// because what the generator burns per call is missing from the server on the same machine.
package driver

import (
	"errors"
	"io"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
)

// ErrServerStart is matched by the error of a driver whose server does not start, ends before the handshake or refuses it. The error's text
// has the exit status and the last lines of the server's standard error.
var ErrServerStart = errors.New("the server did not start")

// ChildConfig says how to run a server as a child process.
type ChildConfig struct {
	Path         string        // program; a name without a slash is looked up in PATH
	Args         []string      // its arguments, without the program's name
	Env          []string      // KEY=VALUE, added to this process's environment
	Dir          string        // working directory, empty for this process's
	Stderr       io.Writer     // also gets what the server writes to standard error; nil for nobody; calls come from one goroutine
	Protocol     string        // MCP protocol version to ask for, empty for 2025-11-25
	StartTimeout time.Duration // from start to the end of the handshake, 0 for 15 s
	StopTimeout  time.Duration // for each of the steps of ending it: stdin closed, SIGTERM, SIGKILL; 0 for 5 s
}

// StdioConfig is the configuration of Stdio.
type StdioConfig = ChildConfig

// HTTPChildConfig is the configuration of HTTPChild. Args must make the server listen on a free port and log its URL.
type HTTPChildConfig = ChildConfig

const (
	defaultStartTimeout = 15 * time.Second
	defaultStopTimeout  = 5 * time.Second
)

func (c *ChildConfig) complete() {
	if c.StartTimeout == 0 {
		c.StartTimeout = defaultStartTimeout
	}
	if c.StopTimeout == 0 {
		c.StopTimeout = defaultStopTimeout
	}
}

// initializeParams asks for a protocol version, empty for the newest that has a handshake.
func initializeParams(protocol string) mcp.InitializeParams {
	if protocol == "" {
		protocol = mcp.LATEST_LEGACY_PROTOCOL_VERSION
	}
	return mcp.InitializeParams{
		ProtocolVersion: protocol,
		ClientInfo:      mcp.Implementation{Name: "openaccess-loadgen", Version: "1"},
	}
}
