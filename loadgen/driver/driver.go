// Package driver connects the load generator to an MCP server: over the stdio of child processes, over HTTP, or in this process.
//
// Start with [Stdio], [HTTP], [HTTPChild] or [InProcess]; each returns a loadgen.Driver that is ready to open sessions. [RawSSH] reaches
// hosts without any server, which is the limit to compare with. Calls go through a codec (request.go, json.go, reply.go) and an HTTP client
// (httpconn.go) of this package, because what the generator burns per call is missing from the server on the same machine.
package driver

import (
	"errors"
	"fmt"
	"io"
	"time"
)

// ErrServerStart is matched by the error of a driver whose server does not start, ends before the handshake or refuses it. The error's text
// has the exit status and the last lines of the server's standard error.
var ErrServerStart = errors.New("the server did not start")

// How the sessions that a driver opens relate to MCP sessions.
const (
	SessionsShared  = "shared"   // all are views of one: one process on stdio, one Mcp-Session-Id and pool of connections on HTTP
	SessionsPerVU   = "per-vu"   // each is one of its own: a process of its own on stdio, connections of its own on HTTP
	SessionsPerCall = "per-call" // each call has one of its own, whose opening and goodbye are part of its time
)

// Client says how a driver behaves as an MCP client. The zero value of a field takes the default named beside it.
type Client struct {
	Protocol string // MCP protocol version to ask for; ProtocolStateful
	Sessions string // SessionsShared on stdio, SessionsPerVU on HTTP
	ReadRate int64  // bytes per second taken of the server's output on each connection, to act a slow reader; 0 sets no limit
	Kind     string // for DriverInfo; "stdio" or "http"
}

// check completes and judges c.
func (c *Client) check(kind, sessions string) error {
	if c.Kind == "" {
		c.Kind = kind
	}
	if c.Sessions == "" {
		c.Sessions = sessions
	}
	switch c.Sessions {
	case SessionsShared, SessionsPerVU, SessionsPerCall:
	default:
		return fmt.Errorf("sessions %q is not known: use %s, %s or %s", c.Sessions, SessionsShared, SessionsPerVU, SessionsPerCall)
	}
	if c.ReadRate < 0 {
		return fmt.Errorf("the read rate %d is negative: give bytes per second, or 0 for no limit", c.ReadRate)
	}
	return checkProtocol(&c.Protocol)
}

// ChildConfig says how to run a server as a child process.
type ChildConfig struct {
	Client
	Path         string        // program; a name without a slash is looked up in PATH
	Args         []string      // its arguments, without the program's name
	Env          []string      // KEY=VALUE, added to this process's environment
	Dir          string        // working directory, empty for this process's
	Stderr       io.Writer     // also gets what the server writes to standard error; nil for nobody; must be safe for concurrent use where there are several children
	StartTimeout time.Duration // from start to the end of the handshake, 0 for 15 s
	StopTimeout  time.Duration // for each of the steps of ending it before SIGKILL: stdin closed, SIGTERM; 0 for 5 s
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
