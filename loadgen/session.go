package loadgen

import (
	"context"
	"time"
)

// Call is one MCP tool call.
type Call struct {
	Tool string
	Args map[string]any // shared between calls: a Session must not change it

	// Progress, unless nil, asks the server for progress and is called at each notification of it that arrives before Call returns. It is
	// called from the session's own goroutine, so it must be quick, and never at the same time as itself.
	Progress func()
}

// Reply is what the server answered.
type Reply struct {
	Code   string         // error_code of the envelope, "" on success
	Error  string         // message that goes with Code
	Data   map[string]any // the envelope's data, decoded
	Timing Timing         // as the server reports it
}

// Timing splits a call as the server's metadata.timing reports it. All zero where it reports none.
type Timing struct {
	Queue, Dial, Channel, Remote time.Duration
	Reused                       bool // the SSH connection was open already
}

// Session is one MCP session (one client's view of a server). Calls may run concurrently.
type Session interface {
	// Call runs a tool. The error is non-nil only when no reply came (the transport broke, the context ended, the protocol was
	// violated); a tool that failed answers with Reply.Code. When ctx ends, Call returns its error at once and tells the server to stop.
	Call(ctx context.Context, c Call) (Reply, error)
	Close() error
}

// Driver opens sessions to one server. The server lives from the driver's making to its Close.
type Driver interface {
	Open(ctx context.Context) (Session, error)
	// Info describes what is driven, for the report.
	Info() DriverInfo
	// Close ends every session and a server that the driver started, and waits for it.
	Close() error
}

// Watcher is a Driver that hears when each stretch of measured time begins, with true, and ends, with false. Measuring must return at once.
// Every stretch has ended when Close is called.
type Watcher interface {
	Measuring(on bool)
}

// DriverInfo says what a driver measures.
type DriverInfo struct {
	Kind          string // "stdio", "http", "inprocess", "raw-ssh", "mcp-noop" or "mcp-library"
	ServerName    string // as the MCP handshake names it
	ServerVersion string
	PID           int    // the server's process, the first where there are several; 0 when unknown
	PIDs          []int  // all of the server's processes at the time; nil when unknown
	Address       string // path of the binary, or URL
	Protocol      string // MCP protocol version spoken; empty for none
	Sessions      string // "shared", "per-vu" or "per-call"
	SharedSession bool   // virtual users share one session (stdio: one child serves all)
}

// Abandoner is a Session that can vanish as the one of a client that crashes: its connections, or its process's pipes, are closed and the
// server is told nothing. Calls under way fail. Nothing is left to close after it.
type Abandoner interface {
	Abandon() error
}
